"""A holder's raw data as Ibis sees it: one Parquet or CSV file per source, read in place and never written.

A row's ``position`` is its place in the file. It only ever orders the rows of *one* resident among themselves, so that
other people's rows, coming or going, change nothing about which of a resident's rows are kept.
"""

import csv
import hashlib
from pathlib import Path
from typing import Any

import ibis
import ibis.expr.datatypes as dt

from ledger.errors import Unavailable
from policies.policy_document import View

POSITION = "position"
RESIDENT = "resident"


class SourceFile:
    """One file, and which version of it is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[tuple[int, ...], str] | None = None

    def snapshot(self) -> str:
        """Return the SHA-256 (hex) of the file's bytes. It is read again only when the file was changed or replaced.

        Raises Unavailable when the file cannot be read, or changes meanwhile.
        """
        state = self._state()
        if self._known is None or self._known[0] != state:
            try:
                with self.path.open("rb") as file:
                    digest = hashlib.file_digest(file, "sha256").hexdigest()
            except OSError:
                raise Unavailable("A source's file cannot be read; look at its path and permissions.") from None
            if self._state() != state:
                raise Unavailable("A source's file is being written; replace it in one step, by renaming.")
            self._known = (state, digest)
        return self._known[1]

    def _state(self) -> tuple[int, ...]:
        try:
            stat = self.path.stat()
        except OSError:
            raise Unavailable("A source's file is not there; look at its path and permissions.") from None
        return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)

    def _header(self) -> list[str]:
        try:
            with self.path.open("rb") as file:
                names = next(csv.reader([file.readline().decode("utf-8-sig")]), [])
        except (OSError, UnicodeDecodeError, csv.Error):
            raise Unavailable("A source's CSV file has no readable header line; write it as UTF-8.") from None
        # A name that repeats, or is empty, still takes its place in the line.
        return [f"column {place}" if not name or name in names[:place] else name for place, name in enumerate(names)]

    def read(self, engine: Any, view: View) -> Any:
        """Return the columns that ``view`` needs as an Ibis table, with ``resident`` and ``position``.

        A CSV file has a header, and all its columns are text: a customer number "007" stays what it is. Raises
        Unavailable when a column is not there.
        """
        names = [column.name for column in view.columns]
        known_as = f"source_{view.source}"  # one name, replaced at each reading
        if self.path.suffix.lower() == ".csv":
            # Nothing is guessed, neither types nor dialect. A line that is too short is filled with nulls, one that is
            # too long is cut, one that is not UTF-8 is left out; none is an error.
            table = engine.read_csv(
                str(self.path),
                table_name=known_as,
                auto_detect=False,
                columns=dict.fromkeys(self._header(), "VARCHAR"),
                header=True,
                delim=",",
                quote='"',
                escape='"',
                strict_mode=False,
                null_padding=True,
                ignore_errors=True,
            )
            # The rows of one file come in the file's order, which DuckDB keeps (preserve_insertion_order).
            position = ibis.row_number()
        else:
            # The reader knows the place already; numbering ten million rows once more takes twice as long as reading.
            table = engine.read_parquet(str(self.path), table_name=known_as, file_row_number=True)
            position = table.file_row_number
        missing = [name for name in [view.resident, *names] if name not in table.columns]
        if missing:
            raise Unavailable(f"The source of view '{view.name}' lacks the columns: {', '.join(missing)}.")
        columns = {f"source_{name}": table[name] for name in names}
        return table.select(**{RESIDENT: table[view.resident], POSITION: position}, **columns)


def is_whole(column: Any) -> bool:
    """Tell whether a column's type is a whole number that fits 64 bits with a sign."""
    kind = column.type()
    return isinstance(kind, dt.Integer) and not isinstance(kind, dt.UInt64)


def as_text(column: Any) -> Any:
    """Return a column as text; null where that cannot be."""
    return column if isinstance(column.type(), dt.String) else column.try_cast("string")


def as_whole(column: Any) -> Any:
    """Return a column as a 64-bit whole number, rounded; null where it is no number, or too large."""
    if isinstance(column.type(), (dt.Numeric, dt.Boolean)):
        return column.try_cast("int64")
    return as_text(column).try_cast("int64")  # for dates and the like there is no direct cast, which is an error

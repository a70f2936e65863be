"""A holder's raw data as Ibis sees it: one Parquet or CSV file per source, read in place and never written.

A row's ``position`` is its place in the file. It only ever orders the rows of *one* resident among themselves, so that
other people's rows, coming or going, change nothing about which of a resident's rows are kept.
"""

import hashlib
from collections.abc import Iterable, Sequence
from glob import escape
from pathlib import Path
from typing import Any

import ibis.expr.datatypes as dt

from ledger.errors import Unavailable
from policies.policy_document import View
from trust.node.data.csv_file import header_of, read_columns
from trust.node.data.parquet_file import names_in, read_values

POSITION = "position"
RESIDENT = "resident"
_RAW = "raw_rows"
_VALUES = "raw_values"
"""The engine's names for what is being read of a file, and what was."""


class SourceFile:
    """One file, and which version of it is there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._known: tuple[tuple[int, ...], str] | None = None
        self._by_values: tuple[tuple[int, ...], str] | None = None
        """The version of the file that the engine could not read by itself."""

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

    def read(self, engine: Any, view: View) -> Any:
        """Return the columns that ``view`` needs as an Ibis table, with ``resident`` and ``position``.

        Raises Unavailable when a column is not there, and QuotesDoNotFit for a CSV file that is not to be trusted. What
        the engine holds of a CSV file for this stays until ``release``.
        """
        names = [column.name for column in view.columns]
        wanted = [view.resident, *names]
        if self.path.suffix.lower() == ".csv":
            header = header_of(self.path)
            self._check_columns(view, wanted, header)
            # A name that repeats counts where it stands first.
            return self._taken_in(engine, read_columns(self.path, [header.index(name) for name in wanted]), wanted)
        if self._by_values == self._known:
            self._check_columns(view, wanted, names_in(self.path))
            return self._taken_in(engine, read_values(self.path, wanted), wanted)
        # One name, replaced at each reading. The reader knows the place already; numbering ten million rows once more
        # takes twice as long as reading.
        table = engine.read_parquet(
            escape(str(self.path)),  # a path is one file's name, and not a pattern; nor do its folders say anything
            table_name=f"source_{view.source}",
            file_row_number=True,
            hive_partitioning=False,
        )
        self._check_columns(view, wanted, table.columns)
        columns = {f"source_{name}": table[name] for name in names}
        return table.select(**{RESIDENT: table[view.resident], POSITION: table.file_row_number}, **columns)

    def read_by_values(self) -> bool:
        """From now on, read the file as it is now a value at a time; return whether that is another way than before."""
        is_other = self.path.suffix.lower() != ".csv" and self._by_values != self._known
        self._by_values = self._known
        return is_other

    def _taken_in(self, engine: Any, parts: Iterable[Any], wanted: list[str]) -> Any:
        self.release(engine)
        for number, part in enumerate(parts):
            engine.con.register(_RAW, part)
            engine.con.execute(
                f"{f'INSERT INTO {_VALUES}' if number else f'CREATE TEMP TABLE {_VALUES} AS'} FROM {_RAW}"
            )
            engine.con.unregister(_RAW)
        table = engine.table(_VALUES)
        columns = {f"source_{name}": table[f"c{place}"] for place, name in enumerate(wanted) if place}
        return table.select(**{RESIDENT: table.c0, POSITION: table[POSITION]}, **columns)

    @staticmethod
    def release(engine: Any) -> None:
        """Have the engine drop what it holds of a file that was read."""
        engine.con.execute(f"DROP TABLE IF EXISTS {_VALUES}")

    @staticmethod
    def _check_columns(view: View, wanted: list[str], there: Sequence[str]) -> None:
        missing = [name for name in wanted if name not in there]
        if missing:
            raise Unavailable(f"The source of view '{view.name}' lacks the columns: {', '.join(missing)}.")


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

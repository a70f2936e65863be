"""A table of a SQLite file, read by the standard library: as the bytes of the file are, without a lock, and read-only.

(DuckDB's own extension for it would have to be fetched, and stops at a value that is not of its column's declared
type.)

SQLite's columns have no types: each value has its own, and is read by itself (``trust.node.sources.tables.values``).
Text that is not UTF-8 is null. Rows come in the order of their rowid, or of the primary key in a table without one.

**What is refused.** A file beside which another program keeps changes (``-wal``, ``-journal``): what is in it is not
what its program would read. A view and a virtual table, which are programs rather than data. Generated columns that are
not stored are not there, for the same reason.
"""

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from os import SEEK_END
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa

from trust.files.regular import open_regular
from trust.node.sources.tables.one_table import AT_ONCE, DAMAGED, FileRefused, RowsInOrder, identifier
from trust.node.sources.tables.values import parts_of_values

BUSY = (
    "A program has changes of it that are not in it yet (a file -wal or -journal lies beside it). Close the program, or "
    "give a copy: sqlite3 FILE \"VACUUM INTO 'COPY'\"."
)
NO_TABLE = 'It has no table of that name; say which in node.toml: table = "…".'


class SqliteTable(RowsInOrder):
    """One table of a SQLite file."""

    def __init__(self, path: Path, table: str) -> None:
        self._path = path
        self._table = table

    def names(self) -> list[str]:
        """Return the names of its columns; raise FileRefused where it is not there, or its file in use."""
        with self._open() as engine:
            return self._columns(engine)

    def types(self, columns: Sequence[str]) -> list[Any]:
        """Return the Arrow types of some columns: text, for each value has its own."""
        return [pa.string() for _ in columns]

    def read(self, columns: Sequence[str], as_text: Sequence[bool], *, with_unread: bool = False) -> Iterator[pa.Table]:
        """Yield some columns as text."""
        del as_text
        with self._open() as engine:
            self._columns(engine)
            wanted = ", ".join(map(identifier, columns))
            # By no index: an order that follows from what is in the table alone, and is the same again.
            rows = engine.execute(f"SELECT {wanted} FROM {identifier(self._table)} NOT INDEXED")
            rows.arraysize = AT_ONCE
            yield from parts_of_values(enumerate(rows), len(columns), with_unread=with_unread)

    def _columns(self, engine: sqlite3.Connection) -> list[str]:
        tables = {
            str(name): str(sql)
            for name, sql in engine.execute("SELECT CAST(name AS TEXT), sql FROM sqlite_master WHERE type = 'table'")
        }
        sql = tables.get(self._table)
        if sql is None or sql.upper().startswith("CREATE VIRTUAL"):
            raise FileRefused(NO_TABLE, detail=", ".join(tables))
        engine.text_factory = bytes
        found = engine.execute(f"PRAGMA table_xinfo({identifier(self._table)})").fetchall()
        names = (name.decode("utf-8", "replace") for _, name, *_, hidden in found if hidden in (0, 3))
        return [name for name in names if "\ufffd" not in name]

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        for sign in ("-wal", "-journal"):
            beside = self._path.with_name(self._path.name + sign)
            if beside.exists() and beside.stat().st_size > 0:
                raise FileRefused(BUSY)
        if not _is_all_there(self._path):
            raise FileRefused(DAMAGED)
        address = f"file:{quote(str(self._path.absolute()))}?mode=ro&immutable=1"
        try:
            # The rows are asked for by whichever thread of the loading engine wants them next, one at a time.
            with closing(sqlite3.connect(address, uri=True, check_same_thread=False)) as engine:
                engine.execute("PRAGMA trusted_schema = OFF")
                engine.execute("PRAGMA query_only = ON")
                engine.execute("PRAGMA cell_size_check = ON")
                yield engine
        except sqlite3.Error:
            raise FileRefused(DAMAGED) from None


def _is_all_there(path: Path) -> bool:
    """Tell whether a file has all pages that its header says (SQLite takes what is cut off the last one for zeros)."""
    with open_regular(path) as file:
        header = file.read(100)
        size = file.seek(0, SEEK_END)
    if len(header) < 100:
        return False
    page = int.from_bytes(header[16:18]) if header[16:18] != b"\x00\x01" else 65_536
    pages = int.from_bytes(header[28:32]) if header[24:28] == header[92:96] else 0
    return page >= 512 and size % page == 0 and size >= pages * page

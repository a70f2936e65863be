"""A table of a DuckDB file, in a connection that only reads, shut in like every engine of the node.

Columns are typed; each is read as ``trust.node.sources.kinds`` says of the Arrow type that DuckDB gives it. Whole
numbers of 128 bits are read as their digits. A column of a type that is none of ``READ_AS`` is null. Rows come in the
table's order.

**What is refused.** A file that another program has open for writing, or that was not written to its end (changes lie
beside it, ``.wal``). A view, which is a program rather than data. A generated column is not there, for the same reason.
While a table is read, no program can open its file for writing.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from trust.node.sources.duckdb_engine import engine_settings
from trust.node.sources.tables.one_table import FileRefused, RowsInOrder, identifier
from trust.node.sources.tables.parquet_table import ROWS_AT_ONCE, carried_part
from trust.node.sources.tables.sqlite_table import NO_TABLE

BUSY = "Another program has it open, or has changes of it that are not in it yet (.wal). Close the program, or give a copy."
READ_AS = {
    **dict.fromkeys(("TINYINT", "SMALLINT", "INTEGER", "BIGINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT"), "{}"),
    **dict.fromkeys(("HUGEINT", "UHUGEINT", "UUID", "BIGNUM"), "CAST({} AS VARCHAR)"),
    **dict.fromkeys(("FLOAT", "DOUBLE", "DECIMAL", "VARCHAR", "ENUM", "BLOB", "BOOLEAN", "DATE", "TIME"), "{}"),
    **dict.fromkeys(("TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMP WITH TIME ZONE"), "{}"),
}
"""How a column of each type is asked for, without its digits or values; one of another type is null."""


class DuckdbTable(RowsInOrder):
    """One table of a DuckDB file."""

    def __init__(self, path: Path, table: str, schema: str) -> None:
        self._path = path
        self._table = table
        self._schema = schema or "main"

    def names(self) -> list[str]:
        """Return the names of its columns; raise FileRefused where it is not there, or its file in use."""
        with self._open() as engine:
            return list(self._types(engine))

    def types(self, columns: Sequence[str]) -> list[Any]:
        """Return the Arrow types of some columns."""
        with self._open() as engine:
            schema = self._asked(engine, columns).limit(0).to_arrow_table().schema
            return [field.type for field in schema]

    def read(self, columns: Sequence[str], as_text: Sequence[bool], *, with_unread: bool = False) -> Iterator[pa.Table]:
        """Yield some columns in the table's order, each as it is carried, or as text."""
        names = [f"v{number}" for number in range(len(columns))]
        with self._open() as engine:
            reader = self._asked(engine, columns).to_arrow_reader(ROWS_AT_ONCE)
            first = 0
            for batch in reader:
                yield carried_part(batch, names, as_text, first, with_unread=with_unread)
                first += batch.num_rows
            if not first:
                empty = reader.schema.empty_table().combine_chunks()
                yield carried_part(empty, names, as_text, 0, with_unread=with_unread)

    def _types(self, engine: Any) -> dict[str, str]:
        tables = engine.execute(
            "SELECT table_name FROM duckdb_tables() WHERE schema_name = ? AND database_name = current_database()",
            [self._schema],
        ).fetchall()
        if (self._table,) not in tables:
            raise FileRefused(NO_TABLE, detail=", ".join(name for (name,) in tables))
        found = engine.execute(
            "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = ? AND table_name = ?"
            " AND table_catalog = current_database() AND is_generated = 'NEVER' ORDER BY ordinal_position",
            [self._schema, self._table],
        )
        return dict(found.fetchall())

    def _asked(self, engine: Any, columns: Sequence[str]) -> Any:
        types = self._types(engine)
        asked = []
        for number, name in enumerate(columns):
            read_as = READ_AS.get(types[name].partition("(")[0], "CAST(NULL AS VARCHAR)")
            asked.append(f"{read_as.format(identifier(name))} AS v{number}")
        return engine.sql(f"SELECT {', '.join(asked)} FROM {identifier(self._schema)}.{identifier(self._table)}")

    @contextmanager
    def _open(self) -> Iterator[Any]:
        if self._path.with_name(self._path.name + ".wal").exists():
            raise FileRefused(BUSY)
        # It is only read through, and spills nothing; and all who have one file open set it alike.
        settings = {**engine_settings(Path()), "temp_directory": ""}
        try:
            engine = duckdb.connect(str(self._path), read_only=True, config=settings)
        except duckdb.IOException as error:
            if "lock" in str(error):
                raise FileRefused(BUSY) from None
            raise
        try:
            engine.execute("SET enable_external_access = false")
            yield engine
        finally:
            engine.close()

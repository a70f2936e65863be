"""A Parquet file read a value at a time, where the engine cannot read it as it is.

The engine reads Parquet by itself, and fast. It gives a whole file up over one value: text that is not UTF-8, a moment
that no calendar has; or over a column that nobody asked for. Then the file is read here: only the columns that a view
names, and of them each value that is one.

Everything else is given to the engine as it is, so that a value that everybody else's file could have reads the same
both ways: who has a bad one changes how nobody else's row is read.

- Text that is not UTF-8 is null, also in a dictionary.
- The least moment of all is null: some programs write it for none.
- A duration is its whole number, which is how Parquet keeps it and how the engine reads it.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

LEAST = -(2**63)
"""Not a time, as fastparquet and others write it."""


def read_values(path: Path, wanted: Sequence[str]) -> Iterator[pa.Table]:
    """Yield some columns under the names ``c0``, ``c1`` …, and the row's place as ``position``, from 0.

    There is at least one part. Raises what pyarrow does for a file that is none.
    """
    names = [*(f"c{number}" for number in range(len(wanted))), "position"]
    with pq.ParquetFile(path) as file:
        first = 0
        for batch in file.iter_batches(columns=list(dict.fromkeys(wanted))):
            yield _part(batch, wanted, names, first)
            first += batch.num_rows
        if not first:
            yield _part(file.schema_arrow.empty_table().combine_chunks(), wanted, names, 0)


def names_in(path: Path) -> list[str]:
    """Return the names of a file's columns."""
    with pq.ParquetFile(path) as file:
        return list(file.schema_arrow.names)


def _part(rows: Any, wanted: Sequence[str], names: list[str], first: int) -> pa.Table:
    columns = [_values(rows.column(rows.schema.names.index(name))) for name in wanted]
    return pa.table([*columns, pa.array(range(first, first + rows.num_rows), pa.int64())], names=names)


def _values(column: Any) -> Any:
    if pa.types.is_dictionary(column.type):
        column = pc.cast(column, column.type.value_type)
    kind = column.type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.array([_text(value) for value in column.cast(pa.large_binary()).to_pylist()], pa.string())
    if pa.types.is_timestamp(kind):
        return pc.if_else(pc.equal(column.cast(pa.int64()), LEAST), pa.scalar(None, kind), column)
    return column.cast(pa.int64()) if pa.types.is_duration(kind) else column


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None

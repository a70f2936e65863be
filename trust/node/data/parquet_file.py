"""A Parquet file read a value at a time, where the engine cannot read it as it is.

The engine reads Parquet by itself, and fast. It gives a whole file up over one value: text that is not UTF-8, a moment
that no calendar has; or over a column that nobody asked for. Then the file is read here: only the columns that a view
names, and of them each value that is one.

==================================  ===========================================================
a column of                         is read as
==================================  ===========================================================
whole numbers, decimals, true/false  what it is
floating point                      what it is
text, also in a dictionary          text; null where it is not UTF-8
dates, times, moments               what they are; null for the least of all, by which some programs write none
bytes, and everything else          null
==================================  ===========================================================
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
    with pq.ParquetFile(path) as file:
        schema = file.schema_arrow
        kinds = [_kind(schema.field(schema.names.index(name)).type) for name in wanted]
        names = [*(f"c{number}" for number in range(len(wanted))), "position"]
        first = 0
        for batch in file.iter_batches(columns=list(dict.fromkeys(wanted))):
            columns = [
                _values(batch.column(batch.schema.names.index(name)), kind)
                for name, kind in zip(wanted, kinds, strict=True)
            ]
            yield pa.table([*columns, pa.array(range(first, first + batch.num_rows), pa.int64())], names=names)
            first += batch.num_rows
        if not first:
            yield pa.table([*(pa.array([], kind) for kind in kinds), pa.array([], pa.int64())], names=names)


def names_in(path: Path) -> list[str]:
    """Return the names of a file's columns."""
    with pq.ParquetFile(path) as file:
        return list(file.schema_arrow.names)


def _kind(kind: Any) -> Any:
    """Return the type that a column is read as."""
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_string_view(kind):
        return pa.string()
    plain = pa.types.is_integer, pa.types.is_floating, pa.types.is_decimal, pa.types.is_boolean, pa.types.is_temporal
    return kind if any(is_kind(kind) for is_kind in plain) and not pa.types.is_interval(kind) else pa.null()


def _values(column: Any, kind: Any) -> Any:
    if pa.types.is_null(kind):
        return pa.nulls(len(column))
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if pa.types.is_string(kind):
        return pa.array([_text(value) for value in column.cast(pa.large_binary()).to_pylist()], pa.string())
    if pa.types.is_timestamp(kind) or pa.types.is_duration(kind):
        is_none = pc.equal(column.cast(pa.int64()), LEAST)
        return pc.if_else(is_none, pa.scalar(None, kind), column)
    return column


def _text(value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return value.decode()
    except UnicodeDecodeError:
        return None

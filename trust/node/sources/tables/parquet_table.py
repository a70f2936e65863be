"""A Parquet file: columns of any type that Parquet has, read by ``trust.node.sources.kinds``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from trust.node.sources.csv_blocks import SHOWN, shown_bytes
from trust.node.sources.kinds import as_one, carry, rule_of_type, text_of
from trust.node.sources.tables.one_table import POSITION, RowsInOrder

ROWS_AT_ONCE = 131_072
"""Rows in one part."""


class ParquetTable(RowsInOrder):
    """One Parquet file. A name that repeats in it counts where it stands first."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def names(self) -> list[str]:
        """Return the names of its columns; raises what pyarrow does for a damaged file."""
        with pq.ParquetFile(self._path) as file:
            return list(file.schema_arrow.names)

    def types(self, columns: Sequence[str]) -> list[Any]:
        """Return the Arrow types of some columns."""
        with pq.ParquetFile(self._path) as file:
            return [file.schema_arrow.field(file.schema_arrow.names.index(name)).type for name in columns]

    def read(self, columns: Sequence[str], as_text: Sequence[bool], *, with_unread: bool = False) -> Iterator[pa.Table]:
        """Yield some columns in the file's order, each as it is carried, or as text."""
        with pq.ParquetFile(self._path) as file:
            first = 0
            for batch in file.iter_batches(columns=list(dict.fromkeys(columns)), batch_size=ROWS_AT_ONCE):
                yield carried_part(batch, columns, as_text, first, with_unread=with_unread)
                first += batch.num_rows
            if not first:
                empty = file.schema_arrow.empty_table().combine_chunks()
                yield carried_part(empty, columns, as_text, 0, with_unread=with_unread)


def carried_part(
    rows: Any, columns: Sequence[str], as_text: Sequence[bool], first: int, *, with_unread: bool = False
) -> pa.Table:
    """Return some columns of Arrow rows as they are carried, or as text, with their positions from ``first`` on.

    ``with_unread`` has behind them what stands there where nothing is read.
    """
    names = [
        *(f"{sign}{number}" for sign in ("cu" if with_unread else "c") for number in range(len(columns))),
        POSITION,
    ]
    made, unread = [], []
    for name, is_text in zip(columns, as_text, strict=True):
        column = rows.column(rows.schema.names.index(name))
        made.append(text_of(column) if is_text else carry(column))
        if with_unread:
            unread.append(_unread(column, made[-1]))
    return pa.table([*made, *unread, pa.array(np.arange(first, first + rows.num_rows))], names=names)


def _unread(column: Any, made: Any) -> Any:
    """Return as text what is there and was not read: NaN, a moment that no calendar has, bytes that are no text."""
    if rule_of_type(column.type).carried == "nothing":
        there = pa.array(column.is_valid())
        return pc.if_else(there, pa.scalar(f"({column.type})"[:SHOWN], pa.string()), pa.scalar(None, pa.string()))
    lost = pc.and_(column.is_valid(), made.is_null())
    if not pc.any(lost).as_py():
        return pa.nulls(len(column), pa.string())
    values = as_one(pa.chunked_array([column.filter(lost)]))
    return pc.replace_with_mask(pa.nulls(len(column), pa.string()), lost, pa.array(_shown(values), pa.string()))


def _shown(values: Any) -> list[str]:
    try:
        plain = [bytes(each) if isinstance(each, bytes) else each for each in values.to_pylist()]
    except (ValueError, OverflowError, UnicodeDecodeError):  # text that is none; a day that Python has no word for
        plain = _raw(values)
    return [shown_bytes(each) if isinstance(each, bytes) else str(each)[:SHOWN] for each in plain]


def _raw(values: Any) -> list[object]:
    """Return values that Python has no word for by what they are kept as."""
    while pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_temporal(values.type):
        return list(values.cast(pa.int64() if values.type.bit_width == 64 else pa.int32()).to_pylist())
    return list(values.cast(pa.large_binary()).to_pylist())

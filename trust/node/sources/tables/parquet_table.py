"""A Parquet file: columns of any type that Parquet has, read by ``trust.node.sources.kinds``."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from trust.node.sources.kinds import carry, text_of
from trust.node.sources.tables.one_table import POSITION

ROWS_AT_ONCE = 131_072
"""Rows in one part."""


class ParquetTable:
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

    def read(self, columns: Sequence[str], as_text: Sequence[bool]) -> Iterator[pa.Table]:
        """Yield some columns in the file's order, each as it is carried, or as text."""
        with pq.ParquetFile(self._path) as file:
            first = 0
            for batch in file.iter_batches(columns=list(dict.fromkeys(columns)), batch_size=ROWS_AT_ONCE):
                yield carried_part(batch, columns, as_text, first)
                first += batch.num_rows
            if not first:
                yield carried_part(file.schema_arrow.empty_table().combine_chunks(), columns, as_text, 0)


def carried_part(rows: Any, columns: Sequence[str], as_text: Sequence[bool], first: int) -> pa.Table:
    """Return some columns of Arrow rows as they are carried, or as text, with their positions from ``first`` on."""
    names = [*(f"c{number}" for number in range(len(columns))), POSITION]
    made = []
    for name, is_text in zip(columns, as_text, strict=True):
        column = rows.column(rows.schema.names.index(name))
        made.append(text_of(column) if is_text else carry(column))
    return pa.table([*made, pa.array(np.arange(first, first + rows.num_rows))], names=names)

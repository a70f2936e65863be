"""A CSV file as a table: all its columns are text (``trust.node.sources.csv_file``)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ledger.errors import Unavailable
from trust.node.sources.csv_blocks import Uneven
from trust.node.sources.csv_file import CsvForm, header_of, lines_of, read_columns
from trust.node.sources.tables.one_table import FileRefused, RowPlace


class CsvTable:
    """One CSV file, written as its form says."""

    def __init__(self, path: Path, form: CsvForm) -> None:
        self._path = path
        self._form = form
        self._uneven = Uneven()

    def names(self) -> list[str]:
        """Return the header's names; raise FileRefused where it has none that can be read."""
        try:
            return header_of(self._path, self._form)
        except Unavailable as error:
            raise FileRefused(error.message) from None

    def types(self, columns: Sequence[str]) -> list[Any]:
        """Return the Arrow types of some columns: text."""
        return [pa.string() for _ in columns]

    def read(self, columns: Sequence[str], as_text: Sequence[bool], *, with_unread: bool = False) -> Iterator[pa.Table]:
        """Yield some columns; raises QuotesDoNotFit for a file that is not to be trusted."""
        del as_text  # it is all text
        header = self.names()
        places, self._uneven = [header.index(name) for name in columns], Uneven()
        yield from read_columns(self._path, places, self._form, self._uneven, len(header), with_unread=with_unread)

    def uneven(self) -> Uneven:
        """Return which rows that were read have more fields than the header, or fewer."""
        return self._uneven

    def places(self, positions: Sequence[int]) -> list[RowPlace]:
        """Return in which lines rows begin."""
        return [RowPlace(line) for line in lines_of(self._path, positions, self._form)]

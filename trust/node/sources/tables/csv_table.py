"""A CSV file as a table: all its columns are text (``trust.node.sources.csv_file``)."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from ledger.errors import Unavailable
from trust.node.sources.csv_file import CsvForm, header_of, read_columns
from trust.node.sources.tables.one_table import FileRefused


class CsvTable:
    """One CSV file, written as its form says."""

    def __init__(self, path: Path, form: CsvForm) -> None:
        self._path = path
        self._form = form

    def names(self) -> list[str]:
        """Return the header's names; raise FileRefused where it has none that can be read."""
        try:
            return header_of(self._path, self._form)
        except Unavailable as error:
            raise FileRefused(error.message) from None

    def types(self, columns: Sequence[str]) -> list[Any]:
        """Return the Arrow types of some columns: text."""
        return [pa.string() for _ in columns]

    def read(self, columns: Sequence[str], as_text: Sequence[bool]) -> Iterator[pa.Table]:
        """Yield some columns; raises QuotesDoNotFit for a file that is not to be trusted."""
        del as_text  # it is all text
        header = self.names()
        yield from read_columns(self._path, [header.index(name) for name in columns], self._form)

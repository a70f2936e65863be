"""A sheet of an Excel workbook (.xlsx), read cell by cell as it was kept: formulas by their last result.

openpyxl reads it row by row, as a stream. (A reader that lays a sheet out in memory first is not safe here:
python-calamine 0.9 asks for 550 GB where one cell stands in the last place that a sheet has, XFD1048576, and takes the
process with it.)

- Lines before the header are passed over by ``skip``, titles and merged cells in them too. Of merged cells the first
  alone has a value, the others have none.
- A row of empty cells is no row.
- Each cell is read by itself (``trust.node.sources.tables.values``). What Excel keeps of a number is a double; 13 is
  13. A day is a day and time at midnight: it is read as a day where the cell's format shows no time. An error
  (``#N/A``, ``#DIV/0!``, a date that no calendar has) is null.
- A workbook whose own XML is not that of its format is damaged.
"""

import warnings
import zipfile
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
from openpyxl import load_workbook
from openpyxl.styles.numbers import is_datetime

from trust.files.regular import open_regular
from trust.node.sources.csv_blocks import Uneven
from trust.node.sources.tables.one_table import FileRefused, RowPlace
from trust.node.sources.tables.values import Unreadable, parts_of_values, text_of_value

MOST_UNPACKED = 2**31
"""Bytes of all parts of a workbook, unpacked; a larger one is refused."""
ERRORS = {
    "#NULL!", "#DIV/0!", "#VALUE!", "#REF!", "#NAME?", "#NUM!", "#N/A", "#GETTING_DATA", "#SPILL!", "#CALC!", "#FIELD!",
    "#BLOCKED!", "#CONNECT!", "#UNKNOWN!", "#BUSY!", "#EXTERNAL!",
}  # fmt: skip
# Its warnings repeat what stands in a cell, and would stand in the node's log.
warnings.filterwarnings("ignore", module="openpyxl")

MOST_OF_EXCEL = 10**15
"""A spreadsheet keeps fifteen digits of a number: from here on it does not tell all whole numbers apart."""


class XlsxTable:
    """One sheet. ``names`` are its columns where it has no header; ``skip`` lines come before it."""

    def __init__(self, path: Path, sheet: str, skip: int, names: list[str]) -> None:
        self._path = path
        self._sheet = sheet
        self._skip = skip
        self._said = names

    def names(self) -> list[str]:
        """Return the header's cells as text; raise FileRefused where the sheet is not there, or has no header."""
        if self._said:
            return self._said
        with closing(self._rows(self._skip)) as rows:
            header = [text_of_value(value) or "" for value in next(rows, (0, []))[1]]
        if not any(header):
            raise FileRefused("Its sheet has no header; say in node.toml how many lines come before it: skip = 1.")
        return header

    def types(self, columns: Sequence[str]) -> list[Any]:
        """Return the Arrow types of some columns: text, for each cell has its own kind."""
        return [pa.string() for _ in columns]

    def read(self, columns: Sequence[str], as_text: Sequence[bool], *, with_unread: bool = False) -> Iterator[pa.Table]:
        """Yield some columns as text. A row's position is its line in the sheet, from 0 behind the header."""
        del as_text
        header = self.names()
        places = [header.index(name) for name in columns]
        first = self._skip + (0 if self._said else 1)
        with closing(self._rows(first)) as rows:
            yield from parts_of_values(
                (
                    (line - first, [row[place] if place < len(row) else None for place in places])
                    for line, row in rows
                    if any(value is not None for value in row)
                ),
                len(places),
                with_unread=with_unread,
            )

    def uneven(self) -> Uneven:
        """Return that none is: a sheet has all cells."""
        return Uneven()

    def places(self, positions: Sequence[int]) -> list[RowPlace]:
        """Return which rows of the sheet they are, as a spreadsheet counts them."""
        first = self._skip + (0 if self._said else 1)
        return [RowPlace(position + first + 1, "row") for position in positions]

    def _rows(self, first: int) -> Generator[tuple[int, list[object]], None, None]:
        with zipfile.ZipFile(self._path) as packed:
            if sum(each.file_size for each in packed.infolist()) > MOST_UNPACKED:
                raise FileRefused("It is too large for a spreadsheet (2 GiB unpacked); write it as CSV.")
        with (
            open_regular(self._path) as file,  # by its name openpyxl would go by its ending
            closing(load_workbook(file, read_only=True, data_only=True)) as book,
        ):
            there = [sheet.title for sheet in book.worksheets]
            if not self._sheet and len(there) > 1:
                raise FileRefused(
                    'It has several sheets; say which in node.toml: sheet = "…".', detail=", ".join(there)
                )
            if self._sheet and self._sheet not in there:
                raise FileRefused("It has no sheet of that name; say another in node.toml.", detail=", ".join(there))
            sheet = book[self._sheet or there[0]]
            sheet.reset_dimensions()  # what a file says of its own size may be wrong
            for line, cells in enumerate(sheet.iter_rows(min_row=first + 1), first):
                yield line, [_value(cell) for cell in cells]


def _value(cell: Any) -> object:
    value = cell.value
    if isinstance(value, str):
        return Unreadable(value) if value in ERRORS else value or None
    if (
        isinstance(value, datetime)
        and value.time() == datetime.min.time()
        and is_datetime(cell.number_format) == "date"
    ):
        return value.date()
    if isinstance(value, int) and abs(value) >= MOST_OF_EXCEL:
        return f"{value:.14E}"  # several numbers may be this one: written out it could be somebody else's
    return value

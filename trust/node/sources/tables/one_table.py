"""What every form of a table is to those who read it, and how a refusal is said.

A table gives its rows in parts: the columns that were asked for under the names ``c0``, ``c1`` …, each value by its
stated rule or null, and the row's ``position``, which grows from row to row.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby
from typing import Any, Literal, Protocol

import pyarrow as pa
from msgspec import Struct

from trust.node.sources.csv_blocks import Uneven

POSITION = "position"
AT_ONCE = 50_000
"""Rows in one part of a table that is read value by value."""
DAMAGED = "It cannot be read to its end; it is damaged, or no file of its kind."


class FileRefused(Exception):
    """A file is not taken in. ``reason`` may be logged.

    ``line`` is where its quotes did not fit, ``detail`` which file of several it was, or what names there are: both are
    for the holder alone.
    """

    def __init__(self, reason: str, line: int | None = None, detail: str = "") -> None:
        super().__init__(reason)
        self.reason = reason
        self.line = line
        self.detail = detail

    @property
    def in_full(self) -> str:
        """All of it, for the holder."""
        return f"{self.reason} ({self.detail})" if self.detail else self.reason


class RowPlace(Struct, frozen=True):
    """Where a row is, for its holder: the file where there are several, and its line there, or its row, from 1.

    A line is one as a text editor counts them, and the first of the row's; a row is one of a sheet, as a spreadsheet
    shows it, or of a table in its order.
    """

    number: int
    unit: Literal["line", "row"] = "line"
    file: str = ""


def places_by_file(places: Iterable[RowPlace]) -> Iterator[tuple[str, str, list[int]]]:
    """Yield the places that stand together in one file: its name, or "", their unit, and their numbers."""
    for file, group in groupby(places, key=lambda place: place.file):
        here = list(group)
        yield file, here[0].unit, [place.number for place in here]


class OneTable(Protocol):
    """One table, wherever it is. What its methods raise beside FileRefused means that it is damaged."""

    def names(self) -> list[str]:
        """Return the names of its columns, as they stand in it."""

    def types(self, columns: Sequence[str]) -> list[Any]:
        """Return the Arrow types of some columns; ``trust.node.sources.kinds`` says how each is read."""

    def read(self, columns: Sequence[str], as_text: Sequence[bool], *, with_unread: bool = False) -> Iterator[pa.Table]:
        """Yield some columns, each as it is carried, or as text where that is asked. There is at least one part.

        ``with_unread`` has ``u0`` … behind them: what stands in the file where nothing is read, for its holder's eyes.
        """

    def uneven(self) -> Uneven:
        """Return which rows that were read have more fields than the header, or fewer: CSV alone can have any."""

    def places(self, positions: Sequence[int]) -> list[RowPlace]:
        """Return where rows are, by their positions, which ascend."""


class RowsInOrder:
    """What a table without lines says of its rows."""

    def uneven(self) -> Uneven:
        """Return that none is."""
        return Uneven()

    def places(self, positions: Sequence[int]) -> list[RowPlace]:
        """Return which of the rows they are, from 1."""
        return [RowPlace(position + 1, "row") for position in positions]


def identifier(name: str) -> str:
    """Return a name of a table or column as it stands in SQL."""
    return '"' + name.replace('"', '""') + '"'

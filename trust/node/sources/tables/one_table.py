"""What every form of a table is to those who read it, and how a refusal is said.

A table gives its rows in parts: the columns that were asked for under the names ``c0``, ``c1`` …, each value by its
stated rule or null, and the row's ``position``, which grows from row to row.
"""

from collections.abc import Iterator, Sequence
from typing import Any, Protocol

import pyarrow as pa

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


class OneTable(Protocol):
    """One table, wherever it is. What its methods raise beside FileRefused means that it is damaged."""

    def names(self) -> list[str]:
        """Return the names of its columns, as they stand in it."""

    def types(self, columns: Sequence[str]) -> list[Any]:
        """Return the Arrow types of some columns; ``trust.node.sources.kinds`` says how each is read."""

    def read(self, columns: Sequence[str], as_text: Sequence[bool]) -> Iterator[pa.Table]:
        """Yield some columns, each as it is carried, or as text where that is asked. There is at least one part."""


def identifier(name: str) -> str:
    """Return a name of a table or column as it stands in SQL."""
    return '"' + name.replace('"', '""') + '"'

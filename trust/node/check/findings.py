"""What looking through a holder's own file found: for the holder's terminal or page alone.

Every number here follows from rows, and values of the file stand in it. None of it goes into a log line, a metric, an
error, a message to the service, or a file.
"""

from typing import Literal

from msgspec import Struct

from trust.node.sources.tables.one_table import RowPlace

Why = Literal["no customer", "customer not read", "not linked"]


class ValueCount(Struct, frozen=True, kw_only=True):
    """A value as it stands in the file, and in how many rows.

    ``not_in`` is the encoding that its bytes are not of, or ""; a sign stands in the place of each such byte.
    """

    value: str
    rows: int
    not_in: str = ""


class LeftOut(Struct, frozen=True, kw_only=True):
    """Rows that nobody can count, why, and where the first of them are."""

    why: Why
    rows: int
    places: list[RowPlace]


class UnevenRows(Struct, frozen=True, kw_only=True):
    """Rows with a value behind the header's last column (``are_longer``), or with fewer fields than the header."""

    are_longer: bool
    rows: int
    first: RowPlace
    delimiter: str


class Copies(Struct, frozen=True, kw_only=True):
    """Files of one source that hold the same: byte by byte (``of_bytes``), or by rows, in the columns that are read."""

    files: list[str]
    of_bytes: bool


class ColumnFindings(Struct, frozen=True, kw_only=True):
    """How one column of a view fits: numbers of rows, of all in the file that have a customer.

    ``unread`` have something in the file that is not of the column's kind; ``outside`` are no value of a category's
    list, or outside a range; ``clipped`` are beyond a measure's bounds and count as the bound. ``examples`` are the
    commonest of those three, as they stand in the file.
    """

    column: str
    in_file: str
    kind: str
    missing: bool = False
    null: int = 0
    unread: int = 0
    outside: int = 0
    clipped: int = 0
    examples: list[ValueCount] = []


class Kept(Struct, frozen=True, kw_only=True):
    """How many of all rows a bound of so many rows of a person would keep."""

    rows_per_resident: int
    rows: int


class ViewFindings(Struct, frozen=True, kw_only=True):
    """One view of one policy, over its source's file; ``rows`` are those that have a customer."""

    policy: str
    view: str
    rows_per_resident: int
    rows: int
    columns: list[ColumnFindings]
    keeps: list[Kept]


class SourceFindings(Struct, frozen=True, kw_only=True):
    """One source's file. ``refused`` says why it is not taken in, in the sentence that helps; "" where it is.

    ``linked`` are the customers who have linked, ``linked_here`` those of them who are in the file. ``advice`` are
    sentences on what looks wrong, and what to write in node.toml.
    """

    source: str
    file: str
    refused: str = ""
    line: int | None = None
    rows: int = 0
    left_out: list[LeftOut] = []
    customers: int = 0
    linked: int = 0
    linked_here: int = 0
    copies: list[Copies] = []
    uneven: list[UnevenRows] = []
    advice: list[str] = []
    views: list[ViewFindings] = []


def tenths_of(part: int, whole: int) -> str:
    """Return a percentage to its first decimal place, rounded down."""
    tenths = 1_000 * part // max(whole, 1)
    return f"{tenths // 10}.{tenths % 10}"

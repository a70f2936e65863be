"""What loading a holder's file came to: for the holder's own eyes, kept beside the snapshot, mode 0600.

Every number here follows from rows. None of it goes into a log line, a metric, an error or a message.
"""

from pathlib import Path

import msgspec
from msgspec import Struct

from trust.files.durable import write_whole


class ColumnReport(Struct, frozen=True, kw_only=True):
    """Of the rows that were taken in: how many have no value here, be it none in the file or none of this kind."""

    column: str
    read_as: str
    """``text``, ``whole``, ``hour``, ``day``, ``week`` or ``month``."""
    nulls: int


class FitReport(Struct, frozen=True, kw_only=True):
    """How one column of a view fits the rows that were taken in, before any are left out by its bound on rows."""

    view: str
    column: str
    unfit: int
    """Values that are there, and outside a category's list or a range's bounds, or clipped to a measure's."""


class LoadReport(Struct, frozen=True, kw_only=True):
    """The file that is in use."""

    v: int = 1
    source: str
    resident: str
    file_sha256: str
    rows: int
    """Rows in the file."""
    left_out: int
    """Rows of nobody, or of nobody who is linked."""
    people: int
    """Linked people who have a row."""
    lacking: list[str]
    """Columns that a view names and the file does not have: such a view has no data, unless it had some before."""
    columns: list[ColumnReport]
    views: list[FitReport]


class RefusedReport(Struct, frozen=True, kw_only=True):
    """A file that was not taken in: why, and in which line of it, where that can be said."""

    v: int = 1
    source: str
    resident: str
    file_sha256: str
    reason: str
    line: int | None = None


def write_report(path: Path, report: LoadReport | RefusedReport) -> None:
    """Keep a report, mode 0600; raise Unavailable where the disk refuses."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(report)) + b"\n")

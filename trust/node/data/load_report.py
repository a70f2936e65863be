"""What loading a holder's file came to: for the holder's own eyes, kept beside the snapshot, mode 0600.

Every number here follows from rows. None of it goes into a log line, a metric, an error or a message.
"""

from contextlib import suppress
from pathlib import Path

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from trust.files.durable import write_whole

ODD_SHARE = 100
"""Where one in so many values of a column is none, or does not fit, the file looks odd."""
LOOKED_ODD = "Something in this file does not fit its views. `musubi node check`, on the node's folder, shows what."
COPIED = "Files of this source are copies of each other, so that their rows count twice. `musubi node check`, on the node's folder, shows which."
SHRUNK = "More than half of this file's rows are gone since the last one. `musubi node check`, on the node's folder, shows it."


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
    rows_before: int = 0
    """Rows in the file that was in use before this one; 0 where there was none."""

    long_rows: int = 0
    """Rows of the file with a value behind the last column of its header, which is cut off."""
    short_rows: int = 0
    """Rows of the file with fewer fields than its header."""
    copies: list[list[str]] = []
    """Names of files that are the same, byte by byte: their rows count as often as they are there."""

    @property
    def has_shrunk(self) -> bool:
        """Whether more than half of the rows are gone since the file before."""
        return has_shrunk(self.rows_before, self.rows)

    def oddness(self, links: int) -> str:
        """Return why the holder of so many links should look, without a number; "" where all is well."""
        if self.has_shrunk:
            return SHRUNK
        if self.copies:
            return COPIED
        if self.long_rows or self.short_rows:
            return LOOKED_ODD
        taken = self.rows - self.left_out
        unread = [each.nulls for each in self.columns] + [each.unfit for each in self.views]
        is_empty = self.people == 0 and (links > 0 or self.rows == 0)
        return LOOKED_ODD if is_empty or any(count * ODD_SHARE > taken for count in unread) else ""


class RefusedReport(Struct, frozen=True, kw_only=True):
    """A file that was not taken in: why, and in which line of it, where that can be said.

    ``detail`` is which file of several it was, or what names there are.
    """

    v: int = 1
    source: str
    resident: str
    file_sha256: str
    reason: str
    line: int | None = None
    detail: str = ""


def write_report(path: Path, report: LoadReport | RefusedReport) -> None:
    """Keep a report, mode 0600; raise Unavailable where the disk refuses."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(report)) + b"\n")


def has_shrunk(before: int, now: int) -> bool:
    """Whether more than half of the rows are gone."""
    return 2 * now < before


def last_report(path: Path) -> LoadReport | None:
    """Return the report that is there, or None."""
    with suppress(OSError, msgspec.DecodeError):
        return msgspec.json.decode(path.read_bytes(), type=LoadReport)
    return None


def keep_report(path: Path, report: LoadReport) -> LoadReport:
    """Keep the report of a load, with how many rows the file before had; raise Unavailable where the disk refuses."""
    kept = replace(report, rows_before=_rows_before(last_report(path), report.file_sha256))
    write_report(path, kept)
    return kept


def _rows_before(last: LoadReport | None, file_sha256: str) -> int:
    """Return how many rows the file before this one had, by the last report: it may be of this very file."""
    if last is None:
        return 0
    return last.rows_before if last.file_sha256 == file_sha256 else last.rows

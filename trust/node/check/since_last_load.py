"""Which of a holder's files have lost more than half of their rows since the file before: half-written, mostly."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from trust.node.check.findings import SourceFindings
from trust.node.data.load_report import has_shrunk, last_report


class ShrunkFile(Struct, frozen=True, kw_only=True):
    """A source whose file has ``rows`` now, and had ``rows_before``."""

    source: str
    rows_before: int
    rows: int


def shrunk_files(folder: Path, found: Sequence[SourceFindings]) -> list[ShrunkFile]:
    """Return them, by the reports of the node's last loads: the file now may be loaded already, or not yet."""
    shrunk = []
    for source in found:
        for path in sorted((folder / "snapshots").glob(f"{source.source}.*.loaded.json")):
            report = last_report(path)
            if source.refused or report is None:
                continue
            before = report.rows_before if report.has_shrunk and report.rows == source.rows else report.rows
            if has_shrunk(before, source.rows):
                shrunk.append(ShrunkFile(source=source.source, rows_before=before, rows=source.rows))
                break
    return shrunk

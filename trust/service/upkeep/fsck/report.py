"""What a check of the stored log found: every resource that is not as the signed tree says, by name.

==========================  ===========================================================================
resource                    is
==========================  ===========================================================================
``log/checkpoint``          the checkpoint's file
``log/tile/…``              a tile of hashes or a bundle of entries, by its path
``entries/17``              a row of the table ``entries``; ``entries/17-20`` is four of them in a row
``published``, ``head``     the one row of that table
``records/17``              the sealed record behind a consent or a revocation; ``records/17-20`` is four of them,
                            ``records`` all that could not be looked at
``grants/17``               the row of a consent; what it should say stands in its entry
``messages/17/bus_co/word`` a row of what others signed or were answered, by table and key, that cannot be read
``database``                the database as a whole
==========================  ===========================================================================
"""

from typing import Literal

import msgspec
from msgspec import Struct

Fault = Literal["missing", "altered", "older", "uncosigned", "unreadable", "unknown"]
"""``older``: true once, and behind the signed tree now. ``uncosigned``: the best checkpoint left, signed by the log,
without the witnesses' quorum of today. ``unknown``: too little is left to tell what belongs there."""


class Finding(Struct, kw_only=True):
    """One resource that is not as it should be. ``repaired`` says whether it is now."""

    resource: str
    fault: Fault
    repaired: bool = False


class FsckReport(Struct, kw_only=True):
    """What was held against which signed tree, what was wrong, and notes for a person."""

    origin: str
    size: int = 0
    """Entries of the signed tree."""
    root: str = ""
    unpublished: int = 0
    """Entries that are committed and wait for their checkpoint."""
    files: int = 0
    rows: int = 0
    findings: list[Finding] = []
    notes: list[str] = []

    @property
    def is_whole(self) -> bool:
        """Whether nothing is wrong any more."""
        return all(finding.repaired for finding in self.findings)

    def to_json(self) -> bytes:
        """Return the report for machines."""
        return msgspec.json.format(msgspec.json.encode({"is_whole": self.is_whole} | msgspec.structs.asdict(self)))

    def add(self, resource: str, fault: Fault, *, repaired: bool = False) -> None:
        """Name a file or row."""
        self.findings.append(Finding(resource=resource, fault=fault, repaired=repaired))

    def add_record(self, index: int, fault: Fault) -> None:
        """Name the record behind an entry."""
        self._add_to_run("records", index, index, fault, repaired=False)

    def add_row(self, first: int, fault: Fault, *, last: int | None = None, repaired: bool = False) -> None:
        """Name the row ``first`` of ``entries``, or those from it to ``last``; rows in a row are named together."""
        self._add_to_run("entries", first, first if last is None else last, fault, repaired=repaired)

    def _add_to_run(self, kind: str, first: int, last: int, fault: Fault, *, repaired: bool) -> None:
        before = self.findings[-1] if self.findings else None
        if before and before.resource.startswith(f"{kind}/") and (before.fault, before.repaired) == (fault, repaired):
            start, _, until = before.resource.removeprefix(f"{kind}/").partition("-")
            if int(until or start) + 1 == first:
                self.findings.pop()
                first = int(start)
        self.add(f"{kind}/{first}" if first == last else f"{kind}/{first}-{last}", fault, repaired=repaired)

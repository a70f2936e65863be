"""The sealed records behind consents and revocations: each is opened once and held against its entry's commitment."""

from pathlib import Path

from ledger import entries as e
from ledger.errors import MusubiError, Unavailable
from policies.consents.bundle import commitment
from trust.service.keys.records import open_record
from trust.service.upkeep.fsck.report import FsckReport
from trust.service.upkeep.fsck.rows import LogRows


def check_records(rows: LogRows | None, key_file: Path, report: FsckReport) -> None:
    """Name every record that is not there, does not open, or is not the one that its entry commits to.

    Nothing is left to repair one from: its resident can take the consent back all the same, and the stewards can have
    it erased.
    """
    if rows is None:
        return
    try:
        for index, key, sealed, data in rows.records(key_file):
            report.rows += 1
            if key is None or sealed is None:
                report.add_record(index, "missing")
            elif not _is_whole(key, sealed, data):
                report.add_record(index, "altered")
    except Unavailable:
        report.add("records", "unreadable")
    if any(finding.resource.startswith("records") for finding in report.findings):
        report.notes.append(
            "A record that is missing or altered is lost: nobody can be shown it, and a new node of its holders takes "
            "part only once its consent is taken back or erased."
        )


def _is_whole(key: bytes, sealed: bytes, data: bytes) -> bool:
    bundle = open_record(key, sealed)
    if bundle is None:
        return False
    try:
        entry = e.decode(data)
        return not isinstance(entry, e.Grant | e.Revoke) or commitment(bundle) == entry.commitment
    except MusubiError:
        return False  # of the bundle; a damaged entry is named as such

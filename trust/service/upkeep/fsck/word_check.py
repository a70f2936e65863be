"""The rows beside the log that hold what others signed, or what was answered: each is read once, or named.

The service takes such a row for lost when it meets it, and goes on. Nothing is repaired here: a node says its word
again where it still can, and what a consent's row says stands in the ledger as well.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import Table

from ledger import entries as e
from ledger import jws
from ledger.entries import Token
from ledger.errors import MusubiError, Unavailable
from policies.consents.erasure import ErasedWord
from policies.governance import Approval
from policies.rules import RulesWord
from queries.rounds.messages import CaughtUp, Countersign, Share, Word
from trust.service.database import tables as t
from trust.service.store.idempotency import read_answer
from trust.service.upkeep.fsck.report import FsckReport
from trust.service.upkeep.fsck.rows import LogRows

_STEPS: dict[str, type[Countersign | Share | Word]] = {"countersign": Countersign, "share": Share, "word": Word}


def check_words(rows: LogRows | None, report: FsckReport) -> None:
    """Name every such row that cannot be read, or a consent's row that says something else than its entry."""
    if rows is None:
        return
    for table, read in _READERS.items():
        try:
            for row in rows.all_of(table):
                if not _can_be_read(read, row):
                    key = [str(row[column.name]) for column in table.primary_key.columns]
                    report.add("/".join([table.name, *key]), "altered")
        except Unavailable:
            report.add(table.name, "unreadable")
    _check_grants(rows, report)


def _check_grants(rows: LogRows, report: FsckReport) -> None:
    try:
        for index, consent, policy_sha256, data in rows.grants():
            try:
                entry = e.decode(data)
            except MusubiError:
                continue  # it is named itself
            said = (bytes(consent).hex(), bytes(policy_sha256).hex())
            if not isinstance(entry, e.Grant) or said != (entry.consent, entry.policy_sha256):
                report.add(f"grants/{index}", "altered")
    except Unavailable:
        report.add("grants", "unreadable")


def _can_be_read(read: Callable[[Any], object], row: Any) -> bool:
    try:
        read(row)
    except (MusubiError, msgspec.MsgspecError, UnicodeError, KeyError):
        return False
    return True


_READERS: dict[Table, Callable[[Any], object]] = {
    t.erased_words: lambda row: jws.read_unverified(row["token"], ErasedWord),
    t.confirmations: lambda row: jws.read_unverified(row["token"], CaughtUp),
    t.rules_words: lambda row: jws.read_unverified(row["token"], RulesWord),
    t.messages: lambda row: jws.read_unverified(row["token"], _STEPS[row["step"]]),
    t.erasures: lambda row: [
        jws.read_unverified(each, Approval) for each in msgspec.json.decode(row["approvals"] or "[]", type=list[Token])
    ],
    t.idempotency: lambda row: read_answer(row["answer"], Any),
}
"""How each row is read that holds more than numbers and hashes."""

"""An erasure that the ledger shows no reason for ends nothing, and a resident's device says so."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from ledger import entries as e
from ledger.errors import NotFound, ProofInvalid
from queries.answers.uses import Stopped
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import ASKED, ORIGIN, STEWARDS
from tests.resident.test_resident_stopped import Service, signed
from trust.client.wire import ErasureAnswer
from trust.log.follower import LogFollower
from trust.log.source import FolderLog
from trust.resident.erasure import check_erased
from trust.resident.stopped import StoppedAt, check_stopped

GRANT = 6
LIES = ("retention", "authority")


@pytest.fixture
def log() -> LogBuilder:
    """A town by the newest rules with three consents."""
    builder = LogBuilder()
    builder.found(rules=3)
    for number in range(3):
        builder.grant(number, until="2027-03-31")
    return builder


def followed(log: LogBuilder, folder: Path) -> LogFollower:
    log.publish(folder)
    return LogFollower(FolderLog(folder), log.trust.log_keys, log.trust.witnesses, clock=lambda: log.at + 5)


def stopped(log: LogBuilder, folder: Path, index: int) -> StoppedAt:
    """Have the device check that the consent was stopped by the erasure at an index."""
    entry = e.decode(log.entries[index])
    answer = Stopped(
        log=ORIGIN,
        index=index,
        at=entry.at,
        grant=GRANT,
        policy_sha256=log.state.policies["mobility"].sha256,
        holders=[signed(log, holder, index + 1) for holder in ASKED],
        stopped_at=log.at,
    )
    return check_stopped(Service(log, answer), followed(log, folder), index, GRANT)  # type: ignore[arg-type]


@pytest.mark.parametrize("reason", LIES)
def test_an_erasure_without_its_reason_stops_nothing(log: LogBuilder, tmp_path: Path, reason: e.EraseReason) -> None:
    """Every holder has honestly signed that it read so far: it has not stopped, as it ignores that entry."""
    index = log.add(log.make_erase(GRANT, reason))
    assert log.state.finding
    with pytest.raises((NotFound, ProofInvalid), match=r"No consent ends there|not the stewards"):
        stopped(log, tmp_path, index)


def test_an_erasure_with_its_reason_stops(log: LogBuilder, tmp_path: Path) -> None:
    assert stopped(log, tmp_path / "a", log.add(log.make_erase(GRANT, "authority", STEWARDS[:2]))).grant == GRANT
    other = LogBuilder()
    other.found(rules=3)
    for number in range(3):
        other.grant(number, until="2027-03-31")
    other.at = 1_806_505_200  # the day after its last
    assert stopped(other, tmp_path / "b", other.add(other.make_erase(GRANT, "retention"))).grant == GRANT


@pytest.mark.parametrize("reason", LIES)
def test_nothing_is_erased_everywhere_by_an_entry_that_erases_nothing(
    log: LogBuilder, tmp_path: Path, reason: e.EraseReason
) -> None:
    wrong = log.add(log.make_erase(GRANT, reason))
    client: Any = SimpleNamespace(
        trust=log.trust,
        checked=lambda check: check(),
        get=lambda *_: ErasureAnswer(index=GRANT, entry=wrong, holders=dict.fromkeys(ASKED), approvals=[]),
    )
    with pytest.raises(NotFound, match="does not say"):
        check_erased(client, followed(log, tmp_path), GRANT)
    right = log.add(structs.replace(log.make_erase(GRANT), at=log.now()))
    found = check_erased(client, followed(log, tmp_path), GRANT)
    assert (found.entry, found.reason) == (right, "requested")

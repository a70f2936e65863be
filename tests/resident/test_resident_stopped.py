"""A resident's device believes that a consent stopped only as far as the ledger and the holders' signatures say so."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from ledger import entries as e
from ledger import jws
from ledger.errors import NotPermitted, ProofInvalid, SignatureInvalid
from policies.governance import approve
from queries.answers.uses import HolderStopped, Stopped
from queries.rounds.messages import CaughtUp
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import ASKED, ORIGIN, STEWARDS, key_of
from trust.log.follower import LogFollower
from trust.log.pins import open_genesis
from trust.log.source import FolderLog
from trust.resident.stopped import StoppedAt, check_stopped

FIRST = 5
"""Where the town's first grant stands."""


class Service:
    """Gives whatever answer it likes; entries are as the log has them."""

    def __init__(self, log: LogBuilder, answer: Stopped) -> None:
        self.trust = log.trust
        self._log = log
        self._answer = answer

    def checked(self, check: Callable[[], Any]) -> Any:
        """Do it once: what is said here is said always."""
        return check()

    def get(self, path: str, type_: type[Any]) -> Stopped:
        """Answer a GET."""
        assert (path, type_) == (f"/v1/log/stopped/{self._answer.index}", Stopped)
        return self._answer

    def prove(self, index: int) -> Any:
        """Prove an entry."""
        data = self._log.entries[index]
        receipt = SimpleNamespace(proof=[], checkpoint=self._log.checkpoint(len(self._log.entries), bytes(32)))
        return SimpleNamespace(entry=e.decode(data), data=data, receipt=receipt)

    def genesis(self) -> e.Genesis:
        """Give the first entry, if it is the pinned one."""
        return open_genesis(self._log.entries[0], self.trust.genesis_sha256)

    def policy(self, sha256: str) -> Any:
        """Give a policy document."""
        return self._log.state.versions[sha256].document


def change(log: LogBuilder, alias: str, **changes: Any) -> int:
    """Have the stewards change a member; return the entry's index."""
    now = log.state.members[alias]
    body = structs.replace(now, number=now.number + 1, **changes)
    signed = [approve("member", body, log=ORIGIN, steward=name, key=key_of(name)) for name in STEWARDS[:2]]
    return log.add(e.Member(at=log.now(), member=body, signatures=signed))


def signed(log: LogBuilder, holder: str, size: int, member: int = 0, key: str = "") -> HolderStopped:
    """What a holder has signed, with the key of its ``member`` entry."""
    token = jws.sign(CaughtUp(from_=holder, log=ORIGIN, size=size, at=log.at), key_of(key or holder))
    place = member or log.state.member_entries[holder]
    return HolderStopped(holder=holder, member=place, size=size, heard=log.at, token=token)


def silent(holder: str, member: int) -> HolderStopped:
    """A holder that has signed nothing."""
    return HolderStopped(holder=holder, member=member, size=0, heard=None, token=None)


def answer_of(log: LogBuilder, index: int, holders: list[HolderStopped], stopped_at: int | None) -> Stopped:
    """The service's answer about the revocation at an index."""
    entry = e.decode(log.entries[index])
    assert isinstance(entry, e.Revoke)
    return Stopped(
        log=ORIGIN,
        index=index,
        at=entry.at,
        grant=entry.grant,
        policy_sha256=log.state.policies["mobility"].sha256,
        holders=holders,
        stopped_at=stopped_at,
    )


def check(log: LogBuilder, folder: Path, answer: Stopped, grant: int | None = None) -> StoppedAt:
    """Have the device check an answer."""
    log.publish(folder)
    follower = LogFollower(FolderLog(folder), log.trust.log_keys, log.trust.witnesses, clock=lambda: log.at + 5)
    return check_stopped(Service(log, answer), follower, answer.index, grant)  # type: ignore[arg-type]


@pytest.fixture
def log() -> LogBuilder:
    """The hand-made town, in which one question is open."""
    return LogBuilder().town()


def close_rounds(log: LogBuilder) -> None:
    """Refund what is open."""
    for admit in list(log.state.rounds):
        log.refund(admit)


def test_it_has_stopped_when_every_holder_has_signed_so(log: LogBuilder, tmp_path: Path) -> None:
    index = log.revoke(FIRST + 7)
    both = [signed(log, holder, index + 1) for holder in ASKED]
    found = check(log, tmp_path, answer_of(log, index, both, log.at), FIRST + 7)
    assert (found.grant, found.stopped_at) == (FIRST + 7, log.at)


def test_the_end_of_another_consent_is_no_answer(log: LogBuilder, tmp_path: Path) -> None:
    """A service that hides that a consent stands, and shows an old end of somebody else's in its place."""
    index = log.revoke(FIRST + 7)
    both = [signed(log, holder, index + 1) for holder in ASKED]
    with pytest.raises(ProofInvalid, match="another consent than the one that was asked"):
        check(log, tmp_path, answer_of(log, index, both, log.at), FIRST + 9)


def test_a_key_that_no_quorum_of_stewards_named_signs_nothing(log: LogBuilder, tmp_path: Path) -> None:
    """An operator that appends a ``member`` entry of its own, which any auditor refuses, and signs with its key."""
    index = log.revoke(FIRST + 7)
    own = log.append(log.make_member("clinic", "holder", number=2, key="operator's own", signers=STEWARDS[:1]))
    both = [signed(log, "bus_co", index + 1), signed(log, "clinic", index + 1, own, "operator's own")]
    with pytest.raises(NotPermitted):
        check(log, tmp_path, answer_of(log, index, both, log.at))


def test_a_holder_that_has_left_with_nothing_open_is_not_waited_for(log: LogBuilder, tmp_path: Path) -> None:
    close_rounds(log)
    index = log.revoke(FIRST + 7)
    left = change(log, "clinic", status="left")
    at = log.at
    found = check(log, tmp_path, answer_of(log, index, [signed(log, "bus_co", index + 1), silent("clinic", left)], at))
    assert found.stopped_at == at
    assert [each.has_left for each in found.holders] == [False, True]


def test_a_holder_that_has_come_back_has_not_left(log: LogBuilder, tmp_path: Path) -> None:
    """The service names the entry by which it once left."""
    close_rounds(log)
    left = change(log, "clinic", status="left")
    change(log, "clinic", status="active")
    index = log.revoke(FIRST + 7)
    at = log.at
    both = [signed(log, "bus_co", index + 1), silent("clinic", left)]
    with pytest.raises(ProofInvalid, match="has left the town"):
        check(log, tmp_path, answer_of(log, index, both, at))


def test_a_holder_that_has_left_with_a_question_open_has_not_stopped(log: LogBuilder, tmp_path: Path) -> None:
    index = log.revoke(FIRST + 7)
    left = change(log, "clinic", status="left")
    at = log.at
    both = [signed(log, "bus_co", index + 1), silent("clinic", left)]
    assert log.state.rounds
    with pytest.raises(ProofInvalid, match="has left the town"):
        check(log, tmp_path, answer_of(log, index, both, at))
    close_rounds(log)
    assert check(log, tmp_path, answer_of(log, index, both, at)).stopped_at == at


@pytest.mark.parametrize(
    ("change", "error"), [("log", ProofInvalid), ("holder", SignatureInvalid), ("size", ProofInvalid)]
)
def test_a_statement_for_another_log_by_another_holder_or_of_a_smaller_size_is_refused(
    log: LogBuilder, tmp_path: Path, change: str, error: type[Exception]
) -> None:
    index = log.revoke(FIRST + 7)
    good = [signed(log, holder, index + 1) for holder in ASKED]
    tokens = {
        "log": jws.sign(CaughtUp(from_="clinic", log="elsewhere", size=index + 1, at=log.at), key_of("clinic")),
        "holder": good[0].token,
        "size": signed(log, "clinic", index).token,
    }
    wrong = [good[0], structs.replace(good[1], token=tokens[change])]
    with pytest.raises(error):
        check(log, tmp_path, answer_of(log, index, wrong, log.at))

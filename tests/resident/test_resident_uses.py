"""A resident's device finds every question that could count its consent, though the service lies about the proofs."""

import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from ledger import entries as e
from ledger.errors import ProofInvalid
from policies.consents.bundle import commitment
from policies.ledger_state import State
from policies.replay import MemoryConsents
from queries.answers.uses import InForceAt, PossibleUse, Uses
from queries.replay import replay
from tests.kit.logs.log_builder import LogBuilder, consent_id
from tests.kit.towns.residents import consent_bundle
from tests.kit.towns.toy_town import ORIGIN, scarce, trips
from trust.cli.resident import proofs
from trust.client.wire import MyConsent
from trust.log.follower import LogFollower
from trust.log.source import FolderLog
from trust.resident.own_copies import OwnCopies
from trust.resident.uses import AsOfThen, Use, check_as_of, find_uses

Lie = Callable[[InForceAt], InForceAt | None]
FIRST = 5
"""Where the town's first grant stands."""


DEVICE: Any = SimpleNamespace(moment=lambda at: f"2026-09-21 {at}")


class Service:
    """Answers from the log's own prefixes, two questions a page; ``lie`` changes an answer or leaves it out."""

    trust = SimpleNamespace(origin=ORIGIN)

    def __init__(self, log: LogBuilder, lie: Lie = lambda answer: answer) -> None:
        self._log = log
        self._lie = lie

    def at(self, sha256: str, size: int, index: int) -> InForceAt:
        """What is true as of a tree size."""
        state, seen = State(), MemoryConsents()
        for place, data in enumerate(self._log.entries[:size]):
            replay(state, place, data, seen)
        entry = e.decode(self._log.entries[size]) if size < len(self._log.entries) else None
        at, charge = (entry.at, entry.charge) if isinstance(entry, e.Admit) else (state.at, 0)
        day = state.day(at)
        in_force = state.in_force[sha256]
        return InForceAt(
            log=ORIGIN,
            policy_sha256=sha256,
            size=size,
            at=at,
            day=day,
            charge=charge,
            root=in_force.root(day, charge, size),
            proof=in_force.prove(day, charge, size, index),
        )

    def checked(self, check: Callable[[], Any]) -> Any:
        """Do it once: what is said here is said always."""
        return check()

    def get(self, path: str, type_: type[Any]) -> Any:
        """Answer a GET."""
        found = re.fullmatch(r"/v1/log/(uses|in-force)/(\w+)/(\d+)(?:/(\d+))?(?:\?first=(\d+))?", path)
        assert found is not None
        sha256 = found[2]
        if found[1] == "in-force":
            assert type_ is InForceAt
            return self._lie(self.at(sha256, int(found[3]), int(found[4])))
        index, first = int(found[3]), int(found[5])
        places = [i for i, data in enumerate(self._log.entries) if i >= first and b'"kind":"admit"' in data]
        answers = [self._lie(self.at(sha256, place, index)) for place in places[:2]]
        return Uses(
            log=ORIGIN,
            policy_sha256=sha256,
            index=index,
            size=len(self._log.entries),
            uses=[PossibleUse(in_force=answer, closed_by=None) for answer in answers if answer is not None],
            next=places[2] if len(places) > 2 else None,
        )

    def prove(self, index: int) -> Any:
        """Prove an entry."""
        return SimpleNamespace(entry=e.decode(self._log.entries[index]))


def consent(log: LogBuilder, number: int) -> MyConsent:
    """What the service says of a grant."""
    sha256 = log.state.policies["mobility"].sha256
    said: dict[str, Any] = {
        "policy": "mobility",
        "version": 1,
        "policy_sha256": sha256,
        "until": "2028-03-31",
        "yearly_cap": 10**9,
    }
    return MyConsent(index=FIRST + number, consent=consent_id(number), holders=["bus_co"], ended_by=None, **said)


@pytest.fixture(scope="module")
def log() -> LogBuilder:
    """The hand-made town, with grants 3 revoked and 4 erased, an answer, a refund, an open question; and one more."""
    made = LogBuilder().town()
    made.revoke(FIRST + 7)
    made.admit()
    return made


@pytest.fixture
def follower(log: LogBuilder, tmp_path: Path) -> LogFollower:
    """Reads the log from its first entry."""
    log.publish(tmp_path)
    return LogFollower(FolderLog(tmp_path), log.trust.log_keys, log.trust.witnesses, clock=lambda: log.at + 5)


def find(log: LogBuilder, follower: LogFollower, numbers: list[int], lie: Lie = lambda answer: answer) -> list[Use]:
    """Find the uses of some of the town's consents."""
    return find_uses(Service(log, lie), follower, lambda: [consent(log, number) for number in numbers])  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("numbers", "counted"),
    [([1], [True] * 4), ([3], [False] * 4), ([5, 7], [True] * 4), ([7], [True, True, True, False]), ([], [])],
    ids=str,
)
def test_every_question_is_found_with_whether_it_could_count_the_consent_and_how_it_ended(
    log: LogBuilder, follower: LogFollower, numbers: list[int], counted: list[bool]
) -> None:
    """A consent that stands, a revoked one, two at once, one revoked later, none."""
    found = find(log, follower, numbers)
    assert [use.counted for use in found] == counted
    assert [use.ended for use in found] == ["answered", "refunded", "open", "open"][: len(found)]
    assert not any(use.fault for use in found)
    for use in found:
        assert isinstance(e.decode(log.entries[use.admit]), e.Admit)
        assert use.closed_by is None or e.decode(log.entries[use.closed_by]).admit == use.admit  # type: ignore[union-attr]


LIES: dict[str, tuple[Lie, str]] = {
    "it gives no proof": (lambda _: None, "gave no proof"),
    "another root": (lambda answer: structs.replace(answer, root="00" * 32), "not about the question"),
    "another chunk": (
        lambda answer: structs.replace(answer, proof=structs.replace(answer.proof, chunk="00" * 512)),
        "is wrong",
    ),
    "another grant's bit": (
        lambda answer: structs.replace(answer, proof=structs.replace(answer.proof, index=FIRST + 3)),
        "another grant",
    ),
    "another charge": (lambda answer: structs.replace(answer, charge=0), "not about the question"),
    "another ledger": (lambda answer: structs.replace(answer, log="elsewhere"), "another ledger"),
}


@pytest.mark.parametrize("what", LIES)
def test_a_proof_that_is_wrong_or_missing_is_a_fault_and_counts_for_nothing(
    log: LogBuilder, follower: LogFollower, what: str
) -> None:
    lie, says = LIES[what]
    found = find(log, follower, [1], lie)
    assert len(found) == 4
    for use in found:
        assert says in use.fault
        assert not use.counted


def test_a_question_that_the_service_leaves_out_is_found_all_the_same(log: LogBuilder, follower: LogFollower) -> None:
    """The list of questions comes from the log itself; the service's pages only bring proofs."""
    hidden = [use.admit for use in find(log, follower, [1])][1]
    found = find(log, follower, [1], lambda answer: None if answer.size == hidden else answer)
    assert [use.admit for use in found if use.fault] == [hidden]


def test_a_log_that_would_count_a_consent_after_its_end_is_named(tmp_path: Path) -> None:
    """An operator whose log ends a consent and whose question counts it: the device says so (nodes would refuse it)."""
    log = LogBuilder().town()
    before = log.make_admit()
    revoked = log.append(e.Revoke(at=log.now(), grant=FIRST + 1, reason="withdrawn", commitment="00" * 32))
    place = log.append(structs.replace(before, at=log.now()))
    log.publish(tmp_path)
    follower = LogFollower(FolderLog(tmp_path), log.trust.log_keys, log.trust.witnesses, clock=lambda: log.at + 5)
    entry = e.decode(log.entries[place])
    assert isinstance(entry, e.Admit)
    at, charge = entry.at, entry.charge
    truth = Service(log)

    def lie(answer: InForceAt) -> InForceAt:
        if answer.size != place:
            return answer
        early = truth.at(entry.policy_sha256, revoked, FIRST + 1)
        proof = structs.replace(
            log.state.in_force[entry.policy_sha256].prove(early.day, entry.charge, place, FIRST + 1)
        )
        return structs.replace(answer, root=entry.in_force_root, proof=proof)

    class Lying(Service):
        def at(self, sha256: str, size: int, index: int) -> InForceAt:
            if size != place:
                return super().at(sha256, size, index)
            early = super().at(sha256, revoked, index)
            return structs.replace(early, size=place, at=at, charge=charge)

    found = find_uses(Lying(log, lie), follower, lambda: [consent(log, 1)])  # type: ignore[arg-type]
    assert [use.fault for use in found[:-1]] == [""] * 3
    assert found[-1].fault == f"It could count your consent {FIRST + 1}, which had ended at {revoked}."


def test_a_consent_that_the_ledger_does_not_have_there_is_noticed(log: LogBuilder, follower: LogFollower) -> None:
    mine = consent(log, 1)
    wrong = [structs.replace(mine, consent="00" * 32), structs.replace(mine, index=0)]
    for said in ([each] for each in wrong):
        with pytest.raises(ProofInvalid):
            find_uses(Service(log), follower, said.copy)  # type: ignore[arg-type]


@pytest.fixture
def apart(tmp_path: Path) -> tuple[LogBuilder, LogFollower, OwnCopies, MyConsent]:
    """A town whose one question is asked of bus_co alone, and a consent that names the clinic alone."""
    log = LogBuilder()
    log.found()
    asked = scarce(2, views=[trips("bus_co", wards=["north", "south"], rows=4, fare=500)])
    log.policy(asked)
    bundle = consent_bundle(
        1, asked, consent=bytes.fromhex(consent_id(1)), holders=["clinic"], until="2028-03-31", yearly_cap=10**9
    )
    index = log.grant(1, commitment=commitment(bundle))
    log.admit(log.ask(version=2))
    log.publish(tmp_path / "log")
    follower = LogFollower(
        FolderLog(tmp_path / "log"), log.trust.log_keys, log.trust.witnesses, clock=lambda: log.at + 5
    )
    copies = OwnCopies(tmp_path / "copies")
    copies.folder.mkdir()
    copies.keep(bundle, index)
    mine = structs.replace(consent(log, 1), index=index, version=2, holders=["clinic"])
    return log, follower, copies, mine


def test_a_question_of_holders_that_ones_consent_does_not_name_cannot_have_counted_one(
    apart: tuple[LogBuilder, LogFollower, OwnCopies, MyConsent], capsys: pytest.CaptureFixture[str]
) -> None:
    log, follower, copies, mine = apart
    (use,) = find_uses(Service(log), follower, lambda: [mine], copies=copies)  # type: ignore[arg-type]
    assert (use.counted, use.grants, use.unnamed, use.said_unnamed, use.fault) == (False, [], [mine.index], [], "")
    proofs._print_uses(DEVICE, [use], [use], {})
    said = capsys.readouterr().out
    assert (
        f"Cannot have counted you, as your consent {mine.index} names none of the holders that were asked (bus_co): "
        f"question {use.admit}.\n" in said
    )
    assert "1 could not count you" in said


def test_what_a_consent_names_is_the_services_word_only_where_the_device_has_no_copy_that_the_ledger_commits_to(
    apart: tuple[LogBuilder, LogFollower, OwnCopies, MyConsent], capsys: pytest.CaptureFixture[str]
) -> None:
    log, follower, copies, mine = apart
    copies.keep(consent_bundle(1, consent=bytes.fromhex(consent_id(1)), holders=["clinic"]), mine.index)  # another one
    for own in (None, copies):
        (use,) = find_uses(Service(log), follower, lambda: [mine], copies=own)  # type: ignore[arg-type]
        assert (use.counted, use.grants, use.unnamed, use.said_unnamed) == (True, [mine.index], [], [mine.index])
    proofs._print_uses(DEVICE, [use], [use], {})
    said = capsys.readouterr().out
    assert "no, says the service" in said
    assert "So the service says; this device has no copy of that consent to check it by." in said
    assert "0 could not count you" in said


def test_a_service_that_names_too_few_holders_takes_no_use_away_from_a_device_with_its_own_copy(
    tmp_path: Path, apart: tuple[LogBuilder, LogFollower, OwnCopies, MyConsent]
) -> None:
    log = LogBuilder()
    log.found()
    bundle = consent_bundle(
        1, consent=bytes.fromhex(consent_id(1)), holders=["bus_co"], until="2028-03-31", yearly_cap=10**9
    )
    index = log.grant(1, commitment=commitment(bundle))
    log.admit()
    log.publish(tmp_path / "other")
    follower = LogFollower(
        FolderLog(tmp_path / "other"), log.trust.log_keys, log.trust.witnesses, clock=lambda: log.at + 5
    )
    copies = apart[2]
    copies.keep(bundle, index)
    lied = structs.replace(consent(log, 1), index=index, holders=["market"])
    (use,) = find_uses(Service(log), follower, lambda: [lied], copies=copies)  # type: ignore[arg-type]
    assert (use.counted, use.grants, use.unnamed, use.said_unnamed) == (True, [index], [], [])


def as_of(log: LogBuilder, follower: LogFollower, size: int, lie: Lie = lambda answer: answer) -> AsOfThen:
    """Ask whether grant 7 was in force at a tree size."""
    sha256 = log.state.policies["mobility"].sha256
    return check_as_of(Service(log, lie), follower, sha256, FIRST + 7, size)  # type: ignore[arg-type]


def test_what_was_in_force_as_of_any_size_is_proven_by_an_entry_or_by_a_replay(log: LogBuilder, tmp_path: Path) -> None:
    log.publish(tmp_path)
    for size in range(FIRST + 8, len(log.entries) + 1):
        follower = LogFollower(FolderLog(tmp_path), log.trust.log_keys, log.trust.witnesses, clock=lambda: log.at + 5)
        found = as_of(log, follower, size)
        assert found.in_force == (size < len(log.entries) - 1)  # it ended with the last but one
        assert found.admit == (size < len(log.entries) and b'"kind":"admit"' in log.entries[size])


def test_a_false_answer_about_any_size_is_refused(log: LogBuilder, tmp_path: Path) -> None:
    log.publish(tmp_path)
    admit = next(i for i, data in enumerate(log.entries) if b'"kind":"admit"' in data)
    for size in (admit, admit + 1):
        for change in ({"root": "00" * 32}, {"at": 1}, {"log": "elsewhere"}):
            follower = LogFollower(
                FolderLog(tmp_path), log.trust.log_keys, log.trust.witnesses, clock=lambda: log.at + 5
            )
            with pytest.raises(ProofInvalid):
                as_of(log, follower, size, lambda answer, change=change: structs.replace(answer, **change))  # type: ignore[misc]

"""What a node believes of a ledger, and of its own leaves: a lie is refused by its name, nothing is charged or sent."""

import sqlite3
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from msgspec import structs

import trust.node.rounds.steps as rounds_module
from ledger import jws
from ledger.errors import ClockSkew, HistoryForked, MusubiError, OldView, ProofInvalid, SignatureInvalid
from policies.consents.bundle import Leaf, commitment, disclose
from queries.rounds.messages import HeldLeaf, Share, Task
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.parties.lying_service import ME, PLACE, LeafLie, Stage, consent_of_person, staged
from tests.kit.towns.toy_town import scarce
from trust.node import process


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


def refuses(stage: Stage, error: type[MusubiError], *, admit: int | None = None) -> MusubiError:
    """Have the node read on, asked to countersign; check that it stops with the error, and that nothing came of it."""
    index = len(stage.builder.entries) - 1 if admit is None else admit
    with stage.nothing_changes(), pytest.raises(error) as caught:
        stage.countersign(index)
    return caught.value


# Entries.

ADMIT_LIES: dict[str, dict[str, Any]] = {
    "a price below what the noise is worth": {"charge": 1},
    "a price above what the partner signed for": {"charge": 20_000_000},
    "another in-force root": {"in_force_root": "ab" * 32},
    "no participant": {"participants": []},
    "one participant": {"participants": [ME]},
    "a later expiry than the policy's": {"expires": 2_000_000_000},
    "another asker": {"by": "clinic"},
    "another policy version": {"version": 2},
    "another query hash": {"query_sha256": "00" * 32},
}


@pytest.mark.parametrize("lie", ADMIT_LIES.values(), ids=ADMIT_LIES.keys())
def test_a_node_goes_no_further_than_an_admit_that_lies(stage: Stage, lie: dict[str, Any]) -> None:
    admit = stage.builder.append(stage.builder.make_admit(**lie))
    stage.service.publish()
    error = refuses(stage, ProofInvalid)
    assert error.details["index"] == admit
    assert stage.node.reader.size == admit
    stage.restart()
    with stage.nothing_changes(), pytest.raises(ProofInvalid):  # the process ends with it, and so does a new one
        stage.node.run()


def test_a_node_goes_no_further_than_less_noise_for_the_same_price(stage: Stage) -> None:
    true = stage.builder.make_admit()
    less = [structs.replace(part, scale="1") for part in true.noise]
    stage.builder.append(structs.replace(true, noise=less))
    stage.service.publish()
    refuses(stage, ProofInvalid)


def test_a_node_goes_no_further_than_a_question_admitted_twice(stage: Stage) -> None:
    token = stage.builder.ask()
    stage.builder.admit(token)
    twice = stage.builder.make_admit(stage.builder.ask())
    stage.builder.append(structs.replace(twice, question=token))
    stage.service.publish()
    refuses(stage, ProofInvalid)


def test_a_node_goes_no_further_than_an_entry_that_is_none(stage: Stage) -> None:
    index = stage.builder.append(b'{"at":%d,"kind":"grant"}' % stage.builder.at)
    stage.service.publish()
    assert refuses(stage, ProofInvalid).details["index"] == index


def test_a_node_goes_no_further_than_a_time_that_runs_backwards(stage: Stage) -> None:
    stage.builder.append(stage.builder.make_admit(at=stage.builder.at - 2, expires=stage.builder.at + 598))
    stage.service.publish()
    assert "backwards" in refuses(stage, ProofInvalid).message


def test_a_node_reads_no_entry_that_is_ahead_of_the_witnesses_clocks(stage: Stage) -> None:
    size = stage.node.reader.size
    now = stage.builder.at
    stage.builder.at += 200
    stage.builder.admit()
    stage.offset = now - stage.builder.at
    stage.service.publish(at=now)
    refuses(stage, ClockSkew)
    assert stage.node.reader.size == size
    with stage.nothing_changes():
        assert stage.runs(3) == ["clock-skew"] * 3


def test_a_node_reads_nothing_that_witnesses_cosigned_ahead_of_its_own_clock(stage: Stage) -> None:
    admit = stage.admit()
    stage.service.publish(at=stage.builder.at + 61)
    refuses(stage, ClockSkew, admit=admit)
    stage.service.publish(at=stage.builder.at + 60)
    assert stage.countersign(admit) == []


# Checkpoints and histories.


def test_a_checkpoint_without_the_witnesses_quorum_is_not_followed(stage: Stage) -> None:
    admit = stage.admit()
    stage.service.publish(cosigners=[])
    refuses(stage, ProofInvalid, admit=admit)
    stage.service.publish(cosigners=["stranger"])
    refuses(stage, ProofInvalid, admit=admit)
    stage.service.publish()
    assert stage.countersign(admit) == []


def test_a_checkpoint_by_another_log_key_is_not_followed(stage: Stage) -> None:
    admit = stage.admit()
    stage.service.publish(signer="stranger")
    refuses(stage, SignatureInvalid, admit=admit)


def test_a_genesis_other_than_the_pinned_one_is_refused() -> None:
    with staged(reads=False) as stage:
        other = LogBuilder()
        other.at += 1  # another town, of the same stewards and under the same log key
        other.genesis()
        stage.builder.entries = other.entries
        stage.service.publish()
        error = refuses(stage, ProofInvalid, admit=0)
        assert error.details["index"] == 0
        assert stage.node.reader.size == 0


def forge(stage: Stage, index: int) -> None:
    """Exchange an entry that the node has read."""
    other = stage.builder.make_grant(99)
    stage.builder.entries[index] = stage.builder.entries[index].replace(b"commitment", b"commitmemt")
    assert other.commitment


@pytest.mark.parametrize("restarted", [False, True])
def test_a_forked_history_is_refused_also_by_a_node_that_was_restarted(stage: Stage, *, restarted: bool) -> None:
    admit = stage.admit()
    stage.turn()
    stage.countersign(admit)
    if restarted:
        stage.restart()
    forge(stage, stage.grants[0])
    second = stage.admit()
    error = refuses(stage, HistoryForked, admit=second)
    assert "evidence" in error.details  # the file that convicts the log


@pytest.mark.parametrize("restarted", [False, True])
def test_a_fork_of_the_same_size_is_refused(stage: Stage, *, restarted: bool) -> None:
    stage.turn()
    forge(stage, stage.grants[0])
    if restarted:
        stage.restart()
    stage.service.publish()
    stage.service.claims = len(stage.builder.entries) + 1
    refuses(stage, HistoryForked)


@pytest.mark.parametrize("restarted", [False, True])
def test_a_log_that_was_rolled_back_is_refused_also_by_a_node_that_was_restarted(
    stage: Stage, *, restarted: bool
) -> None:
    stage.turn()
    if restarted:
        stage.restart()
    stage.service.publish(stage.builder.entries[:-1])
    stage.service.claims = len(stage.builder.entries) + 1
    refuses(stage, OldView)
    assert "old-view" in stage.runs()  # a cache's old copy ends no node


def test_a_tile_that_is_not_the_checkpoints_is_refused(stage: Stage) -> None:
    admit = stage.admit()
    stage.service._files = {
        path: data.replace(b"bus_co", b"bus_cx") if "entries" in path else data
        for path, data in stage.service._files.items()
    }
    refuses(stage, ProofInvalid, admit=admit)
    assert stage.node.reader.size == admit


def test_tasks_for_a_ledger_that_is_claimed_and_not_shown_are_refused(stage: Stage) -> None:
    stage.service.claims = 10**9
    with stage.nothing_changes():
        assert stage.countersign(10**9 - 1) == ["not-found"]


def test_an_answer_that_is_not_signed_by_the_operator_is_not_followed(stage: Stage) -> None:
    admit = stage.admit()
    stage.turn()
    stage.service.signer = "clinic"
    refuses(stage, SignatureInvalid, admit=admit)
    stage.service.signer = "operator"
    assert stage.countersign(admit) == []


# Clocks.


@pytest.mark.parametrize("offset", [-3600, 3600])
def test_a_node_whose_clock_is_an_hour_off_waits_and_goes_on_when_it_is_put_right(stage: Stage, offset: int) -> None:
    admit = stage.admit()
    stage.service.clock = lambda: stage.builder.at
    stage.service.tasks = [Task(step="countersign", admit=admit)]
    stage.offset = offset
    with stage.nothing_changes():
        assert stage.runs(3) == ["clock-skew"] * 3
    stage.offset = 30
    assert stage.countersign(admit) == []
    assert stage.service.steps() == ["countersign"]


# Leaves.


def _of_another(person: int, number: int = 0) -> LeafLie:
    def lie(true: HeldLeaf) -> HeldLeaf:
        other = consent_of_person(scarce(), person, number)
        return HeldLeaf(index=true.index, leaf=disclose(other, PLACE))

    return lie


def _leaf(change: Callable[[Any], Any]) -> LeafLie:
    return lambda true: HeldLeaf(index=true.index, leaf=change(true.leaf))


def _bad_signature(leaf: Any) -> Any:
    head, payload, signature = leaf.leaf.body.split(".")
    other = signature[:-4] + ("AAAA" if signature[-4:] != "AAAA" else "BBBB")
    return structs.replace(leaf, leaf=Leaf(salt=leaf.leaf.salt, body=f"{head}.{payload}.{other}"))


LEAF_LIES: dict[str, LeafLie] = {
    "it is withheld": lambda _: None,
    "its path is another": _leaf(lambda leaf: structs.replace(leaf, path=["00" * 32] * len(leaf.path))),
    "its path is short": _leaf(lambda leaf: structs.replace(leaf, path=leaf.path[:-1])),
    "its path is long": _leaf(lambda leaf: structs.replace(leaf, path=[*leaf.path, "00" * 32])),
    "its salt is another": _leaf(lambda leaf: structs.replace(leaf, leaf=Leaf(salt="00" * 32, body=leaf.leaf.body))),
    "it says none": _leaf(lambda leaf: structs.replace(leaf, leaf=Leaf(salt=leaf.leaf.salt, body="none"))),
    "its signature is bad": _leaf(_bad_signature),
    "its position is another": _leaf(lambda leaf: structs.replace(leaf, position=PLACE + 1)),
    "its count is another": _leaf(lambda leaf: structs.replace(leaf, count=leaf.count + 1)),
    "it is the other holder's": lambda true: HeldLeaf(
        index=true.index, leaf=disclose(consent_of_person(scarce(), 7), PLACE + 1)
    ),
    "it is the general part": lambda true: HeldLeaf(index=true.index, leaf=disclose(consent_of_person(scarce(), 7), 0)),
    "it is another resident's": _of_another(1),
    "it is another consent of the resident": _of_another(7, 5),
    "it is for another index": lambda true: HeldLeaf(index=true.index - 1, leaf=true.leaf),
}


@pytest.mark.parametrize("lie", LEAF_LIES.values(), ids=LEAF_LIES.keys())
def test_a_node_without_the_right_leaf_of_a_consent_in_force_does_not_take_part(stage: Stage, lie: LeafLie) -> None:
    grant = stage.grant(7)
    stage.service.lies[grant] = lie
    admit = stage.admit()
    with stage.nothing_changes():
        assert stage.countersign(admit) == ["unavailable"]
    assert grant not in {row[0] for row in stage.books()["leaves"]}
    stage.builder.revoke(grant)
    assert stage.countersign(stage.admit()) == []  # a consent that has ended needs no leaf


def test_a_leaf_that_a_malicious_resident_signed_wrongly_counts_for_nothing_and_holds_up_nobody(stage: Stage) -> None:
    """The commitment fits, so it will never be another: the bundle itself is not what it should be."""
    policy = scarce()
    bundle = consent_of_person(policy, 7)
    spoiled = structs.replace(bundle, leaves=[*bundle.leaves])
    spoiled.leaves[PLACE] = Leaf(salt=bundle.leaves[PLACE].salt, body=bundle.leaves[PLACE + 1].body)
    index = stage.builder.grant(0, consent="12" * 32, commitment=commitment(spoiled))
    stage.service.bundles[index] = spoiled
    assert stage.countersign(stage.admit()) == []
    assert index in stage.node.books.held(0, index)
    assert dict(stage.node.books.slots(stage.builder.state.policies["mobility"].sha256))[index] == -1


def test_a_missing_leaf_that_comes_later_lets_the_node_take_part(stage: Stage) -> None:
    grant = stage.grant(7)
    stage.service.lies[grant] = lambda _: None
    admit = stage.admit()
    assert stage.countersign(admit) == ["unavailable"]
    stage.service.lies.clear()
    assert stage.countersign(admit) == []
    assert grant in {row[0] for row in stage.books()["leaves"]}


def test_leaves_that_could_not_be_fetched_are_fetched_when_the_service_answers_again(stage: Stage) -> None:
    grants = [stage.grant(person) for person in (7, 8)]
    admit = stage.admit()
    stage.service.down = {"/v1/node/leaves"}
    with stage.nothing_changes():
        assert len(stage.countersign(admit)) == 1
    stage.service.down = set()
    assert stage.countersign(admit) == []
    assert set(grants) <= {row[0] for row in stage.books()["leaves"]}


def test_a_node_asks_for_a_missing_leaf_also_when_nothing_is_asked_of_it(stage: Stage) -> None:
    grant = stage.grant(7)
    stage.service.publish()
    stage.service.lies[grant] = lambda _: None
    stage.turn()
    stage.service.lies.clear()
    stage.turn()
    assert grant in {row[0] for row in stage.books()["leaves"]}


# Faults.


def test_a_full_disk_while_reading_loses_nothing_and_the_node_reads_on_when_there_is_room(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounds_module, "make_measurement", lambda *_: list)
    stage.builder.revoke(stage.grants[0])
    stage.grant(0)  # the consent of person 0 a second time: void for ever
    stage.grant(3, number=1)
    admit = stage.admit()
    true = stage.node.books.add
    left = [1]

    def add(consent: str, index: int) -> bool:
        left[0] -= 1
        if left[0] < 0:
            raise sqlite3.OperationalError("database or disk is full")
        return true(consent, index)

    stage.node.books.add = add  # type: ignore[method-assign]
    with stage.nothing_changes(), pytest.raises(sqlite3.OperationalError):
        stage.countersign(admit)
    with stage.nothing_changes(), pytest.raises(sqlite3.OperationalError):
        stage.countersign(admit)
    stage.node.books.add = true  # type: ignore[method-assign]
    assert stage.countersign(admit) == []
    assert stage.share(admit) == []
    assert jws.read_unverified(stage.service.said[-1][1], Share).vector == [1, 2, 102, 101 + 103]


def test_a_full_disk_while_countersigning_charges_nothing_and_sends_nothing(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    admit = stage.admit()
    stage.turn()

    def full(*_: object) -> None:
        raise sqlite3.OperationalError("database or disk is full")

    true = stage.node.books.countersign
    monkeypatch.setattr(stage.node.books, "countersign", full)
    with stage.nothing_changes(), pytest.raises(sqlite3.OperationalError):
        stage.countersign(admit)
    monkeypatch.setattr(stage.node.books, "countersign", true)
    assert stage.countersign(admit) == []


def test_a_service_that_stops_answering_in_the_middle_is_waited_for(stage: Stage) -> None:
    admit = stage.admit()
    for path in ("/v1/node/work", "/log/checkpoint"):
        stage.service.down = {path}
        with stage.nothing_changes():
            assert stage.runs(1) == ["unavailable"]
    stage.service.down = set()
    assert stage.countersign(admit) == []


def test_a_node_that_refuses_a_task_waits_before_it_asks_again(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """The service hands an undone task out at every poll; without a pause the node would do nothing else."""
    waited: list[float] = []
    monkeypatch.setattr(process, "RETRY_SECONDS", 0.2)
    monkeypatch.setattr(stage.node._stopping, "wait", waited.append)
    assert stage.word(10**6) == ["not-found"]
    assert waited == [0.2]

"""A node that goes on from what it kept is the node that reads everything; what does not fit is as good as missing."""

import contextlib
import multiprocessing
import signal
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from unittest import mock

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ledger import entries as e
from ledger.errors import BudgetExceeded, KeptStateDiffers, ProofInvalid, Unavailable
from ledger.tlog.tree import Frontier
from policies.kept_state import decode_kept, encode_kept
from policies.replay import MemoryConsents
from tests.kit.amounts import amount
from tests.kit.parties.lying_service import ME, Stage, staged
from trust.node.backup import back_up, restore
from trust.node.books.books import Books
from trust.node.kept import background_check
from trust.node.kept.holder_state import HolderState, KeptHolderState
from trust.runtime import crash_points

TABLES = ("consents", "leaves", "own_ends", "erased")


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        lived_in(made)
        yield made


def lived_in(stage: Stage) -> None:
    """Have something of each kind in the ledger, read, and keep it."""
    stage.builder.revoke(stage.grants[0])
    stage.builder.release(stage.builder.admit())
    stage.builder.refund(stage.builder.admit())
    stage.builder.admit()
    erase(stage, stage.grants[1])
    stage.service.publish()
    stage.turn()
    stage.node.reader.keep_start()


def erase(stage: Stage, index: int) -> None:
    """Append an ``erase`` entry."""
    stage.builder.add(e.Erase(at=stage.builder.now(), index=index, reason="requested"))
    stage.service.bundles.pop(index, None)


def replayed(stage: Stage) -> bytes:
    """Return what a replay of all entries gives."""
    held, seen = HolderState(ME, stage.builder.trust), MemoryConsents()
    for index, data in enumerate(stage.builder.entries):
        held.apply(index, data, seen, _Nobody())
    return held.kept()


class _Nobody:
    def note_own_end(self, grant: int, entry: int, at: int, *, replaced: bool) -> None: ...

    def note_own_erasure(self, erased: object) -> None: ...

    def note_own_closing(self, entry: e.Closing) -> None: ...


def tables(stage: Stage) -> dict[str, list[tuple[object, ...]]]:
    """Return what the books say of the ledger."""
    return {name: stage.node.books._db.execute(f"SELECT * FROM {name} ORDER BY 1").fetchall() for name in TABLES}


def change(stage: Stage, statement: str, *values: object) -> None:
    """Change the books as the node itself would, seals and all."""
    assert stage.node.books._db.execute(statement, values).rowcount > 0


def checked(stage: Stage) -> list[str]:
    """Start the node, let it read on, let the check end and be heeded; return what was logged."""
    with structlog.testing.capture_logs() as logs:
        stage.restart()
        stage.node.turn()
        stage.node.turn()
        if stage.node._check is not None:
            stage.node._check._thread.join()
            stage.node.turn()
    return [line["event"] for line in logs]


def is_as_replayed(stage: Stage) -> None:
    """Check that the node's state is that of all entries."""
    assert stage.node.reader.size == len(stage.builder.entries)
    assert stage.node.reader._held.kept() == replayed(stage)


# It fits


def test_a_start_goes_on_from_what_was_kept_and_the_check_finds_it_right(stage: Stage) -> None:
    before = tables(stage)
    assert checked(stage)[0] == "snapshot-read"
    is_as_replayed(stage)
    assert tables(stage) == before
    assert stage.node.reader.rests_on is None
    assert "snapshot-checked" in checked(stage)
    assert stage.answer()


ACTS = st.lists(
    st.sampled_from(["grant", "revoke", "admit", "release", "refund", "erase", "read", "keep", "start"]),
    min_size=4,
    max_size=16,
)


@given(ACTS)
@settings(max_examples=amount(6, 200))
def test_a_node_that_is_ended_at_any_place_of_any_history_knows_what_the_replay_gives(acts: list[str]) -> None:
    with staged() as stage:
        for number, act in enumerate(acts):
            play(stage, number, act)
        stage.service.publish()
        stage.turn()
        is_as_replayed(stage)
        kept = tables(stage)
        stage.node.reader.forget_start()
        stage.restart()
        stage.turn()
        is_as_replayed(stage)
        assert tables(stage) == kept


def play(stage: Stage, number: int, act: str) -> None:
    """Play one act, as far as it can be."""
    builder, state = stage.builder, stage.builder.state
    standing = [index for index in stage.grants if any(each.holds(index) for each in state.in_force.values())]
    opened = sorted(state.rounds)
    match act:
        case "grant":
            stage.grants.append(stage.grant(10 + number))
        case "revoke" if standing:
            builder.revoke(standing[0])
        case "erase" if standing:
            erase(stage, standing[-1])
        case "admit":
            with contextlib.suppress(BudgetExceeded):
                builder.admit()
        case "release" if opened:
            builder.release(opened[0])
        case "refund" if opened:
            builder.refund(opened[-1])
        case "read":
            stage.service.publish()
            stage.turn()
        case "keep":
            stage.node.reader.keep_start()
        case "start":
            stage.restart()


def test_leaves_that_had_not_come_are_asked_for_after_the_start(stage: Stage) -> None:
    stage.service.down.add("/v1/node/leaves")
    late = stage.grant(9)
    stage.service.publish()
    stage.turn()
    stage.node.reader.keep_start()
    stage.restart()
    assert stage.node.reader._lacking.keys() == {late}
    stage.service.down.clear()
    stage.turn()
    assert not stage.node.reader.lacks_leaves
    assert stage.node.books.held(late, late) == {late}


def test_an_orderly_end_keeps_what_was_read(stage: Stage) -> None:
    stage.grant(9)
    stage.service.publish()
    stage.runs()
    assert stage.node.reader.size == len(stage.builder.entries)
    assert stage.node.reader.rests_on is not None


# An erasure after it


def test_what_was_erased_after_it_was_kept_stays_erased(stage: Stage) -> None:
    leaf = stage.node.books._db.execute("SELECT * FROM leaves WHERE place = ?", (stage.grants[2],)).fetchone()
    erase(stage, stage.grants[2])
    stage.service.publish()
    stage.turn()
    change(stage, "INSERT INTO leaves VALUES (?, ?, ?, ?, ?, ?, ?)", *leaf)  # somebody brought it back
    stage.restart()
    assert stage.node.reader.rests_on is not None
    assert stage.node.books.held(stage.grants[2], stage.grants[2]) == set()
    stage.turn()
    is_as_replayed(stage)
    assert stage.grants[2] in stage.node.reader.state.erased


def test_restored_books_start_with_no_snapshot(stage: Stage, tmp_path: Path) -> None:
    back_up(stage.folder, tmp_path / "backup")
    restore(tmp_path / "backup", tmp_path / "again")
    books = Books(tmp_path / "again" / "books.sqlite", stage.clock)
    assert books.kept_start() is None
    books.close()


# It does not fit


def other_edge(edge: bytes) -> bytes:
    """Return the edge of another tree of the same size."""
    frontier = decode_kept(edge, Frontier)
    return encode_kept(Frontier(frontier.size, [bytes(32), *frontier.hashes[1:]]))


def rewritten(stage: Stage, column: str, how: Callable[[bytes], bytes]) -> None:
    """Change a column of what was kept."""
    kept = stage.node.books.kept_start()
    assert kept is not None
    change(stage, f"UPDATE start_snapshots SET {column} = ?", how(getattr(kept, column)))


def at_size(data: bytes, by: int) -> bytes:
    """Return a kept state that says another size."""
    kept = decode_kept(data, KeptHolderState)
    return encode_kept(structs.replace(kept, state=structs.replace(kept.state, size=kept.state.size + by)))


UNFIT: dict[str, Callable[[Stage], None]] = {
    "another size": lambda stage: change(stage, "UPDATE start_snapshots SET size = size - 1"),
    "another size within": lambda stage: rewritten(stage, "state", lambda data: at_size(data, -1)),
    "another root": lambda stage: rewritten(stage, "edge", other_edge),
    "another edge": lambda stage: rewritten(stage, "edge", lambda _: encode_kept(Frontier())),
    "other rules": lambda stage: change(stage, "UPDATE start_snapshots SET rules = rules - 1"),
    "another software": lambda stage: change(stage, "UPDATE start_snapshots SET software = '0.0.1/1'"),
    "bytes cut short": lambda stage: rewritten(stage, "state", lambda data: data[:-1]),
    "no bytes": lambda stage: rewritten(stage, "state", lambda _: b""),
    "another holder": lambda stage: rewritten(stage, "state", lambda data: data.replace(ME.encode(), b"bus_xx")),
    "a size that was not read": lambda stage: change(stage, "UPDATE meta SET value = X'31' WHERE name = 'size'"),
    "a leaf that is not held": lambda stage: change(stage, "DELETE FROM leaves WHERE place = ?", stage.grants[3]),
    "an erasure that is not known": lambda stage: change(stage, "DELETE FROM erased"),
}


@pytest.mark.many(3)
@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT.keys())
def test_what_does_not_fit_exactly_is_as_good_as_missing(stage: Stage, unfit: Callable[[Stage], None]) -> None:
    before = tables(stage)
    unfit(stage)
    stage.restart()
    stage.turn()
    stage.turn()
    assert stage.node.reader.rests_on is None
    is_as_replayed(stage)
    assert {name: len(rows) for name, rows in tables(stage).items()} == {n: len(rows) for n, rows in before.items()}


COLUMNS = ("size", "edge", "rules", "software", "state", "lacking")


@pytest.mark.many(3)
@pytest.mark.parametrize("column", COLUMNS)
def test_a_damaged_bit_of_it_is_as_good_as_its_being_missing(stage: Stage, column: str) -> None:
    stage.close()
    with contextlib.closing(sqlite3.connect(stage.folder / "books.sqlite")) as db:
        for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'trigger'").fetchall():
            db.execute(f"DROP TRIGGER {name}")
        (value,) = db.execute(f"SELECT {column} FROM start_snapshots").fetchone()
        if isinstance(value, bytes):
            hurt: object = bytes([*value[:-1], value[-1] ^ 1])
        else:
            hurt = value + (1 if isinstance(value, int) else "1")
        db.execute(f"UPDATE start_snapshots SET {column} = ?", (hurt,))
        db.commit()
    stage.node = stage.open()
    assert stage.node.books.kept_start() is None
    stage.turn()
    is_as_replayed(stage)


def test_any_damaged_row_of_the_books_drops_it(stage: Stage) -> None:
    stage.close()
    with contextlib.closing(sqlite3.connect(stage.folder / "books.sqlite")) as db:
        db.execute("DELETE FROM seals WHERE of = 'own_ends'")
        db.commit()
    stage.node = stage.open()
    assert stage.node.books.kept_start() is None
    stage.turn()
    is_as_replayed(stage)


def test_a_node_killed_while_it_writes_one_goes_on_from_the_one_before(stage: Stage) -> None:
    before = stage.node.books.kept_start()
    assert before is not None
    stage.grant(9)
    stage.service.publish()
    stage.turn()
    stage.close()

    def keep() -> None:
        node = stage.open()
        node.turn()
        node.reader.keep_start()

    with mock.patch.object(crash_points, "_AT", "node:keeping-start"):
        child = multiprocessing.get_context("fork").Process(target=keep)
        child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL
    stage.node = stage.open()
    assert stage.node.books.kept_start() == before
    stage.turn()
    is_as_replayed(stage)


# It differs


def with_more_spent(data: bytes) -> bytes:
    """Return a kept state in which an account has paid more."""
    kept = decode_kept(data, KeptHolderState)
    name, account = next(iter(kept.state.accounts.items()))
    accounts = kept.state.accounts | {name: structs.replace(account, spent=account.spent + 1)}
    return encode_kept(structs.replace(kept, state=structs.replace(kept.state, accounts=accounts)))


def with_other_charges(data: bytes) -> bytes:
    """Return a kept state in which our own data was charged nothing."""
    return encode_kept(structs.replace(decode_kept(data, KeptHolderState), charges={}))


DIFFERENT: dict[str, Callable[[Stage], None]] = {
    "an account": lambda stage: rewritten(stage, "state", with_more_spent),
    "our own charges": lambda stage: rewritten(stage, "state", with_other_charges),
    "a consent is missing": lambda stage: change(stage, "DELETE FROM consents WHERE place = ?", stage.grants[0]),
    "a consent too many": lambda stage: change(stage, "INSERT INTO consents VALUES (X'00', 1)"),
    "a consent elsewhere": lambda s: change(s, "UPDATE consents SET place = place - 1 WHERE place = ?", s.grants[0]),
    "an end is missing": lambda stage: change(stage, "DELETE FROM own_ends WHERE place = ?", stage.grants[0]),
    "an end at another time": lambda s: change(s, "UPDATE own_ends SET at = at + 1 WHERE place = ?", s.grants[0]),
}


@pytest.mark.parametrize("different", DIFFERENT.values(), ids=DIFFERENT.keys())
def test_a_difference_is_found_in_the_background_and_ends_the_node_by_its_name(
    stage: Stage, different: Callable[[Stage], None]
) -> None:
    different(stage)
    with pytest.raises(KeptStateDiffers, match="start the node again"):
        checked(stage)
    check = stage.node._check
    assert check is not None
    assert check.difference is stage.node._finding
    with pytest.raises(KeptStateDiffers):  # the process ends with it
        stage.node.run()
    stage.node = stage.open()
    assert stage.node.books.kept_start() is None
    stage.turn()
    is_as_replayed(stage)
    assert stage.node.reader.rests_on is None


def test_what_a_wrong_state_finds_wrong_is_nobodys_fault(stage: Stage) -> None:
    rewritten(stage, "state", with_no_open_grant)
    stage.restart()
    stage.builder.revoke(stage.grants[3])  # which the kept state takes for ended
    stage.service.publish()
    with structlog.testing.capture_logs() as logs:
        stage.node.turn()
    assert "snapshot-doubted" in {line["event"] for line in logs}
    is_as_replayed(stage)


def with_no_open_grant(data: bytes) -> bytes:
    """Return a kept state in which every grant has ended."""
    kept = decode_kept(data, KeptHolderState)
    in_force = {sha256: structs.replace(each, standing=[]) for sha256, each in kept.state.in_force.items()}
    return encode_kept(structs.replace(kept, state=structs.replace(kept.state, in_force=in_force)))


def test_a_lie_after_the_start_is_still_the_ledgers(stage: Stage) -> None:
    stage.restart()
    stage.builder.append(stage.builder.make_revoke(stage.grants[0]))
    stage.service.publish()
    with pytest.raises(ProofInvalid, match="revokes no grant"):
        stage.turn()
    assert stage.node.reader.rests_on is None


def test_a_log_that_cannot_be_read_for_the_check_is_read_again_and_is_no_finding(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(background_check, "RETRY_SECONDS", 0)
    stage.restart()
    calls, follow = [], stage.node._follow_apart

    def fails_first() -> contextlib.AbstractContextManager[object]:
        calls.append(1)
        if len(calls) < 3:
            raise Unavailable("Nobody is there.")
        return follow()

    monkeypatch.setattr(stage.node, "_follow_apart", fails_first)
    stage.turn()
    stage.turn()
    assert stage.node._check is not None
    stage.node._check._thread.join()
    assert stage.node._check.is_same
    assert len(calls) == 3

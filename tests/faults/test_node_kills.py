"""SIGKILL of a node at every durable step, and of everything at once, in a town of real processes.

Whatever died when: each question ends exactly once, is charged once or not at all, is answered by the very shares that
the nodes signed, and an auditor finds nothing wrong.
"""

import random
import signal
from collections.abc import Iterator
from functools import partial

import pytest

from ledger import entries as e
from tests.kit.towns.town_of_two import TownOfTwo, town_of_two
from tests.kit.waiting import PATIENCE, random_moment, until

pytestmark = pytest.mark.slow
CRASHES = {
    "node:countersigned": ("countersigned", 1),
    "node:computed": ("countersigned", 1),
    "node:sending": ("sending", 1),
    "node:sent": ("sending", 1),
}
"""What a crash at each place leaves in the node's books: the round's state, and how many charges."""


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path_factory.mktemp("pair") / "town") as made:
        yield made


def check_released(town: TownOfTwo, admit: int) -> None:
    """Check that a question was answered exactly once, by exactly the shares that were signed, and charged once."""
    release = town.end_of(admit).entry
    assert isinstance(release, e.Release)
    assert len(town.ends_in_ledger(admit)) == 1
    shares = town.shares(admit)
    assert set(shares) == set(town.holders)
    assert release.vector == [sum(numbers) for numbers in zip(*(s.vector for s in shares.values()), strict=True)]
    for holder in town.holders:
        # A node that died right after the last share arrived never hears of it again: the round is closed.
        town.wait_for_books(holder, admit, "sent", "sending")
        assert town.books(holder, admit)[1] == 1


def check_audit(town: TownOfTwo) -> None:
    """Check that an auditor finds nothing wrong, every published share included."""
    report = town.audit()
    assert report.verdict == "ok"
    assert report.shares_checked == report.kinds.get("release", 0)
    assert report.open_rounds == []


def restart_to_crash(town: TownOfTwo, holder: str, place: str) -> None:
    """Have a node die at a place; return when it is up and has read the whole ledger."""
    town.processes.stop(holder)
    town.processes.start_node(holder, crash_at=place)
    town.grow()
    town.wait_until_caught_up()


def ask_until_dead(town: TownOfTwo, holder: str) -> int:
    """Ask hasty questions until a node dies over one; return that one.

    On a slow machine the nodes may need longer than such a question is open, and then it is refunded.
    """
    for _ in range(5):
        admit = town.ask("hasty")
        until(partial(lambda asked: bool(town.processes.dead() or town.ends_in_ledger(asked)), admit))
        if town.processes.dead():
            assert town.processes.wait_dead(holder, PATIENCE) == -signal.SIGKILL
            return admit
    raise AssertionError("five hasty questions ended before the node had got to its share")


def answered_in_haste(town: TownOfTwo) -> int:
    """Ask hasty questions until one is answered in time; return it."""
    for _ in range(5):
        admit = town.ask("hasty")
        if isinstance(town.end_of(admit).entry, e.Release):
            return admit
    raise AssertionError("five hasty questions were refunded")


@pytest.mark.parametrize("place", CRASHES)
def test_a_question_is_answered_once_and_charged_once_after_a_node_was_killed(town: TownOfTwo, place: str) -> None:
    restart_to_crash(town, "east", place)
    admit = town.ask()
    assert town.processes.wait_dead("east", PATIENCE) == -signal.SIGKILL
    state, charges = CRASHES[place]
    assert town.books("east", admit) == ([state], charges)
    if place != "node:sent":
        assert town.ends_in_ledger(admit) == []
    town.processes.start_node("east")
    check_released(town, admit)
    check_audit(town)


def test_both_nodes_killed_at_different_steps_answer_once(town: TownOfTwo) -> None:
    restart_to_crash(town, "east", "node:sending")
    restart_to_crash(town, "west", "node:computed")
    admit = town.ask()
    for holder in town.holders:
        assert town.processes.wait_dead(holder, PATIENCE) == -signal.SIGKILL
        town.processes.start_node(holder)
    check_released(town, admit)
    check_audit(town)


def test_a_question_whose_holder_is_gone_is_refunded_once_and_every_account_is_as_before(town: TownOfTwo) -> None:
    """The holder is gone until past expiry, and then is killed once more, right after it has written its word down."""
    before = town.left("hasty")
    town.processes.kill("east")
    admit = town.ask("hasty")
    assert town.left("hasty") != before
    town.wait_for_books("west", admit, "no-share")
    assert town.ends_in_ledger(admit) == []  # one word is not enough
    town.processes.start_node("east", crash_at="node:word")
    assert town.processes.wait_dead("east", PATIENCE) == -signal.SIGKILL
    assert town.books("east", admit) == (["no-share"], 0)
    town.processes.start_node("east")
    assert isinstance(town.end_of(admit).entry, e.Refund)
    assert len(town.ends_in_ledger(admit)) == 1
    assert town.left("hasty") == before
    for holder in town.holders:
        assert town.books(holder, admit) == (["no-share"], 0)
    check_released(town, answered_in_haste(town))
    check_audit(town)


def test_a_share_that_may_have_left_is_never_refunded_also_past_expiry(town: TownOfTwo) -> None:
    restart_to_crash(town, "east", "node:sending")
    admit = ask_until_dead(town, "east")
    town.wait_for_books("west", admit, "sent")
    town.wait_until_expired(admit)
    assert town.ends_in_ledger(admit) == []
    town.processes.start_node("east")
    check_released(town, admit)
    check_audit(town)


def test_a_node_that_comes_back_late_finishes_what_the_other_has_answered(town: TownOfTwo) -> None:
    """It had computed and kept nothing when it died; past expiry it is shown the other's share, and computes anew."""
    restart_to_crash(town, "east", "node:computed")
    admit = ask_until_dead(town, "east")
    town.wait_for_books("west", admit, "sent")
    town.wait_until_expired(admit)
    assert town.books("east", admit) == (["countersigned"], 1)
    town.processes.start_node("east")
    check_released(town, admit)
    check_audit(town)


@pytest.mark.parametrize("most", [0.0, 0.6])
def test_a_question_is_answered_once_after_everything_was_killed_at_once(town: TownOfTwo, most: float) -> None:
    admit = town.ask()
    random_moment(random.Random(3), most)
    for name in ("service", *town.holders):
        town.processes.kill(name)
    town.processes.start_service()
    town.processes.wait_until_ready()
    for holder in town.holders:
        town.processes.start_node(holder)
    check_released(town, admit)
    check_audit(town)

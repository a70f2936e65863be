"""A node whose clock is set wrong decides nothing for ever: once it is right again, all is as if it had been right."""

import asyncio
import shutil
import sqlite3
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.kit.parties.lying_service import Stage, staged
from tests.kit.waiting import nothing_for, until
from tests.node.test_node_links import answered, drop, key, links
from trust.node.taken_clock import TakenClock
from trust.runtime.clock import MAX_SKEW_SECONDS

HOUR = 3_600


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        made.service.clock = lambda: made.builder.at + made.offset  # an honest service, whose clock is right
        yield made


@pytest.mark.parametrize("wrong", [3 * HOUR, -3 * HOUR, 10**8])
def test_an_open_question_is_not_given_up_by_a_clock_that_was_set_wrong(stage: Stage, wrong: int) -> None:
    """It was read before, so that nothing but the clock speaks against it: it is not passed over for ever."""
    admit = stage.admit()
    assert stage.turn() == []
    before = stage.node.books.caught_up
    stage.wrong = wrong
    with stage.nothing_changes():
        assert stage.runs(3) == ["clock-skew"] * 3
    assert stage.node.books.caught_up == before <= admit
    stage.wrong = 0
    assert stage.countersign(admit) == []
    assert stage.share(admit) == []


def test_a_question_is_passed_over_once_its_time_is_over_by_a_clock_that_the_service_takes(stage: Stage) -> None:
    admit = stage.admit()
    stage.turn()
    stage.offset = 601
    stage.turn()
    stage.turn()
    assert stage.node.books.caught_up > admit


@pytest.mark.parametrize("wrong", [3 * HOUR, -3 * HOUR])
def test_restored_books_are_dated_by_a_clock_that_the_service_takes(stage: Stage, wrong: int) -> None:
    """By one that is behind, old questions would look new; by one that is ahead, new ones old."""
    stage.turn()
    stage.close()
    with sqlite3.connect(stage.folder / "books.sqlite") as source, sqlite3.connect(stage.folder / "copy") as copy:
        source.backup(copy)
    for path in stage.folder.glob("books.sqlite*"):
        path.unlink()
    shutil.move(stage.folder / "copy", stage.folder / "books.sqlite")
    stage.wrong = wrong
    stage.node = stage.open()
    assert stage.node.books.restored_at == stage.clock()
    assert stage.runs(2) == ["clock-skew"] * 2
    stage.wrong = 0
    restored = stage.clock()
    stage.turn()
    assert stage.node.books.restored_at == restored
    stage.offset += 500
    stage.turn()
    assert stage.node.books.restored_at == restored, "once and for all"
    stage.restart()
    stage.turn()
    assert stage.node.books.restored_at == restored


def test_an_answered_challenge_waits_until_the_clock_is_right(stage: Stage) -> None:
    stage.turn()
    stage.wrong = HOUR
    path = drop(stage, answered(stage.clock() - HOUR, person=77, customer="c77"))
    stage.node.links.start()
    try:
        nothing_seen = len(links(stage))
        asyncio.run(nothing_for(0.5))
        assert path.exists()
        assert len(links(stage)) == nothing_seen
        stage.wrong = 0
        until(lambda: not path.exists())
    finally:
        stage.node.links.stop()
    assert (key(77), "c77") in links(stage)


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["set", "pass", "take"]),
            st.sampled_from([0, 1, 59, -59, 61, -61, HOUR, -HOUR, 10**9, -(10**9)]),
        ),
        max_size=30,
    )
)
def test_whatever_the_clock_shows_the_time_that_binds_is_never_ahead_of_what_was_taken(
    steps: list[tuple[str, int]],
) -> None:
    """An honest service takes a message only by a clock that is right to a minute."""
    true, wrong = [2_000_000_000], [0]
    clock = TakenClock(lambda: true[0] + wrong[0], lambda: float(true[0]))
    for what, amount in [*steps, ("set", 0), ("take", 0)]:
        if what == "set":
            wrong[0] = amount
        elif what == "pass":
            true[0] += abs(amount)
        elif abs(wrong[0]) <= MAX_SKEW_SECONDS:
            clock.taken(clock.read())
        assert clock() <= true[0] + MAX_SKEW_SECONDS
    assert clock() == true[0]
    assert clock.is_sure

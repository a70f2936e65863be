"""The table of a round's steps is what a node does: as in the docstring, in the code, and cell by cell in deed."""

import re
from collections.abc import Iterator
from typing import Any, get_args

import pytest

from policies.admit_expiry import LAST_SECONDS
from queries.rounds.messages import Task
from tests.kit.parties.lying_service import Stage, staged
from trust.node.books.charged_rounds import RoundState
from trust.node.rounds import steps
from trust.node.rounds.steps import NodeRounds

STEPS: tuple[Any, ...] = get_args(steps.Step)
STATES = ("not begun", *get_args(RoundState))


def written() -> dict[str, dict[str, str]]:
    """Read the table of the docstring."""
    lines = str(steps.__doc__).splitlines()
    rules = [place for place, line in enumerate(lines) if re.fullmatch(r"=+(  =+)+", line)]
    head, *rows = ([part.strip() for part in re.split(r"\s{2,}", line)] for line in lines[rules[0] + 1 : rules[2]])
    return {row[0]: dict(zip(head[1:], row[1:], strict=True)) for row in rows[1:]}


TABLE = written()
CELLS = [(state, step, TABLE[state][step]) for state in STATES for step in STEPS]


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


def bring(stage: Stage, state: str) -> tuple[int, str]:
    """Bring a round into a state of our books; return its index and a right go, where there can be one."""
    admit, go = stage.admit(), "a.b.c"
    stage.turn()
    if state == "no-share":
        stage.word(admit)
    elif state != "not begun":
        stage.countersign(admit)
        go = stage.go(admit)
        if state != "countersigned":
            stage.service.down = {"/v1/node/share"} if state == "sending" else set()
            stage.share(admit, go)
            stage.service.down = set()
    assert state_of(stage) == state
    return admit, go


def state_of(stage: Stage) -> str:
    rounds = stage.books()["rounds"]
    return str(rounds[0][2]) if rounds else "not begun"


def kept_token(stage: Stage) -> str:
    return str(stage.books()["rounds"][0][3])


def test_the_table_has_every_state_and_every_task_and_is_the_codes_own() -> None:
    in_code = {
        state: {step: action.__name__.strip("_").replace("_", " ") for step, action in row.items()}
        for state, row in NodeRounds._TABLE.items()
    }
    assert set(TABLE) == set(STATES)
    assert {state: {step: row[step] for step in STEPS} for state, row in TABLE.items()} == in_code
    assert all(list(row) == [*STEPS, "past it"] for row in TABLE.values())
    assert set(STEPS) == set(get_args(Task.__annotations__["step"])) == {"countersign", "share", "word"}


@pytest.mark.parametrize(("state", "step", "action"), CELLS, ids=[f"{state}, {step}" for state, step, _ in CELLS])
def test_a_task_in_a_state_does_what_its_cell_says(stage: Stage, state: str, step: Any, action: str) -> None:
    admit, go = bring(stage, state)
    before, already = stage.books(), len(stage.service.said)
    refused = stage.turn(Task(step=step, admit=admit, go=go))
    said = stage.service.said[already:]
    match action:
        case "begin":
            assert state_of(stage) == "countersigned"
            assert said == [("countersign", kept_token(stage))]
            assert len({row[0] for row in stage.books()["charges"]}) == 1
        case "say again":
            assert stage.books() == before
            kept = kept_token(stage) if state == "no-share" else stage.own(admit)
            assert said == [("word" if state == "no-share" else "countersign", kept)]
        case "compute":
            assert state_of(stage) == "sent"
            assert said == [("share", kept_token(stage))]
        case "send":
            assert state_of(stage) == "sent"
            assert said == [("share", before["rounds"][0][3])]
        case "give word":
            assert state_of(stage) == "no-share"
            assert said == [("word", kept_token(stage))]
            assert stage.books()["charges"] == []
        case "refuse":
            assert stage.books() == before
            assert said == []
        case _:
            pytest.fail(f"{action} is no step")
    assert refused == ([] if action != "refuse" else ["round-closed"])


@pytest.mark.parametrize("state", STATES)
def test_a_node_says_that_it_is_past_a_round_when_the_last_column_says_so(stage: Stage, state: str) -> None:
    admit, _ = bring(stage, state)
    rounds, when = stage.node.rounds, TABLE[state]["past it"]
    past = [rounds.caught_up() > admit]
    for passed in (600, 600 + LAST_SECONDS - 1, 600 + LAST_SECONDS):
        stage.offset = passed
        past.append(rounds.caught_up() > admit)
    expected = {
        "when expired": [False, True, True, True],
        "past its last": [False, False, False, True],
        "never": [False] * 4,
        "always": [True] * 4,
    }
    assert past == expected[when]


def test_a_round_from_before_a_restore_is_passed_once_it_has_expired(stage: Stage) -> None:
    admit, _ = bring(stage, "countersigned")
    stage.node.books.note("restored", str(stage.clock()).encode())
    assert stage.node.rounds.caught_up() == admit
    stage.offset = 600
    assert stage.node.rounds.caught_up() > admit


def test_asking_who_counts_changes_nothing(stage: Stage) -> None:
    """The links that have come since are taken by a step of its own."""
    admit = stage.admit()
    stage.turn()
    opened = stage.node.reader.state.rounds[admit]
    linked, books = stage.node.views.linked, stage.books()
    stage.node.books.link([("ab" * 32, "c999")])
    for _ in range(2):
        assert int(stage.node.rounds._counted.at(admit, opened).sum()) == 4
    assert stage.node.views.linked == linked
    assert {name: rows for name, rows in stage.books().items() if name != "links"} == {
        name: rows for name, rows in books.items() if name != "links"
    }
    stage.countersign(admit)
    assert stage.node.views.linked == linked + 1

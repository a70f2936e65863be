"""The log says that a holder's file looked odd and which command shows it, and not one number of it."""

import json
from collections.abc import Iterator

import pytest
import structlog

from policies.policy_document import Policy
from tests.kit.parties.lying_service import Stage, staged
from trust.node.check.node_check import check_files
from trust.node.check.since_last_load import ShrunkFile, shrunk_files
from trust.node.settings import load_node_settings

ROWS = [(person % 4, "north", 100 + person) for person in range(40)]


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        made.trips(ROWS)
        made.turn()
        yield made


def lines(stage: Stage) -> list[dict[str, object]]:
    """Have the node take in what is there; return what it logs of files."""
    with structlog.testing.capture_logs() as logs:
        stage.node.turn()
    return [dict(line) for line in logs if line["event"] in {"file-looked-odd", "source-loaded"}]


def shrunk(stage: Stage) -> list[ShrunkFile]:
    policies: list[Policy] = [stage.policy]
    return shrunk_files(stage.folder, check_files(stage.folder, load_node_settings(stage.folder), policies))


def test_a_file_as_its_views_need_it_is_taken_in_without_a_word_of_that(stage: Stage) -> None:
    stage.trips(ROWS[:30])
    assert [line["event"] for line in lines(stage)] == ["source-loaded"]
    assert shrunk(stage) == []


def test_a_file_that_lost_more_than_half_is_said_to_be_one_and_shown_with_its_numbers(stage: Stage) -> None:
    stage.trips(ROWS[:19])
    assert shrunk(stage) == [ShrunkFile(source="trips", rows_before=40, rows=19)]  # also before it is loaded
    odd, loaded = lines(stage)
    assert (odd["event"], loaded["event"]) == ("file-looked-odd", "source-loaded")
    assert "More than half" in str(odd["why"])
    assert "musubi node check" in str(odd["why"])
    assert set(odd) == {"event", "log_level", "source", "why"}
    assert not any(character.isdigit() for character in json.dumps(odd))
    assert shrunk(stage) == [ShrunkFile(source="trips", rows_before=40, rows=19)]
    assert lines(stage) == []  # once is enough
    stage.trips(ROWS[:18])
    lines(stage)
    assert shrunk(stage) == []


@pytest.mark.parametrize(
    "rows",
    [
        [(person % 4, "elsewhere", 100) for person in range(40)],
        [(person + 500, "north", 100) for person in range(40)],
        [],
    ],
    ids=["a value that the view does not know", "nobody who is linked", "no row at all"],
)
def test_what_does_not_fit_is_said_to_be_there(stage: Stage, rows: list[tuple[int, str, int]]) -> None:
    stage.trips(rows)
    odd = next(line for line in lines(stage) if line["event"] == "file-looked-odd")
    assert "musubi node check" in str(odd["why"])
    assert not any(character.isdigit() for character in json.dumps(odd))

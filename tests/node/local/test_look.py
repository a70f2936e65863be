"""Looking through the holder's files for its page: one look at a time, its result kept with its time, and no fault."""

import threading
from pathlib import Path

import pytest
import structlog

from ledger.errors import Unavailable
from tests.kit.parties.lying_service import staged
from tests.kit.waiting import until
from trust.node.check.findings import SourceFindings
from trust.node.local import look
from trust.node.local.look import NOT_LOOKED, SPILL, Looked, Looking
from trust.node.settings import load_node_settings


class _Stalled:
    """A look through a file that takes as long as the test wants, and ends as it wants."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.go_on = threading.Event()
        self.count = 0
        self.raises: Exception | None = None
        monkeypatch.setattr(look, "check_files", self)
        monkeypatch.setattr(Looking, "_policies", lambda _: [])
        monkeypatch.setattr(look, "look_up_questions", lambda *_: "")

    def __call__(self, *_: object) -> list[SourceFindings]:
        self.count += 1
        self.go_on.wait()
        if self.raises is not None:
            raise self.raises
        return [SourceFindings(source="trips", file=f"look {self.count}")]


def looked(looking: Looking) -> Looked:
    until(lambda: looking.since is None)
    assert looking.last is not None
    return looking.last


def test_a_look_goes_on_beside_everything_else_and_the_last_result_stays_until_the_next_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with staged(people=2) as stage:
        stalled = _Stalled(monkeypatch)
        now = [1_000]
        looking = Looking(stage.folder, load_node_settings(stage.folder), lambda: now[0])
        looking.begin()
        looking.begin()  # one at a time
        assert (looking.last, looking.since) == (None, 1_000)
        stage.node.turn()  # the node's own work goes on
        assert looking.record().links == 2
        stalled.go_on.set()
        first = looked(looking)
        assert (first.at, first.found[0].file, stalled.count) == (1_000, "look 1", 1)
        stalled.go_on.clear()
        now[0] = 2_000
        looking.begin()
        assert (looking.last, looking.since) == (first, 2_000)
        stalled.go_on.set()
        until(lambda: looking.last is not first)
        assert looked(looking).at == 2_000


def test_a_look_that_fails_says_so_on_the_page_and_nothing_of_a_row_in_the_log(monkeypatch: pytest.MonkeyPatch) -> None:
    with staged(people=0, reads=False) as stage:
        stalled = _Stalled(monkeypatch)
        stalled.go_on.set()
        looking = Looking(stage.folder, load_node_settings(stage.folder))
        for error, says in (
            (ValueError("c001 has 4711"), NOT_LOOKED),
            (Unavailable("The disk is full."), "The disk is full."),
        ):
            stalled.raises = error
            with structlog.testing.capture_logs() as logs:
                looking.begin()
                assert looked(looking).failed == says
            assert "4711" not in str(logs)
            looking.last = None


def test_what_a_crash_left_of_a_look_is_gone_at_the_next_start(tmp_path: Path) -> None:
    with staged(people=0, reads=False) as stage:
        left = stage.folder / SPILL / "musubi-check-x"
        left.mkdir(parents=True)
        (left / "rows").write_text("c001")
        looking = Looking(stage.folder, load_node_settings(stage.folder))
        looking.open()
        assert list((stage.folder / SPILL).iterdir()) == []
        assert (stage.folder / SPILL).stat().st_mode & 0o777 == 0o700
        looking.close()
        assert not (stage.folder / SPILL).exists()

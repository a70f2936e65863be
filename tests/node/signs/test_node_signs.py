"""A node says what it is, why it does not do something, and how it is; nothing of it follows from rows."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families as families

from ledger.errors import ClockSkew, Unavailable
from queries.rounds.messages import Task
from tests.kit.parties.lying_service import Stage, staged
from tests.kit.waiting import PATIENCE
from trust.files.sole_process import sole_process
from trust.log.pins import TRUST_FILE, load_trust
from trust.node.settings import LOCK
from trust.node.vital_signs import EVERY_SECONDS

ROOT = Path(__file__).parents[3]
METRICS = "metrics/musubi.prom"


def with_metrics(stage: Stage) -> Stage:
    toml = stage.folder / "node.toml"
    toml.write_text(f'metrics = "{METRICS}"\n' + toml.read_text())
    stage.restart()
    return stage


def said(stage: Stage, event: str, turns: int = 1) -> list[dict[str, Any]]:
    with structlog.testing.capture_logs() as logs:
        for _ in range(turns):
            stage.node.turn()
    return [dict(line) for line in logs if line["event"] == event]


def metrics(stage: Stage) -> dict[tuple[str, str], float]:
    stage.offset += EVERY_SECONDS + 1
    stage.node.signs.write(entries=stage.node.reader.size, caught_up=stage.node.books.caught_up)
    text = (stage.folder / METRICS).read_text()
    return {
        (sample.name, ",".join(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in families(text)
        for sample in family.samples
        if not sample.name.endswith("_created")
    }


def test_a_node_says_what_has_started_and_where() -> None:
    with staged() as stage, structlog.testing.capture_logs() as logs:
        stage.node.stop()
        stage.node.run()
        stage.node = stage.open()
        origin = load_trust(stage.folder / TRUST_FILE).origin
    (line,) = [line for line in logs if line["event"] == "started"]
    assert (line["holder"], line["sources"], line["see"]) == ("bus_co", ["trips"], "snapshots/")
    assert line["town"] == origin
    assert line["service"].startswith("http")


def test_a_node_is_ready_once_the_ledger_is_read_and_names_the_views_that_have_data() -> None:
    with staged(reads=False) as stage:
        stage.restart()
        (line,) = said(stage, "ready", turns=3)
        assert line["entries"] == stage.node.reader.size > 0
        assert line["not_ready"] == []
        assert [view.partition(" ")[0] for view in line["views"]] == [stage.policy.id] * len(line["views"]) != []


def test_a_node_whose_file_is_not_there_is_ready_without_that_view_until_it_comes() -> None:
    with staged(reads=False) as stage:
        source = stage.folder / "data" / "trips.parquet"
        rows = source.read_bytes()
        source.unlink()
        stage.restart()
        (line,) = said(stage, "ready", turns=3)
        assert line["views"] == []
        assert line["not_ready"]
        source.write_bytes(rows)
        (again,) = said(stage, "ready", turns=3)
        assert again["not_ready"] == []
        assert again["views"] == line["not_ready"]


def test_a_task_that_is_refused_says_why_in_a_sentence() -> None:
    with staged() as stage:
        stage.service.tasks = [Task(step="word", admit=10**6)]
        (line,) = said(stage, "task-refused")
        assert line["code"] == "not-found"
        assert line["why"] == "The task is for a round that the ledger does not show as open and ours."


def test_what_keeps_a_node_waiting_is_said_in_a_sentence_and_a_strangers_is_cut() -> None:
    with staged() as stage, structlog.testing.capture_logs() as logs:
        stage.node.signs.waiting(ClockSkew("The clock is off."))
        stage.node.signs.waiting(Unavailable("x" * 10_000))
    assert [line["why"] for line in logs] == ["The clock is off.", "x" * 500]


def test_metrics_are_the_ledgers_numbers_and_counts_of_tasks_and_errors() -> None:
    with staged() as stage:
        with_metrics(stage)
        stage.turn()
        stage.turn()
        admit = stage.admit()
        stage.turn()
        stage.turn(Task(step="countersign", admit=admit), Task(step="word", admit=10**6))
        stage.node.signs.waiting(ClockSkew("The clock is off."))
        found = metrics(stage)
        assert found[("musubi_node_entries_read", "")] == stage.node.reader.size
        assert found[("musubi_node_caught_up", "")] == stage.node.books.caught_up
        assert found[("musubi_node_views_not_ready", "")] == 0
        assert found[("musubi_node_tasks_total", "done,countersign")] == 1
        assert found[("musubi_node_tasks_total", "put-off,word")] == 1
        assert found[("musubi_node_problems_total", "clock-skew")] == 1
        assert found[("musubi_node_answered_at_seconds", "")] > 0
        assert (stage.folder / METRICS).stat().st_mode & 0o777 == 0o644


def test_no_metric_and_no_line_changes_with_the_rows() -> None:
    shown = []
    for residents in (0, 1):
        with staged() as stage:
            with_metrics(stage)
            source = stage.folder / "data" / "trips.parquet"
            if residents:
                pq.write_table(pq.read_table(source).slice(0, 1), source)
            lines = said(stage, "ready", turns=2)
            shown.append((lines, {name: value for name, value in metrics(stage).items() if "_at_" not in name[0]}))
    assert shown[0] == shown[1]
    assert shown[0][1]


def test_a_metrics_file_that_cannot_be_written_is_said_once_and_stops_nothing() -> None:
    with staged() as stage:
        with_metrics(stage)
        (stage.folder / "metrics").write_text("in the way")
        with structlog.testing.capture_logs() as logs:
            for _ in range(3):
                stage.offset += EVERY_SECONDS + 1
                stage.node.signs.write(entries=1, caught_up=1)
        assert [line["event"] for line in logs] == ["metrics-unwritten"]


def test_one_process_at_a_time_has_a_folder(tmp_path: Path) -> None:
    with sole_process(tmp_path / "lock", "node"):
        with pytest.raises(Unavailable, match="Another node is at work"), sole_process(tmp_path / "lock", "node"):
            raise AssertionError("both had it")
        assert (tmp_path / "lock").stat().st_mode & 0o777 == 0o600
    with sole_process(tmp_path / "lock", "node"):
        pass


def test_a_second_node_on_one_folder_is_refused_before_it_touches_the_books() -> None:
    with staged() as stage, sole_process(stage.folder / LOCK, "node"):
        books = (stage.folder / "books.sqlite").stat()
        done = subprocess.run(
            [sys.executable, "-m", "trust.cli", "node", "--dir", str(stage.folder)],
            capture_output=True,
            text=True,
            cwd=ROOT,
            check=False,
            timeout=PATIENCE,
        )
        assert done.returncode == 26
        assert done.stderr == (
            "musubi: Another node is at work in the folder 'bus_co'; stop it first. Two would charge and sign side by side.\n"
        )
        after = (stage.folder / "books.sqlite").stat()
        assert (after.st_ino, after.st_mtime_ns) == (books.st_ino, books.st_mtime_ns)

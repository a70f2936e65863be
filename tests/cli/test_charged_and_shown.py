"""A question that is charged is told, or found again: no pipe, disk or encoding ends ``ask`` in the middle of it."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger import entries as e
from tests.kit.towns.town_of_two import TownOfTwo, town_of_two
from tests.kit.towns.toy_town import PARTNER
from tests.kit.waiting import PATIENCE, until

ROOT = Path(__file__).parents[2]
SQL = "SELECT COUNT(DISTINCT resident) AS people FROM everyone.people"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path_factory.mktemp("pair") / "town") as made:
        yield made


def ask(town: TownOfTwo, *options: str, sink: str = "", **environment: str) -> tuple[int, str, str]:
    """Ask as a process of its own; its output goes nowhere that can be read where there is a ``sink``."""
    command = [sys.executable, "-m", "trust.cli", "ask", SQL, "--place", str(town.place(PARTNER)), "--epsilon", "0.05"]
    given = {**os.environ, **environment}
    if sink == "full":
        with Path("/dev/full").open("wb") as full:
            done = subprocess.run(
                [*command, *options],
                stdout=full,
                stderr=subprocess.PIPE,
                cwd=ROOT,
                env=given,
                check=False,
                timeout=PATIENCE,
            )
        return done.returncode, "", done.stderr.decode()
    with subprocess.Popen([*command, *options], stdout=-1, stderr=-1, cwd=ROOT, env=given) as process:
        if sink == "closed":
            assert process.stdout is not None
            process.stdout.close()
            process.stdout = None
        out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, (out or b"").decode("latin-1"), err.decode("utf-8")


def last_admit(town: TownOfTwo) -> tuple[int, e.Admit]:
    size = town.client.get("/v1/caught-up", dict[str, int])["published"]
    for index in range(size - 1, 0, -1):
        entry = town.client.prove(index).entry
        if isinstance(entry, e.Admit):
            return index, entry
    raise AssertionError("nothing was asked")


def left(town: TownOfTwo) -> int:
    return sum(int(row["left"]) for row in town.left("everyone"))


@pytest.mark.parametrize("encoding", ["ascii", "cp932", "ascii:strict", "utf-8"])
def test_an_answer_is_shown_in_whatever_encoding_there_is(town: TownOfTwo, encoding: str) -> None:
    before = left(town)
    code, out, err = ask(town, "--fresh", PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert left(town) < before
    assert "Receipt: question at ledger index" in out.replace("\n", " ")
    code, out, err = ask(town, "--json", PYTHONIOENCODING=encoding)
    assert (code, err) == (0, "")
    assert json.loads(out)["status"] == "released"


@pytest.mark.parametrize(("sink", "code"), [("closed", 0), ("full", 26)])
def test_a_charged_question_goes_on_to_its_end_where_nobody_reads(town: TownOfTwo, sink: str, code: int) -> None:
    before = left(town)
    ended, _, err = ask(town, "--fresh", sink=sink)
    assert ended == code
    assert "Traceback" not in err
    assert left(town) < before
    index, _ = last_admit(town)
    assert [type(entry) for entry in town.ends_in_ledger(index)] == [e.Release]
    again = json.loads(ask(town, "--json")[1])  # what was paid for is there, at no charge
    assert (again["admit"], again["reused"]) == (index, True)


def test_a_second_node_is_refused_beside_one_that_runs_and_that_one_goes_on(town: TownOfTwo) -> None:
    folder = town.layout.node(town.holders[0])
    command = [sys.executable, "-m", "trust.cli", "node", "--dir", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=PATIENCE)
    assert done.returncode == 26
    assert "Another node is at work" in done.stderr
    assert json.loads(ask(town, "--fresh", "--json")[1])["status"] == "released"


def test_a_nodes_log_begins_with_what_it_is_and_says_when_it_is_ready(town: TownOfTwo) -> None:
    for holder in town.holders:
        path = town.layout.logs / f"{holder}.log"
        until(lambda path=path: '"ready"' in path.read_text(), lambda: "the node was never ready")  # type: ignore[misc]
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        assert lines[0]["event"] == "started"
        assert (lines[0]["holder"], lines[0]["town"]) == (holder, town.client.trust.origin)
        ready = [line for line in lines if line["event"] == "ready"][-1]
        assert ready["not_ready"] == []
        assert ready["views"]

"""A running town goes on by newer rules: readers first, with a question open; who was not upgraded is told to be."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from ledger import entries as e
from policies.rules import NEWEST_RULES
from tests.kit.towns.town_of_two import TownOfTwo, town_of_two
from tests.kit.waiting import PATIENCE, until
from trust.cli import main

pytestmark = pytest.mark.slow
OLDER = "import policies.rules; policies.rules.NEWEST_RULES = 1; from trust.cli import main; main(prog_name='musubi')"
"""This very Musubi, as one that reads the first rules only: the number is set before anybody has taken it over."""


@pytest.fixture
def town(tmp_path: Path) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path / "town", rules=1) as running:
        yield running


def older(*words: object) -> subprocess.Popen[str]:
    """Start a command of the older Musubi."""
    arguments = [sys.executable, "-c", OLDER, *map(str, words)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Return how a process ended, and what it said."""
    out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out + err


def run(*words: object, code: int = 0) -> str:
    done = CliRunner().invoke(main, [str(word) for word in words])
    assert done.exit_code == code, done.output
    return done.stdout if code == 0 else done.stderr


def shown(town: TownOfTwo) -> dict[str, object]:
    found: dict[str, object] = json.loads(run("rules", "show", "--place", town.place("city"), "--json"))
    return found


def test_a_running_town_goes_on_by_newer_rules_with_a_question_open(town: TownOfTwo, tmp_path: Path) -> None:
    east, west = town.holders
    signatures = []
    for steward in ("city", "firms"):
        signatures.append(tmp_path / f"{steward}.jws")
        signatures[-1].write_text(run("rules", "sign", NEWEST_RULES, "--place", town.place(steward)))
    publish = ["rules", "publish", NEWEST_RULES, *signatures, "--place", town.place("city")]

    town.processes.stop(east)
    not_upgraded = older("node", "--dir", town.layout.node(east))
    until(lambda: shown(town)["holders"] == {east: 1, west: NEWEST_RULES}, lambda: shown(town))
    assert "wait for the nodes of 1 holders" in run(*publish, code=13)

    town.processes.stop(west)  # its word stands; the question waits for it
    admit = town.ask()
    not_upgraded.terminate()
    ended(not_upgraded)
    town.processes.start_node(east)
    until(lambda: shown(town)["holders"] == {east: NEWEST_RULES, west: NEWEST_RULES}, lambda: shown(town))
    assert f"rules number {NEWEST_RULES} from index" in run(*publish)
    (index,) = [int(word) for word in run(*publish).split() if word.isdigit() and int(word) > admit]  # again: the same
    assert isinstance(town.client.prove(index).entry, e.Rules)
    assert shown(town)["number"] == NEWEST_RULES
    assert town.client.watch(admit, 0).closed_by is None

    town.processes.start_node(west)
    assert isinstance(town.end_of(admit).entry, e.Release)
    assert isinstance(town.end_of(town.ask()).entry, e.Release)
    report = town.audit()
    assert (report.verdict, report.kinds["rules"]) == ("ok", 1)

    town.processes.stop(east)
    late = [
        older("node", "--dir", town.layout.node(east)),
        older("audit", town.layout.url, "--trust", town.layout.folder / "trust.json", "--state", tmp_path / "state"),
    ]
    for process in late:
        code, said = ended(process)
        assert code == 27, said
        assert "install a newer Musubi" in said
        assert "auditor" not in said

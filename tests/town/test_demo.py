"""The demo and ``musubi up`` as a user runs them: exit codes, the report, true answers nearby, nothing left behind."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from statistics import NormalDist
from typing import Any

import duckdb
import httpx
import psutil
import pytest

from policies.policy_document import Category
from queries.question.check import make_plan
from queries.question.tree import Spend
from tests.kit.machine.ports import free_neighbours
from tests.kit.waiting import PATIENCE, until
from trust.files.sole_process import is_at_work
from trust.node.settings import LOCAL_LOCK
from trust.partner.asking import to_query
from trust.town.document import Town
from trust.town.loader import load_town

ROOT = Path(__file__).parents[2]
OULAD = ROOT / "tests" / "towns" / "oulad"
PAIR = ROOT / "tests" / "towns" / "pair"
MUSUBI = [sys.executable, "-m", "trust.cli"]
DATA = Path(os.environ.get("MUSUBI_DATA", ROOT.parent / "shared" / "data"))
TABLES = DATA / "oulad" if (DATA / "oulad").is_dir() else DATA
PEOPLE = 2_500
pytestmark = pytest.mark.slow


def run_demo(folder: Path, town: str, residents: int) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Run the demo to its end; return how it ended and where its report is."""
    report = folder / "report.json"
    arguments = ["demo", "--town", town, "--residents", str(residents), "--stay", "0", "--json", str(report)]
    arguments += ["--dir", str(folder / "town")]
    done = subprocess.run(
        [*MUSUBI, *arguments], capture_output=True, text=True, cwd=ROOT, check=False, timeout=PATIENCE
    )
    return done, report


def left_behind(folder: Path) -> list[str]:
    """Return the command lines of processes that still run for a town's folder."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        words = process.info["cmdline"] or []
        if any(str(folder) in word for word in words) and "trust.cli" in words:
            found.append(" ".join(words))
    return found


def every_key(value: object) -> Iterator[str]:
    """Yield every field name of a JSON document."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield key
            yield from every_key(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from every_key(inner)


def test_the_demo_does_every_step_and_its_report_says_what_happened(tmp_path: Path) -> None:
    """It ends with code 0, no process is left behind, and the report holds everything but a true answer."""
    done, path = run_demo(tmp_path, "towns/momijidai", 300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Every step did what it says" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    assert left_behind(tmp_path) == []
    report = json.loads(path.read_bytes())
    town = load_town(ROOT / "towns" / "momijidai")
    check_totals(report, town)
    check_queries(report, town)
    check_refusal(report)
    assert not [key for key in every_key(report) if re.search(r"true|exact|raw|actual|noiseless|seed", key)]


def check_totals(report: Any, town: Town) -> None:
    """Check residents, consents, times, revocations, the killed node and both audits."""
    assert report["residents"] == 300
    assert 300 < report["grants"] <= 5 * 300
    assert {"residents", "questions", "revocations", "refusal", "node_killed", "audit"} <= set(report["seconds"])
    assert all(isinstance(seconds, float | int) and seconds >= 0 for seconds in report["seconds"].values())
    assert report["audit"]["verdict"] == "ok"
    assert report["audit"]["entries"] >= report["grants"]
    assert report["tampered_audit"]["verdict"] != "ok"
    assert report["tampered_audit"]["first_fault"] == report["tampered_audit"]["flipped_entry"]
    assert report["killed"]["ended"] == "answered"
    assert len(report["revocations"]) == town.demo.revoke
    assert all(each["grant"] < each["revoke"] for each in report["revocations"])
    assert report["stopped"]["index"] == max(each["revoke"] for each in report["revocations"])


def check_queries(report: Any, town: Town) -> None:
    """Check that every question has its cells with intervals, and its own places in the ledger."""
    assert [query["sql"] for query in report["queries"][: len(town.questions)]] == [q.sql for q in town.questions]
    for query in report["queries"]:
        assert query["epsilon"] > 0
        assert 0 < query["epsilon_charged"] <= query["epsilon"]
        assert query["charge_nano_rho"] > 0
        assert query["admit"] < query["release"] == query["closed_by"]
        assert query["cells"]
        for cell in query["cells"]:
            assert set(cell) == {"key", "measure", "value", "half_width"}
            assert isinstance(cell["key"], list)
            assert isinstance(cell["value"], int | float)
            assert cell["half_width"] > 0
    indices = [query[name] for query in report["queries"] for name in ("admit", "release")]
    assert len(set(indices)) == len(indices)


def check_refusal(report: Any) -> None:
    """Check that the refusal says what was asked, and what was left where."""
    (refusal,) = report["refusals"]
    assert refusal["code"] == "budget-exceeded"
    assert refusal["asked"] > refusal["left"] >= 0
    assert refusal["account"]
    assert refusal["index"] > report["grants"]


# True answers over real records.


def ask_duckdb(sql: str, residents: str) -> list[tuple[Any, ...]]:
    """Run a question of the town as plain SQL over the raw records of some people. Bounding drops nothing of them."""
    table = re.search(r"FROM (\w+)\.(\w+)", sql)
    assert table is not None
    policy = load_town(OULAD).policy(table[1])
    assert policy is not None
    view = policy.view(table[2])
    assert view is not None
    rows = f"(SELECT * FROM '{TABLES / (view.source + '.parquet')}' WHERE id_student IN ({residents})) AS t"
    plain = sql.replace(table[0], f"FROM {rows}").replace("DISTINCT resident", "DISTINCT id_student")
    histogram = re.search(r"HISTOGRAM\((\w+), ([\d, ]+)\)", plain)
    if histogram:
        edges = histogram[2].split(", ")
        ends = ["<"] * (len(edges) - 2) + ["<="]
        counts = [
            f"COUNT(*) FILTER ({histogram[1]} >= {low} AND {histogram[1]} {end} {high})"
            for low, high, end in zip(edges, edges[1:], ends, strict=False)
        ]
        plain = plain.replace(histogram[0], ", ".join(counts))
    return duckdb.execute(plain).fetchall()


def truths(sql: str, residents: str) -> dict[tuple[Any, ...], list[float]]:
    """Return a question's true numbers by group key; null keys go where the policy sends values it does not list."""
    query, policy = to_query(sql, {p.id: p for p in load_town(OULAD).policies}, Spend(epsilon="1"))
    view = policy.view(query.from_[0])
    assert view is not None
    columns = [view.column(name) for name in query.group_by]
    found = {}
    for row in ask_duckdb(sql, residents):
        key = [
            column.other if isinstance(column, Category) and value not in column.values else value
            for column, value in zip(columns, row, strict=False)
        ]
        found[tuple(key)] = [float(number) for number in row[len(columns) :]]
    return found


def times_wider(sql: str) -> float:
    """Return by how much an interval must be widened so that all numbers of 10,000 demos together err once in 10^6.

    A half width is z sigma with z for 95% over all the question's numbers; 7.5 sigma on each of 200 numbers is what is
    needed. The discrete Gaussian's tails are no heavier than the continuous one's but for one unit.
    """
    query, policy = to_query(sql, {p.id: p for p in load_town(OULAD).policies}, Spend(epsilon="1"))
    return 7.5 / NormalDist().inv_cdf(1 - 0.05 / (2 * make_plan(query, policy).length))


@pytest.mark.skipif(
    not (TABLES / "students.parquet").is_file(), reason="the OULAD tables are not here; set MUSUBI_DATA to their folder"
)
def test_over_real_records_every_released_number_is_near_the_true_one(tmp_path: Path) -> None:
    """The first 2,500 people by identifier consent; what is released is about them, and not about all 28,785."""
    done, path = run_demo(tmp_path, str(OULAD), PEOPLE)
    assert done.returncode == 0, done.stdout + done.stderr
    report = json.loads(path.read_bytes())
    assert report["audit"]["verdict"] == "ok"
    everybody = f"SELECT DISTINCT id_student FROM '{TABLES / 'students.parquet'}'"
    first = f"{everybody} ORDER BY id_student LIMIT {PEOPLE}"
    questions = load_town(OULAD).questions
    assert len(report["queries"]) > len(questions)
    far = 0
    for query in report["queries"][: len(questions)]:  # those before anybody revoked
        consenting, all_ = truths(query["sql"], first), truths(query["sql"], everybody)
        cells: dict[tuple[Any, ...], list[Any]] = {}
        for cell in query["cells"]:
            cells.setdefault(tuple(cell["key"]), []).append(cell)
        for key, group in cells.items():
            nothing = [0.0] * len(group)
            for cell, true, of_all in zip(group, consenting.get(key, nothing), all_.get(key, nothing), strict=True):
                allowed = times_wider(query["sql"]) * cell["half_width"] + 1
                assert abs(cell["value"] - true) <= allowed, (query["sql"], key)
                far += abs(cell["value"] - of_all) > allowed
    assert far >= len(questions)  # the noise is not so large that any answer would do


# A town that stays up.


class Up:
    """``musubi up`` as a child process."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.port = free_neighbours()
        self.output = folder.with_suffix(".out")
        self.start("--port", str(self.port))

    def start(self, *options: str) -> None:
        """Start it."""
        words = [*MUSUBI, "up", str(PAIR), "--dir", str(self.folder), *options]
        with self.output.open("wb") as out:
            # as at a terminal: a shell starts what runs in its background deaf to Ctrl-C, and children inherit that
            before = signal.signal(signal.SIGINT, signal.default_int_handler)
            try:
                self.process = subprocess.Popen(words, stdout=out, stderr=out, cwd=ROOT, start_new_session=True)
            finally:
                signal.signal(signal.SIGINT, before)

    def wait_until_said(self, text: str) -> str:
        """Wait until it has printed a text; return everything printed."""

        def said() -> bool:
            assert self.process.poll() is None, self.output.read_text()
            return text in self.output.read_text()

        until(said, self.output.read_text)
        return self.output.read_text()

    def children(self) -> list[psutil.Process]:
        """Return every process under it."""
        found: list[psutil.Process] = psutil.Process(self.process.pid).children(recursive=True)
        return found

    def stop(self, signal_: signal.Signals) -> tuple[int, list[psutil.Process]]:
        """Send a signal; return the exit code, and which of the processes are still there after it has ended."""
        under = self.children()
        self.process.send_signal(signal_)
        code = self.process.wait(PATIENCE)
        return code, psutil.wait_procs(under, timeout=PATIENCE)[1]


@pytest.fixture
def up(tmp_path: Path) -> Iterator[Up]:
    made = Up(tmp_path / "town")
    yield made
    if made.process.poll() is None:
        for process in [*made.children(), psutil.Process(made.process.pid)]:
            process.kill()
        made.process.wait()


def opens_a_holders_page(up: Up, said: str) -> None:
    """Do what it says of a holder's page; no link to it is in a file."""
    (words,) = re.findall(r"musubi (node page --dir .*)", said)
    folder = Path(words.split()[-1])
    until(lambda: is_at_work(folder / LOCAL_LOCK))
    link = subprocess.run(
        [*MUSUBI, *words.split()], capture_output=True, text=True, cwd=ROOT, check=True
    ).stdout.split()[-1]

    def enters() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(link).status_code == httpx.codes.SEE_OTHER
        return False

    until(enters)
    for log in [up.output, *(up.folder / "logs").iterdir()]:
        assert "ticket=" not in log.read_text("utf-8")


def test_up_prints_where_to_look_and_ctrl_c_stops_everything_and_it_can_be_started_again(up: Up) -> None:
    said = up.wait_until_said("Ctrl-C stops everything.")
    url = f"http://127.0.0.1:{up.port}"
    for part in (f"{url}/", f"{url}/log/checkpoint", "musubi audit", "musubi ask", "musubi resident"):
        assert part in said
    assert httpx.get(f"{url}/readyz").status_code == 200
    page = httpx.get(f"{url}/", headers={"accept-language": "en"})
    assert page.status_code == 200
    assert "A town of two" in page.text
    assert len(up.children()) >= 4  # service, witness, two nodes
    opens_a_holders_page(up, said)
    code, left = up.stop(signal.SIGINT)
    assert (code, left) == (0, [])
    assert left_behind(up.folder) == []
    up.start()  # it was laid out before: its port is known
    up.wait_until_said("Ctrl-C stops everything.")
    assert httpx.get(f"{url}/readyz").status_code == 200
    code, left = up.stop(signal.SIGTERM)
    assert (code, left) == (0, [])
    assert left_behind(up.folder) == []


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM])
def test_a_town_stopped_while_it_starts_leaves_no_process_behind(up: Up, signal_: signal.Signals) -> None:

    def starting() -> bool:
        assert up.process.poll() is None
        return len(up.children()) >= 2

    until(starting)
    _, left = up.stop(signal_)
    assert left == []
    assert left_behind(up.folder) == []
    assert "Traceback" not in up.output.read_text()

"""Auditors compare notes: a log that shows two histories to two people is convicted by what they were shown."""

import hashlib
import json
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from click.testing import CliRunner

from ledger.evidence import SplitView
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import ORIGIN
from trust.audit.auditor import audit
from trust.audit.report import AuditReport
from trust.cli import main
from trust.files.evidence import check_evidence, read_evidence
from trust.log.pins import save_trust

GRANTS = 300


class _Files(SimpleHTTPRequestHandler):
    """Serves files and prints nothing."""

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""


class Web:
    """A web server on this machine, with a folder of files."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Files, directory=str(folder)))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def town() -> LogBuilder:
    return LogBuilder().town(GRANTS)


def forked(at: int, size: int) -> LogBuilder:
    """Return the same town, whose operator rewrote the history from an entry on: sound in itself, signed as well."""
    log = LogBuilder().town(GRANTS)
    fork = LogBuilder().town(GRANTS)
    fork.entries[at:] = []
    number = 10_000
    while len(fork.entries) < size:
        fork.append(log.make_grant(number))
        number += 1
    return fork


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Web]:
    server = Web(tmp_path / "web")
    yield server
    server.close()


def check(log: LogBuilder, place: Path | str, *others: Path | str, state: Path) -> AuditReport:
    return audit(
        str(place),
        trust=log.trust,
        state_folder=state,
        compare_with=[str(other) for other in others],
        clock=lambda: log.at + 5,
    )


def witness_view(web: Web, note: bytes) -> None:
    """Let the server answer as a witness does: with the latest checkpoint under the hash of the log's origin."""
    folder = web.folder / hashlib.sha256(ORIGIN.encode()).hexdigest()
    folder.mkdir(parents=True)
    (folder / "checkpoint").write_bytes(note)


@pytest.mark.parametrize("kept", [len(LogBuilder().town(GRANTS).entries), 258, 200, 64, 1])
def test_views_of_one_history_agree_whatever_their_sizes_and_kinds(
    town: LogBuilder, web: Web, tmp_path: Path, kept: int
) -> None:
    """A mirror that is behind, a witness that is behind, another auditor's state, a single checkpoint."""
    town.publish(tmp_path / "log")
    town.publish(web.folder / "log", town.entries[:kept])
    note = (web.folder / "log" / "checkpoint").read_bytes()
    witness_view(web, note)
    (tmp_path / "file").write_bytes(note)
    lone = tmp_path / "another auditors state"
    lone.mkdir()
    (lone / "checkpoint").write_bytes(note)
    places: list[str | Path] = [web.url, f"{web.url}/log", tmp_path / "file", lone, tmp_path / "log"]
    report = check(town, tmp_path / "log", *places, state=tmp_path / "state")
    assert report.verdict == "ok"
    assert [each.outcome for each in report.compared] == ["same history"] * 5
    assert report.compared[0].size == kept
    shutil.rmtree(web.folder / "log")  # now the address is a witness's, and nothing else
    assert check(town, tmp_path / "log", web.url, state=tmp_path / "state").verdict == "ok"
    assert not (tmp_path / "state" / "evidence").exists()


def test_a_view_that_is_ahead_agrees_by_its_own_tiles(town: LogBuilder, web: Web, tmp_path: Path) -> None:
    town.publish(tmp_path / "log", town.entries[:150])
    town.publish(web.folder)
    report = check(town, tmp_path / "log", web.url, state=tmp_path / "state")
    assert (report.verdict, report.compared[0].size) == ("ok", len(town.entries))


@pytest.mark.parametrize(
    ("at", "size"),
    [
        (300, len(LogBuilder().town(GRANTS).entries)),  # the same size
        (0, 40),  # rewritten from the first entry on, and shorter
        (5, 301),  # an old entry, and shorter
        (256, 700),  # longer
        (100, 700),
    ],
)
def test_a_log_that_shows_two_histories_is_convicted_by_what_two_auditors_were_shown(
    town: LogBuilder, web: Web, tmp_path: Path, at: int, size: int
) -> None:
    fork = forked(at, size)
    town.publish(tmp_path / "log")
    fork.publish(web.folder / "log", fork.entries)
    report = check(town, tmp_path / "log", web.url, state=tmp_path / "state")
    assert report.rule == "history-forked"
    assert (report.compared[0].outcome, report.compared[0].parts_at) == ("contradiction", at)
    assert str(at) in report.verdict
    (file,) = report.evidence
    evidence = read_evidence(Path(file))
    assert isinstance(evidence, SplitView)
    assert check_evidence(evidence, [town.log_key]).origin == ORIGIN
    assert {evidence.smaller, evidence.larger} == {
        (folder / "checkpoint").read_text() for folder in (tmp_path / "log", web.folder / "log")
    }


@pytest.mark.parametrize("size", [280, len(LogBuilder().town(GRANTS).entries)])
def test_a_witness_that_was_shown_another_history_has_what_convicts_the_log(
    town: LogBuilder, web: Web, tmp_path: Path, size: int
) -> None:
    """It gives no tiles; those of the larger tree, one's own, are enough."""
    town.publish(tmp_path / "log")
    fork = forked(200, size)
    fork.publish(tmp_path / "fork", fork.entries)
    witness_view(web, (tmp_path / "fork" / "checkpoint").read_bytes())
    report = check(town, tmp_path / "log", web.url, state=tmp_path / "state")
    assert report.rule == "history-forked"
    check_evidence(read_evidence(Path(report.evidence[0])), [town.log_key])


def test_a_larger_tree_whose_tiles_nobody_gives_is_never_taken_for_agreement(
    town: LogBuilder, web: Web, tmp_path: Path
) -> None:
    town.publish(tmp_path / "log")
    fork = forked(200, 700)
    fork.publish(tmp_path / "fork", fork.entries)
    witness_view(web, (tmp_path / "fork" / "checkpoint").read_bytes())
    report = check(town, tmp_path / "log", web.url, state=tmp_path / "state")
    assert report.rule == "unavailable"
    assert "nobody gives" in report.verdict
    assert report.evidence == []


def test_what_is_not_the_logs_proves_nothing_against_it(town: LogBuilder, tmp_path: Path) -> None:
    town.publish(tmp_path / "log")
    note = (tmp_path / "log" / "checkpoint").read_bytes()
    for number, (data, rule) in enumerate(
        [
            (note.replace(b"\n", b"\nlog.example\n", 1), "signature-invalid"),
            (note.replace(ORIGIN.encode(), b"other.example/log"), "signature-invalid"),
            (b"", "malformed"),
            (b"\xff" * 50, "malformed"),
            (b"{}", "malformed"),
            (b"x" * 1_000_001, "too-large"),
            (b"x" * 8_000_001, "too-large"),
        ]
    ):
        (tmp_path / str(number)).write_bytes(data)
        report = check(town, tmp_path / "log", tmp_path / str(number), state=tmp_path / "state")
        assert (report.rule, report.evidence) == (rule, [])
    (tmp_path / "empty").mkdir()
    for place in (tmp_path / "empty", tmp_path / "nowhere"):
        assert check(town, tmp_path / "log", place, state=tmp_path / "state").rule == "not-found"


def test_a_rolled_back_log_is_convicted_once_someone_has_the_tiles_that_it_took_away(
    town: LogBuilder, tmp_path: Path
) -> None:
    """Alone, the auditor can only set the smaller checkpoint aside; with the larger tree at hand it convicts."""
    fork = forked(200, 250)
    town.publish(tmp_path / "log")
    fork.publish(tmp_path / "fork", fork.entries)
    shutil.copytree(tmp_path / "log", tmp_path / "mirror")
    assert check(town, tmp_path / "log", state=tmp_path / "state").verdict == "ok"
    shutil.rmtree(tmp_path / "log")
    shutil.copytree(tmp_path / "fork", tmp_path / "log")
    report = check(town, tmp_path / "log", state=tmp_path / "state")
    assert "rolled back" in report.verdict
    assert report.evidence == []
    (aside,) = (tmp_path / "state" / "set-aside").iterdir()
    report = check(town, tmp_path / "mirror", aside, state=tmp_path / "state")
    check_evidence(read_evidence(Path(report.evidence[0])), [town.log_key])
    # And where the log forgot to take the tiles away, it convicts itself.
    shutil.copytree(tmp_path / "mirror" / "tile", tmp_path / "log" / "tile", dirs_exist_ok=True)
    report = check(town, tmp_path / "log", state=tmp_path / "state two")
    assert report.evidence == []  # never saw the larger one
    report = check(town, tmp_path / "log", state=tmp_path / "state")
    assert report.rule == "history-forked"
    check_evidence(read_evidence(Path(report.evidence[0])), [town.log_key])


def musubi(*arguments: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    return done.exit_code, done.stdout, done.stderr


def test_evidence_passes_from_one_auditor_to_everybody_by_the_command_line(town: LogBuilder, tmp_path: Path) -> None:
    """Exit code 0 says that it convicts, 23 that it shows no fault, 12 that the log did not sign it, 10 it is none."""
    fork = forked(200, 700)
    town.publish(tmp_path / "log")
    fork.publish(tmp_path / "fork", fork.entries)
    save_trust(town.trust, tmp_path / "trust.json")
    audited = ("audit", tmp_path / "log", "--trust", tmp_path / "trust.json", "--state", tmp_path / "state", "--json")
    code, out, _ = musubi(*audited, "--compare", tmp_path / "fork")
    report = json.loads(out)
    assert (code, report["compared"][0]["parts_at"]) == (24, 200)
    (file,) = report["evidence"]
    code, out, _ = musubi("audit", "verify-evidence", file)
    assert code == 0
    assert "FILE ITSELF" in out
    assert str(town.log_key) in out
    for pins in (("--trust", tmp_path / "trust.json"), ("--log-key", town.log_key)):
        code, out, _ = musubi("audit", "verify-evidence", file, *pins, "--json")
        assert (code, json.loads(out)["pinned"]) == (0, True)
    other = "other.example+" + str(town.log_key).split("+", 1)[1]
    code, _, err = musubi("audit", "verify-evidence", file, "--log-key", other)
    assert (code, len(err.splitlines())) == (10, 1)
    data = json.loads(Path(file).read_text())
    for name, change, expected in [
        ("agreeing", {"smaller": data["larger"]}, 23),
        ("unsigned", {"smaller": data["smaller"].replace("AAA", "AAB").replace("\n\n— ", "\n\n— a")}, 12),
        ("other kind", {"kind": "rumour"}, 10),
    ]:
        bad = tmp_path / name
        bad.write_text(json.dumps(data | change, sort_keys=True, separators=(",", ":"), ensure_ascii=False) + "\n")
        assert musubi("audit", "verify-evidence", bad)[0] == expected, name
    # A second auditor takes the first one's file for a view of the log.
    second = ("audit", tmp_path / "log", "--trust", tmp_path / "trust.json", "--state", tmp_path / "two", "--json")
    code, out, _ = musubi(*second, "--compare", file)
    assert code == 24
    assert read_evidence(Path(json.loads(out)["evidence"][0])) == read_evidence(Path(file))

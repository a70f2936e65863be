"""What others have written is shown as it is: it does nothing to the terminal, hides nothing, and ends no command."""

import io
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from unittest.mock import patch

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey
from rich.console import Console

from ledger import entries as e
from ledger.notes.note import VerifierKey
from queries.answers.finish import Cell
from queries.question.tree import Query
from queries.rounds.messages import OfferAnswer
from tests.kit.waiting import PATIENCE
from trust.audit.comparison import Comparison
from trust.audit.report import AuditReport
from trust.cli import auditing, identity, terminal
from trust.cli.resident import ending, promises, proofs
from trust.cli.streams import lasting_output
from trust.cli.tables import answer_table, budget_table
from trust.client.place import make_place
from trust.client.wire import Revoked
from trust.identity.stopping import StoppedFor
from trust.log.pins import Trust
from trust.resident.device import Ended
from trust.resident.promises import PromiseState
from trust.resident.uses import Use
from trust.runtime.foreign_text import is_hidden, visible, visible_json

ROOT = Path(__file__).parents[2]
FRAGMENTS = [
    "[senior]", "[/]", "[/red]", "[bold", "[link=https://evil.example]here[/link]", "[@click=quit]x[/]", ":smile:", "\\", "\\[",
    "{}", "{0}", "{:,}", "%s", "\x1b[35m", "\x1b[2J\x1b[H", "\x1b]8;;https://evil.example\x1b\\here\x1b]8;;\x1b\\", "\x1b]0;title\x07",
    "\x9b35m", "\x9d8;;x\x9c", "\r", "\n", "\r\nmusubi: all is well.", "\t", "\b\b\b", "\x00", "\x7f", "\x85", "\u2028", "\u2029",
    "\u202egnp.exe", "\u2066", "\u2069", "\u200f", "\u061c", "\u200b", "\u200d", "\ufeff", "\u00ad", "\U000e0041", "\u3164",
    "\ud800", "\udfff", "\udcff", "\ue000", "\ue001", "\uffff", "שלום", "سلام", "葛\U000e0100城", "もみじ台", "e\u0301", "=1+1", "-2", "@x",
]  # fmt: skip
OUR_COLOURS = {"\x1b[0m", "\x1b[1m", "\x1b[2m", "\x1b[31m", "\x1b[32m", "\x1b[92m"}
hostile = st.lists(st.sampled_from(FRAGMENTS) | st.text(max_size=5), min_size=1, max_size=5).map("".join).filter(
    bool
) | st.text(st.characters(exclude_categories=()), min_size=1)
ISOLATES = "\u2068\u2069"


@contextmanager
def on_a_terminal() -> Iterator[io.StringIO]:
    """Have the command line print to a terminal, which keeps what it got."""
    got = io.StringIO()
    wide = Console(
        file=got, force_terminal=True, color_system="standard", width=10_000, highlight=False, markup=False, emoji=False
    )
    with (
        patch.object(terminal, "console", wide),
        patch.object(terminal, "_errors", wide),
        patch.object(sys, "stdout", got),
    ):
        yield got


def assert_harmless(shown: str) -> None:
    colours = set(re.findall(r"\x1b\[[0-9;]*m", shown))
    assert colours <= OUR_COLOURS
    for each in colours:
        shown = shown.replace(each, "")
    assert [each for each in shown if is_hidden(each) and each not in ISOLATES + "\n"] == []
    depth = 0
    for each in shown:
        depth += {"\u2068": 1, "\u2069": -1, "\n": -depth}.get(each, 0)
        assert depth in {0, 1}


@given(hostile)
def test_what_is_visible_hides_nothing_and_does_nothing(text: str) -> None:
    assert_harmless(visible(text))
    assert "\n" not in visible(text)
    assert_harmless(visible(text, lines=True))
    assert visible(text, lines=True).count("\n") == text.count("\n")


@given(st.text(st.characters(categories=("L", "N", "P", "S"), max_codepoint=0x58F)))
def test_plain_words_are_shown_as_they_are(text: str) -> None:
    assert visible(text) == text


@given(hostile, hostile)
def test_a_value_in_a_sentence_is_that_value_and_never_markup(one: str, other: str) -> None:
    made = terminal.sentence("[red]{}[/]: [bold]yes[/], {:,} of '{}'.", one, 1234, other)
    assert made.plain == f"{visible(one)}: yes, 1,234 of '{visible(other)}'."
    (red,) = [span for span in made.spans if str(span.style) == "red"]
    assert made.plain[red.start : red.end] == visible(one)


@given(hostile, hostile)
def test_a_cell_of_a_table_is_its_value(heading: str, cell: str) -> None:
    table = terminal.Sheet()
    table.add_column(heading, no_wrap=True)
    table.add_row(cell)
    with on_a_terminal() as got:
        terminal.show_table(table)
    assert_harmless(got.getvalue())
    for text in (heading, cell):
        assert visible(text).strip() in got.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "")


def _query(text: str) -> Query:
    asked = msgspec.convert(
        {"v": 1, "policy": "p", "version": 1, "from": ["v"], "where": [], "group_by": ["ward"], "measures": [{"as": "n", "count": "rows"}], "spend": {"epsilon": "1"}},
        Query,
    )  # fmt: skip
    return msgspec.structs.replace(asked, group_by=[text])


def _answer(text: str) -> None:
    cells = [
        Cell(key=(text,), measure=text, value="12", half_width="3"),
        Cell(key=("b",), measure="n", value=text, half_width=text),
    ]
    terminal.show_table(answer_table(_query(text), cells))


def _budget(text: str) -> None:
    offer = OfferAnswer(
        from_="operator", log=text, query_sha256="", charge=1, epsilon="1", noise=[], participants=[],
        accounts=[{"account": text, "left": 1, "cap": 2}], in_force=1,
    )  # fmt: skip
    terminal.show_table(budget_table(offer, "0.000001"))


def _audit(text: str) -> None:
    report = AuditReport(
        verdict=text, origin=text, kinds={text: 1}, cosigners={text: 1}, algorithms={text: [text]}, spent={text: 1},
        attested_stops={text: 1}, compared=[Comparison(place=text, outcome="contradiction", says=text)], evidence=[text], notes=[text],
    )  # fmt: skip
    auditing._show(report)
    auditing._show(msgspec.structs.replace(report, verdict="ok"))


class _Device:
    words = "musubi resident"

    def moment(self, at: int) -> str:
        return f"day {at}"


DEVICE: Any = _Device()


def _uses(text: str) -> None:
    uses = [Use(admit=1, at=1, by=text, policy=text, ended="open", fault=text), Use(admit=2, at=1, by="b", policy="p")]
    proofs._print_uses(DEVICE, uses, uses, {text: text})


def _promises(text: str) -> None:
    for state in ("kept", "open", "broken", "void"):
        promises._show_promises([(PromiseState(state=state, grant=1, index=2, by=3, says=text), text)])


def _ended(text: str) -> None:
    done = Ended(
        grant=1, policy=text, title={"en": text, "ja": text}, holders=[text], since=1,
        revoked=Revoked(index=2, operator=None, promise=text), doubt=text,
    )  # fmt: skip
    ending._tell(DEVICE, done, as_json=False)


def _stopped(text: str) -> None:
    entry = e.Revoke(at=1, grant=1, reason="attested", commitment="")
    done = StoppedFor(grant=1, policy=text, entry=entry, revoked=Revoked(index=2, operator=None, promise=text))
    identity._tell(done, text, as_json=False)


def _notice(text: str) -> None:
    terminal.say_foreign(text, bold=True)


def _line(text: str) -> None:
    terminal.say_plain(text)
    terminal.say("{}", text, err=True)
    terminal.narrate("   [cyan]said[/]: {}" if not text else "   said: {}", text)
    terminal.headline("[bold]Musubi[/] {}", text)


SHOWN = [_answer, _budget, _audit, _uses, _promises, _ended, _stopped, _notice, _line]


@pytest.mark.parametrize("show", SHOWN, ids=lambda show: show.__name__.strip("_"))
@given(text=hostile)
def test_nothing_that_a_command_prints_of_others_acts_on_the_terminal(show: Callable[[str], None], text: str) -> None:
    with on_a_terminal() as got:
        show(text)
    assert got.getvalue().strip()
    assert_harmless(got.getvalue())


def test_a_group_value_that_looks_like_markup_is_there() -> None:
    with on_a_terminal() as got:
        _answer("[senior]")
        _answer("[/]")
    assert "[senior]" in got.getvalue()
    assert "[/]" in got.getvalue()


def same_units(one: str, other: str) -> bool:
    return one.encode("utf-16", "surrogatepass") == other.encode("utf-16", "surrogatepass")


@given(hostile, st.sampled_from(["utf-8", "ascii", "cp932", "latin-1", "utf-16"]))
def test_json_says_exactly_the_same_in_every_encoding(text: str, encoding: str) -> None:
    shown = visible_json(json.dumps([text], ensure_ascii=False), encoding)
    assert same_units(json.loads(shown)[0], text)
    shown.encode(encoding)
    assert [each for each in shown if is_hidden(each)] == []


# Streams.

SAYS = """
import sys
from trust.cli import main
from trust.cli.terminal import say, say_json, say_plain
import click

@main.command()
@click.argument("file")
def does(file):
    say("Price: ε {} at δ, もみじ台 {}", "[/]", "\\udcff")
    for number in range(3):
        open(file, "a").write("done\\n")  # what is done after something was said
        say("done {} ± {}", number, "x" * 100_000)
    say_plain("αβγ")
    click.echo("ε by click")
    say_json({"ε": "もみじ台"})
    click.echo("ε", err=True)

main(prog_name="musubi")
"""


def does(
    tmp_path: Path, *, encoding: str = "", stdout: Any = subprocess.PIPE, closed: bool = False
) -> tuple[int, bytes, bytes, int]:
    """Run a command that does three things and talks in between; return exit code, output, errors, and what is done."""
    file = tmp_path / "done"
    environment = {**os.environ, **({"PYTHONIOENCODING": encoding} if encoding else {})}
    command = [sys.executable, "-c", SAYS, "does", str(file)]
    with subprocess.Popen(command, stdout=stdout, stderr=subprocess.PIPE, cwd=ROOT, env=environment) as process:
        if closed:
            assert process.stdout is not None
            process.stdout.close()
            process.stdout = None
        out, err = process.communicate(timeout=PATIENCE)
    return process.returncode, out or b"", err, file.read_text().count("done")


@pytest.mark.parametrize("encoding", ["ascii", "ascii:strict", "cp932", "latin-1:strict", "utf-8:strict", "utf-16"])
def test_no_encoding_ends_a_command_in_the_middle(tmp_path: Path, encoding: str) -> None:
    code, out, err, done = does(tmp_path, encoding=encoding)
    assert (code, done) == (0, 3)
    assert b"Traceback" not in err
    text = out.decode(encoding.partition(":")[0], "replace")
    assert "[/]" in text
    assert json.loads(text.splitlines()[-1]) == {"ε": "もみじ台"}


def test_a_closed_pipe_ends_no_command_in_the_middle(tmp_path: Path) -> None:
    assert does(tmp_path, closed=True) == (0, b"", "ε\n".encode(), 3)


def test_a_full_disk_ends_no_command_in_the_middle_and_is_told_at_its_end(tmp_path: Path) -> None:
    with Path("/dev/full").open("wb") as full:
        code, _, err, done = does(tmp_path, stdout=full)
    assert (code, done) == (26, 3)
    assert err.decode().splitlines()[-1].startswith("musubi: What this command printed could not be written: no space")


def test_streams_are_given_back_as_they_were() -> None:
    before = sys.stdout, sys.stderr
    with lasting_output():
        pass
    assert (sys.stdout, sys.stderr) == before


# A service that says something else than what it should.

DETAIL = "no\x1b[2J\x9b2J \x1b]8;;https://evil.example\x07x\r\u202egnp.exe [/] [red]\u200b\nmusubi: all is well. \ud800"


class _Hostile(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = json.dumps({"code": "not-found", "detail": DETAIL, "title": DETAIL, "status": 404}).encode()
        self.send_response(404)
        self.send_header("Content-Type", "application/problem+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET  # noqa: N815 - http.server's name

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def hostile_service() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), _Hostile)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


RIGHT = ("--epsilon", "0.1")
CALLS: list[list[str]] = [
    ["place", "show"], ["ask", "SELECT COUNT(*) AS n FROM p.v", *RIGHT], ["rules", "show"], ["member", "change", "bus_co", "--leave"],
    ["erase", "12"], ["identity", "stop", "12", "--subject", "x" * 20], ["log", "export", "OUT"],
    ["resident", "show"], ["resident", "uses"], ["resident", "revoke", "12"], ["resident", "grant", "food_loss"], ["resident", "erased", "12"],
    ["resident", "erase", "12", "--yes"], ["resident", "stopped", "12"], ["resident", "in-force", "12", "--size", "20"],
    ["resident", "receipt", "12", "--out", "OUT"],
]  # fmt: skip


@pytest.mark.many(4)
@pytest.mark.parametrize("words", CALLS, ids=lambda words: " ".join(words[:2]))
@pytest.mark.parametrize("option", ["", "--json"])
def test_no_command_shows_a_strangers_error_as_more_than_words(
    tmp_path: Path, hostile_service: str, words: list[str], option: str
) -> None:
    if option and words[0] in {"member", "log"}:
        pytest.skip("it has no --json")
    key = VerifierKey.ed25519("example.town/log", bytes(SigningKey(bytes(32)).verify_key))
    trust = Trust(
        origin=key.name, log_key=str(key), genesis_sha256="00" * 32, witness_policy=f"log {key}\nquorum none\n"
    )
    alias = None if words[0] == "resident" else "bus_co"
    make_place(tmp_path / "place", service=hostile_service, trust=trust, secret=bytes(32), alias=alias)
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "trust.cli",
            *(word.replace("OUT", str(tmp_path / "out")) for word in words),
            *filter(None, [option]),
        ],
        capture_output=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "MUSUBI_PLACE": str(tmp_path / "place"), "PYTHONIOENCODING": "utf-8"},
        timeout=PATIENCE,
    )
    assert done.returncode not in {0, 1}
    err = done.stderr.decode()
    assert "Traceback" not in err
    assert_harmless(err)
    assert_harmless(done.stdout.decode())
    assert len(err.strip().splitlines()) == 1
    if option:
        assert set(json.loads(err)) >= {"code", "detail"}

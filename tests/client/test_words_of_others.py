"""Whatever something on the way answers is no finding of ours: no node ends, and no command calls for an auditor."""

import asyncio
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest
import structlog
from click.testing import CliRunner

from ledger.entries import Genesis, decode
from ledger.errors import FINDINGS, Hearsay, MusubiError, Told
from ledger.notes.checkpoints import Checkpoint
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.machine.gateways import ANSWERS, response_of
from tests.kit.machine.web import served
from tests.kit.parties.lying_service import Stage
from trust.cli import main
from trust.client.http import call
from trust.client.place import make_place
from trust.client.service import ServiceClient
from trust.log.witness_client import collect_cosignatures
from trust.runtime.problems import KINDS, kind_of

OWN_FINDINGS = {kind_of(cls("x")).exit_code for cls in FINDINGS if cls is not Hearsay}


@pytest.fixture(scope="module")
def town() -> LogBuilder:
    return LogBuilder().town()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    made = Stage(tmp_path_factory.mktemp("stage"))
    yield made
    made.close()


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trust.client.service.PAUSES", (0,))
    monkeypatch.setattr("trust.node.process.RETRY_SECONDS", 0)


def error_of(what: Callable[[], object]) -> MusubiError | None:
    """Return the error of ours that a call ends with, if any; another one is a fault."""
    try:
        what()
    except MusubiError as error:
        return error
    return None


@pytest.mark.parametrize("name", ANSWERS)
def test_a_call_is_answered_or_ends_with_an_error_of_the_tree_that_finds_nothing(name: str) -> None:
    with httpx.Client(
        base_url="http://service.test", transport=httpx.MockTransport(lambda _: response_of(name))
    ) as client:
        error = error_of(lambda: call(client, "GET", "/v1/policies"))
    if error is not None:
        assert type(error) not in FINDINGS - {Hearsay}
        assert isinstance(error, (Told, Hearsay)) or error.code in {"unavailable", "too-large"}
        assert all(isinstance(value, (str, int, list)) for value in error.details.values())


def test_every_kind_of_error_is_among_what_is_said_and_those_that_only_a_check_finds_become_hearsay() -> None:
    for kind in KINDS:
        response = response_of(f"a problem that says {kind.code}")
        client = httpx.Client(
            base_url="http://service.test", transport=httpx.MockTransport(lambda _, response=response: response)
        )
        with client, pytest.raises(MusubiError) as caught:
            call(client, "GET", "/")
        assert (type(caught.value) is Hearsay) == (kind in FINDINGS)


@pytest.mark.many(4)
@pytest.mark.parametrize("name", ANSWERS)
def test_a_node_that_is_answered_so_waits_and_goes_on(stage: Stage, name: str) -> None:
    def answer(_: httpx.Request) -> httpx.Response:
        return response_of(name)

    stage.node.client._client = httpx.Client(transport=httpx.MockTransport(answer), base_url="http://service.test")
    with structlog.testing.capture_logs():
        codes = stage.runs(3)
    assert len(codes) == 3
    assert stage.turn() == []


@pytest.mark.many(4)
@pytest.mark.parametrize("name", ANSWERS)
def test_a_node_whose_log_is_answered_so_waits_or_ends_by_what_it_read_itself_alone(stage: Stage, name: str) -> None:
    """Only the poll is the service's; every read of the log is answered by something on the way."""
    stage.service.publish()
    known = stage.node.reader._follower.source
    index = stage.grant(19)
    stage.service.publish()

    def answer(request: httpx.Request) -> httpx.Response:
        return response_of(name) if request.url.path.startswith("/log") else stage.service.answer(request)

    stage.node.reader._follower.source._client = httpx.Client(transport=httpx.MockTransport(answer))  # type: ignore[attr-defined]
    with structlog.testing.capture_logs():
        codes = stage.runs(2)
    assert len(codes) == 2
    assert known is not stage.node.reader._follower.source
    assert stage.turn() == []
    assert stage.node.reader.size > index


@pytest.mark.many(4)
@pytest.mark.parametrize("name", ANSWERS)
def test_a_command_that_is_answered_so_says_a_sentence_and_never_a_finding(
    town: LogBuilder, tmp_path: Path, name: str
) -> None:
    status, headers, body = ANSWERS[name]

    class Handler(BaseHTTPRequestHandler):
        """Answers whatever is asked."""

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("content-length", 0)))
            self.send_response(status)
            for each, value in headers.items():
                self.send_header(each, value)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - as above

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with served(Handler) as url:
        make_place(tmp_path / "me", service=url, trust=town.trust, secret=bytes(32), alias=None)
        make_place(tmp_path / "firm", service=url, trust=town.trust, secret=bytes(range(32)), alias="planner")
        for command in (
            ["resident", "--place", str(tmp_path / "me"), "show"],
            ["ask", "--place", str(tmp_path / "firm"), "SELECT COUNT(*) FROM mobility.trips", "--epsilon", "0.1"],
        ):
            done = CliRunner().invoke(main, command)
            assert done.exit_code not in {0, 1, 2, *OWN_FINDINGS}, (command, done.output, done.exception)
            assert done.stderr.startswith("musubi: ")
            assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("name", ANSWERS)
def test_a_witness_that_is_answered_for_so_has_not_cosigned(town: LogBuilder, tmp_path: Path, name: str) -> None:
    town.publish(tmp_path)
    note = (tmp_path / "checkpoint").read_bytes()
    policy = town.trust.witnesses
    checkpoint = Checkpoint.parse(note.decode().partition("\n\n")[0] + "\n")

    async def ask() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(lambda _: response_of(name))) as client:
            done = await collect_cosignatures(client, policy, note, checkpoint, lambda *_: [], {}, 5)
            assert done.signatures == []
            assert set(done.failures) == set(policy.witnesses)

    asyncio.run(ask())


@pytest.mark.parametrize("name", ANSWERS)
def test_a_client_of_the_service_meets_no_fault_and_no_finding_in_words(town: LogBuilder, name: str) -> None:
    """Every method that reads an answer, with the first entry known and before."""
    client = ServiceClient("http://service.test", town.trust)
    client._http = httpx.Client(
        base_url="http://service.test", transport=httpx.MockTransport(lambda _: response_of(name))
    )
    calls: list[Callable[[], object]] = [
        client.policies, client.rules, client.members, lambda: client.policy("0" * 64),
        lambda: client.preview("a.b.c"), lambda: client.ask("a.b.c"), lambda: client.watch(3, 0),
        lambda: client.my_consents(bytes(32)), lambda: client.stop("a.b.c"), lambda: client.grant([]),
    ]  # fmt: skip
    genesis = decode(town.entries[0])
    assert isinstance(genesis, Genesis)
    for known in (None, genesis):
        client._genesis = known
        for each in calls:
            error = error_of(each)
            assert type(error) not in FINDINGS - {Hearsay} or "problem" not in name

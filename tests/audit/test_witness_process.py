"""A witness as a real process: what it cosigned it remembers after SIGKILL; and a log asks several at once."""

import asyncio
import contextlib
import gzip
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from nacl.signing import SigningKey

from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.cosignatures import cosign
from ledger.notes.note import Note, VerifierKey, parse_note
from ledger.notes.witness_policy import PolicyGroup, PolicyWitness, WitnessPolicy
from ledger.notes.witness_protocol import AddCheckpoint
from ledger.tlog.tiles import Tile, TileAppender, TileReader
from ledger.tlog.tree import prove_consistency
from tests.kit.amounts import amount
from tests.kit.machine.ports import free_port
from tests.kit.machine.strangers import get, memory_of, post, strangers
from tests.kit.waiting import PATIENCE, until
from trust.audit.witness_folder import make_witness
from trust.log.witness_client import Cosigned, collect_cosignatures, fetch_latest

ORIGIN = "log.example/town"
KEY = SigningKey(bytes(range(32)))
LOG_KEY = VerifierKey.ed25519(ORIGIN, bytes(KEY.verify_key))
RUN = "import sys; from pathlib import Path; from trust.audit.witness import run_witness; run_witness(Path(sys.argv[1]), '127.0.0.1', int(sys.argv[2]))"


class Running:
    """One witness process that can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        (self.key,) = make_witness(folder, f"wit.example/{folder.name}", [LOG_KEY])
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self.start()

    def start(self) -> None:
        """Start the process and wait until it answers."""
        self.process = subprocess.Popen([sys.executable, "-c", RUN, str(self._folder), str(self.port)])
        until(self._answers)

    def _answers(self) -> bool:
        assert self.process.poll() is None
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(f"{self.url}/health").is_success
        return False

    def end(self, how: signal.Signals) -> int:
        """Send a signal; return the exit code."""
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    made = Running(tmp_path / "one")
    yield made
    if made.process.poll() is None:
        made.end(signal.SIGKILL)


class Log:
    """A log in memory that can prove its growth."""

    def __init__(self) -> None:
        self._appender = TileAppender()
        self._files: dict[Tile, bytes] = {}

    def grow(self, count: int) -> tuple[bytes, Checkpoint]:
        """Add entries; return the signed note and the checkpoint of the new size."""
        begin = self._appender.size
        self._files |= dict(self._appender.append([b"%d" % i for i in range(begin, begin + count)]))
        made = Checkpoint(ORIGIN, self._appender.size, self._appender.root())
        return sign_checkpoint(made, KEY), made

    def prove(self, old: int, new: int) -> list[bytes]:
        """Return the consistency proof between two sizes."""
        return prove_consistency(old, new, TileReader(self._files.__getitem__, self._appender.size))


def policy(witnesses: dict[str, tuple[VerifierKey, str | None]], threshold: int) -> WitnessPolicy:
    known = {name: PolicyWitness(key, url) for name, (key, url) in witnesses.items()}
    return WitnessPolicy(witnesses=known, groups={"quorum": PolicyGroup(threshold, tuple(known))}, quorum="quorum")


def collect(log: Log, asked: WitnessPolicy, count: int, known: dict[str, int], timeout: float = 5.0) -> Cosigned:
    note, checkpoint = log.grow(count)

    async def ask() -> Cosigned:
        async with httpx.AsyncClient() as client:
            return await collect_cosignatures(client, asked, note, checkpoint, log.prove, known, timeout)

    result = asyncio.run(ask())
    opened = parse_note(note)
    met = len(result.signatures) >= asked.groups["quorum"].threshold
    if met:
        asked.check(Note(opened.text, (*opened.signatures, *result.signatures)))
    return result


@pytest.mark.slow
def test_what_was_cosigned_before_sigkill_is_remembered_after_it(running: Running) -> None:
    """Every 200 that the log has seen is in the database, whenever the kill came."""
    log = Log()
    cosigned = 0
    for life in range(4):
        with httpx.Client() as client:
            for _ in range(7 + 5 * life):
                note, checkpoint = log.grow(3)
                body = AddCheckpoint(cosigned, log.prove(cosigned, checkpoint.size) if cosigned else [], note).format()
                assert client.post(f"{running.url}/add-checkpoint", content=body).status_code == 200
                cosigned = checkpoint.size
        os.kill(running.process.pid, signal.SIGKILL)
        running.process.wait(PATIENCE)
        running.start()
        stale = httpx.post(f"{running.url}/add-checkpoint", content=AddCheckpoint(0, [], note).format())
        assert (stale.status_code, stale.text) == (409, f"{cosigned}\n")


def test_it_is_one_process_and_ends_in_order_on_sigterm(running: Running) -> None:
    children = Path(f"/proc/{running.process.pid}/task/{running.process.pid}/children")
    if children.is_file():
        assert children.read_text() == ""
    assert running.end(signal.SIGTERM) == 0


def test_a_log_gets_the_cosignature_of_a_witness_that_lives_and_the_reason_of_one_that_does_not(
    running: Running,
) -> None:
    dead = VerifierKey.cosignature("wit.example/dead", bytes(SigningKey(bytes(32)).verify_key))
    asked = policy(
        {"one": (running.key, running.url), "dead": (dead, "http://127.0.0.1:9"), "away": (_other(), None)}, 1
    )
    known: dict[str, int] = {}
    log = Log()
    for _ in range(3):
        result = collect(log, asked, 300, known)
        assert [line.name for line in result.signatures] == [running.key.name]
        assert set(result.failures) == {"dead", "away"}
    assert known == {"one": 900}
    known.clear()  # the log restarts and knows nothing: the 409 tells it
    assert len(collect(log, asked, 1, known).signatures) == 1
    assert known["one"] == 901


def _other() -> VerifierKey:
    return VerifierKey.cosignature("wit.example/away", bytes(SigningKey(b"\1" * 32).verify_key))


def test_a_lying_slow_or_garbled_witness_spoils_nothing_for_the_others() -> None:
    """Answers come from a made-up network: what counts is what the log makes of them."""
    keys = {name: SigningKey(bytes([number] * 32)) for number, name in enumerate(_LIES)}
    verifiers = {
        name: VerifierKey.cosignature(f"wit.example/{name}", bytes(key.verify_key)) for name, key in keys.items()
    }
    asked = policy({name: (verifiers[name], f"http://{name}.example") for name in keys}, 1)

    async def answer(request: httpx.Request) -> httpx.Response:  # noqa: PLR0911 - one for each way to go wrong
        name = request.url.host.split(".")[0]
        text = parse_note(AddCheckpoint.parse(request.content).checkpoint).text
        now = int(time.time())
        match name:
            case "slow":
                await asyncio.sleep(600)
            case "conflict":
                return httpx.Response(409, text="77777\n")
            case "garbled_conflict":
                return httpx.Response(409, text="many\n")
            case "garbage":
                return httpx.Response(200, content=b"\xff\xfe")
            case "flood":
                return httpx.Response(200, content=b"x" * 1_000_000)
            case "early":
                now += 3_600
            case "forged":
                return httpx.Response(200, text=f"{cosign(text, f'wit.example/{name}', keys['honest'], now)}\n")
            case "stranger":
                return httpx.Response(200, text=f"{cosign(text, 'wit.example/stranger2', keys[name], now)}\n")
            case "other_tree":
                text = Checkpoint(ORIGIN, 5, bytes(32)).text
            case "refusing":
                return httpx.Response(422, text="no\n")
        return httpx.Response(200, text=f"{cosign(text, f'wit.example/{name}', keys[name], now)}\n")

    note, checkpoint = (log := Log()).grow(9)

    async def ask() -> Cosigned:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return await collect_cosignatures(client, asked, note, checkpoint, log.prove, {}, 60.0)

    result = asyncio.run(ask())
    assert result.failures["slow"] == "it was slower than the quorum"
    assert [line.name for line in result.signatures] == ["wit.example/honest"]
    assert set(result.failures) == set(_LIES) - {"honest"}


def test_a_packed_latest_checkpoint_is_none() -> None:
    """A few bytes on the way could fill the asker's memory: plain ones are asked for, and packed ones not unpacked."""
    policy = WitnessPolicy(
        witnesses={
            name: PolicyWitness(
                VerifierKey.cosignature(f"wit.example/{name}", bytes([n]) * 32), f"http://{name}.example"
            )
            for n, name in enumerate(("plain", "packed"))
        }
    )

    def answer(request: httpx.Request) -> httpx.Response:
        assert request.headers["accept-encoding"] == "identity"
        if request.url.host == "plain.example":
            return httpx.Response(200, content=b"a note")
        return httpx.Response(200, content=gzip.compress(b"a note"), headers={"content-encoding": "gzip"})

    async def ask() -> dict[str, bytes]:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return await fetch_latest(client, policy, ORIGIN, 10.0)

    assert asyncio.run(ask()) == {"plain": b"a note"}


_LIES = (
    "honest",
    "slow",
    "conflict",
    "garbled_conflict",
    "garbage",
    "flood",
    "early",
    "forged",
    "stranger",
    "other_tree",
    "refusing",
)


def test_without_a_quorum_the_slow_witness_gets_its_whole_time() -> None:
    key = SigningKey(bytes(32))
    asked = policy(
        {"slow": (VerifierKey.cosignature("wit.example/slow", bytes(key.verify_key)), "http://slow.example")}, 1
    )

    async def answer(request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0.4)
        text = parse_note(AddCheckpoint.parse(request.content).checkpoint).text
        return httpx.Response(200, text=f"{cosign(text, 'wit.example/slow', key, int(time.time()))}\n")

    note, checkpoint = (log := Log()).grow(9)

    async def ask(seconds: float) -> Cosigned:
        async with httpx.AsyncClient(transport=httpx.MockTransport(answer)) as client:
            return await collect_cosignatures(client, asked, note, checkpoint, log.prove, {}, seconds)

    assert len(asyncio.run(ask(3.0)).signatures) == 1
    late = asyncio.run(ask(0.1))
    assert late.signatures == []
    assert "0.1 seconds" in late.failures["slow"]


IDLE = amount(300, 1_100)
HELD = {
    "idle bodies": ([post("/add-checkpoint", 10)] * IDLE, 1),
    "idle bodies from many": ([post("/add-checkpoint", 10)] * IDLE, 20),
    "large bodies": ([post("/add-checkpoint", 1_000_000, bytes(1_000_000))] * amount(40, 200), 8),
    "stalled large bodies": ([post("/add-checkpoint", 1_000_000, bytes(999_999))] * amount(40, 200), 8),
    "bodies that are too large": ([post("/add-checkpoint", 80_000_000, bytes(2_000_000))] * amount(10, 80), 8),
    "readers": ([get(f"/{'ab' * 32}/checkpoint")] * IDLE, 4),
    "silent connections": ([b""] * amount(1_300, 4_600), 1),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", HELD)
def test_a_witness_cosigns_while_strangers_hold_what_they_can(
    running: Running, record_property: Callable[[str, object], None], what: str
) -> None:
    requests, addresses = HELD[what]
    log, asked, known = Log(), policy({"one": (running.key, running.url)}, 1), dict[str, int]()
    assert len(collect(log, asked, 5, known).signatures) == 1
    rest = memory_of(running.process.pid)
    with strangers(running.port, requests, addresses):
        assert len(collect(log, asked, 5, known, PATIENCE).signatures) == 1
        assert httpx.get(f"{running.url}/health", timeout=PATIENCE).is_success
        most = memory_of(running.process.pid)
    record_property("figures", f"memory {rest} -> {most} MiB")
    assert most < 2 * rest

"""Witnesses: one on a thread beside the tests, one as a real process, and one that lies, hangs or is away.

What answers is ``trust.audit.witness``; the one that lies is an address that a real witness' answers come through, when
it is honest.
"""

import contextlib
import gzip
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler
from multiprocessing.process import BaseProcess
from pathlib import Path

import httpx
from nacl.signing import SigningKey

from ledger.errors import NotFound
from ledger.hashing import EMPTY_ROOT
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.cosignatures import cosign
from ledger.notes.note import NoteSignature, VerifierKey, cosignature_message, parse_note
from ledger.notes.witness_protocol import AddCheckpoint, SizeConflict, WitnessRefusal
from tests.kit.machine.forks import start_musubi
from tests.kit.machine.ports import free_port
from tests.kit.machine.web import Answer, served, web_server
from tests.kit.waiting import PATIENCE, until
from trust.audit.witness import Witness, open_witness
from trust.audit.witness_folder import make_witness

Launched = subprocess.Popen[bytes] | BaseProcess


def answers_of(witness: Witness) -> Callable[[str, str, bytes], Answer]:
    """Return what a witness answers to whoever asks it over HTTP."""

    def answer(method: str, path: str, body: bytes) -> Answer:
        try:
            return 200, witness.latest(path.split("/")[1]) if method == "GET" else witness.add_checkpoint(body)
        except NotFound:
            return 404, b""
        except SizeConflict as conflict:
            return conflict.status, conflict.body
        except WitnessRefusal as refusal:
            return refusal.status, refusal.message.encode()

    return answer


@contextmanager
def witness_at(folder: Path, port: int) -> Iterator[None]:
    """Answer with the witness of ``folder`` at a port."""
    with closing(open_witness(folder)) as witness, web_server(answers_of(witness), port):
        yield


class WitnessProcess:
    """A witness at a port of its own. ``key`` is its verifier key, ``url`` where a log asks it."""

    def __init__(self, key: VerifierKey, port: int, health: str, launch: Callable[[], Launched], log: Path) -> None:
        self.key = key
        self.url = f"http://127.0.0.1:{port}"
        self._health = self.url + health
        self._launch = launch
        self._log = log
        self._process: Launched | None = None

    def start(self) -> None:
        """Start it and wait until it answers."""
        self._process = self._launch()
        until(self._answers, self._log.read_text)

    def _answers(self) -> bool:
        with contextlib.suppress(httpx.HTTPError):
            return httpx.get(self._health).is_success
        return False

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            if isinstance(self._process, subprocess.Popen):
                self._process.wait(PATIENCE)
            else:
                self._process.join(PATIENCE)
            self._process = None


def policy_of(log: VerifierKey, witnesses: Sequence[tuple[VerifierKey, str]], quorum: int) -> str:
    """Return the tlog-policy that asks for ``quorum`` of these witnesses (key, address), called w0 and so on."""
    names = [f"w{number}" for number in range(len(witnesses))]
    lines = [f"log {log}"]
    lines += [f"witness {name} {key} {url}" for name, (key, url) in zip(names, witnesses, strict=True)]
    return "\n".join([*lines, f"group enough {quorum} {' '.join(names)}", "quorum enough", ""])


@contextmanager
def own_witness(folder: Path, name: str, *logs: VerifierKey) -> Iterator[WitnessProcess]:
    """Run ``musubi witness`` for these logs."""
    (key,) = make_witness(folder, name, list(logs))
    port, log = free_port(), folder / "out.log"

    def launch() -> Launched:
        return start_musubi("witness", "--dir", str(folder), "--port", str(port), log=log)

    with running_witness(WitnessProcess(key, port, "/health", launch, log)) as process:
        yield process


@contextmanager
def running_witness(process: WitnessProcess) -> Iterator[WitnessProcess]:
    """Start a witness; end it at the end."""
    try:
        process.start()
        yield process
    finally:
        process.kill()


# Lies.

HONEST = "honest"
LIES = (
    "closes the connection",
    "hangs",
    "drips",
    "error",
    "garbage",
    "empty",
    "enormous",
    "packed",
    "redirect",
    "refuses",
    "claims a larger tree",
    "claims a size that is none",
    "another origin",
    "an older tree",
    "bad signature",
    "wrong key",
    "clock an hour ahead",
    "clock an hour behind",
    "no time",
    "two times",
)
"""What it may do when it is asked to cosign. None of these is a cosignature that counts."""
PACKED = gzip.compress(bytes(20_000_000), 1)
"""Few bytes on the way, many when they have come."""


def timeless(text: str, name: str, key: SigningKey) -> NoteSignature:
    """Return a cosignature, as good as any, at the time 0, which no code of ours makes."""
    signature = key.sign(cosignature_message(0, text)).signature
    return NoteSignature(name, VerifierKey.cosignature(name, bytes(key.verify_key)).key_id, bytes(8) + signature)


class LyingWitness:
    """Answers at ``url`` as ``mode`` says; ``asked`` counts the requests to cosign in this mode."""

    def __init__(self, behind: str, name: str, key: SigningKey) -> None:
        self._behind = behind
        self._name = name
        self._key = key
        self._change = threading.Condition()
        self.mode = HONEST
        self.asked = 0
        self.url = ""

    def be(self, mode: str) -> None:
        """Answer so from now on; whoever hangs is let go."""
        with self._change:
            self.mode, self.asked = mode, 0
            self._change.notify_all()

    def hang(self) -> None:
        """Answer nothing, until the mode changes."""
        with self._change:
            mode = self.mode
            self._change.wait_for(lambda: self.mode != mode)

    def answer(self, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        """Return status, body and headers."""
        if self.mode == HONEST:
            answer = httpx.post(f"{self._behind}/add-checkpoint", content=body, timeout=PATIENCE)
            return answer.status_code, answer.content, {"content-type": answer.headers["content-type"]}
        fixed = {
            "error": (500, b"out of order\n", {}),
            "garbage": (200, b"\xff\x00\xe2\x80\x94 " * 30, {}),
            "empty": (200, b"", {}),
            "enormous": (200, b"x" * 5_000_000, {}),
            "packed": (200, PACKED, {"content-encoding": "gzip"}),
            "redirect": (307, b"", {"location": f"{self._behind}/add-checkpoint"}),
            "refuses": (422, b"no\n", {}),
            "claims a larger tree": (409, b"777777777\n", {"content-type": "text/x.tlog.size"}),
            "claims a size that is none": (409, b"-1\n", {"content-type": "text/x.tlog.size"}),
        }
        return fixed[self.mode] if self.mode in fixed else (200, self._false_line(body), {})

    def _false_line(self, body: bytes) -> bytes:
        """Return a cosignature that does not count."""
        text = parse_note(AddCheckpoint.parse(body).checkpoint).text
        origin = text.partition("\n")[0]
        now, key = int(time.time()), self._key
        match self.mode:
            case "another origin":
                text = text.replace(origin, "other.example/log")
            case "an older tree":
                text = Checkpoint(origin, 0, EMPTY_ROOT).text
            case "wrong key":
                key = SigningKey(bytes(32))
            case "clock an hour ahead":
                now += 3_600
            case "clock an hour behind":
                now -= 3_600
            case "no time":
                return f"{timeless(text, self._name, key)}\n".encode()
            case "two times":
                return "".join(f"{cosign(text, self._name, key, time)}\n" for time in (now, now - 3)).encode()
        line = str(cosign(text, self._name, key, now))
        if self.mode == "bad signature":
            line = line[:-6] + ("A" if line[-6] != "A" else "B") + line[-5:]
        return f"{line}\n".encode()


@contextmanager
def lying_witness(behind: str, name: str, key: SigningKey, port: int) -> Iterator[LyingWitness]:
    """Answer at a port, at first honestly.

    ``name`` and ``key`` are the real witness' own, so that lies look like it.
    """
    lying = LyingWitness(behind, name, key)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            mode = lying.mode
            lying.asked += 1
            body = self.rfile.read(int(self.headers["content-length"]))
            if mode == "closes the connection":
                pass
            elif mode == "hangs":
                lying.hang()
            elif mode == "drips":
                self.send_response(200)
                self.end_headers()
                while lying.mode == mode:
                    self.wfile.write(b"x")
                    time.sleep(0.1)
            else:
                status, content, headers = lying.answer(body)
                self.send_response(status)
                for each, value in {**headers, "content-length": str(len(content))}.items():
                    self.send_header(each, value)
                self.end_headers()
                self.wfile.write(content)
            self.close_connection = True

        def do_GET(self) -> None:
            answer = httpx.get(f"{behind}{self.path}", timeout=PATIENCE)
            self.send_response(answer.status_code)
            self.send_header("content-length", str(len(answer.content)))
            self.end_headers()
            self.wfile.write(answer.content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with served(Handler, port) as lying.url:
        try:
            yield lying
        finally:
            lying.be(HONEST)

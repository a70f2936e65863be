"""A witness that lies, hangs or is away: an address that a real witness' answers come through, when it is honest."""

import gzip
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
from nacl.signing import SigningKey

from ledger.hashing import EMPTY_ROOT
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.cosignatures import cosign
from ledger.notes.note import parse_note
from ledger.notes.witness_protocol import AddCheckpoint
from tests.kit.waiting import PATIENCE

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
)
"""What it may do when it is asked to cosign. None of these is a cosignature that counts."""
PACKED = gzip.compress(bytes(20_000_000), 1)
"""Few bytes on the way, many when they have come."""


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
            pass

    class Quiet(ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass  # whoever asked has gone: that is what they are to do

    server = Quiet(("127.0.0.1", port), Handler)
    lying.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield lying
    finally:
        lying.be(HONEST)
        server.shutdown()
        thread.join()
        server.server_close()

"""A served application ends in order and says why it cannot start."""

import contextlib
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.kit.machine.ports import free_port
from tests.kit.waiting import PATIENCE, until

APP = """
import asyncio, atexit, sys
from litestar import Litestar, Request, get, post
from trust.runtime import serving
from trust.runtime.serving import serve

if sys.argv[2] == "impatient":
    serving.HEAD_MILLISECONDS = 100

@get("/")
async def now() -> str:
    return "here"

@get("/patient")
async def patient() -> str:
    print("asked", flush=True)
    await app.state.stopping.wait()
    return "told"

@get("/deaf")
async def deaf() -> str:
    print("asked", flush=True)
    await asyncio.sleep(100_000)
    return "never"

@post("/unread")
async def unread() -> str:
    return "not looked at"

@post("/read")
async def read(request: Request) -> int:
    return len(await request.body())

async def up(_: Litestar) -> None:
    if sys.argv[2] == "broken":
        raise RuntimeError

async def down(_: Litestar) -> None:
    print("closed", flush=True)

atexit.register(print, "left")  # as coverage does, and others
app = Litestar(
    [now, patient, deaf, unread, read], on_startup=[up], on_shutdown=[down], request_max_body_size=100_000
)
serve(app, "127.0.0.1", int(sys.argv[1]))
print("ended", flush=True)
"""


def start(port: int, how: str = "") -> subprocess.Popen[str]:
    command = [sys.executable, "-c", APP, str(port), how]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def wait_until_up(port: int) -> None:
    def answers() -> bool:
        with contextlib.suppress(httpx.TransportError):
            return httpx.get(f"http://127.0.0.1:{port}/").text == "here"
        return False

    until(answers)


@pytest.mark.slow
@pytest.mark.parametrize(("path", "answer"), [("/patient", "told"), ("/deaf", None)])
def test_a_stop_tells_those_who_wait_and_then_ends_everything_in_order(path: str, answer: str | None) -> None:
    port = free_port()
    process = start(port)
    wait_until_up(port)
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        assert process.stdout is not None
        assert process.stdout.readline() == "asked\n"
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=PATIENCE)  # the deaf one would take a day
        received = client.recv(10_000).decode()
    assert (process.returncode, out) == (0, "closed\nended\nleft\n")
    if answer is not None:
        assert answer in received


@pytest.mark.parametrize("path", ["/unread", "/read", "/nowhere"])
def test_a_connection_stays_good_after_a_body_that_nobody_read(serving: int, path: str) -> None:
    """Otherwise the next request on it meets a closed connection; many, because that is a race."""
    with httpx.Client(base_url=f"http://127.0.0.1:{serving}", timeout=PATIENCE) as client:
        for _ in range(20):
            refused = client.post(path, content=bytes(300_000))
            assert refused.status_code == {"/unread": 201, "/read": 413, "/nowhere": 404}[path]
            assert "connection" not in refused.headers
            assert client.post("/read", content=bytes(99_000)).text == "99000"


def test_a_body_without_end_is_not_read_to_its_end(serving: int) -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield bytes(1 << 16)

    with httpx.Client(base_url=f"http://127.0.0.1:{serving}", timeout=PATIENCE) as client:
        try:
            answer = client.post("/read", content=endless())
        except httpx.TransportError:
            pass  # what was still on its way met a closed connection
        else:
            assert (answer.status_code, answer.headers["connection"]) == (413, "close")
        assert client.get("/").text == "here"


@pytest.mark.parametrize("path", ["/", "/nowhere", "/read"])
def test_a_head_brings_what_a_get_does_but_the_content(serving: int, path: str) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{serving}", timeout=PATIENCE) as client:
        for _ in range(2):  # the connection is as good as before
            whole, head = client.get(path), client.head(path)
            assert (head.status_code, head.content) == (whole.status_code, b"")
            assert {**head.headers, "date": ""} == {**whole.headers, "date": ""}


@pytest.mark.parametrize(("version", "hosts", "status"), [
    ("1.1", [], "400"), ("1.1", ["a", "b"], "400"), ("1.1", ["a"], "200"), ("1.0", [], "200"),
])  # fmt: skip
def test_a_request_names_its_host_once(serving: int, version: str, hosts: list[str], status: str) -> None:
    lines = [f"GET / HTTP/{version}", *(f"Host: {host}" for host in hosts), "Connection: close", "", ""]
    with socket.create_connection(("127.0.0.1", serving), timeout=PATIENCE) as client:
        client.sendall("\r\n".join(lines).encode())
        received = b""
        while part := client.recv(10_000):
            received += part
    assert received.split()[1].decode() == status


@pytest.fixture(scope="module")
def serving() -> Iterator[int]:
    """The port of the application, served by a process."""
    port = free_port()
    process = start(port)
    wait_until_up(port)
    yield port
    process.terminate()
    process.communicate(timeout=PATIENCE)


def test_a_log_line_that_cannot_be_written_is_lost_and_nothing_else() -> None:
    code = "from trust.runtime.json_lines import *; log_to_stderr(); structlog.get_logger().error('lost'); print('went on')"
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=full, check=False)
    assert ended.stdout == b"went on\n"


def test_a_taken_port_and_a_failing_start_are_said() -> None:
    port = free_port()
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", port))
        holder.listen()
        _, said = start(port).communicate(timeout=PATIENCE)
        assert f"Port {port} is taken" in said
    process = start(free_port(), "broken")
    _, said = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert "did not start" in said

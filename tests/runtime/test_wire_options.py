"""What HTTP libraries would do besides and we decided on: redirects, waiting, HTTP/2, WebSockets, logs of their own."""

import asyncio
import contextlib
import signal
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import httpx
import pytest

from tests.kit.machine.ports import free_port
from tests.kit.machine.ways import Authority
from tests.kit.machine.web import served
from tests.kit.waiting import PATIENCE
from tests.runtime.test_serving import start, wait_until_up
from trust.runtime.http_clients import open_async_http, open_http

Get = Callable[[str], httpx.Response]
SECRET = "a-token-that-somebody-put-into-the-address"


def get(url: str) -> httpx.Response:
    with open_http(seconds=0.5) as http:
        return http.get(url)


def get_asynchronously(url: str) -> httpx.Response:
    async def ask() -> httpx.Response:
        async with open_async_http(seconds=0.5) as http:
            return await http.get(url)

    return asyncio.run(ask())


EITHER = pytest.mark.parametrize("ask", [get, get_asynchronously])


@EITHER
def test_a_redirect_is_an_answer_and_takes_nobody_elsewhere(ask: Get) -> None:
    paths: list[str] = []

    class Redirects(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            paths.append(self.path)
            self.send_response(302)
            self.send_header("location", "/elsewhere")
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with served(Redirects) as url:
        assert ask(f"{url}/here").status_code == 302
    assert paths == ["/here"]


@contextlib.contextmanager
def listening(answer: Callable[[socket.socket], None]) -> Iterator[int]:
    """Take connections and do ``answer`` with each."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def take() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = server.accept()
                    threading.Thread(target=answer, args=[connection], daemon=True).start()

        threading.Thread(target=take, daemon=True).start()
        yield server.getsockname()[1]
        with contextlib.suppress(OSError):
            server.shutdown(socket.SHUT_RDWR)


@EITHER
def test_a_server_that_never_answers_is_not_waited_for_for_ever(ask: Get) -> None:
    held: list[socket.socket] = []
    with listening(held.append) as port, pytest.raises(httpx.TimeoutException):
        ask(f"http://127.0.0.1:{port}/")


@EITHER
def test_a_server_that_nobody_vouches_for_is_not_spoken_to(ask: Get, tmp_path: Path) -> None:
    context = Authority().server(tmp_path)
    heard: list[bytes] = []

    def answer(connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError):
            heard.append(context.wrap_socket(connection, server_side=True).recv(100))

    with listening(answer) as port, pytest.raises(httpx.ConnectError, match=r"(?i)certificate"):
        ask(f"https://127.0.0.1:{port}/")
    assert b"".join(heard) == b""


@pytest.fixture
def port() -> Iterator[int]:
    """A served application's; at its end it has said nothing of a request in any log."""
    port = free_port()
    process = start(port)
    wait_until_up(port)
    yield port
    process.send_signal(signal.SIGTERM)
    said, logged = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert SECRET not in said + logged
    assert "HTTP/1.1" not in said + logged


def exchange(port: int, request: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
        connection.sendall(request)
        answer = b""
        while b"\r\n\r\n" not in answer and (more := connection.recv(65_536)):
            answer += more
        return answer


def test_no_request_is_in_a_log_of_the_server_below(port: int) -> None:
    for path in (f"/?token={SECRET}", f"/{SECRET}"):
        assert exchange(port, f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n".encode()).startswith(b"HTTP/1.1 ")
    exchange(port, f"GET /{SECRET} HTTP/1.1\r\nHost a\r\n\r\n".encode())


def test_nobody_leaves_http_for_another_protocol_of_their_choice(port: int) -> None:
    for headers in (
        "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AQIDBAUGBwgJCgsMDQ4PEA==",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
    ):
        answer = exchange(port, f"GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n".encode())
        assert answer.startswith(b"HTTP/1.1 "), answer
        assert not answer.startswith(b"HTTP/1.1 101"), answer[:100]
    answer = exchange(port, b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9))
    assert answer.startswith((b"HTTP/1.1 4", b"HTTP/1.1 505")) or answer == b"", answer[:100]


def test_the_head_of_a_request_that_never_ends_is_not_waited_for() -> None:
    port = free_port()
    process = start(port, "impatient")
    try:
        wait_until_up(port)
        with socket.create_connection(("127.0.0.1", port), timeout=PATIENCE) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nX-More: ")
            while connection.recv(65_536):  # it may say so first
                pass
    finally:
        process.kill()
        process.communicate(timeout=PATIENCE)


def test_whoever_comes_in_a_burst_is_answered(port: int) -> None:
    with contextlib.ExitStack() as stack:
        burst = [
            stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=PATIENCE)) for _ in range(300)
        ]
        for connection in burst:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert {connection.recv(12) for connection in burst} == {b"HTTP/1.1 200"}

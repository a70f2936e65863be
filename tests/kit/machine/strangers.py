"""Strangers who open connections, send what they like, and hold on; and what a process holds of it in memory.

Their sockets have addresses of their own (127.0.0.2 and on), as strangers do; everybody else is 127.0.0.1.
"""

import contextlib
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

from tests.kit.waiting import PATIENCE

FILES = 16_384


def memory_of(pid: int) -> int:
    """Return what a process holds in memory, in MiB."""
    lines = Path(f"/proc/{pid}/status").read_text("ascii").splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) // 1024


@contextlib.contextmanager
def strangers(port: int, requests: list[bytes], addresses: int = 1, first: int = 2) -> Iterator[list[socket.socket]]:
    """Send each request on a connection of its own, spread over so many addresses, and hold the connections.

    ``first`` is the last number of the first address; 1 is everybody else's own.
    One that is turned away while it still sends, or that nobody takes in, sends no more.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, FILES)), hard))
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        held = []
        for number, request in enumerate(requests):
            source = (f"127.0.0.{first + number % addresses}", 0)
            connection = stack.enter_context(
                socket.create_connection(("127.0.0.1", port), timeout=PATIENCE, source_address=source)
            )
            with contextlib.suppress(OSError):
                connection.sendall(request)
            held.append(connection)
        yield held


def post(path: str, length: int, body: bytes = b"") -> bytes:
    """Return a POST that announces ``length`` bytes and sends ``body``."""
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    """Return a GET."""
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()

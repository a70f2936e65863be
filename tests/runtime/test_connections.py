"""How many connections one address may have open."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from trust.runtime.callers.connections import shut_surplus

pytestmark = pytest.mark.skipif(
    not Path("/dev/fd").exists(), reason="this system does not tell a process of its open files"
)


@contextlib.contextmanager
def connected(count: int, address: str, listener: socket.socket) -> Iterator[list[tuple[socket.socket, socket.socket]]]:
    """Open connections from an address; give both their ends."""
    with contextlib.ExitStack() as stack:
        pairs = []
        for _ in range(count):
            ours = stack.enter_context(socket.create_connection(listener.getsockname(), source_address=(address, 0)))
            pairs.append((ours, stack.enter_context(listener.accept()[0])))
        yield pairs


def is_open(connection: socket.socket) -> bool:
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as made:
        yield made


def port_of(listener: socket.socket) -> int:
    return int(listener.getsockname()[1])


def test_an_address_keeps_its_number_of_connections_and_the_busy_ones_and_others_keep_all(
    listener: socket.socket,
) -> None:
    with connected(8, "127.0.0.2", listener) as greedy, connected(3, "127.0.0.3", listener) as modest:
        busy = frozenset((host, int(port)) for host, port in (pair[0].getsockname() for pair in greedy[:2]))
        assert shut_surplus(port_of(listener), busy, lambda _: False, each=3) == 5
        assert [is_open(ours) for ours, _ in greedy[:2]] == [True, True]
        assert sum(is_open(ours) for ours, _ in greedy) == 3
        assert all(is_open(ours) for ours, _ in modest)


def test_a_connection_that_a_request_is_under_way_on_is_never_shut_down(listener: socket.socket) -> None:
    with connected(5, "127.0.0.2", listener) as pairs:
        busy = frozenset((host, int(port)) for host, port in (pair[0].getsockname() for pair in pairs))
        assert shut_surplus(port_of(listener), busy, lambda _: False, each=3) == 0
        assert all(is_open(ours) for ours, _ in pairs)


def test_a_trusted_proxy_has_as_many_connections_as_it_opens(listener: socket.socket) -> None:
    with connected(5, "127.0.0.2", listener) as pairs:
        assert shut_surplus(port_of(listener), frozenset(), lambda peer: peer == "127.0.0.2", each=3) == 0
        assert all(is_open(ours) for ours, _ in pairs)


def test_a_look_leaves_no_file_open(listener: socket.socket) -> None:
    before = len(list(Path("/dev/fd").iterdir()))
    shut_surplus(port_of(listener), frozenset(), lambda _: False, each=3)
    assert len(list(Path("/dev/fd").iterdir())) == before

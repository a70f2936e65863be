"""What strangers hold of a real service and a real witness leaves nodes, revocations and health theirs.

The strangers' sockets have addresses of their own (127.0.0.2 and on), as strangers do; everybody else is 127.0.0.1.
"""

import contextlib
import resource
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from time import perf_counter

import httpx
import pytest

from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import ServiceProcess, process_of
from tests.kit.towns.running import Resident, lay_out, query, question
from tests.kit.waiting import eventually

pytestmark = pytest.mark.anyio
LARGE = 8 * 1024 * 1024
FULL = pytest.mark.long
SOME = pytest.mark.slow


def memory_of(pid: int) -> int:
    """Return what a process holds in memory, in MiB."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines() if line.startswith("VmRSS")
    )
    return int(line.split()[1]) // 1024


@contextlib.contextmanager
def strangers(port: int, requests: list[bytes], addresses: int = 1) -> Iterator[list[socket.socket]]:
    """Send each request on a connection of its own, spread over so many addresses, and hold the connections."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 8_192), hard))
    with contextlib.ExitStack() as stack:
        held = []
        for number, request in enumerate(requests):
            source = (f"127.0.0.{2 + number % addresses}", 0)
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port), source_address=source))
            with contextlib.suppress(OSError):  # turned away while it still sends
                connection.sendall(request)
            held.append(connection)
        try:
            yield held
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def post(path: str, length: int, body: bytes = b"") -> bytes:
    return f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n".encode() + body


def get(path: str) -> bytes:
    return f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


ATTACKS = [
    pytest.param([post("/v1/grants", 10)] * 300, 1, marks=SOME, id="idle bodies"),
    pytest.param([post("/v1/node/work", 10)] * 300, 3, marks=SOME, id="idle bodies at the nodes' route"),
    pytest.param([get("/v1/rounds/ADMIT?wait=60")] * 300, 2, marks=SOME, id="polls"),
    pytest.param([post("/v1/grants", LARGE, bytes(LARGE))] * 10, 2, marks=SOME, id="large bodies"),
    pytest.param([post("/v1/grants", 10)] * 1_100, 1, marks=FULL, id="1,100 idle bodies"),
    pytest.param([post("/v1/node/work", 10)] * 1_100, 3, marks=FULL, id="1,100 idle bodies at the nodes' route"),
    pytest.param([post("/v1/revocations", 10)] * 1_100, 3, marks=FULL, id="1,100 idle bodies where one revokes"),
    pytest.param([get("/v1/rounds/ADMIT?wait=60")] * 2_000, 4, marks=FULL, id="2,000 polls"),
    pytest.param([post("/v1/grants", LARGE, bytes(LARGE))] * 80, 4, marks=FULL, id="80 large bodies"),
    pytest.param([post("/v1/grants", LARGE, bytes(LARGE - 1))] * 60, 4, marks=FULL, id="60 stalled large bodies"),
]


@pytest.mark.parametrize(("requests", "addresses"), ATTACKS)
async def test_health_a_revocation_and_a_nodes_poll_go_through_while_strangers_hold_what_they_can(
    tmp_path: Path, record_property: Callable[[str, object], None], requests: list[bytes], addresses: int
) -> None:
    port, witness_port = free_port(), free_port()
    town = lay_out(tmp_path / "town", "", f"http://127.0.0.1:{witness_port}", port=port)
    async with process_of(town, port, witness_port) as service:
        await service.start()
        await service.found()
        resident = Resident()
        await service.enrol(resident)
        bundle = resident.consent()
        (index,) = await service.grant(bundle)
        admit = (await service.ask(question(town, query()))).admit
        await service.settle()
        requests = [each.replace(b"ADMIT", str(admit).encode()) for each in requests[:1]] * len(requests)
        rest = memory_of(service.pid)
        with strangers(port, requests, addresses):
            took = [await timed(service, "health"), await timed(service, "poll")]
            begun = perf_counter()
            revoked = await service.post("/v1/revocations", resident.revocation(bundle, index))
            took.append(perf_counter() - begun)
            assert revoked.status_code == httpx.codes.OK, revoked.text
            most = memory_of(service.pid)
        record_property(
            "figures",
            f"memory {rest} -> {most} MiB; health, poll, revocation {[round(1000 * each) for each in took]} ms",
        )
        assert most < 2 * rest
        assert "musubi_turned_away_total" in (await service.client.get("/metrics")).text


async def timed(service: ServiceProcess, what: str) -> float:
    """Do it; return how long it took, in seconds."""
    begun = perf_counter()
    if what == "health":
        assert (await service.client.get("/healthz")).status_code == httpx.codes.OK
    else:
        await service.work("bus_co")
    return perf_counter() - begun


@SOME
async def test_a_body_that_does_not_come_is_told_so_and_its_connection_ends(tmp_path: Path) -> None:
    port, witness_port = free_port(), free_port()
    town = lay_out(tmp_path / "town", "", f"http://127.0.0.1:{witness_port}", port=port)
    async with process_of(town, port, witness_port) as service:
        await service.start()
        with strangers(port, [post("/v1/grants", 10)]) as (connection,):
            connection.setblocking(False)
            received = b""

            def ended() -> bool:
                nonlocal received
                with contextlib.suppress(BlockingIOError):
                    part = connection.recv(65_536)
                    received += part
                    return part == b""
                return False

            await eventually(ended)
        head = received.decode().lower()
        assert head.startswith("http/1.1 503")
        assert "retry-after: " in head
        assert "in time" in head

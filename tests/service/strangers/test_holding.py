"""What strangers hold of a real service leaves nodes, revocations and health theirs."""

import contextlib
import socket
from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from tests.kit.amounts import amount
from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import process_of
from tests.kit.machine.strangers import get, memory_of, post, strangers
from tests.kit.towns.running import Resident, lay_out, query, question
from tests.kit.waiting import eventually
from trust.runtime.callers.connections import CONNECTIONS_EACH, MANY

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
LARGE = 8 * 1024 * 1024
IDLE, POLLS, BODIES = amount(300, 1_100), amount(300, 2_000), amount(10, 80)
ATTACKS = [
    pytest.param([post("/v1/grants", 10)] * IDLE, 1, id="idle bodies"),
    pytest.param([post("/v1/grants", 10)] * IDLE, 12, id="idle bodies from many"),
    pytest.param([post("/v1/node/work", 10)] * IDLE, 12, id="idle bodies at the nodes' route"),
    pytest.param([post("/v1/revocations", 10)] * IDLE, 12, id="idle bodies where one revokes"),
    pytest.param([post("/healthz", 10)] * IDLE, 12, id="idle bodies at the health check"),
    pytest.param([get("/v1/rounds/ADMIT?wait=60")] * POLLS, 4, id="polls"),
    pytest.param([post("/v1/grants", LARGE, bytes(LARGE))] * BODIES, 4, id="large bodies"),
    pytest.param([post("/v1/node/work", LARGE, bytes(LARGE - 1))] * BODIES, 4, id="stalled large bodies of no node"),
    pytest.param([post("/v1/grants", LARGE, bytes(LARGE - 1))] * BODIES, 4, id="stalled large bodies"),
    pytest.param([b""] * amount(MANY + 300, 4_600), 1, id="silent connections"),
]


@pytest.mark.parametrize(("requests", "addresses"), ATTACKS)
async def test_health_a_revocation_and_a_nodes_poll_go_through_while_strangers_hold_what_they_can(
    tmp_path: Path, record_property: Callable[[str, object], None], requests: list[bytes], addresses: int
) -> None:
    port, witness_port = free_port(), free_port()
    town = lay_out(tmp_path / "town", "", f"http://127.0.0.1:{witness_port}", port=port, max_body_bytes=LARGE)
    async with process_of(town, port, witness_port) as service:
        await service.start()
        await service.found()
        resident = Resident()
        await service.enrol(resident)
        bundle = resident.consent()
        (index,) = await service.grant(bundle)
        admit = (await service.ask(question(town, query()))).admit
        await service.settle()
        requests = [requests[0].replace(b"ADMIT", str(admit).encode())] * len(requests)
        rest = memory_of(service.pid)
        with strangers(port, requests, addresses):
            assert (await service.client.get("/healthz")).status_code == httpx.codes.OK
            await service.work("bus_co")
            revoked = await service.post("/v1/revocations", resident.revocation(bundle, index))
            assert revoked.status_code == httpx.codes.OK, revoked.text
            most = memory_of(service.pid)
        record_property("figures", f"memory {rest} -> {most} MiB")
        assert most < 2 * rest


async def test_of_one_address_only_so_many_connections_stay_open(tmp_path: Path) -> None:
    port, witness_port = free_port(), free_port()
    town = lay_out(tmp_path / "town", "", f"http://127.0.0.1:{witness_port}", port=port)
    async with process_of(town, port, witness_port) as service:
        await service.start()
        with strangers(port, [b""] * (MANY + 100)) as held:
            for connection in held:
                connection.setblocking(False)
            await eventually(lambda: sum(not _has_ended(each) for each in held) <= CONNECTIONS_EACH)
        counted = 'musubi_turned_away_total{lane="connections",why="silent"}'
        assert counted in (await service.client.get("/metrics")).text


def _has_ended(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except BlockingIOError:
        return False
    except OSError:
        return True


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

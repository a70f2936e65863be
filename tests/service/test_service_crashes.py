"""SIGKILL at every durable step of the service: no receipt lost, no index given twice, no budget spent twice."""

import asyncio
import random
import secrets
import signal
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from ledger import entries as e
from queries.rounds.messages import transcript_sha256
from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import ServiceProcess, process_of
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import lay_out, query, question, replay_log
from tests.kit.waiting import async_random_moment, breath, eventually

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
STORE = ("service:before-commit", "service:committed")
SEQUENCER = ("service:tiles", "service:cosigned", "service:swapped", "service:checkpoint")
Act = Callable[[], Any]


@pytest.fixture
async def service(tmp_path: Path, database: Callable[[], str]) -> AsyncIterator[ServiceProcess]:
    port, witness_port = free_port(), free_port()
    town = lay_out(
        tmp_path / "town", database(), f"http://127.0.0.1:{witness_port}", port=port, receipt_wait_seconds=20
    )
    async with process_of(town, port, witness_port) as process:
        yield process


class Scene:
    """A running town with one consent, one question whose round lacks its last share, and what each act would do."""

    def __init__(self, service: ServiceProcess) -> None:
        self.service = service
        self.resident = Folk()
        self.receipts: dict[int, tuple[bytes, bytes]] = {}

    async def prepare(self) -> None:
        """Found the town, and bring one round to its last share."""
        service, town = self.service, self.service.town
        await service.start()
        await service.found()
        await service.enrol(self.resident)
        given = self.resident.consent()
        (grant,) = await service.grant(given)
        admit = (await service.ask(question(town, query()))).admit
        transcript = await service.countersign(admit, "bus_co", "clinic")
        await service.share(admit, "bus_co", [11])
        await service.settle()
        size = (await service.client.get("/readyz")).json()["size"]
        self.receipts = {index: await service.receipt(index) for index in range(size)}
        clinic = service.nodes["clinic"]
        share = clinic.share(admit, await service.entry(admit), transcript, [31])
        assert share.transcript_sha256 == transcript_sha256(transcript)
        self.admit = admit
        self.requests: dict[str, tuple[str, object, str | None]] = {
            "grant": ("/v1/grants", {"bundles": [self.resident.consent()]}, secrets.token_hex(16)),
            "ask": ("/v1/questions", question(town, query(), fresh=True), None),
            "release": ("/v1/node/share", clinic.sign(share), None),
            "revoke": ("/v1/revocations", self.resident.revocation(given, grant), None),
        }
        self.grant = grant

    async def act(self, name: str) -> httpx.Response | None:
        """Do it; None where the service died before it answered."""
        try:
            return await self.service.post(*self.requests[name])
        except httpx.TransportError:
            return None

    def check_again(self, name: str, first: httpx.Response | None, again: httpx.Response) -> None:
        """What was asked before the crash gets the same answer again after it."""
        assert again.is_success, (name, again.text)
        if first is not None:
            assert first.text == again.text

    async def check_whole(self, name: str) -> None:
        """The log replays whole, holds every receipt handed out, and each act once."""
        await self.service.settle()
        state, entries = replay_log(self.service.town, self.receipts)
        charges = [entry.charge for entry in entries if isinstance(entry, e.Admit)]
        kinds = [type(entry) for entry in entries]
        assert kinds.count(e.Admit) == 1 + (name == "ask")
        assert kinds.count(e.Grant) == 1 + (name == "grant")
        assert kinds.count(e.Release) == (name == "release")
        assert [entry.grant for entry in entries if isinstance(entry, e.Revoke)] == [self.grant] * (name == "revoke")
        assert {account.charged for account in state.accounts.values()} == {sum(charges)}
        assert {account.spent for account in state.accounts.values()} == {charges[0] if name == "release" else 0}
        if name == "release":
            assert [entry.vector for entry in entries if isinstance(entry, e.Release)] == [[42]]


CASES = [(point, name) for point in STORE for name in ("grant", "ask", "release", "revoke")]
CASES += [
    (point, name) for point in SEQUENCER for name in ("grant", "release")
]  # one waits for its receipt, one does not


@pytest.mark.many(3)
@pytest.mark.parametrize(("point", "name"), CASES)
async def test_a_service_killed_at_a_durable_step_loses_nothing_and_does_nothing_twice(
    service: ServiceProcess, point: str, name: str
) -> None:
    scene = Scene(service)
    await scene.prepare()
    service.kill()
    await service.start(crash_at=point)
    first = await scene.act(name)
    assert first is None or (first.is_success and point != "service:before-commit")
    assert await service.died() == -signal.SIGKILL
    await service.start()
    again = await scene.act(name)
    assert again is not None
    scene.check_again(name, first, again)
    await scene.check_whole(name)
    await service.grant(scene.resident.consent())


async def test_a_service_killed_at_any_moment_keeps_every_receipt_it_gave(service: ServiceProcess) -> None:
    await service.start()
    await service.found()
    resident = Folk()
    await service.enrol(resident)
    receipts: dict[int, tuple[bytes, bytes]] = {}
    seen: dict[str, list[int]] = {}
    chance = random.Random(7)

    async def hand_in() -> None:
        """Hand consents in one after the other, each again under its key until it is answered."""
        while not done.is_set():
            body, key = {"bundles": [resident.consent()]}, secrets.token_hex(16)
            while not done.is_set():
                try:
                    answer = await service.post("/v1/grants", body, key)
                    if answer.is_success:
                        seen[key] = answer.json()["indices"]
                        receipts[seen[key][0]] = await service.receipt(seen[key][0])
                        break
                except (httpx.TransportError, AssertionError):
                    await breath()

    done = asyncio.Event()
    clients = [asyncio.create_task(hand_in()) for _ in range(3)]
    for life in range(4):
        await eventually(partial(lambda answered: len(seen) > answered, life))
        await async_random_moment(chance, 0.4)
        service.kill()
        await service.start()
    await eventually(lambda: len(seen) > 4)
    done.set()
    await asyncio.gather(*clients)
    await service.settle()
    indices = [index for each in seen.values() for index in each]
    assert len(indices) == len(set(indices)) > 4
    replay_log(service.town, receipts)

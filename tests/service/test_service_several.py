"""Several real service processes on one ledger: one sequences at a time, whatever befalls it; history never forks."""

import asyncio
import json
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import httpx
import pytest
from sqlalchemy import select
from sqlalchemy.exc import DBAPIError

from ledger import entries as e
from ledger.errors import Unavailable
from policies.replay import entry_sha256
from tests.kit.machine.databases import new_database
from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import ServiceProcess, service_alone
from tests.kit.parties.witnesses import witness_at
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import Resident, Town, lay_out, query, question, refused, replay_log, run
from tests.kit.waiting import breath, eventually
from trust.audit.auditor import audit
from trust.log.pins import Trust
from trust.service.database import tables as t
from trust.service.service import Service
from trust.service.settings import load_settings

pytestmark = [pytest.mark.anyio, pytest.mark.slow]


def events(service: ServiceProcess) -> list[str]:
    """What a process has logged, by the names of the events."""
    lines = service.log.read_text().splitlines() if service.log.exists() else []
    return [json.loads(line)["event"] for line in lines if line.startswith("{")]


def leads(service: ServiceProcess) -> bool:
    """Whether a process says that it sequences."""
    said = [event for event in events(service) if event.startswith("sequencing")]
    return bool(said) and said[-1] == "sequencing"


class Two:
    """Two processes on one ledger, and what was done through both."""

    def __init__(self, town: Town, services: list[ServiceProcess]) -> None:
        self.town = town
        self.services = services
        self.resident = Folk()
        self.answers: dict[str, list[int]] = {}
        self.receipts: dict[int, tuple[bytes, bytes]] = {}
        self.admits: dict[str, int] = {}
        self.done = asyncio.Event()
        self._missed = 0
        """How often a receipt did not come in time, or from a process that was down."""
        self._clients: list[asyncio.Task[None]] = []

    @property
    def leader(self) -> ServiceProcess:
        """The process that sequences."""
        (found,) = [service for service in self.services if leads(service)]
        return found

    @property
    def standby(self) -> ServiceProcess:
        """The other one."""
        (found,) = [service for service in self.services if service is not self.leader]
        return found

    async def begin(self) -> None:
        """Start clients that hand in consents and questions without pause, each at any process that answers."""
        self._clients = [asyncio.create_task(self._grants(n)) for n in range(3)]
        self._clients.append(asyncio.create_task(self._questions()))

    async def end(self) -> None:
        """Let each client finish what it is at."""
        self.done.set()
        await asyncio.gather(*self._clients)

    async def grown(self, more: int) -> None:
        """Wait until so many more consents have their receipts."""
        wanted = len(self.receipts) + more

        def are_there() -> bool:
            for client in self._clients:
                if client.done():  # before its time: say why
                    client.result()
            return len(self.receipts) >= wanted

        await eventually(are_there)

    async def _ask_any(self, first: int, path: str, body: object, key: str | None) -> httpx.Response:
        """Send one request to one process after the other, under one key, until one has done it."""
        for turn in count(first):
            service = self.services[turn % len(self.services)]
            try:
                answer = await asyncio.wait_for(service.post(path, body, key), 2 + turn - first)  # more time each time
                if answer.status_code == httpx.codes.OK:
                    return answer
                assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            except (httpx.TransportError, TimeoutError):
                pass
            await breath()
        raise AssertionError("unreachable")

    async def _grants(self, number: int) -> None:
        turn = number
        while not self.done.is_set():
            resident = Resident()
            await self._ask_any(turn, "/v1/enrolments", {"enrolments": [resident.enrolment(self.town)]}, None)
            body, key = {"bundles": [resident.consent()]}, secrets.token_hex(16)
            found = (await self._ask_any(turn, "/v1/grants", body, key)).json()["indices"]
            again = (await self._ask_any(turn + 1, "/v1/grants", body, key)).json()["indices"]
            assert again == found, "the other process gave another index"
            self.answers[key] = found
            turn += 1
            for service in self.services[turn % 2 :] + self.services[: turn % 2]:
                try:
                    self.receipts[found[0]] = await asyncio.wait_for(service.receipt(found[0]), 3 + self._missed)
                    break
                except (httpx.TransportError, TimeoutError, AssertionError):
                    self._missed += 1  # a machine on which a receipt takes long is given longer

    async def _questions(self) -> None:
        turn = 0
        while not self.done.is_set():
            token = question(self.town, query(spend={"epsilon": "0.01"}), fresh=True)
            first = (await self._ask_any(turn, "/v1/questions", token, None)).text
            assert first == (await self._ask_any(turn + 1, "/v1/questions", token, None)).text
            self.admits[token] = turn
            turn += 1
            await asyncio.sleep(0.2)

    async def check(self, tmp_path: Path) -> None:
        """No fork, no receipt lost, nothing done twice; an auditor finds nothing wrong."""
        for service in self.services:
            await service.settle()
        _, entries = replay_log(self.town, self.receipts)
        indices = [index for found in self.answers.values() for index in found]
        assert len(indices) == len(set(indices))
        assert sum(isinstance(entry, e.Grant) for entry in entries) == len(indices)
        assert sum(isinstance(entry, e.Admit) for entry in entries) == len(self.admits)
        trust = Trust(
            origin=self.town.genesis.origin,
            log_key=self.town.genesis.log_key,
            genesis_sha256=entry_sha256(e.encode(self.town.genesis)),
            witness_policy=(self.town.service / "witnesses.txt").read_text(),
        )
        for service in self.services:
            report = await asyncio.to_thread(
                audit, f"http://127.0.0.1:{service.port}", trust=trust, state_folder=tmp_path / f"audit-{service.port}"
            )
            assert report.verdict == "ok", report


@asynccontextmanager
async def two_on(url: str, folder: Path) -> AsyncIterator[Two]:
    """Two processes on a founded town."""
    ports, witness_port = [free_port(), free_port()], free_port()
    town = lay_out(folder / "town", url, f"http://127.0.0.1:{witness_port}", interval_ms=50, requests_per_minute=60_000)
    with witness_at(town.witness, witness_port):
        async with service_alone(town, ports[0]) as one, service_alone(town, ports[1]) as other:
            await asyncio.gather(one.start(), other.start())
            two = Two(town, [one, other])
            await eventually(lambda: leads(one) or leads(other))
            await two.standby.found()
            await two.leader.enrol(two.resident)
            yield two


async def test_two_processes_share_one_ledger_and_the_other_goes_on_when_one_dies(
    postgresql: str, tmp_path: Path
) -> None:
    """Grants and questions through both; the one that sequences is killed in the middle of it, and comes back."""
    async with two_on(new_database(postgresql), tmp_path) as two:
        await two.begin()
        await two.grown(10)
        first, second = two.leader, two.standby
        first.kill()
        await two.grown(10)
        assert leads(second)
        await first.start()
        await two.grown(5)
        assert leads(second)
        await two.end()
        await two.check(tmp_path)


async def test_a_leader_that_is_stopped_past_the_takeover_and_wakes_up_publishes_nothing_and_forks_nothing(
    postgresql: str, tmp_path: Path
) -> None:
    async with two_on(new_database(postgresql), tmp_path) as two:
        await two.begin()
        await two.grown(10)
        first, second = two.leader, two.standby
        first.pause()
        await eventually(lambda: leads(second))
        await two.grown(10)
        first.go_on()
        await eventually(lambda: not leads(first))
        await two.grown(10)
        assert leads(second)
        await two.end()
        await two.check(tmp_path)


async def test_a_round_goes_its_way_when_each_step_is_said_to_another_process(postgresql: str, tmp_path: Path) -> None:
    async with two_on(new_database(postgresql), tmp_path) as two:
        one, other = two.services
        admit = (await one.ask(question(two.town, query()))).admit
        await other.countersign(admit, "bus_co")
        await one.countersign(admit, "clinic")

        async def has_go() -> bool:
            return any(task.step == "share" for task in (await other.work("bus_co")).tasks)

        await eventually(has_go)
        await other.share(admit, "bus_co", [11])
        closed = await one.share(admit, "clinic", [31])
        assert closed is not None
        entry = e.decode(await other.entry(closed))
        assert isinstance(entry, e.Release)
        assert entry.vector == [42]
        seen = (await other.client.get(f"/v1/rounds/{admit}?wait=20")).json()
        assert seen == {"status": "released", "closed_by": closed, "waiting_for": []}


async def test_what_one_process_did_is_at_once_known_to_another(postgresql: str, tmp_path: Path) -> None:
    async with two_on(new_database(postgresql), tmp_path) as two:
        one, other = two.services
        for _ in range(5):
            (index,) = await one.grant(two.resident.consent())
            await other.receipt(index)
            admit = (await other.ask(question(two.town, query(), fresh=True))).admit
            assert (await one.client.get(f"/v1/rounds/{admit}")).json()["status"] == "open"
            token = one.nodes["bus_co"].sign(one.nodes["bus_co"].work(size=index))
            await one.done("/v1/node/work", token)
            refused(await other.post("/v1/node/work", token), "replayed")


async def test_a_second_process_on_one_folder_with_sqlite_is_refused_with_a_word_why(tmp_path: Path) -> None:
    port, witness_port = free_port(), free_port()
    town = lay_out(tmp_path / "town", "", f"http://127.0.0.1:{witness_port}", port=port)
    with witness_at(town.witness, witness_port):
        async with service_alone(town, port) as first, service_alone(town, free_port()) as second:
            await first.start()
            await second.start(crash_at="nowhere")
            assert await second.died() == 26
            assert "Another service process is at work in this folder" in second.log.read_text()
            assert "Traceback" not in second.log.read_text()
            with pytest.raises(Unavailable, match="Another service process"):
                await Service(load_settings(town.service)).start()
            await first.found()
            first.kill()
            await second.start()  # the lock went with the process that held it
            await second.settle()


async def test_a_process_that_is_stopped_in_the_middle_of_a_group_does_not_hold_up_the_others_for_ever(
    postgresql: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """PostgreSQL ends a transaction in which nothing is said, and the head of the ledger is free again."""
    monkeypatch.setattr("trust.service.database.engine.STOPPED_SECONDS", 1)
    async with run(lay_out(tmp_path / "town", new_database(postgresql))) as running:
        await running.found()
        resident = Folk()
        await running.enrol(resident)
        (before,) = await running.grant(resident.consent())
        stopped = await running.service.databases.writer.connect()
        await stopped.execute(select(t.head).with_for_update())
        (index,) = await running.grant(resident.consent())
        assert index == before + 1
        with pytest.raises(DBAPIError):
            await stopped.execute(select(t.head))
        await stopped.invalidate()
        await stopped.close()
        replay_log(running.town)


async def test_keys_of_records_are_never_overwritten_by_a_process_that_lost_the_head_of_the_ledger(
    postgresql: str, tmp_path: Path
) -> None:
    """It wakes up in the middle of its group, and has keys for indices that are others' by now."""
    async with run(lay_out(tmp_path / "town", new_database(postgresql))) as running:
        await running.found()
        resident = Folk()
        await running.enrol(resident)
        (index,) = await running.grant(resident.consent())
        kept = await running.service.keys.find([index])

        async def lost() -> None:
            raise OSError("the database has ended the transaction")

        with pytest.raises(OSError, match="ended"):
            await running.service.keys.keep([(index, bytes(32 * [7]))], lost)
        assert await running.service.keys.find([index]) == kept
        await running.grant(resident.consent())

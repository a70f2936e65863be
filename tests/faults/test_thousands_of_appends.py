"""Thousands of appends while the service is killed at random moments and its disk fills up: nothing given out is lost.

Residents hand consents in by the dozen, each request again under its key until it is answered, and keep every receipt.
Meanwhile the real process is killed (SIGKILL), or its files may not grow (``RLIMIT_FSIZE``), or the file system that it
is on has no space left. Afterwards the whole log is audited from its files, and every receipt is held against it.

``make test-long`` does it over ten times as many appends.
"""

import asyncio
import contextlib
import random
import resource
import secrets
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from ledger import entries as e
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import parse_note
from ledger.notes.receipts import Receipt, check_receipt
from ledger.tlog.tiles import TileReader
from ledger.tlog.tree import root_hash
from policies.replay import entry_sha256
from tests.kit.amounts import amount
from tests.kit.machine.databases import new_database
from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import ServiceProcess, process_of
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import lay_out
from tests.kit.towns.toy_town import HEALTH
from tests.kit.waiting import async_random_moment, breath
from trust.audit.auditor import audit
from trust.log.pins import Trust
from trust.log.tile_folder import TileFolder

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.long]
TIMES = amount(1, 10)
AT_ONCE = 40
CLIENTS = 3


class Crowd:
    """Residents at a service that comes and goes."""

    def __init__(self, service: ServiceProcess, wanted: int) -> None:
        self.service = service
        self.wanted = wanted
        self.resident = Folk(wanted + CLIENTS * AT_ONCE)
        self.given: dict[int, bytes] = {}
        """The consents' identifiers by ledger index."""
        self.receipts: dict[int, tuple[bytes, bytes]] = {}
        self._left = wanted

    async def run(self) -> None:
        """Hand in as many consents as are wanted."""
        async with asyncio.TaskGroup() as group:
            for _ in range(CLIENTS):
                group.create_task(self._client())

    async def _client(self) -> None:
        while self._left > 0:
            self._left -= AT_ONCE
            consents = [secrets.token_bytes(32) for _ in range(AT_ONCE)]
            body = {"bundles": [self.resident.consent(HEALTH, consent=each) for each in consents]}
            key = secrets.token_hex(16)
            indices = await self._until_answered(body, key)
            for index, consent in zip(indices, consents, strict=True):
                assert self.given.setdefault(index, consent) == consent, "one index was given twice"
            await self._keep(indices)

    async def _until_answered(self, body: object, key: str) -> list[int]:
        while True:
            with contextlib.suppress(httpx.TransportError):
                answer = await self.service.post("/v1/grants", body, key)
                if answer.is_success:
                    found: list[int] = answer.json()["indices"]
                    return found
                assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, answer.text
            await breath()

    async def _keep(self, indices: list[int]) -> None:
        """Fetch a few of the receipts; the service may go in the middle of it."""
        for index in random.sample(indices, 4):
            try:
                self.receipts[index] = await self.service.receipt(index)
            except (httpx.TransportError, AssertionError):
                await breath()

    async def check(self, folder: Path) -> None:
        """Audit the log from its files; hold every index and every receipt against it."""
        town = self.service.town
        await self.service.settle()
        tiles = TileFolder(town.service / "log")
        newest = Checkpoint.parse(parse_note(tiles.read_checkpoint() or b"").text)
        reader = TileReader(tiles.read_tile, newest.size)
        for index, (entry, receipt) in self.receipts.items():
            checkpoint = check_receipt(Receipt.parse(receipt), entry, town.log_key, town.witnesses)
            assert root_hash(checkpoint.size, reader) == checkpoint.root
            granted = e.decode(entry)
            assert isinstance(granted, e.Grant)
            assert granted.consent == self.given[index].hex()
        tiles.close()
        trust = Trust(
            origin=town.genesis.origin,
            log_key=town.genesis.log_key,
            genesis_sha256=entry_sha256(e.encode(town.genesis)),
            witness_policy=(town.service / "witnesses.txt").read_text(),
        )
        report = audit(str(town.service / "log"), trust=trust, state_folder=folder / "audit")
        assert report.verdict == "ok", report
        assert report.kinds["grant"] == len(self.given) >= self.wanted
        assert len(self.receipts) > self.wanted / AT_ONCE
        print(f"\n{len(self.given)} appends, {len(self.receipts)} receipts held against the log")  # noqa: T201


@asynccontextmanager
async def crowd_at(folder: Path, url: str, wanted: int) -> AsyncIterator[Crowd]:
    """A founded town with a crowd."""
    port, witness_port = free_port(), free_port()
    limits = {"requests_per_minute": 1_000_000, "max_body_bytes": 1_000_000, "receipt_wait_seconds": 5}
    town = lay_out(folder / "town", url, f"http://127.0.0.1:{witness_port}", port=port, interval_ms=50, **limits)
    async with process_of(town, port, witness_port) as service:
        await service.start()
        await service.found()
        crowd = Crowd(service, wanted)
        await service.enrol(crowd.resident)
        yield crowd


async def disturb(crowd: Crowd, disturbance: Callable[[random.Random], Awaitable[None]], times: int) -> None:
    """Disturb the service at random moments while the crowd is at it; at most so many times."""
    chance = random.Random(11)
    going_on = asyncio.create_task(crowd.run())
    for _ in range(times):
        await asyncio.wait([going_on], timeout=chance.uniform(0.05, 0.8))
        if going_on.done():
            break
        await disturbance(chance)
    await going_on


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
async def test_a_service_killed_again_and_again_under_thousands_of_appends_loses_nothing(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = new_database(request.getfixturevalue("postgresql")) if database == "postgresql" else ""
    async with crowd_at(tmp_path, url, 1_600 * TIMES) as crowd:

        async def kill(_: random.Random) -> None:
            crowd.service.kill()
            await crowd.service.start()

        await disturb(crowd, kill, 6 * TIMES)
        await crowd.check(tmp_path)


async def test_a_service_whose_files_may_not_grow_again_and_again_loses_nothing(tmp_path: Path) -> None:
    async with crowd_at(tmp_path, "", 800 * TIMES) as crowd:

        async def stunt(chance: random.Random) -> None:
            crowd.service.limit_files_to(chance.choice([1_000, 20_000, 200_000]))
            await async_random_moment(chance, 0.5)
            crowd.service.limit_files_to(resource.RLIM_INFINITY)

        await disturb(crowd, stunt, 6 * TIMES)
        await crowd.check(tmp_path)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of a few megabytes, where this machine lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    size = f"size={16 + 16 * TIMES}m"
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no small file system can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


async def test_a_service_whose_disk_fills_up_again_and_again_and_that_is_killed_then_loses_nothing(
    small_disk: Path, tmp_path: Path
) -> None:
    async with crowd_at(small_disk, "", 800 * TIMES) as crowd:

        async def fill(chance: random.Random) -> None:
            junk = small_disk / "junk"
            with junk.open("wb", buffering=0) as file:
                size = 1 << 20
                while size:
                    try:
                        file.write(bytes(size))
                    except OSError:
                        size //= 2
            await async_random_moment(chance, 0.5)
            killed = chance.random() < 0.5
            if killed:
                crowd.service.kill()
            junk.unlink()
            if killed:
                await crowd.service.start()

        await disturb(crowd, fill, 6 * TIMES)
        await crowd.check(tmp_path)

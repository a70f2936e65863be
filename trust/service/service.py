"""The parts of one running service, and the order in which they start and stop."""

import asyncio
from pathlib import Path

import structlog

from ledger import entries as e
from ledger.errors import Malformed, MusubiError
from ledger.notes import VerifierKey
from policies.replay import entry_sha256
from trust.key_files import read_key
from trust.service.bell import Bell
from trust.service.caught_up import CaughtUpBooks
from trust.service.database.engine import Databases
from trust.service.govern import found
from trust.service.idempotency import forget_old
from trust.service.intake import Workers
from trust.service.nonces import Nonces
from trust.service.pages.model import TownPage
from trust.service.past_sets import PastSets
from trust.service.record_keys import RecordKeys
from trust.service.retention import EVERY_SECONDS, sweep
from trust.service.rounds import Rounds
from trust.service.sequencer import Sequencer
from trust.service.settings import Settings
from trust.service.store import Clock, Store, system_clock
from trust.tile_folder import TileFolder
from trust.trust_file import Trust

log = structlog.get_logger()


class Service:
    """Everything that the handlers need."""

    def __init__(self, settings: Settings, clock: Clock = system_clock) -> None:
        options, folder = settings.service, settings.folder
        self.settings = settings
        self.clock = clock
        self.operator_key = read_key(folder / "keys" / "operator.key")
        log_key = read_key(folder / "keys" / "log.key")
        self.log_key = VerifierKey.ed25519(options.origin, bytes(log_key.verify_key))
        self.witnesses = settings.witnesses()
        self.tiles = TileFolder(folder / "log")
        self.databases = Databases(settings.database_url)
        self.keys = RecordKeys(settings.record_keys)
        self.store = Store(self.databases, self.keys, clock, options.max_pending_acts)
        self.bell = Bell()
        self.workers = Workers()
        self.nonces = Nonces(clock)
        self.past_sets = PastSets(self.store)
        self.caught_up = CaughtUpBooks(self.store)
        self.rounds = Rounds(self.store, self.bell, options.operator, self.operator_key)
        self.sequencer = Sequencer(
            self.store,
            self.bell,
            self.tiles,
            log_key,
            options.origin,
            self.witnesses,
            interval=options.interval_ms / 1000,
            witness_timeout=options.witness_timeout_seconds,
        )
        self.genesis = _read_genesis(folder / "genesis.json", options.origin)
        self.page: tuple[tuple[int, int], TownPage] | None = None
        """The public page's model as last gathered, with the tree size and minute that it is for."""
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def operator(self) -> str:
        """The operator's alias among the members."""
        return self.settings.service.operator

    @property
    def trust(self) -> Trust:
        """What a node or auditor may pin; it should come from someone its reader trusts, and not from here."""
        return Trust(
            origin=self.settings.service.origin,
            log_key=str(self.log_key),
            genesis_sha256=entry_sha256(e.encode(self.genesis)),
            witness_policy=self.witnesses.format(),
        )

    async def start(self) -> None:
        """Migrate, rebuild the state by replay, begin to sequence. Raises HistoryForked if the tiles do not fit."""
        await self.databases.migrate()
        await self.store.start()
        await self.store.submit(forget_old)
        await found(self.store, self.genesis)
        await self.rounds.load()
        await self.caught_up.load()
        await self.sequencer.start()
        self._tasks = [
            asyncio.create_task(self._ring_at_expiry(), name="expiry"),
            asyncio.create_task(self._sweep(), name="retention"),
        ]

    async def stop(self) -> None:
        """Stop in the opposite order; nothing committed is lost."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.workers.stop()
        await self.sequencer.stop()
        await self.store.stop()
        await self.databases.close()
        await self.keys.close()

    async def _ring_at_expiry(self) -> None:
        """Wake the waiting nodes once a second while rounds are open: an expired round has new tasks."""
        while True:
            await asyncio.sleep(1.0)
            if self.store.size and self.store.state.rounds:
                self.bell.ring()

    async def _sweep(self) -> None:
        """Erase the records whose time is over, at the start and once an hour."""
        while True:
            try:
                erased = await sweep(self.store, self.settings.service.retention_days)
                if erased:
                    log.info("retention", erased=erased)
            except MusubiError as error:  # what was not erased now is due at the next turn
                log.warning("retention-failed", code=error.code)
            except Exception as error:  # noqa: BLE001 - whatever a disk or database raises: its text may hold rows
                log.warning("retention-failed", kind=type(error).__name__)
            await asyncio.sleep(EVERY_SECONDS)


def _read_genesis(path: Path, origin: str) -> e.Genesis:
    entry = e.decode(path.read_bytes().rstrip(b"\n"))
    if not isinstance(entry, e.Genesis) or entry.origin != origin:
        raise Malformed("genesis.json is not the genesis entry of this service's log.")
    return entry

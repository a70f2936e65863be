"""The parts of one running service, and the order in which they start and stop."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import structlog
from nacl.signing import SigningKey

from ledger.errors import HistoryForked, MusubiError, ReadOnly, Unavailable
from trust.log.pins import Trust, pins_of
from trust.log.tile_folder import TileFolder
from trust.runtime.callers.per_minute import PerMinute
from trust.runtime.clock import Clock, Ticks, system_clock, system_ticks
from trust.runtime.json_lines import reason_of
from trust.service.acts.govern import found
from trust.service.acts.intake import Workers
from trust.service.acts.retention import EVERY_SECONDS, sweep, time_come
from trust.service.database.engine import Databases
from trust.service.keys.own_keys import LogSigner, OperatorSigner
from trust.service.keys.record_keys import RecordKeys
from trust.service.publish.compressed import CompressedBundles
from trust.service.publish.lock_state import begin_or_check
from trust.service.publish.sequencer import Sequencer
from trust.service.publish.time_keeper import TimeKeeper
from trust.service.rounds.caught_up import CaughtUpBooks
from trust.service.rounds.past_sets import PastSets
from trust.service.rounds.rounds import Rounds
from trust.service.settings import Settings
from trust.service.store.bell import Bell
from trust.service.store.election import make_election
from trust.service.store.held_clock import HeldClock
from trust.service.store.idempotency import forget_old
from trust.service.store.kept_start import KEPT_START, StartFile
from trust.service.store.nonces import Nonces
from trust.service.store.store import Store

CANCEL_AGAIN_SECONDS = 1
GIVE_UP_EVERY_SECONDS = 60
AGAIN_SECONDS = 60
"""Until what needs a sure time is tried again, where it was not sure."""
PAUSE_SECONDS = 0.02
"""Between two looks at what other processes did: many notices become one look."""
logger = structlog.get_logger()


class Service:
    """Everything that the handlers need."""

    def __init__(self, settings: Settings, clock: Clock = system_clock, ticks: Ticks = system_ticks) -> None:
        options, folder = settings.service, settings.folder
        self.settings = settings
        self.operator_signer = OperatorSigner(folder / "keys", options.operator)
        self.log_signer = LogSigner(folder / "keys")
        self.witnesses = settings.witnesses()
        self.clock = HeldClock(clock, ticks, self.witnesses)
        self.tiles = TileFolder(folder / "log")
        self._heard = asyncio.Event()
        self.databases = Databases(settings.database_url)
        self.keys = RecordKeys(settings.record_keys)
        self.election = make_election(self.databases, self._heard.set)
        start_file = StartFile(folder / KEPT_START, self.tiles)
        self.store = Store(self.databases, self.keys, self.clock, options.max_pending_acts, self.election, start_file)
        self.bell = Bell()
        self.workers = Workers()
        self.accounts = PerMinute(options.requests_per_minute)
        """What one partner or resident asks, from wherever they call."""
        self.bundles = CompressedBundles()
        self.nonces = Nonces(self.clock, self.databases)
        self.past_sets = PastSets(self.store)
        self.caught_up = CaughtUpBooks(self.store)
        self.rounds = Rounds(self.store, self.bell, options.operator, self.operator_signer)
        self.sequencer = Sequencer(
            self.store,
            self.bell,
            self.tiles,
            self.log_signer,
            options.origin,
            self.witnesses,
            self.election,
            interval=options.interval_ms / 1000,
            witness_timeout=options.witness_timeout_seconds,
        )
        self.time_keeper = TimeKeeper(self.clock, self.sequencer, options.witness_timeout_seconds)
        self.genesis = settings.genesis()
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def operator(self) -> str:
        """The operator's alias among the members."""
        return self.settings.service.operator

    @property
    def operator_key(self) -> SigningKey:
        """The key that the operator signs with now."""
        return self.operator_signer.key(self.store.state)

    @property
    def trust(self) -> Trust:
        """What a node or auditor may pin; it should come from someone its reader trusts, and not from here."""
        return pins_of(self.genesis, self.witnesses.format())

    async def start(self) -> None:
        """Migrate, see whether we may go on from what is here, rebuild the state by replay, begin to sequence.

        Where the time is not sure it starts all the same, to be read only (``trust.service.store.held_clock``).
        Raises Unavailable where another process has the folder, HistoryForked as ``trust.service.publish.lock_state``
        says.
        """
        try:
            await self.election.claim()
            await self.databases.migrate()
            await begin_or_check(self.databases, self.tiles)
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def _start(self) -> None:
        await self.store.start()
        await found(self.store, self.genesis)
        await self.rounds.load()
        await self.caught_up.load()
        await self.election.start()
        await self.sequencer.start()
        await self.time_keeper.start()
        self._tasks = [
            asyncio.create_task(self._ring_at_expiry(), name="expiry"),
            asyncio.create_task(self._sweep(), name="retention"),
            asyncio.create_task(self._give_up(), name="give-up"),
            asyncio.create_task(self._follow(), name="follow"),
        ]

    async def stop(self) -> None:
        """Stop in the opposite order; nothing committed is lost."""
        await _end(self._tasks)
        await self.workers.stop()
        await self.time_keeper.stop()
        await self.sequencer.stop()
        await self.store.stop()
        await self.store.keep_start(self.sequencer.size, is_last=True)
        await self.election.stop()
        await self.databases.close()
        await self.keys.close()

    async def readiness(self) -> tuple[int, int]:
        """Return how many entries are committed, and how many of them are published.

        Raises the gravest of what hinders, with all of it named in ``details["reasons"]``: HistoryForked or
        UpgradeNeeded once the service has halted, Unavailable until the database answers, the state is built and
        something is published, and ReadOnly while the time is not sure.
        """
        found: list[tuple[MusubiError, list[str]]] = []
        if self.store.halted:
            found.append((self.store.halted, [self.store.halted.code]))
        size = 0
        try:
            size = await self.store.committed_size()
        except Exception as error:  # noqa: BLE001 - whatever the database raises
            logger.warning("database-away", kind=type(error).__name__)
            found.append((Unavailable("The database does not answer."), ["database"]))
        try:
            state = self.store.state
            read_only = self.clock.read_only(state.at)
            is_behind = state.size < size or not self.sequencer.size
        except Unavailable as error:
            found.append((error, ["starting"]))
        else:
            if is_behind:
                found.append((Unavailable("The service is starting."), ["starting"]))
            if read_only is not None:
                found.append((read_only, self.clock.reasons(state.at)))
        if found:
            raise _all_of(found, size=size, published=self.sequencer.size)
        return size, self.sequencer.size

    async def wait_published(self, index: int) -> bytes:
        """Wait until the entry at ``index`` is published; return the checkpoint's note.

        Raises as ``Sequencer.wait_for``.
        """
        return await self.sequencer.wait_for(index + 1, self.settings.service.receipt_wait_seconds)

    async def catch_up(self) -> None:
        """Take in what other processes on this ledger appended, published and were told; nothing if there are none."""
        if self.election.shared:
            await self.store.follow()
            await self.sequencer.refresh()
            await self.rounds.refresh()
            self.bell.ring()

    async def catch_up_past(self, index: int) -> None:
        """Catch up where the published ledger, as this process knows it, does not reach past ``index``."""
        if index >= self.sequencer.size:
            await self.catch_up()

    async def check_published(self, index: int) -> None:
        """Catch up where that may help; raise Unavailable for what is in the ledger and not published yet.

        What the ledger does not reach is left to the caller: it is not there, and not only not yet.
        """
        await self.catch_up_past(index)
        if self.sequencer.size <= index < self.store.size:
            raise Unavailable("That is in the ledger, but not published yet; ask again in a moment.")

    def published(self) -> int:
        """Return how many entries are published; raise Unavailable where there are entries and that is not known yet.

        Right after a start whoever was told 0 would take it that what it has seen is gone.
        """
        if self.store.size and not self.sequencer.size:
            raise Unavailable("It is not known yet what is published; ask again in a moment.")
        return self.sequencer.size

    async def _follow(self) -> None:
        """Catch up whenever another process has something new, and with every beat."""
        while True:
            await self._heard.wait()
            self._heard.clear()
            with _going_on("follow-failed"):
                try:
                    await self.catch_up()
                except HistoryForked as error:
                    self.store.halt(error)
                    raise
            await asyncio.sleep(PAUSE_SECONDS)

    async def _ring_at_expiry(self) -> None:
        """Wake the waiting nodes once a second while rounds are open: an expired round has new tasks."""
        while True:
            await asyncio.sleep(1.0)
            with suppress(Unavailable):  # it is being rebuilt
                if self.store.size and self.store.state.rounds:
                    self.bell.ring()

    async def _give_up(self) -> None:
        """Close the rounds that nobody can finish any more: at the start, and every minute."""
        while True:
            with _going_on("give-up-failed"):
                given_up = await self.rounds.give_up()
                if given_up:
                    logger.info("given-up", rounds=given_up)
            await self.store.keep_start(self.sequencer.size)
            await asyncio.sleep(GIVE_UP_EVERY_SECONDS)

    async def _sweep(self) -> None:
        """Drop old answers and erase the records whose time is over, at the start and once an hour."""
        while True:
            pause = EVERY_SECONDS
            with _going_on("retention-failed"):
                try:
                    await self.store.submit(forget_old)
                    now = time_come(self.clock(), self.tiles.read_checkpoint(), self.witnesses)
                    erased = await sweep(self.store, self.settings.service.retention_days, now)
                    if erased:
                        logger.info("retention", erased=erased)
                except ReadOnly:
                    pause = AGAIN_SECONDS
            await asyncio.sleep(pause)


@contextmanager
def _going_on(event: str) -> Iterator[None]:
    """Log that a turn of a background task failed, and why, by code or kind: what it left is due at the next one."""
    try:
        yield
    except MusubiError as error:
        logger.warning(event, **reason_of(error))
    except Exception as error:  # noqa: BLE001 - whatever a disk or database raises: its text may hold rows
        logger.warning(event, kind=type(error).__name__)


def _all_of(found: list[tuple[MusubiError, list[str]]], **sizes: int) -> MusubiError:
    """Return the first error, which says what all of them say."""
    first = found[0][0]
    reasons = [reason for _, each in found for reason in each]
    details = {name: value for error, _ in reversed(found) for name, value in error.details.items()}
    return type(first)(" ".join(error.message for error, _ in found), **{**details, **sizes, "reasons": reasons})


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    """Cancel tasks until they have ended.

    A library may take a cancellation in the middle of its work for a fault, and a task that goes on after any fault
    goes on then, too: so it is told again. None of them holds anything that a second cancellation could break.
    """
    going = {task for task in tasks if not task.done()}
    while going:
        for task in going:
            task.cancel()
        _, going = await asyncio.wait(going, timeout=CANCEL_AGAIN_SECONDS)

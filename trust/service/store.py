"""The one way to append: acts queue up, a group of them becomes one transaction, and the state follows by replay.

An **act** is an async function of a ``Transaction``. It gathers what it needs, decides, and only then applies: first
``Transaction.append``, which replays the new entry on the state with the very function that the auditor runs, then its
own rows. An act that raises has written nothing. Acts of one group commit together, so a hundred small ones cost one
fsync.

What a crash leaves behind: before the commit, nothing (no caller has an answer) but perhaps records' keys without
records, which the next start sweeps away (``trust.service.record_keys``); after it, entries that the sequencer finds and
publishes at the next start. Where a commit's outcome is not known (the disk or database failed), every
caller in the group gets Unavailable and the state is rebuilt from the store before the next act.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from sqlalchemy import insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import entries as e
from ledger.errors import ClockSkew, MusubiError, RateLimited, Unavailable
from policies.replay import State
from queries.replay import replay
from trust.crash_points import reached
from trust.service.database import tables as t
from trust.service.database.bulk import insert_many
from trust.service.database.engine import Databases
from trust.service.record_keys import RecordKeys

T = TypeVar("T")
Clock = Callable[[], int]
Act = Callable[["Transaction"], Awaitable[Any]]

MAX_SKEW_SECONDS = 60
GROUP = 64
CHUNK = 2_000
log = structlog.get_logger()


def system_clock() -> int:
    """Return the time in whole UTC seconds."""
    return int(time.time())


class UniqueByTable:
    """Consent identifiers: the unique index on ``grants`` refused any second use before it reached the ledger."""

    def add(self, consent: str, index: int) -> bool:  # noqa: ARG002 - the table has looked at both
        """Every consent in our own ledger is new."""
        return True


class Transaction:
    """What an act may do: read and write rows on ``connection``, look at ``state``, and append entries."""

    def __init__(self, connection: AsyncConnection, state: State, at: int) -> None:
        self.connection = connection
        self.state = state
        self.at = at
        self.appended: list[bytes] = []
        self.record_keys: list[tuple[int, bytes]] = []
        """(index, key) of the records that the acts write: durable before the transaction commits."""

    def append(self, entry: e.AnyEntry) -> int:
        """Append one entry stamped with this transaction's time; return its index.

        Raises ProofInvalid, with nothing changed, if the auditor would not accept it.
        """
        stamped = entry if isinstance(entry, e.Genesis) else e.stamp(entry, self.at)
        data = e.encode(stamped)
        index = self.state.size
        replay(self.state, index, data, UniqueByTable())
        self.appended.append(data)
        return index


class Store:
    """The ledger's entries and rows, and the state that follows from them."""

    def __init__(
        self, databases: Databases, keys: RecordKeys, clock: Clock = system_clock, max_pending: int = 2_000
    ) -> None:
        self.databases = databases
        self.keys = keys
        self.clock = clock
        self.committed = asyncio.Event()
        """Set after every commit that appended something; the sequencer waits for it."""
        self.size = 0
        """How many entries are committed. (``state`` may be ahead of it while a group is being written.)"""
        self._announced = 0
        self._state: State | None = None
        self._queue: asyncio.Queue[tuple[Act, asyncio.Future[Any]]] = asyncio.Queue(max_pending)
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """The state after the last committed entry, for reading between acts."""
        if self._state is None:
            raise Unavailable("The service is rebuilding its state from the store; try again in a moment.")
        return self._state

    async def start(self) -> None:
        """Rebuild the state by replaying every entry, then take acts."""
        async with self.databases.writer.begin() as connection:
            if (await connection.execute(select(t.head.c.size).with_for_update())).first() is None:
                await connection.execute(insert(t.head).values(id=1, size=0, at=0))
            await self._rebuild(connection)
            await self.keys.sweep(self.size, self.state.erased)
        self._task = asyncio.create_task(self._run(), name="store")

    async def stop(self) -> None:
        """Finish the group in hand and take no more."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def submit(self, act: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run an act in the next group; return its result once it is durable.

        Raises what the act raised, RateLimited when too much is waiting, Unavailable when the commit failed.
        """
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((act, future))
        except asyncio.QueueFull:
            raise RateLimited("The service has too much waiting work; try again in a few seconds.") from None
        result: T = await future
        return result

    async def entry(self, index: int) -> bytes | None:
        """Return the bytes of one committed entry."""
        async with self.databases.reader.connect() as connection:
            row = (await connection.execute(select(t.entries.c.data).where(t.entries.c.index == index))).first()
        return bytes(row[0]) if row else None

    async def _run(self) -> None:
        while True:
            group = [await self._queue.get()]
            while len(group) < GROUP and not self._queue.empty():
                group.append(self._queue.get_nowait())
            outcomes = await self._commit([act for act, _ in group])
            for (_, future), outcome in zip(group, outcomes, strict=True):
                if future.cancelled():
                    continue
                if isinstance(outcome, BaseException):
                    future.set_exception(outcome)
                else:
                    future.set_result(outcome)
            while self._state is None:
                await asyncio.sleep(0.5)
                await self._commit([])

    async def _commit(self, acts: list[Act]) -> list[Any]:
        try:
            async with self.databases.writer.begin() as connection:
                head = (await connection.execute(select(t.head.c.size, t.head.c.at).with_for_update())).one()
                if self._state is None:  # our last commit's outcome is unknown
                    await self.keys.sweep(head.size, ())
                    await self._rebuild(connection)
                elif self._state.size != head.size:  # another process appended
                    await self._rebuild(connection)
                state = self.state
                now = self.clock()
                if head.at - now > MAX_SKEW_SECONDS:
                    raise ClockSkew("The service's clock is behind the ledger's last entry by more than a minute.")  # noqa: TRY301
                transaction = Transaction(connection, state, max(now, head.at))
                outcomes = [await _outcome(act, transaction) for act in acts]
                await self._keep(transaction)
                if transaction.appended:
                    rows = [(head.size + n, data) for n, data in enumerate(transaction.appended)]
                    await insert_many(connection, t.entries, ("index", "data"), rows)
                    await connection.execute(update(t.head).values(size=state.size, at=state.at))
                    reached("service:before-commit")
            # a crash above this line leaves nothing of the group; below it, all of it
        except MusubiError as error:
            return [error] * len(acts)
        except Exception as error:  # noqa: BLE001 - whatever it was, the state may be ahead of the store: rebuild it
            self._state = None
            log.error("commit-failed", kind=type(error).__name__, acts=len(acts))  # noqa: TRY400 - a trace could hold rows
            failure = Unavailable("The store could not write; nothing was answered. Try again with the same key.")
            return [failure] * len(acts)
        if transaction.appended:
            reached("service:committed")
        if transaction.state.size > self._announced:  # also what another process, or a commit of unknown outcome, left
            self._announced = self.size = transaction.state.size
            self.committed.set()
        return outcomes

    async def _keep(self, transaction: Transaction) -> None:
        """Make the records' keys durable, while nothing of the records is yet."""
        if transaction.record_keys:
            try:
                await self.keys.keep(transaction.record_keys)
            except Unavailable as error:  # the state has the group's entries already: the whole group fails
                raise OSError("The records' keys could not be kept.") from error
            reached("service:record-keys")

    async def _rebuild(self, connection: AsyncConnection) -> None:
        """Bring the state up to the store's head: from the last known entry, or from the very first."""
        state = self._state or State()
        self._state = None
        async for index, data in read_entries(connection, state.size):
            replay(state, index, data, UniqueByTable())
        self._state = state
        self.size = state.size


async def _outcome(act: Act, transaction: Transaction) -> Any:
    before = len(transaction.appended)
    try:
        return await act(transaction)
    except MusubiError as error:
        if len(transaction.appended) > before:  # it was to decide first; nothing of the group may stand now
            raise RuntimeError("An act raised after it had appended.") from error
        return error


async def read_entries(
    connection: AsyncConnection, first: int, last: int | None = None
) -> AsyncIterator[tuple[int, bytes]]:
    """Yield (index, bytes) of the committed entries from ``first`` to before ``last``, a bounded chunk at a time."""
    while last is None or first < last:
        end = first + CHUNK if last is None else min(first + CHUNK, last)
        wanted = t.entries.c.index.between(first, end - 1)
        query = select(t.entries.c.index, t.entries.c.data).where(wanted).order_by(t.entries.c.index)
        rows = (await connection.execute(query)).all()
        for row in rows:
            yield int(row[0]), bytes(row[1])
        if len(rows) < end - first:
            return
        first = end

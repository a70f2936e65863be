"""The one way to append: acts queue up, a group of them becomes one transaction, and the state follows by replay.

An **act** is an async function of a ``Transaction``. It gathers what it needs, decides, and only then applies: first
``Transaction.append``, which replays the new entry on the state with the very function that the auditor runs, then its
own rows. An act that raises has written nothing. Acts of one group commit together, so a hundred small ones cost one
fsync.

What a crash leaves behind: before the commit, nothing (no caller has an answer) but perhaps records' keys without
records, which the next start sweeps away (``trust.service.keys.record_keys``); after it, entries that the sequencer
finds and publishes at the next start. Where a commit's outcome is not known (the disk or database failed), every caller
in the group gets Unavailable and the state is rebuilt from the store before the next act.

An act that fails in a way that nobody foresaw costs itself alone: the transaction is rolled back, and the others of its
group are run again without it. So an act may run twice, and has no effects but through its ``Transaction``. Whenever
the state may be ahead of the store, it is rebuilt from a copy kept some way behind, and never from the first entry.

On PostgreSQL several processes append. The row of ``head`` is locked while a group is written, so their groups follow
one another; each process takes in what the others appended before it writes, and whenever it hears of it (``follow``).
Each holds its own clock against the witnesses' (``trust.service.store.held_clock``) before it stamps anything.
A process that is stopped in the middle of a group holds up the others for ten seconds; then PostgreSQL ends its
transaction (``trust.service.database.engine``), and nothing of its group stands.
"""

import asyncio
import copy
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any, TypeVar

import structlog
from sqlalchemy import select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import entries as e
from ledger.errors import (
    HistoryForked,
    Malformed,
    MusubiError,
    NotFound,
    ProofInvalid,
    RateLimited,
    Unavailable,
    UpgradeNeeded,
)
from policies.ledger_state import State
from queries.replay import replay
from trust.runtime.crash_points import reached
from trust.runtime.json_lines import reason_of
from trust.service.database import tables as t
from trust.service.database.bulk import insert_many
from trust.service.database.engine import Databases
from trust.service.keys.record_keys import RecordKeys
from trust.service.store.election import Election
from trust.service.store.entry_rows import entry_at, granted_at, read_entries, read_entry, read_size
from trust.service.store.held_clock import HeldClock
from trust.service.store.kept_start import KeptStarts, StartFile

T = TypeVar("T")
Act = Callable[["Transaction"], Awaitable[Any]]

GROUP = 64
COPY_EVERY = 20_000
"""The kept copy of the state is renewed after so many entries, or a twentieth of the log if that is more."""
MOST_FAILURES = 3
"""After so many acts of one group have failed unforeseen, it is not the acts: the whole group fails."""
RETRY_SECONDS = 0.5
"""How long until the state is rebuilt again, where the database does not let it be."""
logger = structlog.get_logger()


class _ActFailed(Exception):
    """An act raised what it must not raise; ``place`` is its place in the group."""

    def __init__(self, place: int, kind: str) -> None:
        super().__init__(kind)
        self.place = place
        self.kind = kind


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

        Raises ProofInvalid if the auditor would not accept it, or would find fault with it: the act then ends with it.
        """
        stamped = entry if isinstance(entry, e.Genesis) else e.stamp(entry, self.at)
        data = e.encode(stamped)
        index = self.state.size
        replay(self.state, index, data, UniqueByTable())
        self.appended.append(data)
        if self.state.finding:  # it would halt nobody, and be an auditor's finding against us
            raise ProofInvalid(self.state.finding, index=index)
        return index

    async def entry(self, index: int) -> e.AnyEntry:
        """Return one entry, also one that an act of this very group has appended. Raises NotFound."""
        written = self.state.size - len(self.appended)
        return e.decode(self.appended[index - written]) if index >= written else await entry_at(self.connection, index)

    async def granted(self, index: int) -> e.Grant:
        """Return one consent's entry, also one of this very group. Raises NotFound."""
        written = self.state.size - len(self.appended)
        entry = await self.entry(index) if index >= written else await granted_at(self.connection, index)
        if not isinstance(entry, e.Grant):
            raise NotFound("There is no consent at that place of the ledger.")
        return entry


class Store:
    """The ledger's entries and rows, and the state that follows from them."""

    def __init__(
        self,
        databases: Databases,
        keys: RecordKeys,
        clock: HeldClock | None = None,
        max_pending: int = 2_000,
        election: Election | None = None,
        start_file: StartFile | None = None,
    ) -> None:
        self.databases = databases
        self.keys = keys
        self.clock = clock or HeldClock()
        self.committed = asyncio.Event()
        """Set after every commit that appended something; the sequencer waits for it."""
        self.size = 0
        """How many entries are committed. (``state`` may be ahead of it while a group is being written.)"""
        self.halted: MusubiError | None = None
        """Why no act is taken any more: the history would fork."""
        self._election = election
        self.kept = KeptStarts(start_file, UniqueByTable())
        self._writing = asyncio.Lock()
        self._state: State | None = None
        self._is_unswept = False
        self._copy: State | None = None
        """The state at an earlier committed size: from here it is rebuilt."""
        self._queue: asyncio.Queue[tuple[Act, asyncio.Future[Any]]] = asyncio.Queue(max_pending)
        self._task: asyncio.Task[None] | None = None

    @property
    def state(self) -> State:
        """The state after the last committed entry, for reading between acts."""
        if self._state is None:
            raise Unavailable("The service is rebuilding its state from the store; try again in a moment.")
        return self._state

    async def start(self) -> None:
        """Rebuild the state, then take acts. The lock state has been looked at before.

        Every entry is replayed, or those after what was kept (``trust.service.store.kept_start``), which is checked in
        the background then.
        """
        async with self.databases.writer.begin() as connection:
            await connection.execute(select(t.head.c.size).with_for_update())
            self._state = await self.kept.read(connection)
            try:
                await self._rebuild(connection)
            except Unavailable as error:  # what does not fit what was kept is nobody's fault before all was replayed
                if not self.kept.doubt(error):
                    raise
                self._state = None
                await self._rebuild(connection)
            await self.keys.sweep(self.size, self.state.erased)
        self.kept.begin_check(self.databases, self.halt)
        self._task = asyncio.create_task(self._run(), name="store")

    async def keep_start(self, published: int, *, is_last: bool = False) -> None:
        """Keep a state for the next start, where one is ready that is newer than what is kept and all published.

        ``is_last``: the state of now, which nobody changes any more. Where the disk does not take it, the next start
        replays more.
        """
        state = self._state if is_last else self._copy
        if state is not None and self.halted is None:
            await self.kept.keep(state, published)

    async def stop(self) -> None:
        """Finish the group in hand and take no more."""
        await self.kept.stop()
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def submit(self, act: Callable[[Transaction], Awaitable[T]]) -> T:
        """Run an act in the next group; return its result once it is durable.

        Raises what the act raised, RateLimited when too much is waiting, Unavailable when the commit failed, ReadOnly
        while the time is not sure (no act was run then), and HistoryForked once the service has halted.
        """
        if self.halted:
            raise self.halted
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        try:
            self._queue.put_nowait((act, future))
        except asyncio.QueueFull:
            raise RateLimited("The service has too much waiting work; try again in a few seconds.") from None
        result: T = await future
        return result

    def halt(self, error: MusubiError) -> None:
        """Take no more acts: whatever is appended now would fork the history. What is published can still be read."""
        if self.halted is None:
            self.halted = error
            logger.error("halted", **reason_of(error))

    async def follow(self) -> None:
        """Take in what other processes have appended. Raises HistoryForked where the store has gone back."""
        async with self._writing, self.databases.reader.connect() as connection:
            size = await read_size(connection)
            if size < self.size:
                raise HistoryForked("Entries that were committed are gone from the database: it has gone back in time.")
            if self._state is None or size > self._state.size:
                await self._rebuild(connection)

    async def committed_size(self) -> int:
        """Return how many entries the database has: of every process, also those that are not taken in here yet."""
        async with self.databases.reader.connect() as connection:
            return await read_size(connection)

    async def entry(self, index: int) -> bytes | None:
        """Return the bytes of one committed entry, or None where there is none."""
        async with self.databases.reader.connect() as connection:
            return await read_entry(connection, index)

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
            while self._state is None and self.halted is None:
                await self._look_again()

    async def _commit(self, acts: list[Act]) -> list[Any]:
        """Write a group; return what each act returned, or the error that its caller gets."""
        failure = Unavailable("The store could not write; nothing was answered. Try again with the same key.")
        outcomes: list[Any] = [failure] * len(acts)
        places = list(range(len(acts)))
        async with self._writing:
            while len(acts) - len(places) <= MOST_FAILURES:
                try:
                    found = await self._write([acts[place] for place in places])
                except _ActFailed as failed:
                    self._forget()  # it may be ahead of the store
                    logger.error("act-failed", kind=failed.kind)  # noqa: TRY400 - a trace could hold rows
                    del places[failed.place]
                    continue
                except MusubiError as error:
                    if isinstance(error, HistoryForked | UpgradeNeeded):
                        self.halt(error)
                    found = [error] * len(places)
                except Exception as error:  # noqa: BLE001 - whatever it was, its outcome is not known: rebuild the state
                    self._forget()
                    logger.error("commit-failed", kind=type(error).__name__, acts=len(acts))  # noqa: TRY400 - as above
                    break
                for place, outcome in zip(places, found, strict=True):
                    outcomes[place] = outcome
                break
        return outcomes

    def _forget(self) -> None:
        """Know nothing of the store any more: neither its state nor whether keys of records that are not there are."""
        self._state = None
        self._is_unswept = True

    async def _look_again(self) -> None:
        """Rebuild the state from what is committed, or wait a little. It only reads: a full disk hinders no reader.

        A commit of unknown outcome that shows only later is taken in by the next write, as another process's.
        """
        try:
            async with self._writing, self.databases.reader.connect() as connection:
                await self._rebuild(connection)
        except Exception as error:  # noqa: BLE001 - whatever the database raises: look again in a moment
            if isinstance(error, HistoryForked | UpgradeNeeded):
                self.halt(error)
            logger.warning("rebuild-failed", kind=type(error).__name__)
            await asyncio.sleep(RETRY_SECONDS)

    async def _write(self, acts: list[Act]) -> list[Any]:
        """Run a group's acts in one transaction and commit it.

        Raises _ActFailed, with the transaction rolled back; MusubiError where no act was run; and whatever the database
        raises, with the commit's outcome unknown.
        """
        async with self.databases.writer.begin() as connection:
            head = (await connection.execute(select(t.head.c.size).with_for_update())).one()
            if head.size < self.size:
                raise HistoryForked("Entries that were committed are gone from the database: it has gone back in time.")
            if self._is_unswept:  # an act failed, or our last commit's outcome is unknown
                await self.keys.sweep(head.size, ())
                self._is_unswept = False
            if self._state is None or self._state.size != head.size:  # the same, or another process appended
                await self._rebuild(connection)
            state = self.state
            # The entries say what the last time is; a damaged row may say anything. Before genesis, which has its
            # founders' time, nothing else can be written.
            transaction = Transaction(connection, state, self.clock.stamp(state.at) if state.size else 0)
            outcomes = [await _outcome(place, act, transaction) for place, act in enumerate(acts)]
            await self._keep(transaction)
            if transaction.appended:
                rows = [(head.size + n, data) for n, data in enumerate(transaction.appended)]
                await insert_many(connection, t.entries, ("index", "data"), rows)
                await connection.execute(update(t.head).values(size=state.size, at=state.at))
                reached("service:before-commit")
            if self._election is not None and acts:
                await self._election.tell(connection)
        # a crash above this line leaves nothing of the group; below it, all of it
        if transaction.appended:
            reached("service:committed")
        self._announce(state)
        return outcomes

    def _announce(self, state: State) -> None:
        """Note what is committed: our own, what another process or a commit of unknown outcome left."""
        if state.size > self.size:
            self.size = state.size
            self.committed.set()
        if self._copy is None or state.size - self._copy.size >= max(COPY_EVERY, state.size // 20):
            self._copy = copy.deepcopy(state)

    async def _keep(self, transaction: Transaction) -> None:
        """Make the records' keys durable, while nothing of the records is yet."""
        if transaction.record_keys:
            connection = transaction.connection

            async def still_ours() -> None:
                # fails where the database has ended a transaction that took too long
                await connection.execute(select(1))

            try:
                await self.keys.keep(transaction.record_keys, None if self.databases.sqlite else still_ours)
            except Unavailable as error:  # the state has the group's entries already: the whole group fails
                raise OSError("The records' keys could not be kept.") from error
            reached("service:record-keys")

    async def _rebuild(self, connection: AsyncConnection) -> None:
        """Bring the state up to the store's head: from where it is, or from the kept copy."""
        state = self._state or copy.deepcopy(self._copy) or State()
        async for index, data in read_entries(connection, state.size):
            try:
                replay(state, index, data, UniqueByTable())
            except (Malformed, ProofInvalid):  # we appended none that does not follow: the row is damaged
                raise Unavailable(
                    f"The stored entry {index} is damaged; look at it with `musubi fsck`, which mends it from the log."
                ) from None
        self._state = state
        self._announce(state)


async def _outcome(place: int, act: Act, transaction: Transaction) -> Any:
    before = len(transaction.appended)
    try:
        return await act(transaction)
    except MusubiError as error:
        if len(transaction.appended) > before:  # it was to decide first
            raise _ActFailed(place, type(error).__name__) from error
        return error
    except Exception as error:
        raise _ActFailed(place, type(error).__name__) from error

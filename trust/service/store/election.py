"""Who sequences: one process at a time, however many serve.

**On SQLite** one process serves one folder. It holds a lock on the file ``<database>.lock`` (``flock``) for as long as
it lives; the system lets go of it when the process ends, however it ends. A second process is refused.

**On PostgreSQL** any number of processes serve one database and one folder of tiles, and one of them is elected:

- the *lock* is a session advisory lock, on a connection of its own. When that process dies, its connection ends, and
  the lock is free at once;
- the *lease*: PostgreSQL ends that session when nothing has been heard on it for ``LEASE_SECONDS``
  (``idle_session_timeout``, PostgreSQL 14 and later). So a process that is stopped, or cut off, loses the lock though
  its connection looks alive. It beats every ``BEAT_SECONDS``;
- *fencing*: a checkpoint is swapped into ``published`` on that very session, and only from the size that it grew from.
  An ex-leader that wakes up finds its session ended: it cannot publish, whatever it believes. Were the lock to fail
  altogether (a connection pooler that shares sessions), the comparison alone still lets every size through once.

Whatever happens, no two histories come of it: what a checkpoint of a size says follows from the entries in the store.

The same connection listens for the others' ``NOTIFY``, so that a process hears at once what the others appended,
published or were told; and each beat has it look again, for what a broken connection did not let it hear.
"""

import asyncio
import fcntl
import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Protocol

import structlog
from sqlalchemy import CursorResult, func, select, text, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine
from sqlalchemy.pool import NullPool

from ledger.errors import Unavailable
from trust.service.database import tables as t
from trust.service.database.engine import Databases

LEASE_SECONDS = 5
BEAT_SECONDS = 0.5
ANSWER_SECONDS = 2.0
"""How long the database may take to answer a beat before the connection is given up."""
LOCK = 0x6D7573756269
"""The advisory lock's number, in this database alone: ``musubi`` in ASCII."""
CHANNEL = "musubi"
logger = structlog.get_logger()


class Election(Protocol):
    """The one-writer rule. ``leads`` is whether this process sequences, as far as it knows."""

    leads: bool
    shared: bool
    """Whether other processes may be at work on this ledger."""

    async def claim(self) -> None:
        """Before anything is read: raise Unavailable where another process must not be beside this one, and is."""

    async def start(self) -> None:
        """Take part, now that this process could sequence."""

    async def stop(self) -> None:
        """Take part no more, and let go."""

    async def swap(self, old: int, new: int, note: bytes) -> bool:
        """Publish ``note``, a checkpoint of size ``new``, durably, if ``old`` is published; return whether it was.

        Raises Unavailable where the outcome is not known, or this process does not lead any more.
        """

    async def tell(self, connection: AsyncConnection) -> None:
        """Have the other processes look again once the transaction of ``connection`` has committed."""


def _swap(old: int, new: int, note: bytes) -> Any:
    return update(t.published).where(t.published.c.size == old).values(size=new, checkpoint=note)


class FolderLock:
    """SQLite: whoever holds the file's lock leads; nobody else is there."""

    shared = False

    def __init__(self, databases: Databases, path: Path) -> None:
        self.leads = False
        self._databases = databases
        self._path = path
        self._handle = -1

    async def claim(self) -> None:
        """Take the lock; raise Unavailable where another process has it."""
        self._handle = os.open(self._path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(self._handle)
            self._handle = -1
            raise Unavailable(
                "Another service process is at work in this folder; stop it first. Several can share one ledger where "
                "database_url names a PostgreSQL database."
            ) from None
        self.leads = True

    async def start(self) -> None:
        """The lock is held already."""

    async def stop(self) -> None:
        """Let go of the lock."""
        self.leads = False
        if self._handle >= 0:
            os.close(self._handle)
            self._handle = -1

    async def swap(self, old: int, new: int, note: bytes) -> bool:
        """Publish in a transaction of its own."""
        async with self._databases.writer.begin() as connection:
            result: CursorResult[Any] = await connection.execute(_swap(old, new, note))
        return result.rowcount == 1

    async def tell(self, connection: AsyncConnection) -> None:
        """Nobody else is there."""


class AdvisoryLock:
    """PostgreSQL: lock, lease, fence and ear, on one connection. ``heard`` is called when there may be news."""

    shared = True

    def __init__(self, databases: Databases, heard: Callable[[], None], lease_seconds: float = LEASE_SECONDS) -> None:
        self.leads = False
        self._heard = heard
        self._me = token_hex(8)
        self._using = asyncio.Lock()
        self._connection: AsyncConnection | None = None
        self._task: asyncio.Task[None] | None = None
        lease = str(int(lease_seconds * 1_000))
        ends = {"idle_session_timeout": lease, "idle_in_transaction_session_timeout": lease}
        self._engine: AsyncEngine = create_async_engine(
            databases.writer.url,
            poolclass=NullPool,
            isolation_level="AUTOCOMMIT",
            hide_parameters=True,
            connect_args={"server_settings": ends, "timeout": ANSWER_SECONDS},
        )

    async def claim(self) -> None:
        """Others may be there. While this process still replays the ledger, another one should lead."""

    async def start(self) -> None:
        """Beat once, so that a lone process leads from the start, and then go on."""
        await self._beat()
        self._task = asyncio.create_task(self._run(), name="election")

    async def stop(self) -> None:
        """Let go: another process may lead at once."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        async with self._using:
            await self._drop()
        await self._engine.dispose()

    async def swap(self, old: int, new: int, note: bytes) -> bool:
        """Publish on the very session that holds the lock: where the lock is lost, so is the session."""
        async with self._using:
            if self._connection is None or not self.leads:
                raise Unavailable("Another service process sequences now; this one steps back.")
            try:
                result: CursorResult[Any] = await self._connection.execute(_swap(old, new, note))
                await self.tell(self._connection)
            except Exception:
                # The session has ended, or the answer was lost: what is published stands in the store.
                await self._drop()
                raise
        return result.rowcount == 1

    async def tell(self, connection: AsyncConnection) -> None:
        """``NOTIFY``, which PostgreSQL delivers with the commit."""
        await connection.execute(select(func.pg_notify(CHANNEL, self._me)))

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            await self._beat()
            self._heard()

    async def _beat(self) -> None:
        """Keep the session alive; take the lock where it is free."""
        async with self._using:
            try:
                async with asyncio.timeout(ANSWER_SECONDS):
                    if self._connection is None:
                        await self._connect()
                    if self._connection is not None and not self.leads:
                        self.leads = bool(await self._connection.scalar(select(func.pg_try_advisory_lock(LOCK))))
                        if self.leads:
                            logger.info("sequencing")
                    elif self._connection is not None:
                        await self._connection.execute(text("SELECT 1"))
            except Exception as error:  # noqa: BLE001 - whatever it was, the session cannot be relied on
                logger.warning("election-connection-lost", kind=type(error).__name__)
                await self._drop()

    async def _connect(self) -> None:
        self._connection = await self._engine.connect()
        driver: Any = (await self._connection.get_raw_connection()).driver_connection
        await driver.add_listener(CHANNEL, self._on_notify)

    def _on_notify(self, _connection: object, _pid: int, _channel: str, payload: str) -> None:
        if payload != self._me:
            self._heard()

    async def _drop(self) -> None:
        """Give the connection up, and say so, without waiting for a database that may not answer."""
        if self.leads:
            logger.info("sequencing-no-more")
        self.leads = False
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(Exception):
                driver: Any = (await connection.get_raw_connection()).driver_connection
                driver.terminate()
            with suppress(Exception):
                await connection.invalidate()
                await connection.close()


def make_election(databases: Databases, heard: Callable[[], None]) -> Election:
    """Return the rule for this kind of database; ``heard`` is called whenever another process may have news."""
    if databases.sqlite:
        return FolderLock(databases, Path(f"{databases.writer.url.database}.lock"))
    return AdvisoryLock(databases, heard)

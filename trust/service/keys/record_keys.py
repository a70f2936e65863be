"""The records' keys, in a file of their own that no backup of the service holds: to destroy one is to erase its record.

One SQLite file, mode 0600, always on this machine (also where the rest is in PostgreSQL: its dead rows and its log
would keep what was deleted). What makes a destroyed key gone:

- a key is **overwritten in place** with 32 zero bytes. A row is never deleted, and new ones are put behind the last, in
  the order of their indices, so SQLite never moves rows between pages, which would leave an old copy in a page's free
  space; ``secure_delete`` is on besides;
- right after that the write-ahead log, which may hold the key's first writing, is written back and cut to length zero.

What the disk itself may keep (a solid-state disk's spare blocks, a file system's snapshots) is not ours to reach: the
how-to page says what an operator does about it.

**Order.** A key is durable before its record's transaction commits, and destroyed only after the transaction that
erases the record has committed. A crash between the two leaves a key without a record; ``sweep`` removes it, at each
start and after each commit of unknown outcome. It never leaves a record without its key.
"""

import asyncio
import os
import sqlite3
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from ledger.errors import Unavailable

T = TypeVar("T")
KEY_BYTES = 32
AT_ONCE = 500
_SCHEMA = "CREATE TABLE IF NOT EXISTS keys (place INTEGER PRIMARY KEY, key BLOB NOT NULL) STRICT"
_DESTROYED = bytes(KEY_BYTES)


class RecordKeys:
    """The file. One thread of its own does its work, so that no handler waits for the disk.

    Every method raises Unavailable when the disk refuses.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._db: sqlite3.Connection | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="record-keys")
        self._writing = asyncio.Lock()

    async def keep(
        self, keys: list[tuple[int, bytes]], still_ours: Callable[[], Awaitable[None]] | None = None
    ) -> None:
        """Keep (index, 32-byte key) pairs, durably; what an index had before is overwritten.

        Where several processes write, ``still_ours`` raises unless this process still holds the lock on the ledger's
        head. It is asked while this file is locked already: so whoever comes to these indices after us also writes
        after us, and a process that was stopped for long overwrites nobody's keys.
        """
        async with self._writing:
            if still_ours is None:
                await self._do(lambda db: self._keep(db, keys))
                return
            await self._do(lambda db: db.execute("BEGIN IMMEDIATE"))
            try:
                await still_ours()
                await self._do(lambda db: self._insert(db, keys))
                await self._do(lambda db: db.execute("COMMIT"))
            except BaseException:
                await self._do(lambda db: db.execute("ROLLBACK") if db.in_transaction else None)
                raise

    async def find(self, indices: Iterable[int]) -> dict[int, bytes]:
        """Return the keys that there are of these indices; a destroyed one is not there."""
        wanted = list(indices)
        return await self._do(lambda db: self._find(db, wanted)) if wanted else {}

    async def destroy(self, indices: Iterable[int]) -> int:
        """Destroy the keys of these indices; return how many there were. Done again, it changes nothing."""
        wanted = list(indices)
        if not wanted:
            return 0
        async with self._writing:
            return await self._do(lambda db: self._destroy(db, wanted))

    async def sweep(self, size: int, erased: Iterable[int]) -> int:
        """Destroy what a crash left: keys at or past the ledger's ``size``, and of ``erased`` ones; return how many."""
        wanted = list(erased)
        async with self._writing:
            return await self._do(lambda db: self._destroy(db, [*self._from(db, size), *wanted]))

    async def close(self) -> None:
        """Close the file."""
        if self._db is not None:
            await self._do(lambda db: db.close())
            self._db = None
        self._thread.shutdown()

    async def _do(self, act: Callable[[sqlite3.Connection], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._guarded, act)

    def _guarded(self, act: Callable[[sqlite3.Connection], T]) -> T:
        try:
            if self._db is None:
                self._db = open_key_file(self._path)
            return act(self._db)
        except (sqlite3.Error, OSError):
            raise Unavailable("The file of the records' keys cannot be read or written; look at its disk.") from None

    @staticmethod
    def _keep(db: sqlite3.Connection, keys: list[tuple[int, bytes]]) -> None:
        with db:
            db.execute("BEGIN IMMEDIATE")
            RecordKeys._insert(db, keys)

    @staticmethod
    def _insert(db: sqlite3.Connection, keys: list[tuple[int, bytes]]) -> None:
        # In order: a row put between others splits pages, and `secure_delete` does not reach what a split leaves
        # behind.
        rows = sorted(keys)
        db.executemany("INSERT INTO keys VALUES (?, ?) ON CONFLICT (place) DO UPDATE SET key = excluded.key", rows)

    @staticmethod
    def _find(db: sqlite3.Connection, wanted: list[int]) -> dict[int, bytes]:
        found: dict[int, bytes] = {}
        for at in range(0, len(wanted), AT_ONCE):
            part = wanted[at : at + AT_ONCE]
            marks = ", ".join("?" * len(part))
            found |= dict(db.execute(f"SELECT place, key FROM keys WHERE place IN ({marks})", part))
        return {place: key for place, key in found.items() if key != _DESTROYED}

    @staticmethod
    def _from(db: sqlite3.Connection, size: int) -> list[int]:
        return [row[0] for row in db.execute("SELECT place FROM keys WHERE place >= ?", (size,))]

    @classmethod
    def _destroy(cls, db: sqlite3.Connection, wanted: list[int]) -> int:
        living = cls._find(db, wanted)
        if living:
            with db:
                db.execute("BEGIN IMMEDIATE")
                zeroed = [(_DESTROYED, place) for place in living]
                db.executemany("UPDATE keys SET key = ? WHERE place = ?", zeroed)
        # Also with nothing to destroy: a crash right after the commit above may have left the log uncut.
        busy, _, _ = db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise Unavailable("The file of the records' keys is in use; the keys are destroyed once it is free.")
        return len(living)


def open_key_file(path: Path) -> sqlite3.Connection:
    """Open the file, or make it, mode 0600; raise sqlite3.Error or OSError."""
    if not path.exists():
        os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
    db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "secure_delete=ON"):
        db.execute(f"PRAGMA {pragma}")
    db.execute(_SCHEMA)
    return db

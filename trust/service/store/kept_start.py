"""What the service keeps of its own state, so that a start need not replay every entry, and the check of it afterwards.

One file, ``state.kept``, beside the database: the state after so many entries, under the root of their tree, and which
rules and software it is to be read by, all behind a SHA-256 of it. A start goes on from it where the database has these
entries, the published tiles have that root, and the rest is its own; else it is as good as missing, and every entry is
replayed. It follows from the ledger, so it is in no backup, and any process that shares the folder may write it.

Afterwards every entry is read from the database and replayed in the background, in threads, a quarter of the time. A
difference halts the service: it takes no more acts, and what was published can still be read. The file goes, so that
the next start replays everything.
"""

import asyncio
import hashlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import structlog
from msgspec import Struct
from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.errors import KeptStateDiffers, Malformed, MusubiError, Unavailable
from ledger.hashing import leaf_hash
from ledger.tlog.tiles import TileReader
from ledger.tlog.tree import Frontier, root_hash
from policies.kept_state import KeptState, decode_kept, encode_kept, keep_state, state_of
from policies.ledger_state import State
from policies.replay import SeenConsents
from policies.rules import NEWEST_RULES
from queries.replay import replay
from trust.files.durable import write_whole
from trust.files.regular import open_regular
from trust.log.tile_folder import TileFolder
from trust.runtime.clock import system_ticks
from trust.runtime.json_lines import reason_of
from trust.runtime.software import software
from trust.service.database import tables as t
from trust.service.database.engine import Databases
from trust.service.store.entry_rows import read_entries, read_size

KEPT_START = "state.kept"
STEP = 1_000
"""How many entries the check takes at once."""
REST = 3
"""How long it rests after them, in times that they took."""
RETRY_SECONDS = 30
_SUM_BYTES = 32
logger = structlog.get_logger()


class KeptStart(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A state, and to what it is bound."""

    root: bytes
    rules: int
    software: str
    state: KeptState


class StartFile:
    """The file, and the tiles that it is held against."""

    def __init__(self, path: Path, tiles: TileFolder) -> None:
        self._path = path
        self._tiles = tiles

    def read(self, size: int, published: int) -> KeptStart | None:
        """Return what was kept, if it fits ``size`` committed entries of which so many are ``published``."""
        try:
            with open_regular(self._path) as file:
                data = file.read()
        except FileNotFoundError:
            return None
        except (OSError, MusubiError):
            logger.info("snapshot-unfit", kind="unreadable")
            return None
        try:
            return self._fitting(data, size, published)
        except MusubiError as error:
            logger.info("snapshot-unfit", **reason_of(error))
            return None

    def _fitting(self, data: bytes, size: int, published: int) -> KeptStart:
        if hashlib.sha256(data[_SUM_BYTES:]).digest() != data[:_SUM_BYTES]:
            raise Malformed("What was kept of the ledger is damaged.")
        kept = decode_kept(data[_SUM_BYTES:], KeptStart)
        if (kept.rules, kept.software) != (NEWEST_RULES, software()):
            raise Malformed("What was kept of the ledger is another software's.")
        if not 0 < kept.state.size <= min(size, published):
            raise Malformed("What was kept of the ledger is of more entries than it has.")
        if self._root(kept.state.size, published) != kept.root:
            raise Malformed("What was kept of the ledger is of another tree.")
        return kept

    def _root(self, size: int, published: int) -> bytes:
        return root_hash(size, TileReader(self._tiles.read_tile, published))

    def keep(self, state: State, published: int) -> None:
        """Keep a state that nobody changes meanwhile, of whose entries all are ``published``. Raises Unavailable."""
        root = self._root(state.size, published)
        kept = encode_kept(KeptStart(root=root, rules=NEWEST_RULES, software=software(), state=keep_state(state)))
        write_whole(self._path, hashlib.sha256(kept).digest() + kept)  # a crash leaves the old file or this one

    def forget(self) -> None:
        """Keep nothing: the next start replays every entry."""
        self._path.unlink(missing_ok=True)


class StartCheck:
    """The check of what a start went on from: of its size and root, and the hash of its state's bytes."""

    def __init__(self, kept: KeptStart, seen: SeenConsents) -> None:
        self.size = kept.state.size
        self._root = kept.root
        self._sha256 = hashlib.sha256(encode_kept(kept.state)).digest()
        self._seen = seen
        self._state = State()
        self._edge = Frontier()

    async def run(self, databases: Databases) -> None:
        """Read and replay every entry, resting in between.

        Raises KeptStateDiffers, or Unavailable where a stored entry is damaged.
        """
        while self._state.size < self.size:
            first = self._state.size
            try:
                async with databases.reader.connect() as connection:
                    rows = [row async for row in read_entries(connection, first, min(first + STEP, self.size))]
            except Exception as error:  # noqa: BLE001 - whatever the database raises: it is read again
                logger.warning("snapshot-unchecked", kind=type(error).__name__)
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if len(rows) != min(STEP, self.size - first):
                raise _differs()
            began = system_ticks()
            await asyncio.to_thread(self._take, rows)
            await asyncio.sleep(REST * (system_ticks() - began))
        await asyncio.to_thread(self._compare)
        logger.info("snapshot-checked", entries=self.size)

    def _take(self, rows: list[tuple[int, bytes]]) -> None:
        for index, data in rows:
            try:
                replay(self._state, index, data, self._seen)
            except MusubiError:
                raise Unavailable(
                    f"The stored entry {index} is damaged; look at it with `musubi fsck`, which mends it from the log."
                ) from None
        self._edge.append(leaf_hash(data) for _, data in rows)

    def _compare(self) -> None:
        is_same = hashlib.sha256(encode_kept(keep_state(self._state))).digest() == self._sha256
        if not is_same or self._edge.root() != self._root:
            raise _differs()


class KeptStarts:
    """What one process does with it: goes on from it, has it checked, and keeps newer ones. Without a file, nothing."""

    def __init__(self, file: StartFile | None, seen: SeenConsents) -> None:
        self.check: asyncio.Task[None] | None = None
        """Of what this process went on from, if anything."""
        self._file = file
        self._seen = seen
        self._used: KeptStart | None = None
        self._size = 0
        """The size of what is kept, as far as this process knows."""

    async def read(self, connection: AsyncConnection) -> State | None:
        """Return the state to go on from, where one fits what this database and the tiles have."""
        if self._file is None:
            return None
        published = int((await connection.execute(select(t.published.c.size))).scalar_one())
        kept = await asyncio.to_thread(self._file.read, await read_size(connection), published)
        if kept is None:
            return None
        try:
            state = state_of(kept.state)
        except MusubiError as error:
            logger.info("snapshot-unfit", **reason_of(error))
            return None
        self._used, self._size = kept, kept.state.size
        logger.info("snapshot-read", entries=self._size)
        return state

    def doubt(self, error: MusubiError) -> bool:
        """Go on from nothing, as something does not fit; return False where there is nothing to doubt."""
        if self._used is None:
            return False
        logger.warning("snapshot-doubted", entries=self._size, **reason_of(error))
        self._used, self._size = None, 0
        return True

    def begin_check(self, databases: Databases, halt: Callable[[MusubiError], None]) -> None:
        """Check in the background what this process went on from; ``halt`` is told what is wrong with it."""
        if self._used is not None:
            check, self._used = StartCheck(self._used, self._seen), None
            self.check = asyncio.create_task(self._run(check, databases, halt), name="start-check")

    async def _run(self, check: StartCheck, databases: Databases, halt: Callable[[MusubiError], None]) -> None:
        try:
            await check.run(databases)
        except MusubiError as error:
            halt(error)
            self._forget()
        except Exception as error:  # noqa: BLE001 - unforeseen, so nothing is known: as good as a difference
            logger.error("snapshot-unchecked", kind=type(error).__name__)  # noqa: TRY400 - a trace could hold rows
            halt(Unavailable("What the service kept of its own state could not be checked; start it again."))
            self._forget()

    def _forget(self) -> None:
        if self._file is not None:
            with suppress(OSError):  # then the next check finds it once more
                self._file.forget()

    async def keep(self, state: State, published: int) -> None:
        """Keep a state that nobody changes meanwhile, where it is newer than what is kept, and all published.

        Where the disk does not take it, the next start replays more.
        """
        if self._file is None or not self._size < state.size <= published:
            return
        try:
            await asyncio.to_thread(self._file.keep, state, published)
            self._size = state.size
        except (MusubiError, OSError) as error:
            logger.warning("snapshot-not-kept", kind=type(error).__name__)

    async def stop(self) -> None:
        """End the check; the next start begins it anew."""
        if self.check:
            self.check.cancel()
            with suppress(asyncio.CancelledError):
                await self.check


def _differs() -> KeptStateDiffers:
    return KeptStateDiffers(
        "What the service kept of its own state is not what its stored entries give; it is thrown away. Look at the disk "
        "and at who can write it, look at the entries with `musubi fsck`, then start again: every entry is replayed."
    )

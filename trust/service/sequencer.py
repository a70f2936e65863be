"""The sequencer: turns committed entries into tiles and a cosigned checkpoint, at most one every 200 ms.

The order of one publication, and what a crash after each step leaves behind:

1. entries are read from the store (they are durable already);
2. tiles are written and made durable: tiles for a size that no checkpoint names yet. The same entries give the same
   bytes at the next start;
3. the checkpoint is signed and the witnesses cosign it: a witness may be ahead of what we published. The entries it
   cosigned are in the store, so the next checkpoint grows from it;
4. the checkpoint goes into ``published`` by compare-and-swap on the size before: from here on it is published;
5. the checkpoint file is replaced: an old file is put right from ``published``.

Nobody gets a receipt before step 5. Without the witnesses' quorum nothing is published: receipts wait, and fail closed.
A step that fails (a full disk, a lost database) is met like a crash there: ``_restore``, which every start runs, runs
again, and then the turn is taken anew.
"""

import asyncio
import time
from contextlib import suppress

import httpx
import structlog
from nacl.signing import SigningKey
from sqlalchemy import insert, select, update

from ledger import entries as e
from ledger.checkpoints import Checkpoint, sign_checkpoint
from ledger.errors import HistoryForked, ProofInvalid, Unavailable
from ledger.notes import Note, format_note, parse_note
from ledger.tiles import TileAppender, TileReader
from ledger.tree import prove_consistency, root_hash
from ledger.witness_policy import WitnessPolicy
from trust.crash_points import reached
from trust.service import metrics
from trust.service.bell import Bell
from trust.service.database import tables as t
from trust.service.store import MAX_SKEW_SECONDS, Store, read_entries
from trust.tile_folder import TileFolder
from trust.witness_client import collect_cosignatures

MAX_BATCH = 20_000
RETRY_SECONDS = 1.0
log = structlog.get_logger()


class Sequencer:
    """The single writer of the log's public face."""

    def __init__(
        self,
        store: Store,
        bell: Bell,
        folder: TileFolder,
        key: SigningKey,
        origin: str,
        witnesses: WitnessPolicy,
        *,
        interval: float,
        witness_timeout: float,
    ) -> None:
        self.store = store
        self.bell = bell
        self.folder = folder
        self.witnesses = witnesses
        self.size = 0
        """The published tree size."""
        self._key = key
        self._origin = origin
        self._interval = interval
        self._witness_timeout = witness_timeout
        self._known: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._client = httpx.AsyncClient(timeout=witness_timeout)

    async def start(self) -> None:
        """Restore what is published, and begin. Raises HistoryForked if the tiles are not those that were published."""
        await self._restore()
        self._task = asyncio.create_task(self._run(), name="sequencer")
        self.store.committed.set()

    async def _restore(self) -> None:
        """Go back to what is published: put the checkpoint file right, restore the right edge from the tiles."""
        async with self.store.databases.writer.begin() as connection:
            row = (await connection.execute(select(t.published.c.size, t.published.c.checkpoint))).first()
            if row is None:
                await connection.execute(insert(t.published).values(id=1, size=0, checkpoint=b""))
        size = int(row.size) if row else 0
        if row and size:
            await asyncio.to_thread(self._check_edge, bytes(row.checkpoint))
            await asyncio.to_thread(self.folder.write_checkpoint, bytes(row.checkpoint))
        self._appender = await asyncio.to_thread(TileAppender.restore, size, self.folder.read_tile)
        if size > self.size:
            self.size = size
            self.bell.ring()
            metrics.published_size.set(size)

    def _check_edge(self, checkpoint: bytes) -> None:
        """Refuse to go on from tiles that do not have the root that was published: the log must not fork."""
        said = Checkpoint.parse(parse_note(checkpoint).text)
        if root_hash(said.size, TileReader(self.folder.read_tile, said.size)) != said.root:
            raise HistoryForked("The tiles on disk are not those of the last published checkpoint; run a repair first.")

    async def stop(self) -> None:
        """Stop after the publication in hand."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self._client.aclose()

    async def wait_for(self, size: int, seconds: float) -> bytes:
        """Wait until a tree of at least ``size`` is published; return that checkpoint's note.

        Raises Unavailable when it does not come in time: the entries are safe, and their receipts can be had later.
        """
        if await self.bell.until(lambda: self.size >= size or None, seconds) is None:
            raise Unavailable(
                "It is in the ledger, but its checkpoint has not been cosigned yet; ask for the receipt again later.",
                size=size,
            )
        return self.folder.read_checkpoint() or b""

    async def _run(self) -> None:
        whole = True
        while True:
            await self.store.committed.wait()
            self.store.committed.clear()
            began = time.monotonic()
            try:
                if not whole:
                    await self._restore()
                    whole = True
                while await self._publish():  # noqa: ASYNC110 - this is work, not waiting
                    await asyncio.sleep(0)
            except Exception as error:  # noqa: BLE001 - whatever a disk or database raises, publishing must go on later
                # nothing was lost: the entries are in the store, and the next turn begins at what is published
                whole = False
                metrics.publish_failures.inc()
                log.warning("publish-failed", kind=type(error).__name__)
                self.store.committed.set()
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(max(0.0, self._interval - (time.monotonic() - began)))

    async def _publish(self) -> bool:
        """Publish what is committed, at most 20,000 entries at a time; return whether there is more."""
        end = self.store.size
        if end <= self.size:
            return False
        old, new = self.size, min(end, self.size + MAX_BATCH)
        async with self.store.databases.reader.connect() as connection:
            entries = [data async for _, data in read_entries(connection, old, new)]
        files = await asyncio.to_thread(self._appender.append, entries)
        await asyncio.to_thread(self.folder.write_tiles, files)
        reached("service:tiles")
        checkpoint = Checkpoint(self._origin, new, self._appender.root())
        note = await self._cosigned(checkpoint, e.decode(entries[-1]).at)
        reached("service:cosigned")
        async with self.store.databases.writer.begin() as connection:
            swapped = await connection.execute(
                update(t.published).where(t.published.c.size == old).values(size=new, checkpoint=note)
            )
            if swapped.rowcount != 1:
                raise HistoryForked("Another sequencer has published meanwhile; this one steps back.")
        reached("service:swapped")
        await asyncio.to_thread(self.folder.write_checkpoint, note)
        reached("service:checkpoint")
        self.size = new
        self.bell.ring()
        metrics.published_size.set(new)
        return end > new

    async def _cosigned(self, checkpoint: Checkpoint, at: int) -> bytes:
        """Return the signed checkpoint with the witnesses' quorum; ``at`` is its last entry's time.

        Raises Unavailable without the quorum, or where the entries are ahead of the witnesses' clocks: readers would
        refuse such a log, so it waits until the time has come.
        """
        signed = sign_checkpoint(checkpoint, self._key)
        if not self.witnesses.witnesses:
            return signed
        reader = TileReader(self.folder.read_tile, checkpoint.size)
        cosigned = await collect_cosignatures(
            self._client,
            self.witnesses,
            signed,
            checkpoint,
            lambda old, new: prove_consistency(old, new, reader),
            self._known,
            self._witness_timeout,
            self.store.clock,
        )
        note = parse_note(signed)
        complete = Note(text=note.text, signatures=(*note.signatures, *cosigned.signatures))
        try:
            times = sorted(self.witnesses.check(complete).values())
        except ProofInvalid:
            log.warning("witness-quorum-missing", failures=sorted(cosigned.failures))
            raise Unavailable("The witnesses' quorum did not cosign; nothing is published until it does.") from None
        if times and at - times[(len(times) - 1) // 2] > MAX_SKEW_SECONDS:
            log.warning("clock-ahead-of-witnesses")
            raise Unavailable("The ledger's last time is ahead of the witnesses' clocks; nothing is published yet.")
        return format_note(complete)

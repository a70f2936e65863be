"""The sequencer: turns committed entries into tiles and a cosigned checkpoint, at most one every 200 ms.

The order of one publication, and what a crash after each step leaves behind:

1. entries are read from the store (they are durable already);
2. tiles are written and made durable: tiles for a size that no checkpoint names yet. The same entries give the same
   bytes at the next start;
3. the checkpoint is signed, with the keys that the log has at its size, and the witnesses cosign it: a witness may be
   ahead of what we published. The entries it cosigned are in the store, so the next checkpoint grows from it;
4. the checkpoint goes into ``published`` by compare-and-swap on the size before, on the session that holds the lock
   (``trust.service.store.election``): from here on it is published;
5. the checkpoint file is replaced: an old file is put right from ``published``.

Nobody gets a receipt before step 4, nor from the process that sequences before step 5. Without the witnesses' quorum
nothing is published: receipts wait, and fail closed.

**Nothing new.** Where nothing is written, the newest checkpoint is cosigned anew each ``RENEW_SECONDS`` and published
in the place of its former self, by steps 3 to 5: so a reader can tell by the cosignatures' times that nothing was kept
from it (``trust.log.freshness``). Where the witnesses do not answer, the former one stays.

A step that fails (a full disk, a lost database, another process that leads now) is met like a crash there:
``_take_over``, which every start runs, runs again, and then the turn is taken anew.

**Witnesses remember what we may have lost.** A process that begins to lead asks every witness for the latest checkpoint
that it has cosigned, and publishes nothing until as many as the quorum have answered. The same is asked again whenever
a witness refuses a checkpoint because it knows a larger or another tree. A checkpoint signed with the log's own key
that is ahead of the entries in the store, or has another root, is proof that this store has gone back: publishing then
ends for good (HistoryForked), as does taking acts. A witness that only *claims* such a tree, and cannot show our
signature, is passed over like one that is away.
"""

import asyncio
import time
from contextlib import suppress

import structlog
from sqlalchemy import select

from ledger import entries as e
from ledger.errors import HistoryForked, MusubiError, ProofInvalid, Unavailable
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.cosignatures import check_cosignature
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.note import Note, format_note, parse_note
from ledger.notes.witness_policy import WitnessPolicy
from ledger.tlog.tiles import TileAppender, TileReader
from ledger.tlog.tree import prove_consistency, root_hash
from trust.log.tile_folder import TileFolder
from trust.log.witness_client import collect_cosignatures, fetch_latest
from trust.runtime.clock import MAX_SKEW_SECONDS
from trust.runtime.crash_points import reached
from trust.runtime.http_clients import open_async_http
from trust.runtime.json_lines import reason_of
from trust.service import metrics
from trust.service.database import tables as t
from trust.service.keys.own_keys import LogSigner
from trust.service.publish.lock_state import RESTORE, check_root
from trust.service.store.bell import Bell
from trust.service.store.election import BEAT_SECONDS, Election
from trust.service.store.entry_rows import read_entries
from trust.service.store.store import Store

MAX_BATCH = 20_000
RETRY_SECONDS = 1.0
RENEW_SECONDS = 30.0
"""How old the newest cosignatures may be before the checkpoint is cosigned anew; readers wait five minutes for it."""
logger = structlog.get_logger()


class Sequencer:
    """The single writer of the log's public face; in a process that does not lead, the reader of what was published."""

    def __init__(
        self,
        store: Store,
        bell: Bell,
        folder: TileFolder,
        signer: LogSigner,
        origin: str,
        witnesses: WitnessPolicy,
        election: Election,
        *,
        interval: float,
        witness_timeout: float,
    ) -> None:
        self.store = store
        self.bell = bell
        self.folder = folder
        self.witnesses = witnesses
        self.election = election
        self.size = 0
        """The published tree size, as far as this process knows."""
        self.checkpoint = b""
        """The published checkpoint's note; empty before the first."""
        self._signer = signer
        self._origin = origin
        self._interval = interval
        self._witness_timeout = witness_timeout
        self._known: dict[str, int] = {}
        self._in_hand = False
        """Whether this process has taken over: its appender stands at what is published."""
        self._witnesses_heard = False
        """Whether the quorum's latest checkpoints were compared with our entries since this process began to lead."""
        self._renewed = float("-inf")
        """At which tick the newest checkpoint was last cosigned here, or was to be."""
        self._task: asyncio.Task[None] | None = None
        self.client = open_async_http(seconds=witness_timeout)

    async def start(self) -> None:
        """Learn what is published, compare it with what the witnesses know, and begin.

        Raises HistoryForked where a witness is ahead. Witnesses that are away are asked again before anything is
        published.
        """
        size, note = await self._read_published()
        with suppress(Unavailable):  # whoever leads: what is published is there, whatever comes next
            self._learn(size, await self._whole_note(size, note) if size else note)
        self._witnesses_heard = await self._compare_with_witnesses()
        if self.store.size > self.size:
            await self._attempt()  # a healthy service has published what was left, and heard the time, once it starts
        self._task = asyncio.create_task(self._run(), name="sequencer")
        self.store.committed.set()

    async def refresh(self) -> None:
        """Learn what another process has published by now.

        The one that sequences knows, and looks at the file first.
        """
        if not self.election.leads:
            self._learn(*await self._read_published())

    async def _read_published(self) -> tuple[int, bytes]:
        async with self.store.databases.reader.connect() as connection:
            row = (await connection.execute(select(t.published.c.size, t.published.c.checkpoint))).one()
        return int(row.size), bytes(row.checkpoint)

    def _learn(self, size: int, note: bytes) -> None:
        if size and size == self.size:
            self.checkpoint = note  # cosigned anew, it may be
        elif size > self.size:
            self.size, self.checkpoint = size, note
            self.bell.ring()
            metrics.published_size.set(size)

    async def _take_over(self) -> None:
        """Go on from what is published: put the checkpoint file right, restore the right edge from the tiles."""
        self._in_hand = False
        size, note = await self._read_published()
        if size:
            note = await self._whole_note(size, note)
            checkpoint = Checkpoint.parse(parse_note(note).text)
            await asyncio.to_thread(check_root, self.folder, checkpoint, size)
            await asyncio.to_thread(self.folder.write_checkpoint, note)
        self._appender = await asyncio.to_thread(TileAppender.restore, size, self.folder.read_tile)
        self._learn(size, note)
        self._in_hand = True

    async def _whole_note(self, size: int, note: bytes) -> bytes:
        """Return the published checkpoint's note; where its row is damaged, as the file has it.

        Raises Unavailable where both are damaged.
        """
        if self._is_signed(note):
            return note
        on_disk = await asyncio.to_thread(self.folder.read_checkpoint)
        if on_disk is not None and self._is_signed(on_disk) and Checkpoint.parse(parse_note(on_disk).text).size == size:
            logger.error("published-damaged")  # the next checkpoint takes its place; until then, `musubi fsck` mends it
            return on_disk
        raise Unavailable(
            "The published checkpoint is damaged, in the database and on disk; mend it with `musubi fsck`."
        )

    def _is_signed(self, note: bytes) -> bool:
        """Return whether the log's keys signed a note, and none of the signatures that we know is bad."""
        try:
            _, opened = self._log_keys().open(note)
            for witness in self.witnesses.witnesses.values():
                check_cosignature(opened, witness.key)
        except MusubiError:
            return False
        return True

    async def stop(self) -> None:
        """Stop after the publication in hand."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
        await self.client.aclose()

    async def wait_for(self, size: int, seconds: float) -> bytes:
        """Wait until a tree of at least ``size`` is published; return that checkpoint's note.

        Raises Unavailable when it does not come in time: the entries are safe, and their receipts can be had later.
        """
        if await self.bell.until(lambda: self.size >= size or self.store.halted or None, seconds) is None:
            raise Unavailable(
                "It is in the ledger, but its checkpoint has not been cosigned yet; ask for the receipt again later.",
                size=size,
            )
        if self.size < size and self.store.halted:
            raise self.store.halted
        return self.checkpoint

    async def _run(self) -> None:
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(BEAT_SECONDS if self.election.shared else RENEW_SECONDS):
                    await self.store.committed.wait()
            self.store.committed.clear()
            began = time.monotonic()
            if not await self._attempt():
                if isinstance(self.store.halted, HistoryForked):
                    return
                self.store.committed.set()
                await asyncio.sleep(RETRY_SECONDS)
            await asyncio.sleep(max(0.0, self._interval - (time.monotonic() - began)))

    async def _attempt(self) -> bool:
        """Take a turn; return whether it went well. Where history would fork, the store is halted."""
        try:
            await self._turn()
        except HistoryForked as error:
            self.store.halt(error)
            self.bell.ring()
            return False
        except Exception as error:  # noqa: BLE001 - whatever a disk or database raises, publishing must go on later
            # nothing was lost: the entries are in the store, and the next turn begins at what is published
            self._in_hand = False
            metrics.publish_failures.inc()
            logger.warning("publish-failed", kind=type(error).__name__)
            return False
        return True

    async def _turn(self) -> None:
        """Publish what there is, if this process leads."""
        if not self.election.leads:
            self._in_hand = self._witnesses_heard = False
            await self.refresh()
            return
        if self.election.shared:
            await self.store.follow()  # the others append too
        if not self._in_hand:
            await self._take_over()
        if not self._witnesses_heard:
            self._witnesses_heard = await self._compare_with_witnesses()
            if not self._witnesses_heard:
                raise Unavailable("Too few witnesses have said what they know; nothing is published until they do.")
        while await self._publish():  # noqa: ASYNC110 - this is work, not waiting
            await asyncio.sleep(0)
        if self.size and self.witnesses.witnesses and self.store.clock.ticks() - self._renewed >= RENEW_SECONDS:
            await self._renew()
        if self.election.shared and self.size:
            # an ex-leader that woke up may have put its own, older one back
            await asyncio.to_thread(self._mend_file)

    def _mend_file(self) -> None:
        if self.folder.read_checkpoint() != self.checkpoint:
            self.folder.write_checkpoint(self.checkpoint)

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
        if not await self.election.swap(old, new, note):
            raise Unavailable("Another process has published meanwhile; this one begins anew from there.")
        reached("service:swapped")
        await asyncio.to_thread(self.folder.write_checkpoint, note)
        reached("service:checkpoint")
        self._learn(new, note)
        self._renewed = self.store.clock.ticks()
        return end > new

    async def _renew(self) -> None:
        """Have the newest checkpoint cosigned anew, and publish that; leave it as it is where the witnesses do not."""
        self._renewed = (
            self.store.clock.ticks()
        )  # also where it fails: witnesses that are away are not asked each second
        checkpoint = Checkpoint.parse(parse_note(self.checkpoint).text)
        try:
            note = await self._cosigned(checkpoint, 0)
        except Unavailable:
            return
        if not await self.election.swap(checkpoint.size, checkpoint.size, note):
            raise Unavailable("Another process has published meanwhile; this one begins anew from there.")
        await asyncio.to_thread(self.folder.write_checkpoint, note)
        self._learn(checkpoint.size, note)

    async def _cosigned(self, checkpoint: Checkpoint, at: int) -> bytes:
        """Return the signed checkpoint with the witnesses' quorum; ``at`` is its last entry's time.

        Raises Unavailable without the quorum, or where the entries are ahead of the witnesses' clocks: readers would
        refuse such a log, so it waits until the time has come.
        """
        signed = self._signer.sign(checkpoint, self._log_keys())
        if not self.witnesses.witnesses:
            return signed
        reader = TileReader(self.folder.read_tile, checkpoint.size)
        asked = self.store.clock.ticks()
        cosigned = await collect_cosignatures(
            self.client,
            self.witnesses,
            signed,
            checkpoint,
            lambda old, new: prove_consistency(old, new, reader),
            self._known,
            self._witness_timeout,
            self.store.clock.agreed,
        )
        self.store.clock.learn(cosigned.times, asked)
        if cosigned.disputed:
            await self._compare_with_witnesses()
        note = parse_note(signed)
        complete = Note(text=note.text, signatures=(*note.signatures, *cosigned.signatures))
        try:
            come = self.witnesses.median_of(self.witnesses.check_quorum(complete))
        except ProofInvalid:
            logger.warning("witness-quorum-missing", failures=sorted(cosigned.failures))
            raise Unavailable("The witnesses' quorum did not cosign; nothing is published until it does.") from None
        if come is not None and at - come > MAX_SKEW_SECONDS:
            logger.warning("clock-ahead-of-witnesses")
            raise Unavailable("The ledger's last time is ahead of the witnesses' clocks; nothing is published yet.")
        return format_note(complete)

    async def _compare_with_witnesses(self) -> bool:
        """Hold what the witnesses have cosigned against our entries; return whether as many as the quorum answered.

        Raises HistoryForked where one of them shows a checkpoint with the log's own signature that our entries do not
        make.
        """
        if not self.witnesses.witnesses:
            return True
        notes = await fetch_latest(self.client, self.witnesses, self._origin, self._witness_timeout)
        heard = []
        for name, note in notes.items():
            if note:
                try:
                    checkpoint, _ = self._log_keys().open(note, of_witness=True)
                except MusubiError as error:
                    logger.warning("witness-shows-no-checkpoint-of-ours", witness=name, **reason_of(error))
                    continue
                await self._check_against_entries(checkpoint)
            heard.append(name)
        return self.witnesses.is_quorum(heard)

    def _log_keys(self) -> LogKeyHistory:
        keys = self.store.state.log_keys
        if keys is None:
            raise Unavailable("The ledger has no genesis entry yet.")
        return keys

    async def _check_against_entries(self, seen: Checkpoint) -> None:
        """Raise HistoryForked unless a tree that a witness has cosigned is one that the entries in the store make.

        The store is looked at after the witness has answered: entries are durable before anyone cosigns them.
        """
        async with self.store.databases.reader.connect() as connection:
            published = (await connection.execute(select(t.published.c.size))).scalar_one()
            head = (await connection.execute(select(t.head.c.size))).scalar_one()
            if seen.size > head:
                raise HistoryForked(
                    "A witness has cosigned a larger tree of this log than there are entries in the database: the "
                    f"database has gone back in time. {RESTORE}"
                )
            entries = [data async for _, data in read_entries(connection, published, seen.size)]

        def root() -> bytes:
            if seen.size <= published:
                return root_hash(seen.size, TileReader(self.folder.read_tile, published))
            appender = TileAppender.restore(published, self.folder.read_tile)
            appender.append(entries)
            return appender.root()

        if await asyncio.to_thread(root) != seen.root:
            raise HistoryForked(
                "A witness has cosigned a tree of this log that its entries in the database do not make: two histories "
                f"were signed. {RESTORE}"
            )

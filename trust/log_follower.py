"""Reading on in a log and believing only what its signed, cosigned tree shows. For nodes and auditors alike.

``follow`` fetches the newest checkpoint and checks, in this order and before it hands out a single entry:

1. the log's own signature, and that the quorum of witnesses cosigned;
2. that it is no smaller than one seen before, and at equal size has the equal root;
3. that the tiles of its right edge hash to its root, and that the tree read so far (its ``Frontier``) begins this one:
   the root of the first ``frontier.size`` leaves, from tiles under the new root, must be the frontier's own.

Then it reads on, one bundle of 256 entries after the other. Every tile is checked against the signed root before it is
used (``ledger.verified_tiles``) and every entry against its tile. So what is yielded is already verified, each file is
read once, and memory does not grow with the log.

**Evidence.** Where two signed checkpoints contradict each other, the HistoryForked that is raised carries the file that
convicts the log (``ledger.evidence``) in ``details["evidence"]``, made from the tiles that were just read. A smaller
checkpoint than before is no contradiction by itself: an old copy may be served. If the larger tree's tiles are still to
be had, they tell which it is; if not, ``details["smaller"]`` is the note to keep until someone has them.

**Times.** An entry's ``at`` may be ahead of the cosignatures' time by at most 60 seconds; of several cosigners the
median counts (the lower one of two), so that one witness's clock alone decides nothing. Without witnesses our own clock
stands in. A cosignature time more than 60 seconds ahead of our own clock is refused: one of the two is off.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass

import msgspec

from ledger.checkpoints import Checkpoint, open_checkpoint
from ledger.errors import ClockSkew, HistoryForked, MusubiError, ProofInvalid
from ledger.evidence import make_split_view
from ledger.hashing import leaf_hash
from ledger.notes import VerifierKey
from ledger.tiles import TILE_WIDTH
from ledger.tree import Frontier, root_hash
from ledger.verified_tiles import VerifiedTiles
from ledger.witness_policy import WitnessPolicy
from trust.log_source import LogSource

MAX_SKEW_SECONDS = 60
BATCH_ENTRIES = 4_096
"""The most entries in one batch."""


@dataclass(frozen=True, slots=True)
class SeenCheckpoint:
    """A checkpoint that was checked: the whole note as it came, and who cosigned it when (seconds since 1970)."""

    checkpoint: Checkpoint
    note: bytes
    cosigned: dict[str, int]

    @property
    def time(self) -> int | None:
        """The median cosignature time (the lower one of two), or None without cosigners."""
        times = sorted(self.cosigned.values())
        return times[(len(times) - 1) // 2] if times else None


@dataclass(frozen=True, slots=True)
class VerifiedBatch:
    """At most 4,096 entries in a row, from index ``first`` on, all shown to be in the checkpoint's tree.

    ``frontier`` is the tree's edge right after them: with it, reading can begin again behind this batch.
    """

    seen: SeenCheckpoint
    first: int
    entries: list[bytes]
    frontier: Frontier

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that the entries were checked against."""
        return self.seen.checkpoint


class _Timed(msgspec.Struct):
    """The one field of every entry that is looked at here."""

    at: int


_timed = msgspec.json.Decoder(_Timed)


class LogFollower:
    """Reads one log from where ``frontier`` ends (the beginning, without one).

    ``latest`` is the note last checked, as ``latest.note`` gave it; with it, a rollback between two runs is seen too.
    ``witnesses`` None asks for no cosignature. ``clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        source: LogSource,
        log_key: VerifierKey,
        witnesses: WitnessPolicy | None = None,
        frontier: Frontier | None = None,
        *,
        latest: bytes | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.source = source
        self.log_key = log_key
        self.witnesses = witnesses
        self.frontier = frontier.copy() if frontier is not None else Frontier()
        self._clock = clock
        # Its quorum was checked when it came; which witnesses count may have changed since.
        self.latest = SeenCheckpoint(open_checkpoint(latest, log_key)[0], latest, {}) if latest is not None else None

    def fetch(self) -> SeenCheckpoint:
        """Fetch and check the newest checkpoint by itself, keep it as ``latest`` and return it.

        Raises Malformed, SignatureInvalid, ProofInvalid (no quorum, or a smaller tree than before), ClockSkew, or
        HistoryForked; and what the source raises.
        """
        return self._accept(self._open(self.source.read_checkpoint()))

    def follow(self) -> Iterator[VerifiedBatch]:
        """Yield all entries between the frontier and the newest checkpoint, in batches; nothing if there are none.

        ``frontier`` and ``latest`` move on with each batch. Raises what ``fetch`` does; HistoryForked when the log does
        not extend what was read; ProofInvalid with ``details["index"]`` for the first entry that is not the tree's; and
        ClockSkew with ``details["index"]`` for an entry from the future.
        """
        seen = self._open(self.source.read_checkpoint())
        self._check_against_latest(seen)
        checkpoint = seen.checkpoint
        if checkpoint.size < self.frontier.size:
            raise self._smaller(seen, self.frontier.size)
        tiles = VerifiedTiles(self.source.read_tile, checkpoint.size, checkpoint.root)
        if root_hash(self.frontier.size, tiles) != self.frontier.root() or not self._extends_latest(tiles):
            raise self._forked(seen, "The log does not extend the history that was read from it before.", tiles)
        self._accept(seen)
        bound = (seen.time if seen.time is not None else int(self._clock())) + MAX_SKEW_SECONDS
        while self.frontier.size < checkpoint.size:
            first = self.frontier.size
            entries = self._read_batch(tiles, bound)
            if self.frontier.size == checkpoint.size and self.frontier.root() != checkpoint.root:
                raise ProofInvalid("The log's entries do not hash to its checkpoint's root.", index=first)
            yield VerifiedBatch(seen, first, entries, self.frontier.copy())

    def _read_batch(self, tiles: VerifiedTiles, bound: int) -> list[bytes]:
        frontier = self.frontier.copy()
        entries: list[bytes] = []
        while frontier.size < tiles.size and len(entries) + TILE_WIDTH <= BATCH_ENTRIES:
            number, skip = divmod(frontier.size, TILE_WIDTH)
            found = tiles.bundle(number)[skip:]
            for place, entry in enumerate(found):
                self._check_time(entry, frontier.size + place, bound)
            frontier.append([leaf_hash(entry) for entry in found])
            entries += found
        self.frontier = frontier
        return entries

    def _check_time(self, entry: bytes, index: int, bound: int) -> None:
        try:
            at = _timed.decode(entry).at
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            raise ProofInvalid(f"Entry {index}: it is not a ledger entry.", index=index) from None
        if at > bound:
            raise ClockSkew(
                f"Entry {index}: its time is more than 60 seconds ahead of the witnesses' clocks.", index=index
            )

    def _open(self, data: bytes) -> SeenCheckpoint:
        checkpoint, note = open_checkpoint(data, self.log_key)
        cosigned = self.witnesses.check(note) if self.witnesses is not None else {}
        seen = SeenCheckpoint(checkpoint, data, cosigned)
        if seen.time is not None and seen.time > self._clock() + MAX_SKEW_SECONDS:
            raise ClockSkew("The witnesses' time is more than 60 seconds ahead of ours; check this machine's clock.")
        return seen

    def _accept(self, seen: SeenCheckpoint) -> SeenCheckpoint:
        self._check_against_latest(seen)
        self.latest = seen
        return seen

    def _check_against_latest(self, seen: SeenCheckpoint) -> None:
        if self.latest is None:
            return
        old, new = self.latest.checkpoint, seen.checkpoint
        if new.size < old.size:
            raise self._smaller(seen, old.size)
        if new.size == old.size and new.root != old.root:
            raise self._forked(seen, "The log signed two different trees of the same size.")

    def _extends_latest(self, tiles: VerifiedTiles) -> bool:
        latest = self.latest.checkpoint if self.latest is not None else None
        return latest is None or root_hash(latest.size, tiles) == latest.root

    def _smaller(self, seen: SeenCheckpoint, old: int) -> MusubiError:
        """Return what a smaller checkpoint is: a fork, where the larger tree's tiles are there and say so."""
        if self.latest is not None and self.latest.checkpoint.size > seen.checkpoint.size:
            known = self.latest.checkpoint
            with suppress(MusubiError):
                tiles = VerifiedTiles(self.source.read_tile, known.size, known.root)
                if root_hash(seen.checkpoint.size, tiles) != seen.checkpoint.root:
                    return self._forked(
                        seen, "The log shows a smaller tree that the larger one does not extend.", tiles
                    )
        return ProofInvalid(
            f"The log shows {seen.checkpoint.size} entries after it has shown {old}: it was rolled back, or an old copy "
            "is served.",
            smaller=seen.note.decode(),
        )

    def _forked(self, seen: SeenCheckpoint, message: str, tiles: VerifiedTiles | None = None) -> HistoryForked:
        """Return the error, with the evidence where two signed notes are at hand. ``tiles`` are the larger tree's."""
        if self.latest is not None:
            with suppress(MusubiError):
                evidence = make_split_view(self.latest.note, seen.note, [self.log_key], tiles)
                if evidence is not None:
                    return HistoryForked(message, evidence=evidence.format().decode())
        return HistoryForked(message)

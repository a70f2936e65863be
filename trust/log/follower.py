"""Reading on in a log and believing only what its signed, cosigned tree shows. For nodes and auditors alike.

``follow`` fetches the newest checkpoint and checks, in this order and before it hands out a single entry:

1. the log's own signature, and that the quorum of witnesses cosigned;
2. that it is no smaller than one seen before, and at equal size has the equal root;
3. that the tiles of its right edge hash to its root, and that the tree read so far (its ``Frontier``) begins this one:
   the root of the first ``frontier.size`` leaves, from tiles under the new root, must be the frontier's own.

Then it reads on, one bundle of 256 entries after the other. Every tile is checked against the signed root before it is
used (``ledger.tlog.verified_tiles``) and every entry against its tile. So what is yielded is already verified, each
file is read once, and memory does not grow with the log.

**Evidence.** Where two signed checkpoints contradict each other, the HistoryForked that is raised carries the file that
convicts the log (``ledger.evidence``) in ``details["evidence"]``, made from the tiles that were just read. A smaller
checkpoint than before is no contradiction by itself: an old copy may be served. If the larger tree's tiles are still to
be had, they tell which it is; if not, ``details["smaller"]`` is the note to keep until someone has them.

**One sample is no finding.** What lies between may keep an old checkpoint or tile, cut one short, or answer something
else. What is wrong is read again, past the caches and after growing pauses (``trust.log.source.past_caches``), before
it is the log's. Only two signed checkpoints that contradict each other are a finding at once.

**A changed log key.** A checkpoint that the known keys did not sign may be the first after a ``log-key`` entry. A
follower that pins the genesis entry then checks the witnesses' quorum and 2 and 3 under the claimed root, reads the
entries that it has not read yet for changes, and believes the checkpoint only if quorum-signed ones lead from the keys
it knows to those that signed it; else nothing has changed. Where the known keys did sign, and a change of them comes up
among the entries, the key was laid down before: the checkpoint is refused.

**Times.** An entry's ``at`` may be ahead of the cosignatures' time by at most 60 seconds; of several cosigners the
median counts (the lower one of two), so that one witness's clock alone decides nothing. Without witnesses our own clock
stands in. A cosignature time more than 60 seconds ahead of our own clock is refused: one of the two is off.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

import msgspec

from ledger import entries as e
from ledger.errors import (
    ClockSkew,
    HistoryForked,
    MusubiError,
    NotFound,
    OldView,
    ProofInvalid,
    SignatureInvalid,
    Unavailable,
)
from ledger.evidence import make_split_view
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.note import Note, VerifierKey, parse_note, verify_note
from ledger.notes.witness_policy import WitnessPolicy
from ledger.second_reads import DOUBTS
from ledger.tlog.tiles import TILE_WIDTH
from ledger.tlog.tree import Frontier, root_hash
from ledger.tlog.verified_tiles import VerifiedTiles
from policies.rules import decode_in_ledger
from trust.log.followed_keys import FollowedKeys
from trust.log.pins import PinnedLogKeys
from trust.log.seen_checkpoint import SeenCheckpoint, VerifiedBatch
from trust.log.source import LogSource, past_caches, tiles_of
from trust.runtime.clock import MAX_SKEW_SECONDS, Clock, system_clock

BATCH_ENTRIES = 4_096
"""The most entries in one batch."""
_DOUBTS: tuple[type[MusubiError], ...] = (*DOUBTS, HistoryForked, OldView)


class _Timed(msgspec.Struct):
    """The one field of every entry that is looked at here."""

    at: int


_timed = msgspec.json.Decoder(_Timed)


class LogFollower:
    """Reads one log from where ``frontier`` ends (the beginning, without one).

    ``latest`` is the note last checked, as ``latest.note`` gave it; with it, a rollback between two runs is seen too.
    ``log_keys`` are the keys known at the start; with a plain key no change is ever believed. ``witnesses`` None asks
    for no cosignature. ``clock`` gives seconds since 1970.
    """

    def __init__(
        self,
        source: LogSource,
        log_keys: PinnedLogKeys | VerifierKey,
        witnesses: WitnessPolicy | None = None,
        frontier: Frontier | None = None,
        *,
        latest: bytes | None = None,
        clock: Clock = system_clock,
    ) -> None:
        self.source = source
        self._log_keys = log_keys
        self._keys = FollowedKeys(log_keys)
        self.witnesses = witnesses
        self.frontier = frontier.copy() if frontier is not None else Frontier()
        self._clock = clock
        self._is_latest_checked = True
        self.latest = self._read_latest(latest) if latest is not None else None

    @property
    def history(self) -> LogKeyHistory:
        """The log's keys as far as they are known."""
        return self._keys.history

    def go_on_from(self, frontier: Frontier, history: LogKeyHistory | None) -> None:
        """Take so many entries as read, and the log's keys as they gave them; ``follow`` goes on behind them.

        The log is held against them as against all that was read: it has to extend them.
        """
        self.frontier = frontier.copy()
        if history is not None and self._keys.may_change:
            self._keys.learn(history, frontier.size)

    def begin_anew(self) -> None:
        """Take nothing as read, but what was seen: the next ``follow`` begins with the first entry."""
        self.frontier = Frontier()
        self._keys = FollowedKeys(self._log_keys)

    @property
    def seen(self) -> SeenCheckpoint:
        """The checkpoint last checked; raises NotFound before there is one."""
        if self.latest is None:
            raise NotFound("No checkpoint of the log has been read yet.")
        return self.latest

    def _read_latest(self, note: bytes) -> SeenCheckpoint:
        # Its quorum was checked when it came; which witnesses count may have changed since.
        try:
            return SeenCheckpoint(self.history.open(note)[0], note, {})
        except SignatureInvalid:
            if not self._keys.may_change or self._is_damaged(note):
                raise
            self._is_latest_checked = False  # by a key that is not known yet, it may be: looked at again in _opened
            return SeenCheckpoint(Checkpoint.parse(parse_note(note).text), note, {})

    def _is_damaged(self, note: bytes) -> bool:
        """Return whether a signature by a key that we know is bad: our own copy has changed, and accuses nobody."""
        opened = parse_note(note)
        for key in {key for _, keys in self.history.changes for key in keys.all}:
            if any(line.is_by(key) for line in opened.signatures):
                try:
                    verify_note(opened, [key])
                except SignatureInvalid:
                    return True
        return False

    def fetch(self, at_least: int = 0) -> SeenCheckpoint:
        """Fetch and check the newest checkpoint without its entries, keep it as ``latest`` and return it.

        Where what comes is smaller than ``at_least``, it is looked for past the caches too.

        Raises Malformed, SignatureInvalid, ProofInvalid (no quorum), OldView (a smaller tree than before), ClockSkew,
        or HistoryForked; and what the source raises.
        """
        seen = self._newest(at_least)
        if self.latest is not None and self.latest.checkpoint.size < seen.checkpoint.size:
            tiles = tiles_of(self.source, seen.checkpoint)
            if not self._extends_latest(tiles):
                raise self._forked(seen, "The log does not extend the history that it showed before.", tiles)
        return self._accept(seen)

    def follow(self, at_least: int = 0) -> Iterator[VerifiedBatch]:
        """Yield all entries between the frontier and the newest checkpoint, in batches; nothing if there are none.

        Where the checkpoint that comes is smaller than ``at_least``, which the caller has reason to expect, it is
        looked for past the caches too.

        ``frontier`` and ``latest`` move on with each batch. Raises what ``fetch`` does; HistoryForked when the log does
        not extend what was read; ProofInvalid with ``details["index"]`` for the first entry that is not the tree's; and
        ClockSkew with ``details["index"]`` for an entry from the future.
        """
        seen = self._newest(at_least)
        checkpoint = seen.checkpoint
        tiles = tiles_of(self.source, checkpoint)
        if not self._extends_frontier(tiles) or not self._extends_latest(tiles):
            raise self._forked(seen, "The log does not extend the history that was read from it before.", tiles)
        self._accept(seen)
        bound = (seen.time if seen.time is not None else self._clock()) + MAX_SKEW_SECONDS
        while self.frontier.size < checkpoint.size:
            first = self.frontier.size
            entries, hashes = self._read_batch(tiles, bound)
            self._keys.check_no_change(seen.note, tiles, first, entries)
            if self.frontier.size == checkpoint.size and self.frontier.root() != checkpoint.root:
                raise ProofInvalid("The log's entries do not hash to its checkpoint's root.", index=first)
            yield VerifiedBatch(seen, first, entries, hashes, self.frontier.copy())

    def check_begins_latest(self, other: SeenCheckpoint) -> None:
        """Raise HistoryForked, with the evidence, unless a tree that the log signed begins the one seen last.

        A larger one is passed over: what it begins with is seen once the log shows it.
        """
        if self.latest is not None and other.checkpoint.size <= self.latest.checkpoint.size:
            tiles = tiles_of(self.source, self.latest.checkpoint)
            if root_hash(other.checkpoint.size, tiles) != other.checkpoint.root:
                raise self._forked(other, "The log signed another history for a witness than it shows here.", tiles)

    def _newest(self, at_least: int = 0) -> SeenCheckpoint:
        """Return the newest checkpoint by the first way of reading by which nothing is wrong with it.

        One sample is no finding: a cache may hold an old one, or something else altogether. Two signed notes that
        contradict each other are one, at once.
        """
        doubt: MusubiError | None = None
        found: SeenCheckpoint | None = None
        for source in (self.source, *past_caches(self.source)):
            try:
                seen = self._open(source.read_checkpoint())
                self._check_against_latest(seen)
                if seen.checkpoint.size < self.frontier.size:
                    raise self._smaller(seen, self.frontier.size)
            except _DOUBTS as error:
                if "evidence" in error.details:
                    raise
                doubt = error
                continue
            if found is None or found.checkpoint.size < seen.checkpoint.size:
                found = seen
            if found.checkpoint.size >= at_least:
                break
        if found is None:
            raise doubt or NotFound("The log has no checkpoint.")
        return found

    def entries_from(
        self, first: int, kinds: Sequence[bytes], progress: Callable[[int, int], None] | None = None
    ) -> Iterator[tuple[int, e.AnyEntry]]:
        """Yield, with indices, the entries from ``first`` on that hold one of these bytes, such as ``"kind":"admit"``.

        All of them are of the newest checkpoint's tree; ``frontier`` stays where it is. ``progress`` is called with
        (entries read, entries in all) after each bundle. Raises what ``fetch`` and ``VerifiedTiles`` do.
        """
        checkpoint = self.fetch().checkpoint
        tiles = tiles_of(self.source, checkpoint)
        for number in range(first // TILE_WIDTH, -(-checkpoint.size // TILE_WIDTH)):
            for place, data in enumerate(tiles.bundle(number)):
                index = number * TILE_WIDTH + place
                if index >= first and any(kind in data for kind in kinds):
                    yield index, decode_in_ledger(data)
            if progress is not None:
                progress(min((number + 1) * TILE_WIDTH, checkpoint.size) - first, checkpoint.size - first)

    def _read_batch(self, tiles: VerifiedTiles, bound: int) -> tuple[list[bytes], list[bytes]]:
        frontier = self.frontier.copy()
        entries: list[bytes] = []
        hashes: list[bytes] = []
        while frontier.size < tiles.size and len(entries) + TILE_WIDTH <= BATCH_ENTRIES:
            number, skip = divmod(frontier.size, TILE_WIDTH)
            found = tiles.bundle(number)[skip:]
            for place, entry in enumerate(found):
                self._check_time(entry, frontier.size + place, bound)
            leaves = tiles.tile(0, number)[skip:]  # what `bundle` has just computed from the entries, and compared
            frontier.append(leaves)
            entries += found
            hashes += leaves
        self.frontier = frontier
        return entries, hashes

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
        checkpoint, note = self._opened(data)
        cosigned = self.witnesses.check_quorum(note) if self.witnesses is not None else {}
        come = self.witnesses.median_of(cosigned) if self.witnesses is not None else None
        seen = SeenCheckpoint(checkpoint, data, cosigned, self._algorithms(checkpoint, cosigned), come)
        if seen.time is not None and seen.time > self._clock() + MAX_SKEW_SECONDS:
            raise ClockSkew("The witnesses' time is more than 60 seconds ahead of ours; check this machine's clock.")
        return seen

    def _algorithms(self, checkpoint: Checkpoint, cosigned: dict[str, int]) -> dict[str, list[str]]:
        vouched: dict[str, list[str]] = {}
        for key in self.history.at(checkpoint.size).all:
            vouched.setdefault(key.algorithm, []).append("log")
        for name in cosigned:
            if self.witnesses is not None:
                vouched.setdefault(self.witnesses.witnesses[name].key.algorithm, []).append(name)
        return vouched

    def _opened(self, data: bytes) -> tuple[Checkpoint, Note]:
        """Return a checkpoint that the log's keys of its size signed; learn them where they are not known yet."""
        if self._is_latest_checked:
            try:
                return self.history.open(data)
            except SignatureInvalid:
                if not self._keys.may_change:
                    raise
        found = self._find_changes(data)
        if found is None:
            return self.history.open(data)
        opened = found.open(data)  # the keys found have signed it, or nothing of them is believed
        self._check_latest_kept(found)
        self._keys.learn(found, opened[0].size)
        return opened

    def _find_changes(self, data: bytes) -> LogKeyHistory | None:
        """Return the key history up to a checkpoint, as its own tree gives it; nothing is kept of it yet.

        None where the claimed tree does not extend all that was read and seen. Raises ProofInvalid without the quorum.
        """
        note = parse_note(data)
        claimed = Checkpoint.parse(note.text)
        if self.witnesses is not None:
            self.witnesses.check_quorum(note)
        known = self.latest.checkpoint.size if self.latest is not None else 0
        if claimed.size < max(known, self.frontier.size):
            return None
        tiles = tiles_of(self.source, claimed)
        if not self._extends_frontier(tiles) or not self._extends_latest(tiles):
            return None
        return self._keys.find(tiles)

    def _check_latest_kept(self, history: LogKeyHistory) -> None:
        """Raise Unavailable where what was kept from before turns out to be signed by no key of this log."""
        if not self._is_latest_checked and self.latest is not None:
            try:
                history.open(self.latest.note)
            except SignatureInvalid:
                raise Unavailable(
                    "The checkpoint that was kept from before is damaged, or another log's; begin anew without it."
                ) from None
            self._is_latest_checked = True

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

    def _extends_frontier(self, tiles: VerifiedTiles) -> bool:
        return root_hash(self.frontier.size, tiles) == self.frontier.root()

    def _extends_latest(self, tiles: VerifiedTiles) -> bool:
        latest = self.latest.checkpoint if self.latest is not None else None
        return latest is None or root_hash(latest.size, tiles) == latest.root

    def _smaller(self, seen: SeenCheckpoint, old: int) -> MusubiError:
        """Return what a smaller checkpoint is: a fork, where the larger tree's tiles are there and say so."""
        if self.latest is not None and self.latest.checkpoint.size > seen.checkpoint.size:
            known = self.latest.checkpoint
            with suppress(MusubiError):
                tiles = tiles_of(self.source, known)
                if root_hash(seen.checkpoint.size, tiles) != seen.checkpoint.root:
                    return self._forked(
                        seen, "The log shows a smaller tree that the larger one does not extend.", tiles
                    )
        return OldView(
            f"The log shows {seen.checkpoint.size} entries after it has shown {old}: it was rolled back, or an old copy "
            "is served.",
            smaller=seen.note.decode(),
        )

    def _forked(self, seen: SeenCheckpoint, message: str, tiles: VerifiedTiles | None = None) -> HistoryForked:
        """Return the error, with the evidence where two signed notes are at hand. ``tiles`` are the larger tree's."""
        if self.latest is not None:
            with suppress(MusubiError):
                evidence = make_split_view(self.latest.note, seen.note, self.history.signing_keys, tiles)
                if evidence is not None:
                    return HistoryForked(message, evidence=evidence.format().decode())
        return HistoryForked(message)

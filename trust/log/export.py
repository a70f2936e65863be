"""A log as plain files, for any web server: ``checkpoint``, ``tile/…``, and who signs it.

::

    OUT/
      checkpoint       the last one published, signed and cosigned (C2SP tlog-checkpoint)
      tile/…           every tile and entry bundle that this checkpoint needs (C2SP tlog-tiles)
      log.vkey         the verifier key that the log signs with now (Ed25519), one line
      witnesses.txt    which witnesses count (C2SP tlog-policy)
      trust.json       the same two and the genesis entry's hash, as auditors pin them
      shares/…         the holders' signed shares of every answer (``trust.log.share_files``), where the source has them

Nothing is copied unseen: each file is held against the root that the checkpoint signs, and the checkpoint against the
log's keys and its witnesses. A key that the tree itself lays down, or that is older than the one that signed the
folder's checkpoint, has signed nothing for us, whatever the witnesses say. The checkpoint is written after all the
tiles, when everything that it commits to is durable. So a crash leaves the old export whole, beside files that the next
one writes again. The three files that say whom to believe come right behind it.

An export only grows. Into a folder that has one, only what is new is copied, and only where the new tree extends the
one that the folder's checkpoint signs. Memory does not grow with the log.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ledger.errors import HistoryForked, OldView, ProofInvalid, SignatureInvalid, Unavailable
from ledger.hashing import EMPTY_ROOT
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import VerifierKey, parse_note
from ledger.second_reads import DOUBTS, read_in_turn
from ledger.tlog.tiles import ENTRIES, TILE_WIDTH, Tile, encode_bundle, hashes_at, levels_of_size, tile_at
from ledger.tlog.tree import root_hash
from ledger.tlog.verified_tiles import VerifiedTiles
from trust.files.durable import write_whole
from trust.log.followed_keys import FollowedKeys
from trust.log.pins import TRUST_FILE, Trust, save_trust
from trust.log.share_files import SharesCopied, SharesFolder, SharesSource
from trust.log.source import FolderLog, LogSource, past_caches, tiles_of
from trust.log.tile_folder import TileFolder

Progress = Callable[[int, int], None]
"""Called with (entries copied, entries in all) after each batch."""

VKEY = "log.vkey"
POLICY = "witnesses.txt"
BATCH_BUNDLES = 64
"""How many bundles are made durable together."""


@dataclass(frozen=True, slots=True)
class Exported:
    """What an export did: the tree size that the folder had before and has now, and how many files were written."""

    before: int
    size: int
    files: int
    key: VerifierKey
    """The Ed25519 key that signed the checkpoint."""
    root: bytes
    shares: SharesCopied | None = None


def export_log(
    source: LogSource, trust: Trust, out: Path, progress: Progress | None = None, shares: SharesSource | None = None
) -> Exported:
    """Copy the log of ``source`` to ``out``, all that is new there, and the answers' ``shares``; return what was done.

    Raises what ``copy_log`` does. Shares that are not given, or not the ones that the log names, are counted, and the
    log is copied all the same: an audit of the copy then says which they are.
    """
    done = copy_log(source, trust, out, progress)
    # A crash here leaves the new checkpoint beside the pins of before. They differ only where the log has changed its
    # key, and the next export, which has nothing else to do, puts that right.
    _write_pins(trust, done.key, out)
    if shares is None:
        return done
    tiles = VerifiedTiles(FolderLog(out).read_tile, done.size, done.root)
    return replace(done, shares=SharesFolder(out).copy_new(shares, tiles))


def copy_log(source: LogSource, trust: Trust, out: Path, progress: Progress | None = None) -> Exported:
    """Copy checkpoint and tiles of ``source`` to ``out``, all that is new there, and no pins; return what was done.

    Raises SignatureInvalid or ProofInvalid where the source is not the log that ``trust`` pins, lacks the witnesses'
    quorum or has a bad file; OldView where it is older than what ``out`` holds; HistoryForked where it does not extend
    that; what the source raises; and Unavailable where the disk does not take it. ``out`` then has its old checkpoint
    still.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)  # open to the web server's user, as this user's other folders are
    except OSError:
        raise Unavailable("The folder for the export cannot be made; choose another place.") from None
    folder = TileFolder(out)
    try:
        kept = folder.read_checkpoint()
        note, checkpoint, old, keys = _newest(source, trust, kept)
        tiles = tiles_of(source, checkpoint)
        if root_hash(old.size, tiles) != old.root:
            raise HistoryForked(
                "The log does not extend what was exported to that folder before; keep both as evidence."
            )
        files = 0
        for batch, done in _new_files(
            tiles, old.size, lambda first, new: keys.check_no_change(note, tiles, first, new)
        ):
            folder.write_tiles(batch)
            files += len(batch)
            if progress is not None:
                progress(done, checkpoint.size)
        # A crash up to here leaves the old checkpoint, under which every file is whole: full tiles never change.
        folder.write_checkpoint(note)
    finally:
        folder.close()
    return Exported(old.size, checkpoint.size, files, keys.history.at(checkpoint.size).key, checkpoint.root)


def _newest(source: LogSource, trust: Trust, kept: bytes | None) -> tuple[bytes, Checkpoint, Checkpoint, FollowedKeys]:
    """Return the newest checkpoint, and the folder's own, by the first way of reading by which all is in order."""

    def read(way: LogSource) -> tuple[bytes, Checkpoint, Checkpoint, FollowedKeys]:
        note = way.read_checkpoint()
        checkpoint, keys = _open_checked(source, note, trust)
        old = Checkpoint(trust.origin, 0, EMPTY_ROOT) if kept is None else _open_own(kept, keys)
        if checkpoint.size < old.size:
            raise OldView(
                f"The folder's export has {old.size} entries and the log only {checkpoint.size}: the log was rolled "
                "back, or it is an old copy. An export never goes back.",
            )
        return note, checkpoint, old, keys

    return read_in_turn([source, *past_caches(source)], read, (*DOUBTS, OldView))


def _open_checked(source: LogSource, note: bytes, trust: Trust) -> tuple[Checkpoint, FollowedKeys]:
    """Check a checkpoint of ``source``: the log's signature, also by a key that came later, and the witnesses' quorum.

    Returns it, and the log's keys as far as they had to be known. Raises Malformed, SignatureInvalid or ProofInvalid,
    and what the source raises.
    """
    keys = FollowedKeys(trust.log_keys)
    try:
        checkpoint, opened = keys.history.open(note)
    except SignatureInvalid:  # by a key that its own entries brought, perhaps
        said = Checkpoint.parse(parse_note(note).text)
        tiles = tiles_of(source, said)
        history = keys.find(tiles)
        checkpoint, opened = history.open(note)
        keys.learn(history, checkpoint.size)
    trust.witnesses.check_quorum(opened)
    return checkpoint, keys


def _open_own(note: bytes, keys: FollowedKeys) -> Checkpoint:
    """Read a checkpoint that an earlier copy has checked; raise ProofInvalid where ``keys`` are older than its own."""
    try:
        return keys.history.open(note)[0]
    except SignatureInvalid:
        raise ProofInvalid(
            "The folder's checkpoint is not signed with the key that signed the log's newest one, and no change of key "
            "leads from the one to the other: the log's key was stolen, or the folder's file is damaged."
        ) from None


def _new_files(
    tiles: VerifiedTiles, old: int, look_at: Callable[[int, list[bytes]], None]
) -> Iterator[tuple[list[tuple[Tile, bytes]], int]]:
    """Yield batches of checked files that a tree of ``old`` entries lacks, and how many entries are done after each.

    ``look_at`` is given the index and bytes of the entries of each bundle before its batch is yielded.
    """
    batch: list[tuple[Tile, bytes]] = []
    for level in levels_of_size(tiles.size)[1:]:
        # A level with no new hash has the same tiles as before, also the same partial one.
        first, end = hashes_at(level, old) // TILE_WIDTH, -(-hashes_at(level, tiles.size) // TILE_WIDTH)
        if hashes_at(level, old) == hashes_at(level, tiles.size):
            continue
        for index in range(first, end):
            if level == 0:
                entries = tiles.bundle(index)
                look_at(index * TILE_WIDTH, entries)
                batch.append((tile_at(ENTRIES, index, tiles.size), encode_bundle(entries)))
            batch.append((tile_at(level, index, tiles.size), b"".join(tiles.tile(level, index))))
            if len(batch) >= 2 * BATCH_BUNDLES:
                yield batch, min((index + 1) * TILE_WIDTH, tiles.size) if level == 0 else tiles.size
                batch = []
    if batch:
        yield batch, tiles.size


def _write_pins(trust: Trust, key: VerifierKey, out: Path) -> None:
    write_whole(out / VKEY, f"{key}\n".encode(), mode=0o644)
    write_whole(out / POLICY, trust.witness_policy.encode(), mode=0o644)
    save_trust(trust, out / TRUST_FILE)

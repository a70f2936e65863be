"""The log on disk: tiles, entry bundles and the checkpoint, as the files that are served (``ledger.tlog.tiles``).

Everything a checkpoint commits to is on disk before the checkpoint is. In order: the tiles' bytes (fdatasync, on a slow
disk from a few threads), the folders they are in and the parents of folders made for them (fsync), the new checkpoint
under another name (fsync), its rename over the old one, the folder it is in (fsync).

So after a crash at any point the checkpoint on disk is the old one or the new one, and all its tiles are there and
whole. What lies beyond it is left over from a batch that was not published: it may be torn, the next batch writes
over it, and it must not be served. Opening after a crash is no special case: every start reads the checkpoint,
restores a ``TileAppender`` from the partial tiles of its size, and goes on.

**Two writers.** One process is elected to write, and any number may read. But one that was elected before, was stopped
in the middle of a write and wakes up when another has taken over, finishes that write. It does no harm, because

- what a tile holds follows from the entries alone, so both write the same bytes; and a file that is there already is
  written over in place, without being cut first, so that a reader never meets a shorter one;
- the checkpoint is replaced by a rename, each process writes it under a name of its own before, and a larger checkpoint
  is not replaced by a smaller one. Between that look and the rename there is a moment: the process that sequences looks
  at the file again with every beat, and puts it right.
"""

import os
import shutil
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, wait
from pathlib import Path
from typing import TypeVar

from ledger.errors import MusubiError, NotFound, Unavailable
from ledger.hashing import HASH_BYTES
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import parse_note
from ledger.tlog.tiles import ENTRIES, TILE_WIDTH, Tile, decode_bundle, encode_bundle, hashes_at
from trust.files.durable import sync_folder
from trust.files.regular import open_regular

T = TypeVar("T")

CHECKPOINT = "checkpoint"
_NEW_CHECKPOINT = "checkpoint.new"  # with the process' number behind it
_WRITERS = 16
_SLOW_SECONDS = 0.001
_REMEMBERED_FOLDERS = 4_096

_sync_data: Callable[[int], None] = getattr(os, "fdatasync", os.fsync)  # not every system has fdatasync


class TileFolder:
    """A durable folder of tiles under ``root``, which is made when first written to.

    Raises Unavailable when the disk refuses. After that the caller cannot know how much was written: it reads the
    checkpoint again and restores its appender from that.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        # Folders whose own name is known to be durable, because this process fsynced the folder above. It begins
        # empty: what an earlier process made may still be known to the page cache only.
        self._durable_names: set[Path] = set()
        self._became_full: list[Tile] = []  # since the last checkpoint
        self._spare_removed = False
        self._writers = ThreadPoolExecutor(_WRITERS, thread_name_prefix="tiles")

    def write_tiles(self, tiles: Iterable[tuple[Tile, bytes]]) -> None:
        """Write tiles so that they outlive a power cut; they are all durable when this returns. Raises Unavailable."""
        files = [(tile, self._root / tile.path, data) for tile, data in tiles]
        folders = sorted({path.parent for _, path, _ in files})
        new_names = self._new_names(folders)
        try:
            for folder in folders:
                folder.mkdir(parents=True, exist_ok=True)
            # A crash here leaves empty folders: nobody reads them, and the next batch uses them.
            self._do_all(lambda file: _write_durably(file[1], file[2]), files)
            # A crash up to here leaves some tiles whole, some torn and some missing. No checkpoint commits to them,
            # and the next batch writes each of them anew.
            self._do_all(sync_folder, sorted({*folders, *(name.parent for name in new_names)}))
            # A crash up to here leaves tiles whose bytes are on disk under names that a power cut may take. As above.
        except OSError as error:
            raise Unavailable("The log's folder cannot be written; free some space or mend the disk.") from error
        # A crash here leaves whole, durable tiles beyond the checkpoint: the next batch writes over them.
        self._remember(new_names)
        self._became_full += [tile for tile, _, _ in files if tile.is_full]

    def write_checkpoint(self, checkpoint: bytes) -> None:
        """Publish a signed checkpoint, whose tiles were all written before; it is durable when this returns.

        Then removes the partial tiles that full ones under this checkpoint have replaced. Does nothing where a larger
        checkpoint is there already. Raises Malformed, and does nothing, when the bytes are no checkpoint; raises
        Unavailable with the old or the new checkpoint in place.
        """
        size = Checkpoint.parse(parse_note(checkpoint).text).size
        if self._size_on_disk() > size:
            return  # another process has taken over from this one
        new_names = self._new_names({self._root})
        try:
            self._root.mkdir(parents=True, exist_ok=True)
            new = self._root / f"{_NEW_CHECKPOINT}-{os.getpid()}"
            self._remove_spare(new)
            _write_durably(new, checkpoint)
            # A crash up to here leaves the old checkpoint in place, and a spare file that the next process removes.
            new.replace(self._root / CHECKPOINT)
            # A crash here leaves the new checkpoint; a power cut leaves the old or the new one, whole. The tiles of
            # both are on disk.
            self._do_all(sync_folder, sorted({self._root, *(name.parent for name in new_names)}))
        except OSError as error:
            raise Unavailable("The log's checkpoint cannot be written; free some space or mend the disk.") from error
        # A crash here leaves the new checkpoint durable, and some partial tiles that nobody needs any more.
        self._remember(new_names)
        self._drop_outgrown(size)

    def _size_on_disk(self) -> int:
        try:
            return Checkpoint.parse(parse_note(self._read(CHECKPOINT) or b"").text).size
        except MusubiError:  # none, or what a disk made of it: it is put right
            return 0

    def _remove_spare(self, mine: Path) -> None:
        """Remove, once, the new checkpoints that processes before this one could not put in place."""
        if not self._spare_removed:
            for spare in self._root.glob(f"{_NEW_CHECKPOINT}*"):
                if spare != mine:
                    spare.unlink(missing_ok=True)
            self._spare_removed = True

    def read_tile(self, tile: Tile) -> bytes:
        """Return a tile's bytes; a partial tile that is gone is cut from its full one.

        Raises NotFound when neither is there, and Unavailable when the disk fails. The bytes are not checked, and a
        tile beyond the checkpoint may be torn: ask only for tiles of the checkpoint's size.
        """
        data = self._read(tile.path)
        if data is not None:
            return data
        if not tile.is_full:
            data = self._read(tile.full.path)
            if data is not None and tile.level == ENTRIES:
                return encode_bundle(decode_bundle(data, TILE_WIDTH)[: tile.width])
            if data is not None:
                return data[: tile.width * HASH_BYTES]
        raise NotFound("The log has no such tile.")

    def read_checkpoint(self) -> bytes | None:
        """Return the published checkpoint, or None where there is none yet. Raises Unavailable when the disk fails."""
        return self._read(CHECKPOINT)

    def holds_a_log(self) -> bool:
        """Return whether anything of a log is here: a checkpoint or a tile."""
        return (self._root / CHECKPOINT).exists() or any(path.is_file() for path in (self._root / "tile").rglob("*"))

    def close(self) -> None:
        """End the writing threads, and with them what is still to be removed."""
        self._writers.shutdown()

    def _read(self, path: str) -> bytes | None:
        try:
            with open_regular(self._root / path) as file:
                return file.read()
        except FileNotFoundError:
            return None
        except OSError as error:
            raise Unavailable("The log's folder cannot be read; mend the disk.") from error

    def _do_all(self, act: Callable[[T], None], items: Iterable[T]) -> None:
        """Act on every item, and raise the first error only once no thread is at work any more.

        A disk that answers at once is asked for one thing after the other: threads would only stand in each other's
        way. One that takes its time (a millisecond) is asked for the rest all together. A write that was left running
        after an error could otherwise fall into the next batch.
        """
        rest = iter(items)
        for item in rest:
            began = time.perf_counter()
            act(item)
            if time.perf_counter() - began > _SLOW_SECONDS:
                break
        futures = [self._writers.submit(act, item) for item in rest]
        wait(futures)
        for future in futures:
            future.result()

    def _new_names(self, folders: Iterable[Path]) -> set[Path]:
        """Return which of these folders, and of those above up to the root, are not known to be durable by name."""
        names = set()
        for folder in folders:
            current = folder
            while current not in self._durable_names and current not in names:
                names.add(current)
                if current == self._root:
                    break
                current = current.parent
        return names

    def _remember(self, names: set[Path]) -> None:
        if len(self._durable_names) > _REMEMBERED_FOLDERS:
            self._durable_names.clear()  # forgetting costs only another fsync
        self._durable_names |= names

    def _drop_outgrown(self, size: int) -> None:
        """Have the partial tiles removed of each place whose full tile the checkpoint of this size commits to.

        A full tile beyond it is left over from a batch that was given up, and replaces nothing. Removing may take some
        file systems longer than writing, and nobody waits for it: a thread does it, and ``close`` waits for that.
        """
        outgrown = [
            self._root / f"{tile.path}.p"
            for tile in self._became_full
            if (tile.index + 1) * TILE_WIDTH <= hashes_at(tile.level, size)
        ]
        self._became_full.clear()
        self._durable_names.difference_update(outgrown)
        self._writers.submit(_remove, outgrown)


def _remove(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir():  # most full tiles were never partial
            # What cannot be removed only takes up room. Not fsynced: what a power cut brings back does no harm.
            shutil.rmtree(folder, ignore_errors=True)


def _write_durably(path: Path, data: bytes) -> None:
    """Write over a file in place, unlike ``trust.files.durable``: a tile's bytes are the same whoever writes them."""
    handle = os.open(path, os.O_WRONLY | os.O_CREAT, 0o666)  # the umask says who may read
    try:
        left = memoryview(data)
        while left:
            left = left[os.write(handle, left) :]
        if os.fstat(handle).st_size > len(data):  # left over from a batch that was given up: of other entries, longer
            os.ftruncate(handle, len(data))
        _sync_data(handle)
    finally:
        os.close(handle)

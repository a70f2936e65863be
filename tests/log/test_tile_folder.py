"""The log on disk: what is there after an error, a kill or a power cut at any durable step."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from nacl.signing import SigningKey

from ledger.errors import Malformed, NotFound, Unavailable
from ledger.hashing import EMPTY_ROOT, leaf_hash
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.note import VerifierKey
from ledger.tlog.tiles import Tile, TileAppender, TileReader, encode_bundle
from ledger.tlog.tree import Frontier, root_hash
from tests.kit.logs.small_trees import tiles_of_size
from trust.log import tile_folder
from trust.log.tile_folder import TileFolder

KEY = SigningKey(bytes(32))
LOG_KEY = VerifierKey.ed25519("example.town/log", bytes(KEY.verify_key))


def batch(name: str, count: int) -> list[bytes]:
    return [f"{name} {n}".encode() for n in range(count)]


def publish(folder: TileFolder, appender: TileAppender, entries: list[bytes]) -> None:
    folder.write_tiles(appender.append(entries))
    folder.write_checkpoint(sign_checkpoint(Checkpoint("example.town/log", appender.size, appender.root()), KEY))


def reopen(root: Path, entries: list[bytes]) -> tuple[TileFolder, TileAppender]:
    """Open a log as every start does, and hold every tile of it against the first ``entries``."""
    folder = TileFolder(root)
    data = folder.read_checkpoint()
    checkpoint = (
        Checkpoint("example.town/log", 0, EMPTY_ROOT) if data is None else LogKeyHistory.of(LOG_KEY).open(data)[0]
    )
    size = checkpoint.size
    assert size <= len(entries)
    appender = TileAppender.restore(size, folder.read_tile)
    frontier, expected = Frontier(), TileAppender()
    frontier.append(leaf_hash(entry) for entry in entries[:size])
    assert appender.root() == checkpoint.root == frontier.root()
    files = dict(expected.append(entries[:size]))
    for tile in tiles_of_size(size):
        assert folder.read_tile(tile) == files[tile]
    if size:
        assert root_hash(size, TileReader(folder.read_tile, size)) == checkpoint.root
    return folder, appender


def test_a_log_written_in_batches_is_read_back_by_another_process_whole(tmp_path: Path) -> None:
    root = tmp_path / "log"
    entries: list[bytes] = []
    for number, count in enumerate([1, 3, 251, 1, 2, 600, 0, 70_000]):
        folder, appender = reopen(root, entries)
        entries += batch(f"batch {number}", count)
        publish(folder, appender, entries[appender.size :])
        folder.close()
    assert reopen(root, entries)[1].size == len(entries)


def test_a_partial_tile_that_is_gone_is_cut_from_its_full_one(tmp_path: Path) -> None:
    folder, appender = TileFolder(tmp_path), TileAppender()
    entries = batch("entry", 300)
    publish(folder, appender, entries[:3])
    published = {tile: folder.read_tile(tile) for tile in tiles_of_size(3)}
    publish(folder, appender, entries[3:])
    folder.close()  # what was outgrown is removed in the background
    assert not (tmp_path / "tile/0/000.p").exists()
    assert not (tmp_path / "tile/entries/000.p").exists()
    for tile, data in published.items():
        assert folder.read_tile(tile) == data
    assert folder.read_tile(Tile(-1, 0, 2)) == encode_bundle(entries[:2])
    for tile in [Tile(0, 1), Tile(0, 1, 45), Tile(1, 0), Tile(3, 0, 1), Tile(-1, 2, 1)]:
        with pytest.raises(NotFound):
            folder.read_tile(tile)


def test_what_is_no_checkpoint_is_not_published(tmp_path: Path) -> None:
    folder, appender = TileFolder(tmp_path), TileAppender()
    assert folder.read_checkpoint() is None
    publish(folder, appender, batch("entry", 3))
    before = folder.read_checkpoint()
    with pytest.raises(Malformed):
        folder.write_checkpoint(b"size 4, trust me\n")
    assert folder.read_checkpoint() == before


def test_a_full_tile_of_a_batch_that_was_given_up_replaces_no_published_partial_tile(tmp_path: Path) -> None:
    folder, appender = TileFolder(tmp_path), TileAppender()
    entries = batch("entry", 5)
    publish(folder, appender, entries[:3])
    folder.write_tiles(appender.append(batch("given up", 400)))  # and no checkpoint: say, no witness answered
    appender = TileAppender.restore(3, folder.read_tile)
    publish(folder, appender, entries[3:])
    assert (tmp_path / "tile/0/000").exists()
    assert reopen(tmp_path, entries)[1].size == 5


class PowerCutError(BaseException):
    """The process ends here. Not an Exception: nothing in the code may catch it."""


class Disk:
    """Counts durable steps, fails at one of them, and can take away what was not durable.

    ``fail`` at a step: ``refused`` and ``torn`` raise ENOSPC, with nothing or half of it done; ``late`` does it and
    then raises; ``cut`` stops this and every later step for ever.
    """

    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch, fail_at: int, how: str) -> None:
        self.root, self.fail_at, self.how = root, fail_at, how
        self.steps = 0
        self.names: dict[Path, set[str]] = {root.parent: set()}  # by folder, at its last fsync
        self.checkpoint: bytes | None = None
        monkeypatch.setattr(tile_folder, "_WRITERS", 1)  # steps come in one order
        self._wrap(monkeypatch, tile_folder, "_write_durably", self._half_written)
        self._wrap(monkeypatch, tile_folder, "sync_folder", lambda *_: None)
        self._wrap(monkeypatch, Path, "replace", lambda *_: None)
        self._wrap(monkeypatch, Path, "mkdir", lambda *_: None)

    def _wrap(self, monkeypatch: pytest.MonkeyPatch, where: object, name: str, torn: Callable[..., None]) -> None:
        real = getattr(where, name)

        def step(*args: object, **kwargs: object) -> object:
            if name == "mkdir" and self.root not in (args[0], *Path(str(args[0])).parents):
                return real(*args, **kwargs)
            self.steps += 1
            failing = self.steps == self.fail_at or (self.how == "cut" and self.steps > self.fail_at > 0)
            if failing and self.how != "late":
                if self.how in ("torn", "cut") and self.steps == self.fail_at:
                    torn(*args)
                raise PowerCutError if self.how == "cut" else OSError(errno.ENOSPC, "No space left on device")
            result = real(*args, **kwargs)
            if name == "sync_folder":
                self._note(Path(str(args[0])))
            if failing:
                raise OSError(errno.EIO, "Input/output error")
            return result

        monkeypatch.setattr(where, name, step)

    @staticmethod
    def _half_written(path: Path, data: bytes) -> None:
        path.write_bytes(data[: len(data) // 2])

    def _note(self, folder: Path) -> None:
        self.names[folder] = {path.name for path in folder.iterdir()}
        if folder == self.root and "checkpoint" in self.names[folder]:
            self.checkpoint = (folder / "checkpoint").read_bytes()

    def cut_power(self) -> None:
        """Leave the least that a disk may leave: only names that an fsync of their folder made durable."""
        for folder, subfolders, files in os.walk(self.root.parent, topdown=False):
            for name in files:
                if name not in self.names.get(Path(folder), set()):
                    (Path(folder) / name).unlink()
            for name in subfolders:
                if name not in self.names.get(Path(folder), set()):
                    for below, _, lost in os.walk(Path(folder) / name, topdown=False):
                        for file in lost:
                            (Path(below) / file).unlink()
                        Path(below).rmdir()
        if self.checkpoint is not None and self.root.exists():
            (self.root / "checkpoint").write_bytes(self.checkpoint)


FIRST, SECOND, THIRD = batch("first", 250), batch("second", 300), batch("third", 7)


@pytest.fixture
def no_fsync(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the real disk where ``Disk`` itself keeps the books of what is durable."""
    monkeypatch.setattr(tile_folder, "_sync_data", lambda _handle: None)
    monkeypatch.setattr(os, "fsync", lambda _handle: None)


def publish_both(folder: TileFolder, done: list[bytes]) -> None:
    """Publish two batches, noting what is promised to be durable."""
    appender = TileAppender()
    for entries in (FIRST, SECOND):
        publish(folder, appender, entries)
        done += entries


def count_steps(root: Path) -> int:
    root.parent.mkdir(exist_ok=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk = Disk(root, monkeypatch, 0, "none")
        folder = TileFolder(root)
        publish_both(folder, [])
        folder.close()
        return disk.steps


@pytest.mark.usefixtures("no_fsync")
@pytest.mark.parametrize("how", ["refused", "torn", "late"])
def test_after_an_error_at_any_durable_step_the_old_or_the_new_log_is_there_and_goes_on(
    tmp_path: Path, how: str
) -> None:
    steps = count_steps(tmp_path / "counted" / "log")
    assert steps > 25
    for fail_at in range(1, steps + 1):
        root = tmp_path / f"{fail_at}" / "log"
        root.parent.mkdir()
        done: list[bytes] = []
        with pytest.MonkeyPatch.context() as monkeypatch:
            Disk(root, monkeypatch, fail_at, how)
            folder = TileFolder(root)
            with pytest.raises(Unavailable):
                publish_both(folder, done)
            failed = FIRST if not done else SECOND
        # The same folder object, restored from the checkpoint, goes on with other entries.
        data = folder.read_checkpoint()
        size = LogKeyHistory.of(LOG_KEY).open(data)[0].size if data is not None else 0
        assert size in (len(done), len(done) + len(failed))
        entries = (done + failed)[:size] + THIRD
        publish(folder, TileAppender.restore(size, folder.read_tile), THIRD)
        folder.close()
        assert reopen(root, entries)[1].size == len(entries)


@pytest.mark.usefixtures("no_fsync")
@pytest.mark.parametrize("power", [True, False])
def test_after_a_kill_or_power_cut_at_any_durable_step_no_published_log_is_lost_or_torn(
    tmp_path: Path, power: bool
) -> None:
    steps = count_steps(tmp_path / "counted" / "log")
    for fail_at in range(1, steps + 1):
        root = tmp_path / f"{fail_at}" / "log"
        root.parent.mkdir()
        done: list[bytes] = []
        with pytest.MonkeyPatch.context() as monkeypatch:
            disk = Disk(root, monkeypatch, fail_at, "cut")
            folder = TileFolder(root)
            with pytest.raises(PowerCutError):
                publish_both(folder, done)
            folder.close()
        if power:
            disk.cut_power()
        folder, appender = reopen(root, FIRST + SECOND)
        assert appender.size >= len(done)
        entries = (FIRST + SECOND)[: appender.size] + THIRD
        publish(folder, appender, THIRD)
        folder.close()
        assert reopen(root, entries)[1].size == len(entries)


def test_a_folder_that_an_earlier_process_made_is_made_durable_again(tmp_path: Path) -> None:
    """The earlier process may have been killed between making a folder and the fsync of the one above."""
    root = tmp_path / "log"
    for sub in ("tile/0", "tile/entries"):
        (root / sub).mkdir(parents=True)
    with pytest.MonkeyPatch.context() as monkeypatch:
        disk = Disk(root, monkeypatch, 0, "none")
        folder = TileFolder(root)
        publish(folder, TileAppender(), FIRST)
        folder.close()
    disk.cut_power()
    assert reopen(root, FIRST)[1].size == len(FIRST)


def test_no_write_is_left_running_when_another_has_failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ended = threading.Event()
    calls: list[Path] = []

    def write(path: Path, _data: bytes) -> None:
        calls.append(path)
        if len(calls) == 1:
            time.sleep(0.005)  # a slow disk: the rest is asked for all together
        elif path == calls[1]:
            raise OSError(errno.ENOSPC, "No space left on device")
        else:
            time.sleep(0.05)
            ended.set()

    monkeypatch.setattr(tile_folder, "_write_durably", write)
    with pytest.raises(Unavailable):
        TileFolder(tmp_path).write_tiles(TileAppender().append(SECOND))
    assert ended.is_set()


def test_a_folder_that_cannot_be_read_is_unavailable_and_not_missing(tmp_path: Path) -> None:
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "tile/0/000").mkdir(parents=True)
    folder = TileFolder(tmp_path)
    with pytest.raises(Unavailable):
        folder.read_checkpoint()
    with pytest.raises(Unavailable):
        folder.read_tile(Tile(0, 0))


def test_what_a_folder_remembers_does_not_grow_with_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tile_folder, "_REMEMBERED_FOLDERS", 8)
    folder, appender = TileFolder(tmp_path), TileAppender()
    for number in range(40):
        publish(folder, appender, batch(f"batch {number}", 100))
        assert len(folder._durable_names) <= 8 + 6
        assert len(folder._became_full) == 0
        assert sum(map(len, appender._edges)) + len(appender._bundle) < 256 * 4


# Another process that was elected to write before, was stopped in the middle of it, and wakes up


def test_a_tile_that_is_written_over_is_never_met_shorter_than_it_was(tmp_path: Path) -> None:
    """A full tile and a bundle, read over and over while two others write the same bytes again."""
    appender, entries = TileAppender(), batch("entry", 300)
    tiles = appender.append(entries)
    first, second = TileFolder(tmp_path), TileFolder(tmp_path)
    first.write_tiles(tiles)
    whole = {tile: data for tile, data in tiles if tile.level <= 0}
    done = threading.Event()

    def write_over(folder: TileFolder) -> None:
        while not done.is_set():
            folder.write_tiles(tiles)

    writers = [threading.Thread(target=write_over, args=[folder]) for folder in (first, second)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(3_000):
            for tile, data in whole.items():
                assert first.read_tile(tile) == data
    finally:
        done.set()
        for writer in writers:
            writer.join()
    first.close()
    second.close()


def test_a_longer_tile_of_a_batch_that_was_given_up_leaves_nothing_behind(tmp_path: Path) -> None:
    folder = TileFolder(tmp_path)
    folder.write_tiles(TileAppender().append([b"x" * 5_000] * 3))
    tiles = TileAppender().append([b"y"] * 3)
    folder.write_tiles(tiles)
    for tile, data in tiles:
        assert folder.read_tile(tile) == data
    folder.close()


def test_a_smaller_checkpoint_never_takes_the_place_of_a_larger_one(tmp_path: Path) -> None:
    earlier, later = TileFolder(tmp_path), TileFolder(tmp_path)
    appender = TileAppender()
    publish(later, appender, batch("entry", 3))
    old = later.read_checkpoint()
    assert old is not None
    publish(later, appender, batch("entry", 3))
    new = later.read_checkpoint()
    earlier.write_checkpoint(old)
    assert later.read_checkpoint() == new != old
    (tmp_path / "checkpoint").write_bytes(b"what a broken disk made of it")
    earlier.write_checkpoint(old)
    assert earlier.read_checkpoint() == old
    earlier.close()
    later.close()


def test_a_checkpoint_that_a_process_could_not_put_in_place_is_removed_by_the_next(tmp_path: Path) -> None:
    (tmp_path / "checkpoint.new-1").write_bytes(b"half of one")
    folder = TileFolder(tmp_path)
    publish(folder, TileAppender(), batch("entry", 3))
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == ["checkpoint"]
    folder.close()

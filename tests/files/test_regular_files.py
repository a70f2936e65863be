"""A pipe, a device or a folder in place of a file holds nobody up: it is refused at once, and the others are read."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.errors import Unavailable
from ledger.tlog.tiles import Tile
from tests.kit.parties.lying_service import Stage
from trust.client import last_view
from trust.files.regular import open_regular
from trust.log.source import FolderLog
from trust.log.tile_folder import TileFolder
from trust.node.sources.source_file import SourceFile

NO_FILES: dict[str, Callable[[Path], None]] = {
    "a pipe": os.mkfifo,
    "a folder": os.mkdir,
    "a device": lambda path: path.symlink_to("/dev/zero"),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_what_is_no_file_is_refused_at_once_by_whoever_reads_it(tmp_path: Path, kind: str) -> None:
    (tmp_path / "tile/0/000.p").mkdir(parents=True)
    for name in ("checkpoint", "tile/0/000.p/1", "rides.csv"):
        NO_FILES[kind](tmp_path / name)
    with pytest.raises(OSError, match="no regular file"):
        open_regular(tmp_path / "checkpoint")
    for read in (FolderLog(tmp_path).read_checkpoint, TileFolder(tmp_path).read_checkpoint):
        with pytest.raises(Unavailable):
            read()
    for read_tile in (FolderLog(tmp_path).read_tile, TileFolder(tmp_path).read_tile):
        with pytest.raises(Unavailable):
            read_tile(Tile(0, 0, 1))
    with pytest.raises(Unavailable):
        SourceFile(tmp_path / "rides.csv").sha256()
    with pytest.raises(Unavailable):
        last_view._read(tmp_path / "checkpoint")


@pytest.mark.parametrize("kind", NO_FILES)
def test_among_dropped_links_it_is_left_where_it_is_and_the_next_is_taken_in(tmp_path: Path, kind: str) -> None:
    stage = Stage(tmp_path)
    NO_FILES[kind](tmp_path / "links" / "a.jsonl")
    good = tmp_path / "links" / "b.jsonl"
    good.write_bytes(b"{}\n")
    with pytest.raises(OSError, match="no regular file"):
        stage.node.links.take(tmp_path / "links" / "a.jsonl")
    assert stage.node.links.take(good) == 0
    assert not good.exists()
    assert (tmp_path / "links" / "a.jsonl").exists()
    stage.close()

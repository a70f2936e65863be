"""Tiles: paths, bundles, and a log that is appended to, restored and read back."""

from collections.abc import Callable

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ledger.errors import Malformed, MusubiError, NotFound, ProofInvalid, TooLarge
from ledger.hashing import leaf_hash
from ledger.tlog.tiles import (
    Tile,
    TileAppender,
    TileReader,
    decode_bundle,
    encode_bundle,
    hashes_at,
    partial_tiles,
    tile_at,
)
from ledger.tlog.tree import Frontier, prove_consistency, prove_inclusion, root_hash
from tests.kit.logs.small_trees import merkle_path, tiles_of_size

tiles = st.builds(
    Tile, level=st.integers(-1, 63), index=st.integers(0, 2**55 - 1) | st.integers(0, 1001), width=st.integers(1, 256)
)


@pytest.mark.parametrize(
    ("tile", "path"),
    [
        (Tile(0, 1234067), "tile/0/x001/x234/067"),
        (Tile(0, 1067, 3), "tile/0/x001/067.p/3"),
        (Tile(1, 0, 5), "tile/1/000.p/5"),
        (Tile(-1, 999, 255), "tile/entries/999.p/255"),
        (Tile(63, 1000), "tile/63/x001/000"),
    ],
)
def test_tile_paths_are_those_of_the_specification(tile: Tile, path: str) -> None:
    assert tile.path == path
    assert Tile.parse(path) == tile


@given(tiles)
def test_a_tile_path_reads_back_as_its_tile(tile: Tile) -> None:
    assert Tile.parse(tile.path) == tile


@given(st.text() | st.from_regex(r"tile/(entries|\d\d?)/(x?\d{3}/)*x?\d{1,4}(\.p/\d{1,3})?\n?"))
@example("tile/0/x000/001")
@example("tile/00/001")
@example("tile/64/001")
@example("tile/-1/001")
@example("tile/0/001.p/256")
@example("tile/0/001.p/0")
@example("tile/0/001.p/03")
@example("tile/0/٠٠١")
@example("tile/0/001\n")
@example("tile/0/x999/x999/x999/x999/x999/999")
@example("tile/0/../../etc/passwd")
def test_any_path_is_the_one_path_of_a_tile_or_malformed(path: str) -> None:
    try:
        tile = Tile.parse(path)
    except Malformed:
        return
    assert tile.path == path


@pytest.mark.parametrize(
    ("level", "index", "width"), [(-2, 0, 1), (64, 0, 1), (0, -1, 1), (0, 2**55, 1), (0, 0, 0), (0, 0, 257)]
)
def test_a_tile_that_no_log_can_have_is_malformed(level: int, index: int, width: int) -> None:
    with pytest.raises(Malformed):
        Tile(level, index, width)


@given(st.lists(st.binary(max_size=300) | st.just(bytes(65_535)), max_size=20))
def test_a_bundle_reads_back_as_its_entries(entries: list[bytes]) -> None:
    assert decode_bundle(encode_bundle(entries), len(entries)) == entries


@given(st.binary(max_size=60) | st.lists(st.binary(max_size=5)).map(encode_bundle), st.integers(0, 6))
def test_any_bytes_are_the_bundle_of_what_they_decode_to_or_malformed(data: bytes, count: int) -> None:
    try:
        entries = decode_bundle(data, count)
    except Malformed:
        return
    assert len(entries) == count
    assert encode_bundle(entries) == data


def test_an_entry_past_65535_bytes_is_refused_and_changes_nothing() -> None:
    appender = TileAppender()
    appender.append([b"first"])
    root = appender.root()
    with pytest.raises(TooLarge):
        appender.append([b"second", bytes(65_536)])
    assert (appender.size, appender.root()) == (1, root)
    reference = TileAppender()
    reference.append([b"first"])
    assert appender.append([b"third"]) == reference.append([b"third"])


def naive_tile(tile: Tile, entries: list[bytes]) -> bytes:
    """The tile's bytes from all the entries, without shortcuts."""
    if tile.level == -1:
        return encode_bundle(entries[tile.index * 256 : tile.index * 256 + tile.width])
    span = 256**tile.level
    hashes = []
    for number in range(tile.index * 256, tile.index * 256 + tile.width):
        frontier = Frontier()
        frontier.append(leaf_hash(entry) for entry in entries[number * span : (number + 1) * span])
        hashes.append(frontier.root())
    return b"".join(hashes)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.sampled_from([0, 1, 2, 3, 100, 253, 255, 256, 257, 512, 700]), max_size=8), st.data())
def test_a_log_appended_in_any_batches_and_restored_between_them_has_exactly_its_tiles_and_proofs(
    batches: list[int], data: st.DataObject
) -> None:
    entries: list[bytes] = []
    files: dict[Tile, bytes] = {}
    read: Callable[[Tile], bytes] = files.__getitem__
    frontier = Frontier()
    appender = TileAppender()
    for count in batches:
        batch = [b"%d" % i for i in range(len(entries), len(entries) + count)]
        entries += batch
        frontier.append(leaf_hash(entry) for entry in batch)
        new = appender.append(batch)
        assert len({tile for tile, _ in new}) == len(new)
        files.update(new)
        assert (appender.size, appender.root()) == (len(entries), frontier.root())
        if data.draw(st.booleans()):
            appender = TileAppender.restore(len(entries), read)
            assert appender.root() == frontier.root()
    size = len(entries)
    for tile in tiles_of_size(size):
        assert files[tile] == naive_tile(tile, entries)
    if size:
        reader = TileReader(read, size)
        assert root_hash(size, reader) == frontier.root()
        leaves = [leaf_hash(entry) for entry in entries]
        index = data.draw(st.integers(0, size - 1))
        assert prove_inclusion(index, size, reader) == merkle_path(leaves, index)
        for node in [(0, size), (1, size >> 1), (-1, 0), (0, -1)]:
            with pytest.raises(NotFound):
                reader.read_hashes([node])


def test_three_levels_of_tiles_have_the_root_of_a_plain_replay() -> None:
    """65,536 + 300 entries fill a tile of level 1 and start one of level 2."""
    appender, frontier = TileAppender(), Frontier()
    files: dict[Tile, bytes] = {}
    size = 65_536 + 300
    entries = [b"%d" % i for i in range(size)]
    for begin in range(0, size, 10_000):
        files.update(appender.append(entries[begin : begin + 10_000]))
        frontier.append(leaf_hash(entry) for entry in entries[begin : begin + 10_000])
    assert TileAppender.restore(size, files.__getitem__).root() == appender.root() == frontier.root()
    assert {tile.level for tile in files} == {-1, 0, 1, 2}
    assert set(tiles_of_size(size)) <= set(files)
    reader = TileReader(files.__getitem__, size)
    assert root_hash(65_536, reader) == files[Tile(2, 0, 1)]
    assert len(prove_consistency(65_536, size, reader)) == 1


@given(st.integers(0, 2**62))
def test_partial_tiles_are_what_is_left_over_at_each_level(size: int) -> None:
    expected = []
    for level in [-1, *range(8)]:
        hashes = size // 256 ** max(level, 0)
        assert hashes_at(level, size) == hashes
        if hashes % 256:
            expected.append(Tile(level, hashes // 256, hashes % 256))
    assert partial_tiles(size) == expected
    for tile in expected:
        assert tile_at(tile.level, tile.index, size) == tile
        with pytest.raises(NotFound):
            tile_at(tile.level, tile.index + 1, size)


@pytest.mark.parametrize("damage", ["bundle entry", "leaf hash", "short tile", "short bundle"])
def test_restoring_from_damaged_tiles_fails_instead_of_going_on(damage: str) -> None:
    appender = TileAppender()
    files = {tile.path: data for tile, data in appender.append([b"a", b"b", b"c"])}
    if damage == "bundle entry":
        files["tile/entries/000.p/3"] = encode_bundle([b"a", b"b", b"x"])
    elif damage == "leaf hash":
        files["tile/0/000.p/3"] = bytes(32) + files["tile/0/000.p/3"][32:]
    else:
        path = "tile/0/000.p/3" if damage == "short tile" else "tile/entries/000.p/3"
        files[path] = files[path][:-1]
    with pytest.raises((ProofInvalid, Malformed)):
        TileAppender.restore(3, lambda tile: files[tile.path])


def test_a_reader_keeps_a_bounded_number_of_tiles_however_many_it_reads() -> None:
    asked: list[Tile] = []

    def read(tile: Tile) -> bytes:
        asked.append(tile)
        return bytes(32 * tile.width)

    reader = TileReader(read, 256 * 1_000)
    for number in range(1_000):
        reader.read_hashes([(0, number * 256), (7, number * 2)])
    assert len(asked) == 1_000
    assert len(reader._cache) == 128


@given(st.binary(max_size=100))
def test_a_tile_of_any_other_bytes_gives_hashes_or_a_domain_error(data: bytes) -> None:
    try:
        assert TileReader(lambda _: data, 3).read_hashes([(0, 1)]) == [data[32:64]]
        assert len(data) == 96
    except MusubiError:
        assert len(data) != 96

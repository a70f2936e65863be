"""Tiles cut short, too long, swapped, of another time or of another history: read as the log's own, or refused."""

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import Malformed, MusubiError, NotFound, ProofInvalid
from ledger.hashing import leaf_hash
from ledger.tlog.proofs import check_consistency, check_inclusion
from ledger.tlog.tiles import ENTRIES, Tile, TileAppender, TileReader
from ledger.tlog.tree import prove_consistency, prove_inclusion, root_hash
from ledger.tlog.verified_tiles import VerifiedTiles
from tests.kit.logs.small_trees import tiles_of_size

Files = dict[Tile, bytes]


class Log:
    """A log's tiles of its last size, and those that it had at an earlier one."""

    def __init__(self, size: int, old: int, salt: bytes = b"") -> None:
        self.entries = [salt + b"%d" % number for number in range(size)]
        self.size, self.old = size, old
        appender = TileAppender()
        self.files: Files = dict(appender.append(self.entries[:old]))
        self.old_root = appender.root()
        self.files |= dict(appender.append(self.entries[old:]))
        self.root = appender.root()


LOGS = [Log(3, 2), Log(256, 255), Log(600, 300), Log(66_000, 65_700)]
FORKS = {log.size: Log(log.size, log.old, b"other ") for log in LOGS}
Spoil = Callable[[Log, Tile, st.DataObject], bytes | None]


def cut_short(log: Log, tile: Tile, data: st.DataObject) -> bytes:
    return log.files[tile][: -data.draw(st.integers(1, 40))]


def too_long(log: Log, tile: Tile, data: st.DataObject) -> bytes:
    return log.files[tile] + data.draw(st.binary(min_size=1, max_size=64) | st.just(log.files[tile]))


def swapped(log: Log, tile: Tile, data: st.DataObject) -> bytes:
    kind = [each for each in log.files if (each.level == ENTRIES) == (tile.level == ENTRIES) and each != tile]
    return log.files[data.draw(st.sampled_from(kind))] if kind else b""


def stale(log: Log, tile: Tile, data: st.DataObject) -> bytes:
    """The same place of the earlier tree, as a cache may still have it."""
    return next((log.files[each] for each in log.files if each.full == tile.full and each.width < tile.width), b"")


def of_another_history(log: Log, tile: Tile, data: st.DataObject) -> bytes:
    return FORKS[log.size].files[tile]


def one_bit_off(log: Log, tile: Tile, data: st.DataObject) -> bytes:
    changed = bytearray(log.files[tile])
    changed[data.draw(st.integers(0, len(changed) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    return bytes(changed)


def gone(log: Log, tile: Tile, data: st.DataObject) -> None:
    return None


WAYS: list[Spoil] = [cut_short, too_long, swapped, stale, of_another_history, one_bit_off, gone]


def reader(files: Files, tile: Tile, spoilt: bytes | None) -> Callable[[Tile], bytes]:
    def read(asked: Tile) -> bytes:
        found = spoilt if asked == tile else files.get(asked)
        if found is None:
            raise NotFound("There is no such tile.")
        return found

    return read


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@settings(max_examples=40)
@given(data=st.data())
def test_what_is_read_from_spoilt_tiles_is_the_logs_own_or_refused(way: Spoil, data: st.DataObject) -> None:
    log = data.draw(st.sampled_from(LOGS))
    tile = data.draw(st.sampled_from(list(tiles_of_size(log.size))[-8:] + list(tiles_of_size(log.size))[:300]))
    spoilt = way(log, tile, data)
    read = reader(log.files, tile, spoilt)
    index = data.draw(st.sampled_from([tile.index * 256, 0, log.size - 1, log.old]) | st.integers(0, log.size - 1))
    index = min(index, log.size - 1)
    try:
        tiles = VerifiedTiles(read, log.size, log.root)
        bundle = index // 256
        assert tiles.bundle(bundle) == log.entries[bundle * 256 : bundle * 256 + 256]
        assert tiles.entry(index) == log.entries[index]
        assert root_hash(log.old, tiles) == log.old_root
        check_inclusion(
            leaf_hash(log.entries[index]), index, log.size, prove_inclusion(index, log.size, tiles), log.root
        )
        check_consistency(log.old, log.size, log.old_root, log.root, prove_consistency(log.old, log.size, tiles))
    except (ProofInvalid, NotFound, Malformed):
        assert spoilt != log.files[tile]
    # A reader that believes its tiles makes proofs of them: who checks those is not misled either.
    try:
        proof = prove_inclusion(index, log.size, TileReader(read, log.size))
        check_inclusion(leaf_hash(FORKS[log.size].entries[index]), index, log.size, proof, log.root)
        pytest.fail("an entry of another history was proven")
    except MusubiError:
        pass


@pytest.mark.parametrize("way", [cut_short, too_long, of_another_history, one_bit_off], ids=lambda way: way.__name__)
@settings(max_examples=15)
@given(data=st.data())
def test_a_spoilt_tile_that_is_needed_is_refused_and_its_entries_named(way: Spoil, data: st.DataObject) -> None:
    log = data.draw(st.sampled_from(LOGS[1:3]))
    number = data.draw(st.integers(0, (log.size - 1) // 256))
    width = min(256, log.size - number * 256)
    tile = Tile(data.draw(st.sampled_from([0, ENTRIES])), number, width)
    read = reader(log.files, tile, way(log, tile, data))
    with pytest.raises(ProofInvalid) as caught:
        VerifiedTiles(read, log.size, log.root).bundle(number)
    index = caught.value.details["index"]
    assert isinstance(index, int)
    assert number * 256 <= index < number * 256 + 256


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
@settings(max_examples=20)
@given(data=st.data())
def test_an_appender_restored_from_spoilt_tiles_has_the_logs_root_or_is_refused(
    way: Spoil, data: st.DataObject
) -> None:
    """The caller holds the restored root against the checkpoint; what is found earlier is better."""
    log = data.draw(st.sampled_from(LOGS[:3]))
    tile = data.draw(st.sampled_from(list(tiles_of_size(log.size))))
    try:
        restored = TileAppender.restore(log.size, reader(log.files, tile, way(log, tile, data)))
    except (ProofInvalid, NotFound, Malformed):
        return
    if restored.root() == log.root:
        grown, whole = [b"more"], [*log.entries, b"more"]
        reference = TileAppender()
        reference.append(whole[:-1])
        assert restored.append(grown) == reference.append(grown)


@pytest.mark.parametrize("index", [-1, LOGS[1].size])
def test_an_entry_that_the_tree_does_not_have_is_not_found(index: int) -> None:
    log = LOGS[1]
    tiles = VerifiedTiles(lambda tile: log.files[tile], log.size, log.root)
    with pytest.raises(NotFound):
        tiles.entry(index)

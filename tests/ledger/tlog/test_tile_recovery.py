"""A tree's true hashes are told from damaged copies, or said to be unknown; never are others taken for true."""

import random
from collections.abc import Sequence
from functools import cache

from hypothesis import event, given, settings
from hypothesis import strategies as st

from ledger.hashing import EMPTY_ROOT, leaf_hash
from ledger.tlog.tile_recovery import RecoveredTiles
from ledger.tlog.tiles import ENTRIES, TILE_WIDTH, Tile, TileAppender, split_hashes
from tests.kit.logs.small_trees import tiles_of_size

LARGE = 2 * 65_536 + 700
"""Two whole tiles of level 1, and a right edge on three levels."""


@cache
def tree(size: int) -> tuple[bytes, dict[tuple[int, int], list[bytes]]]:
    """Return the root of a tree and all its tiles' hashes."""
    appender = TileAppender()
    files = dict(appender.append([b"%d" % n for n in range(size)]))
    tiles = {
        (tile.level, tile.index): split_hashes(files[tile], tile)
        for tile in tiles_of_size(size)
        if tile.level != ENTRIES
    }
    return appender.root(), tiles


class Copy:
    """A source with damage: places that it has wrong, and tiles that it has not."""

    def __init__(self, size: int, *, only_leaves: bool = False) -> None:
        self.only_leaves = only_leaves
        self.tiles = tree(size)[1]
        self.wrong: dict[tuple[int, int], dict[int, bytes | None]] = {}
        self.lost: set[tuple[int, int]] = set()
        self.read = 0

    def __call__(self, tile: Tile) -> Sequence[bytes | None]:
        """Say what the tile holds."""
        self.read += 1
        place = (tile.level, tile.index)
        if place in self.lost or (self.only_leaves and tile.level > 0):
            return []
        hashes: list[bytes | None] = list(self.tiles[place][: tile.width])
        for n, other in self.wrong.get(place, {}).items():
            if n < len(hashes):
                hashes[n] = other
        return hashes


def damage(copy: Copy, places: list[tuple[int, int]], seed: int) -> None:
    """Lose or spoil these tiles of a copy."""
    chance = random.Random(seed)
    for place in places:
        if chance.random() < 0.3:
            copy.lost.add(place)
        else:
            width = len(copy.tiles[place])
            spoilt = chance.sample(range(width), chance.choice([1, 1, 2, width]) if width > 1 else 1)
            copy.wrong[place] = {n: chance.choice([None, chance.randbytes(32)]) for n in spoilt}


def is_certain(recovered: RecoveredTiles, level: int, index: int) -> bool:
    """Return whether what ``hashes`` gives for a tile hangs from the signed root without a gap."""
    while (level, index) not in recovered._edge:
        level, index = level + 1, index // TILE_WIDTH
        if recovered.hashes(level, index) is None:
            return False
    return recovered.is_known


def test_whole_copies_are_read_once_and_a_mirror_not_at_all() -> None:
    root, tiles = tree(LARGE)
    near, far = Copy(LARGE), Copy(LARGE)
    recovered = RecoveredTiles([near], [far], LARGE, root)
    assert {place: recovered.hashes(*place) for place in sorted(tiles)} == tiles
    assert all(is_certain(recovered, *place) for place in tiles)
    assert far.read == 0
    assert near.read <= len(tiles) + 2  # the tiles of level 1 once more, when their own turn comes


def test_the_empty_tree_and_a_tree_with_nothing_left() -> None:
    assert RecoveredTiles([], [], 0, EMPTY_ROOT).is_known
    nothing = RecoveredTiles([], [], 5, tree(5)[0])
    assert (nothing.is_known, nothing.hashes(0, 0)) == (False, None)
    other = RecoveredTiles([Copy(5)], [], 5, bytes(32))  # whole copies, of a tree that was not signed
    assert (other.is_known, is_certain(other, 0, 0)) == (False, False)


def test_every_level_above_the_leaves_is_made_again_from_the_leaves_alone() -> None:
    root, tiles = tree(LARGE)
    recovered = RecoveredTiles([Copy(LARGE, only_leaves=True)], [], LARGE, root)
    assert recovered.is_known
    assert {place: recovered.hashes(*place) for place in tiles if place[0] > 0} == {
        place: hashes for place, hashes in tiles.items() if place[0] > 0
    }


places = st.lists(
    st.sampled_from([(0, 0), (0, 3), (0, 255), (0, 256), (0, 511), (0, 512), (0, 514), (1, 0), (1, 1), (1, 2), (2, 0)]),
    max_size=4,
    unique=True,
)


@settings(max_examples=25)
@given(file=places, bundle=places, rows=places, mirror=st.none() | places, seed=st.integers(0, 2**32))
def test_what_is_told_is_always_true_and_with_one_whole_copy_all_of_it_is_told(
    file: list[tuple[int, int]],
    bundle: list[tuple[int, int]],
    rows: list[tuple[int, int]],
    mirror: list[tuple[int, int]] | None,
    seed: int,
) -> None:
    """Whatever is wrong with each copy. Certain means true; agreed upon below an unknown tile is not certain."""
    root, tiles = tree(LARGE)
    near = [Copy(LARGE), Copy(LARGE, only_leaves=True), Copy(LARGE, only_leaves=True)]
    far = [] if mirror is None else [Copy(LARGE)]
    for number, (copy, spoilt) in enumerate(zip([*near, *far], [file, bundle, rows, mirror or []], strict=False)):
        damage(copy, [place for place in spoilt if place[0] == 0 or not copy.only_leaves], seed + number)
    recovered = RecoveredTiles(near, far, LARGE, root)
    wanted = [*dict.fromkeys([*file, *bundle, *rows, *(mirror or []), (0, 1), (0, 300)])]
    told = {place: recovered.hashes(*place) for place in wanted}
    for place, hashes in told.items():
        assert hashes in (None, tiles[place])
    unknown = [place for place, hashes in told.items() if hashes is None]
    event("some of it unknown" if unknown else "all of it told")
    assert not unknown or (file and mirror != [])
    assert all(is_certain(recovered, *place) for place in wanted) or unknown


def test_a_forged_copy_in_the_majority_is_not_believed() -> None:
    """Three copies agree on another history, the fourth has the one that was signed."""
    root, tiles = tree(300)
    forged = [Copy(300) for _ in range(3)]
    for copy in forged:
        copy.tiles = {place: [leaf_hash(each) for each in hashes] for place, hashes in tiles.items()}
    recovered = RecoveredTiles([*forged, Copy(300)], [], 300, root)
    assert {place: recovered.hashes(*place) for place in tiles} == tiles


def test_it_ends_where_there_is_too_much_to_try() -> None:
    """Every place has two answers and nobody agrees: more ways to put them together than can be tried."""
    size = TILE_WIDTH * 3
    root, tiles = tree(size)
    one, other = Copy(size), Copy(size)
    chance = random.Random(1)
    for copy, odd in ((one, 0), (other, 1)):
        copy.wrong[0, 1] = {n: chance.randbytes(32) for n in range(TILE_WIDTH) if n % 2 == odd}
    recovered = RecoveredTiles([one, other], [], size, root)
    assert recovered.hashes(0, 1) is None
    assert recovered.hashes(0, 0) == tiles[0, 0]
    assert recovered.hashes(0, 2) == tiles[0, 2]

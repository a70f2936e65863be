"""What the log's own trees and tiles are held against: a small tree in memory, and the list of all files of a tree."""

from collections.abc import Iterator, Sequence

from ledger.errors import NotFound
from ledger.hashing import node_hash
from ledger.tlog.tiles import TILE_WIDTH, Tile, hashes_at, levels_of_size, partial_tiles


def merkle_path(leaf_hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the RFC 6962 inclusion path of one leaf of a small tree held in memory, leaf to root.

    Raises NotFound unless 0 <= index < len(leaf_hashes).
    """
    if not 0 <= index < len(leaf_hashes):
        raise NotFound("There is no leaf at that index in the tree.")
    path = []
    while len(leaf_hashes) > 1:
        sibling = index ^ 1
        if sibling < len(leaf_hashes):  # an odd last hash has no sibling here: it is carried over
            path.append(leaf_hashes[sibling])
        pairs = [node_hash(one, other) for one, other in zip(leaf_hashes[::2], leaf_hashes[1::2], strict=False)]
        leaf_hashes = [*pairs, leaf_hashes[-1]] if len(leaf_hashes) % 2 else pairs
        index >>= 1
    return path


def tiles_of_size(size: int) -> Iterator[Tile]:
    """Yield every tile and bundle that makes up a tree of ``size`` entries: full ones by level, then partial ones."""
    for level in levels_of_size(size):
        for index in range(hashes_at(level, size) // TILE_WIDTH):
            yield Tile(level, index)
    yield from partial_tiles(size)

"""Reading a log's tiles and believing none of them before it is shown to belong under a root.

A checkpoint commits to one root. The partial tiles at the right edge of a tree of n entries hold between them the
complete subtrees that n falls into, one for each 1 bit of n, so together they must hash to that root (RFC 6962,
section 2.1). Every full tile of level l is one hash of a tile of level l + 1: it must hash to that one, and so on up
to the edge. So each tile is checked when it is first read, nothing is read twice, and memory stays flat: the tiles last
used are kept. (The tile reader of golang.org/x/mod's ``sumdb/tlog`` works in the same way.)

A cache on the way may give a tile that is stale, cut short or another file altogether. So there may be further ways to
read, past what caches keep: what does not belong is read once more by each of them before it is a fault of the log.

Where a tile does not belong, the fault is looked for one level below: an entry bundle, or the tiles that the bad tile's
hashes stand for. So the error can name the first entry that it touches, in ``details["index"]``.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence

from ledger.errors import Malformed, MusubiError, NotFound, ProofInvalid
from ledger.hashing import EMPTY_ROOT, leaf_hash
from ledger.second_reads import read_in_turn
from ledger.tlog.tiles import (
    ENTRIES,
    TILE_HEIGHT,
    TILE_WIDTH,
    Tile,
    decode_bundle,
    partial_tiles,
    split_hashes,
    tile_at,
)
from ledger.tlog.tree import fold, merkle_root, subtrees

ReadTile = Callable[[Tile], bytes]
_CACHED_TILES = 64


class VerifiedTiles:
    """Hashes and entries of the tree of ``size`` entries with ``root``, each checked against that root.

    ``read_tile`` returns the bytes of a tile of exactly its width, or raises; ``again`` are further ways to read the
    same, tried in turn where what came does not belong. Raises ProofInvalid at once where the tiles of the right edge
    do not hash to the root.
    """

    def __init__(self, read_tile: ReadTile, size: int, root: bytes, again: Sequence[ReadTile] = ()) -> None:
        self._read_tile = read_tile
        self._ways = (read_tile, *again)
        self.size = size
        self._cache: OrderedDict[tuple[int, int], list[bytes]] = OrderedDict()
        self._edge: dict[tuple[int, int], list[bytes]] = {}
        read_in_turn(self._ways, lambda read: self._read_edge(read, root))

    def _read_edge(self, read: ReadTile, root: bytes) -> None:
        tiles = [tile for tile in partial_tiles(self.size) if tile.level != ENTRIES]
        self._edge = {(tile.level, tile.index): self._split(tile, read) for tile in tiles}
        if self._edge_root() != root:
            raise self._fault(tiles)

    def _edge_root(self) -> bytes:
        if self.size == 0:
            return EMPTY_ROOT
        return fold([self._in_edge(level, index) for level, index in subtrees(0, self.size)])

    def _in_edge(self, level: int, index: int) -> bytes:
        """Return the subtree (level, index) of the right edge: 2^h hashes of the partial tile of its level."""
        tile_level, height = divmod(level, TILE_HEIGHT)
        number, place = divmod(index << height, TILE_WIDTH)
        return merkle_root(self._edge[tile_level, number][place : place + (1 << height)])

    def read_hashes(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the checked hash of each complete subtree (a ``tree.HashReader``).

        Raises NotFound where the tree has none such, ProofInvalid, and whatever ``read_tile`` raises.
        """
        return [self._node(level, index) for level, index in nodes]

    def _node(self, level: int, index: int) -> bytes:
        if level < 0 or index < 0 or (index + 1) << level > self.size:
            raise NotFound("The tree has no such complete subtree.")
        tile_level, height = divmod(level, TILE_HEIGHT)
        number, place = divmod(index << height, TILE_WIDTH)
        return merkle_root(self.tile(tile_level, number)[place : place + (1 << height)])

    def tile(self, level: int, index: int) -> list[bytes]:
        """Return the checked hashes of one tile, as wide as this tree has it."""
        edge = self._edge.get((level, index))
        if edge is not None:
            return edge
        hashes = self._cache.get((level, index))
        if hashes is not None:
            self._cache.move_to_end((level, index))
            return hashes
        tile = tile_at(level, index, self.size)
        parent = self.tile(level + 1, index // TILE_WIDTH)[index % TILE_WIDTH]
        hashes = read_in_turn(self._ways, lambda read: self._read_under(read, tile, parent))
        self._cache[level, index] = hashes
        if len(self._cache) > _CACHED_TILES:
            self._cache.popitem(last=False)
        return hashes

    def _read_under(self, read: ReadTile, tile: Tile, parent: bytes) -> list[bytes]:
        hashes = self._split(tile, read)
        if merkle_root(hashes) != parent:
            raise self._fault([tile])
        return hashes

    def bundle(self, index: int) -> list[bytes]:
        """Return the checked entries of one bundle; ProofInvalid names the first one that is not the tree's."""
        hashes = self.tile(0, index)
        tile = tile_at(ENTRIES, index, self.size)
        return read_in_turn(self._ways, lambda read: _entries_of(read(tile), tile, hashes))

    def entry(self, index: int) -> bytes:
        """Return the checked entry at ``index``. Raises NotFound where the tree has none, and what ``bundle`` does."""
        if not 0 <= index < self.size:
            raise NotFound("The tree has no such entry.")
        number, place = divmod(index, TILE_WIDTH)
        return self.bundle(number)[place]

    def _split(self, tile: Tile, read: ReadTile) -> list[bytes]:
        try:
            return split_hashes(read(tile), tile)
        except ProofInvalid as error:
            raise ProofInvalid(
                error.message, tile=tile.path, index=tile.index << TILE_HEIGHT * (tile.level + 1)
            ) from None

    def _fault(self, suspects: list[Tile]) -> ProofInvalid:
        """Return the error for tiles that do not hash to what they should, naming the first entry touched."""
        for tile in suspects:
            place = self._first_difference(tile)
            if place is not None:
                first = (tile.index * TILE_WIDTH + place) << TILE_HEIGHT * tile.level
                return ProofInvalid(
                    f"Entry {first}: the log's files {tile.path} and the ones below it do not agree on it.",
                    index=first,
                    tile=tile.path,
                )
        # The files agree with each other, so the history itself is another one than was signed.
        first = min((tile.index << TILE_HEIGHT * (tile.level + 1) for tile in suspects), default=0)
        return ProofInvalid(
            f"The log's entries from {first} on do not hash to the signed checkpoint's root.", index=first
        )

    def _first_difference(self, tile: Tile) -> int | None:
        """Return the place of the first hash of a tile that is not what the files one level below hash to."""
        try:
            hashes = split_hashes(self._read_tile(tile), tile)
            if tile.level == 0:
                entries = _readable(self._read_tile(Tile(ENTRIES, tile.index, tile.width)))
                below = [leaf_hash(entry) for entry in entries]
            else:
                base = tile.index * TILE_WIDTH
                children = [Tile(tile.level - 1, base + place) for place in range(tile.width)]
                below = [merkle_root(split_hashes(self._read_tile(child), child)) for child in children]
        except MusubiError:
            return None
        for place, expected in enumerate(hashes):
            if place >= len(below) or below[place] != expected:
                return place
        return None


def _entries_of(data: bytes, tile: Tile, hashes: list[bytes]) -> list[bytes]:
    """Return a bundle's entries, each compared with its hash in the tree."""
    is_whole = True
    try:
        entries = decode_bundle(data, tile.width)
    except Malformed:
        entries, is_whole = _readable(data), False
    for place, expected in enumerate(hashes):
        if place >= len(entries) or leaf_hash(entries[place]) != expected:
            raise _entry_fault(tile.index * TILE_WIDTH + place)
    if not is_whole:  # all entries are right, so something is behind them, be it one byte
        raise ProofInvalid("An entry bundle holds more than its entries.", tile=tile.path, index=tile.index * 256)
    return entries


def _readable(data: bytes) -> list[bytes]:
    """Return the entries of a damaged bundle as far as it can be read."""
    entries = []
    at = 0
    while at + 2 <= len(data):
        end = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if end > len(data):
            break
        entries.append(data[at + 2 : end])
        at = end
    return entries


def _entry_fault(index: int) -> ProofInvalid:
    return ProofInvalid(f"Entry {index}: its bytes are not the ones that the signed tree holds.", index=index)

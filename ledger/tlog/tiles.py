"""Tiles (C2SP tlog-tiles): the log as files that any static server can serve.

A tile at level L holds up to 256 hashes, 32 bytes each: those of complete subtrees of 256^L leaves (at level 0, leaf
hashes). Tile number N holds the hashes from 256 N on. A tile with fewer than 256 hashes is partial, and its path says
its width. Level -1 here stands for the entries themselves, in bundles of up to 256.

==============================  =======================================================================
path                            is
==============================  =======================================================================
``tile/0/x001/x234/067``        full tile 1234067 of level 0
``tile/1/000.p/5``              the first 5 hashes of tile 0 of level 1 (width 1 to 255)
``tile/entries/x001/067``       entry bundle 1067: each entry a big-endian uint16 length and its bytes
==============================  =======================================================================

N is written in groups of three digits, every group but the last with an ``x`` before it, without a leading group of
zeros. A tree of s entries has, at level l, floor(s / 256^l) hashes: full tiles, and a partial one for what is left
over; nothing of width 0. A partial tile may go once the full one is there.
"""

import re
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from ledger.errors import Malformed, NotFound, ProofInvalid, TooLarge
from ledger.hashing import EMPTY_ROOT, HASH_BYTES, LEAF_PREFIX, NODE_PREFIX, node_hash
from ledger.text_forms import MAX_SIZE
from ledger.tlog.tree import fold, merkle_root, subtrees

TILE_WIDTH = 256
TILE_HEIGHT = 8
"""A tile spans 8 levels of the tree: 2^8 = 256."""
ENTRIES = -1
"""The level that stands for entry bundles."""
MAX_LEVEL = 63
MAX_ENTRY_BYTES = 65_535

_PATH = re.compile(
    r"tile/(entries|0|[1-9][0-9]?)/((?:x[0-9]{3}/){0,5}[0-9]{3})(?:\.p/([1-9][0-9]{0,2}))?",
    re.ASCII,
)
_CACHED_TILES = 128


@dataclass(frozen=True, slots=True)
class Tile:
    """One tile: level (-1 for an entry bundle), number, and width (256 when full). Raises Malformed if none is so."""

    level: int
    index: int
    width: int = TILE_WIDTH

    def __post_init__(self) -> None:
        if not ENTRIES <= self.level <= MAX_LEVEL or not 1 <= self.width <= TILE_WIDTH:
            raise Malformed("A tile's level is 0 to 63 or entries, and its width is 1 to 256.")
        if not 0 <= self.index <= MAX_SIZE // TILE_WIDTH:
            raise Malformed("A tile's number is not negative, and small enough for a tree of 2^63 entries.")

    @property
    def is_full(self) -> bool:
        """Whether the tile has all its 256 hashes or entries, so that it never changes again."""
        return self.width == TILE_WIDTH

    @property
    def full(self) -> "Tile":
        """The full tile of the same place, which a partial one begins."""
        return Tile(self.level, self.index)

    @property
    def path(self) -> str:
        """The tile's path under the log's address, like ``tile/0/x001/067.p/3``."""
        digits = str(self.index)
        digits = digits.zfill(-(-len(digits) // 3) * 3)
        groups = [digits[i : i + 3] for i in range(0, len(digits), 3)]
        number = "/".join([*(f"x{group}" for group in groups[:-1]), groups[-1]])
        level = "entries" if self.level == ENTRIES else str(self.level)
        return f"tile/{level}/{number}" + ("" if self.is_full else f".p/{self.width}")

    @classmethod
    def parse(cls, path: str) -> "Tile":
        """Read a path strictly, the inverse of ``path``; raise Malformed otherwise."""
        match = _PATH.fullmatch(path)
        if match is None or match[2].startswith("x000"):
            raise Malformed("The path is not of a tile: tile/<level or entries>/<number>, with .p/<width> if partial.")
        if match[3] is not None and int(match[3]) >= TILE_WIDTH:
            raise Malformed("A partial tile's width is 1 to 255.")
        level = ENTRIES if match[1] == "entries" else int(match[1])
        index = int(match[2].replace("/", "").replace("x", ""))
        return cls(level, index, TILE_WIDTH if match[3] is None else int(match[3]))


def hashes_at(level: int, size: int) -> int:
    """Return how many hashes (or entries, at level -1) a tree of ``size`` entries has at a tile level."""
    return size >> (TILE_HEIGHT * max(level, 0))


def levels_of_size(size: int) -> list[int]:
    """Return the tile levels that a tree of ``size`` entries has, entries first."""
    hash_levels = -(-size.bit_length() // TILE_HEIGHT)
    return [ENTRIES, *range(hash_levels)] if size else []


def partial_tiles(size: int) -> list[Tile]:
    """Return the partial tiles at the right edge of a tree of ``size`` entries: at most one for each level."""
    tiles = []
    for level in levels_of_size(size):
        index, width = divmod(hashes_at(level, size), TILE_WIDTH)
        if width:
            tiles.append(Tile(level, index, width))
    return tiles


def tile_at(level: int, index: int, size: int) -> Tile:
    """Return tile ``index`` of a level as wide as a tree of ``size`` entries has it; raise NotFound if it has none."""
    width = min(hashes_at(level, size) - index * TILE_WIDTH, TILE_WIDTH)
    if width <= 0 or index < 0:
        raise NotFound("The log has not reached that tile.")
    return Tile(level, index, width)


def encode_bundle(entries: Sequence[bytes]) -> bytes:
    """Return an entry bundle: for each entry a big-endian uint16 length and its bytes; raise TooLarge."""
    try:
        return b"".join([len(entry).to_bytes(2, "big") + entry for entry in entries])
    except OverflowError:
        raise TooLarge("A log entry is larger than 65,535 bytes.") from None


def decode_bundle(data: bytes, count: int) -> list[bytes]:
    """Return the ``count`` entries of a bundle; raise Malformed unless it holds exactly those."""
    entries = []
    at = 0
    for _ in range(count):
        begin = at + 2
        at = begin + int.from_bytes(data[at:begin], "big")
        if begin > len(data) or at > len(data):
            raise Malformed("The entry bundle ends before its last entry does.")
        entries.append(data[begin:at])
    if at != len(data):
        raise Malformed("The entry bundle holds more than its entries.")
    return entries


def split_hashes(data: bytes, tile: Tile) -> list[bytes]:
    """Return the hashes of a tile's bytes; raise ProofInvalid when their number is not the tile's width."""
    if len(data) != tile.width * HASH_BYTES:
        raise ProofInvalid("A tile of the log has the wrong length.")
    return [data[i : i + HASH_BYTES] for i in range(0, len(data), HASH_BYTES)]


class TileReader:
    """Reads hashes of a tree of ``size`` entries from its tiles (a ``tree.HashReader``).

    ``read_tile`` returns the bytes of a tile, or raises. The 128 tiles last used are kept with the inner nodes hashed
    from them, so memory is bounded (some 4 MB). Tiles are not believed: whoever uses the proofs checks them.
    """

    def __init__(self, read_tile: Callable[[Tile], bytes], size: int) -> None:
        self._read_tile = read_tile
        self._size = size
        self._cache: OrderedDict[Tile, list[list[bytes]]] = OrderedDict()

    def read_hashes(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the hash of each complete subtree ``(level, index)``.

        Raises NotFound when the tree has no such subtree, ProofInvalid when a tile has the wrong length, and whatever
        ``read_tile`` raises.
        """
        return [self._read_node(level, index) for level, index in nodes]

    def _read_node(self, level: int, index: int) -> bytes:
        if level < 0 or index < 0 or (index + 1) << level > self._size:
            raise NotFound("The tree has no such complete subtree.")
        tile_level, height = divmod(level, TILE_HEIGHT)
        # Tile N of this level holds the nodes of height h from N * 2^(8-h) on.
        number, place = divmod(index, TILE_WIDTH >> height)
        return self._levels(tile_at(tile_level, number, self._size))[height][place]

    def _levels(self, tile: Tile) -> list[list[bytes]]:
        """Return the tile's hashes, and those of the complete subtrees above them, by height."""
        levels = self._cache.get(tile)
        if levels is None:
            levels = [split_hashes(self._read_tile(tile), tile)]
            while len(levels[-1]) > 1:
                below = levels[-1]
                levels.append([node_hash(below[i], below[i + 1]) for i in range(0, len(below) - 1, 2)])
            self._cache[tile] = levels
            if len(self._cache) > _CACHED_TILES:
                self._cache.popitem(last=False)
        else:
            self._cache.move_to_end(tile)
        return levels


class TileAppender:
    """Turns appended entries into tile files, one batch at a time.

    It holds the partial tiles at the right edge and nothing else, so its memory does not grow with the log. It moves
    on as soon as ``append`` returns: if the files then cannot be written, drop it and ``restore`` from the last
    durable checkpoint.
    """

    def __init__(self) -> None:
        self._size = 0
        self._bundle: list[bytes] = []  # the entries of the partial bundle
        self._edges: list[list[bytes]] = []  # by tile level, the hashes of its partial tile

    @classmethod
    def restore(cls, size: int, read_tile: Callable[[Tile], bytes]) -> "TileAppender":
        """Return the appender of a log of ``size`` entries, from the partial tiles at its right edge.

        Raises what ``read_tile`` raises, and Malformed or ProofInvalid when a tile is damaged. The caller holds
        ``root()`` against the checkpoint: only that shows that the tiles are the log's.
        """
        appender = cls()
        appender._size = size
        for tile in partial_tiles(size):
            data = read_tile(tile)
            if tile.level == ENTRIES:
                appender._bundle = decode_bundle(data, tile.width)
            else:
                appender._edges += [[] for _ in range(tile.level + 1 - len(appender._edges))]
                appender._edges[tile.level] = split_hashes(data, tile)
        leaves = [sha256(LEAF_PREFIX + entry).digest() for entry in appender._bundle]
        if appender._edges and leaves != appender._edges[0]:
            raise ProofInvalid("The log's last entry bundle and its last tile of leaf hashes do not fit together.")
        return appender

    @property
    def size(self) -> int:
        """How many entries the log has."""
        return self._size

    def append(self, entries: Sequence[bytes]) -> list[tuple[Tile, bytes]]:
        """Add entries; return the files to write before a checkpoint of the new size is published.

        These are all tiles that became full and the partial ones of the new size, where they changed. Raises TooLarge,
        and then adds nothing, when an entry is larger than 65,535 bytes.
        """
        files, self._bundle = _cut(ENTRIES, self._size, self._bundle + list(entries), encode_bundle)
        sha = sha256
        hashes = [sha(LEAF_PREFIX + entry).digest() for entry in entries]
        level = 0
        while hashes:
            if level == len(self._edges):
                self._edges.append([])
            edge = self._edges[level] + hashes
            new_files, self._edges[level] = _cut(level, self._size, edge, b"".join)
            files += new_files
            # Each full tile gives one hash of the next tile level, 8 levels up the tree. All full tiles are folded
            # together, in bare loops: this is where the time goes.
            hashes = edge[: len(edge) - len(self._edges[level])]
            for _ in range(TILE_HEIGHT):
                pairs = iter(hashes)
                hashes = [sha(NODE_PREFIX + left + right).digest() for left, right in zip(pairs, pairs, strict=True)]
            level += 1
        self._size += len(entries)
        return files

    def root(self) -> bytes:
        """Return the root of all entries added."""
        parts = [
            merkle_root(edge[index << height : (index + 1) << height])
            for edge in reversed(self._edges)
            for height, index in subtrees(0, len(edge))
        ]
        return fold(parts) if parts else EMPTY_ROOT


def _cut(
    level: int, size: int, items: list[bytes], encode: Callable[[list[bytes]], bytes]
) -> tuple[list[tuple[Tile, bytes]], list[bytes]]:
    """Cut the items from the last full tile on into files, for a level of a tree that had ``size`` entries before.

    Returns the files, and the items of the last one if it is partial.
    """
    first = hashes_at(level, size) // TILE_WIDTH
    files = []
    for begin in range(0, len(items), TILE_WIDTH):
        part = items[begin : begin + TILE_WIDTH]
        files.append((Tile(level, first + begin // TILE_WIDTH, len(part)), encode(part)))
    return files, items[len(items) - len(items) % TILE_WIDTH :]

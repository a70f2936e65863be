"""What the tiles of a signed tree hold, told from copies of which any may be damaged.

A checkpoint signs one root. Several **sources** each say, of a tile, which hashes it holds, as far as they know: the
tile's own file, its bundle of entries, the database's entries, a mirror. None is believed. A tile's hashes are taken as
true when they hash to what stands for the tile one level up, and those at the right edge when they hash to the root
(RFC 6962, section 2.1). Nobody can make other hashes that do.

Where no source has a tile whole, its hashes are put together place by place from all of them: first by the most
voices, then by trying, at most ``MOST_TRIES`` times, what else was said. Above the leaves, what the tiles one level
below hash to has a voice as well, and if that is not enough, what all the levels below do.

Where that fails, the tile's true hashes are **unknown**; then for each tile below it, what at least two sources agree
on is taken to be meant, and nothing is if they do not agree.

Memory does not grow with the tree: the tiles last used are kept, so reading them in order reads each hardly more than
once.
"""

from collections import Counter, OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import islice, product

from ledger.errors import ProofInvalid
from ledger.hashing import EMPTY_ROOT
from ledger.tlog.tiles import ENTRIES, TILE_HEIGHT, TILE_WIDTH, Tile, partial_tiles, tile_at
from ledger.tlog.tree import fold, merkle_root, subtrees

Source = Callable[[Tile], Sequence[bytes | None]]
"""Gives a tile's hashes, one for each place: None where the source does not know it; an empty sequence for none at
all."""

MOST_TRIES = 4_096
_CACHED_TILES = 64

_Check = Callable[[list[bytes]], bool]


class RecoveredTiles:
    """The hashes of the tree of ``size`` entries with ``root``, as far as they can be told from the sources.

    ``near`` sources are asked for every tile, ``far`` ones (a mirror) only where those are not enough.
    """

    def __init__(self, near: Sequence[Source], far: Sequence[Source], size: int, root: bytes) -> None:
        self.size = size
        self._root = root
        self._near = list(near)
        self._all = [*near, *far]
        self._cache: OrderedDict[tuple[int, int], list[bytes] | None] = OrderedDict()
        edge = [tile for tile in partial_tiles(size) if tile.level != ENTRIES]
        self._edge: dict[tuple[int, int], list[bytes] | None] = {(tile.level, tile.index): None for tile in edge}
        found = self._settle(edge, lambda flat: self._edge_root(edge, flat) == root) if edge else None
        if found is not None:
            self._edge.update(((tile.level, tile.index), part) for tile, part in _parts(edge, found))
        self.is_known = found is not None or (size == 0 and root == EMPTY_ROOT)
        """Whether the right edge hashes to the signed root. If not, nothing is certain of any tile."""

    def hashes(self, level: int, index: int) -> list[bytes] | None:
        """Return the true hashes of one tile, as wide as this tree has it; None where they cannot be told.

        Raises NotFound where the tree has no such tile, and what the sources raise.
        """
        if (level, index) in self._edge:
            return self._edge[level, index]
        if (level, index) in self._cache:
            self._cache.move_to_end((level, index))
            return self._cache[level, index]
        tile = tile_at(level, index, self.size)
        above = self.hashes(level + 1, index // TILE_WIDTH)
        meant = above[index % TILE_WIDTH] if above is not None else self._agreed(tile)
        found = None if meant is None else self._settle([tile], lambda flat: merkle_root(flat) == meant)
        self._cache[level, index] = found
        if len(self._cache) > _CACHED_TILES:
            self._cache.popitem(last=False)
        return found

    def read_hashes(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the hash of each complete subtree (a ``tree.HashReader``); raise ProofInvalid for an unknown one."""
        found = []
        for level, index in nodes:
            tile_level, height = divmod(level, TILE_HEIGHT)
            number, place = divmod(index << height, TILE_WIDTH)
            hashes = self.hashes(tile_level, number)
            if hashes is None:
                raise ProofInvalid("Too much of the log's tiles is damaged to tell what they held.")
            found.append(merkle_root(hashes[place : place + (1 << height)]))
        return found

    def _edge_root(self, edge: list[Tile], flat: list[bytes]) -> bytes:
        held = {tile.level: (tile.index, part) for tile, part in _parts(edge, flat)}
        hashes = []
        for level, index in subtrees(0, self.size):
            tile_level, height = divmod(level, TILE_HEIGHT)
            place = (index << height) - held[tile_level][0] * TILE_WIDTH
            hashes.append(merkle_root(held[tile_level][1][place : place + (1 << height)]))
        return fold(hashes)

    def _settle(self, tiles: list[Tile], check: _Check) -> list[bytes] | None:
        """Return the hashes of these tiles, one after the other, that pass the check; None where none are found."""
        for sources in (self._near, self._all):
            said = [_flat(tiles, source) for source in sources]
            found = next((whole for whole in map(_whole, said) if whole is not None and check(whole)), None)
            found = found or _choose(_votes(said), check)
            if found is not None:
                return found
        if any(tile.level > 0 for tile in tiles):
            votes = _votes(said)
            for deep in (False, True):
                below = [guess for tile in tiles for guess in self._guesses_below(tile, deep=deep)]
                found = _choose([[*own, *more] for own, more in zip(votes, below, strict=True)], check)
                if found is not None:
                    return found
        return None

    def _guesses_below(self, tile: Tile, *, deep: bool) -> Iterator[list[bytes]]:
        """Yield for each place of a tile what the tiles below it say that stands there."""
        for place in range(tile.width):
            yield (
                self._guesses(Tile(tile.level - 1, tile.index * TILE_WIDTH + place), deep=deep)
                if tile.level > 0
                else []
            )

    def _guesses(self, tile: Tile, *, deep: bool) -> list[bytes]:
        """Return what each source says that a full tile hashes to, and what they say together."""
        said = [source(tile) for source in self._all]
        roots = [merkle_root(whole) for whole in map(_whole, said) if whole is not None]
        together = [_most(each) for each in _votes(said)]
        if deep and tile.level > 0:
            below = [_most(each) for each in self._guesses_below(tile, deep=True)]
            if (whole := _whole(below)) is not None:
                roots.append(merkle_root(whole))
        if (whole := _whole(together)) is not None and (root := merkle_root(whole)) not in roots:
            roots.append(root)
        return roots

    def _agreed(self, tile: Tile) -> bytes | None:
        """Return what at least two sources say that a tile hashes to, where what stands for it is unknown."""
        roots = Counter(self._guesses(tile, deep=True)).most_common(1)
        return roots[0][0] if roots and roots[0][1] > 1 else None


def _parts(tiles: list[Tile], flat: list[bytes]) -> Iterator[tuple[Tile, list[bytes]]]:
    begin = 0
    for tile in tiles:
        yield tile, flat[begin : begin + tile.width]
        begin += tile.width


def _flat(tiles: list[Tile], source: Source) -> list[bytes | None]:
    found: list[bytes | None] = []
    for tile in tiles:
        said = list(source(tile))[: tile.width]
        found += said + [None] * (tile.width - len(said))
    return found


def _whole(said: Sequence[bytes | None]) -> list[bytes] | None:
    known = [each for each in said if each is not None]
    return known if known and len(known) == len(said) else None


def _votes(said: Sequence[Sequence[bytes | None]]) -> list[list[bytes]]:
    """Return for each place what the sources say, one voice each."""
    width = max(map(len, said), default=0)
    return [[each for row in said if place < len(row) and (each := row[place]) is not None] for place in range(width)]


def _most(votes: list[bytes]) -> bytes | None:
    return Counter(votes).most_common(1)[0][0] if votes else None


def _choose(votes: list[list[bytes]], check: _Check) -> list[bytes] | None:
    """Return one hash for each place that together pass the check: those with the most voices, else the next likely."""
    ranked = [[each for each, _ in Counter(place).most_common()] for place in votes]
    if not ranked or not all(ranked):
        return None
    best = [place[0] for place in ranked]
    if check(best):
        return best
    open_places = [place for place, choices in enumerate(ranked) if len(choices) > 1]
    if len(open_places) > MOST_TRIES.bit_length():  # too many to try all of them: one place at a time, then
        tries: Iterator[dict[int, bytes]] = ({place: each} for place in open_places for each in ranked[place][1:])
    else:
        choices = product(*(ranked[place] for place in open_places))
        tries = (dict(zip(open_places, chosen, strict=True)) for chosen in choices)
    for other in islice(tries, MOST_TRIES):
        tried = list(best)
        for place, each in other.items():
            tried[place] = each
        if check(tried):
            return tried
    return None

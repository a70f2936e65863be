"""The copies of the log that a check compares (files, rows, mirror): sources of hashes (``ledger.tlog.tile_recovery``).

The 256 entries under one tile of leaf hashes are read together, once: the tile's file, the bundle's and the rows.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

from ledger.errors import MusubiError, Unavailable
from ledger.hashing import HASH_BYTES, leaf_hash
from ledger.tlog.tile_recovery import Source
from ledger.tlog.tiles import ENTRIES, TILE_WIDTH, Tile, hashes_at
from trust.log.source import LogSource, cut, most_bytes
from trust.service.upkeep.fsck.rows import LogRows

MOST_FAILURES = 3
"""After so many reads in a row that failed on the way, a mirror is not asked any more: a check always ends."""


class Files:
    """The files under the service's ``log`` folder, read as they are."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def read(self, path: str, most: int) -> bytes | None:
        """Return a file's bytes, at most one more than ``most``; None where it is missing. Raises Unavailable."""
        try:
            with (self._root / path).open("rb") as file:
                return file.read(most + 1)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError:
            raise Unavailable("A file of the log cannot be read; mend the disk.", path=path) from None

    def tile(self, tile: Tile) -> bytes | None:
        """Return a tile's bytes; where a partial one is gone, what the full one begins with. Raises Unavailable."""
        data = self.read(tile.path, most_bytes(tile))
        if data is None and not tile.is_full:
            full = self.read(tile.full.path, most_bytes(tile.full))
            try:
                return None if full is None else cut(full, tile)
            except MusubiError:
                return None
        return data

    def older(self, tile: Tile) -> list[Tile]:
        """Return the partial tiles of the same place that are narrower: those of earlier checkpoints that are kept."""
        folder = self._root / f"{tile.full.path}.p"
        try:
            names = [path.name for path in folder.iterdir()]
        except OSError:
            return []
        widths = sorted(int(name) for name in names if name.isascii() and name.isdecimal() and name[0] != "0")
        return [Tile(tile.level, tile.index, width) for width in widths if width < tile.width]

    def has_tiles(self) -> bool:
        """Whether there is anything but perhaps a checkpoint."""
        return (self._root / "tile").exists()

    def all_entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield (index, bytes) of every entry of the bundles that are there, unchecked, up to the first one missing."""
        index = 0
        while True:
            full = Tile(ENTRIES, index)
            there = [tile for tile in [*self.older(full), full] if self._is_there(tile)]
            if not there:
                return
            data = _unless_unreadable(self.tile, there[-1])
            yield from enumerate(_entries(data, there[-1]), index * TILE_WIDTH)
            index += 1

    def _is_there(self, tile: Tile) -> bool:
        return (self._root / tile.path).exists()


class Group:
    """What the copies say of the entries under one tile of level 0."""

    def __init__(self, tile: Tile, files: Files, read_rows: Callable[[int, int], dict[int, bytes] | None]) -> None:
        self.tile = tile
        self.first = tile.index * TILE_WIDTH
        self.file = _hashes(_unless_unreadable(files.tile, tile), tile)
        bundle = Tile(ENTRIES, tile.index, tile.width)
        self.bundle = _entries(_unless_unreadable(files.tile, bundle), bundle)
        self.rows = read_rows(self.first, self.first + tile.width)
        """By index; None where the database could not be read."""
        self.bundle_hashes = [leaf_hash(entry) for entry in self.bundle]
        self.row_hashes = [self._row_hash(place) for place in range(tile.width)]

    def _row_hash(self, place: int) -> bytes | None:
        row = (self.rows or {}).get(self.first + place)
        if row is None:
            return None
        if place < len(self.bundle) and self.bundle[place] == row:
            return self.bundle_hashes[place]
        return leaf_hash(row)

    def entry(self, place: int, meant: bytes) -> bytes | None:
        """Return the entry at a place that has the leaf hash ``meant``, from the rows or the bundle."""
        if self.row_hashes[place] == meant:
            return (self.rows or {})[self.first + place]
        if place < len(self.bundle) and self.bundle_hashes[place] == meant:
            return self.bundle[place]
        return None


class Groups:
    """Reads groups; the last one is kept. ``rows`` None stands for a database that is not there."""

    def __init__(self, files: Files, rows: LogRows | None) -> None:
        self._files = files
        self._rows = rows
        self._last: Group | None = None

    def read(self, tile: Tile) -> Group:
        """Return the group under a tile of level 0."""
        if self._last is None or self._last.tile != tile:
            self._last = Group(tile, self._files, self._read_rows)
        return self._last

    def _read_rows(self, first: int, last: int) -> dict[int, bytes] | None:
        try:
            return self._rows.entries(first, last) if self._rows is not None else None
        except Unavailable:
            return None

    def from_tile_file(self, tile: Tile) -> list[bytes]:
        """Source: the tile's own file."""
        if tile.level == 0:
            return self.read(tile).file
        return _hashes(_unless_unreadable(self._files.tile, tile), tile)

    def from_bundle(self, tile: Tile) -> list[bytes]:
        """Source: the bundle of entries, for tiles of leaf hashes."""
        return self.read(tile).bundle_hashes if tile.level == 0 else []

    def from_rows(self, tile: Tile) -> list[bytes | None]:
        """Source: the rows, for tiles of leaf hashes."""
        return self.read(tile).row_hashes if tile.level == 0 else []


class Mirror:
    """Another copy of the log, read only where the own ones are not enough. It is given up when it does not answer."""

    def __init__(self, source: LogSource, size: int) -> None:
        self._source = source
        self._size = size
        self._failures = 0

    @property
    def is_given_up(self) -> bool:
        """Whether it failed too often."""
        return self._failures >= MOST_FAILURES

    @property
    def sources(self) -> list[Source]:
        """The mirror's tiles, and its entries."""
        return [self.hashes, self.leaf_hashes]

    def hashes(self, tile: Tile) -> list[bytes]:
        """Source: the mirror's tile, as far as the mirror has it."""
        shorter = self._own(tile)
        return _hashes(self._read(shorter), shorter) if shorter is not None else []

    def leaf_hashes(self, tile: Tile) -> list[bytes]:
        """Source: the mirror's entries, for tiles of leaf hashes."""
        return [leaf_hash(entry) for entry in self.entries(tile)] if tile.level == 0 else []

    def entries(self, tile: Tile) -> list[bytes]:
        """Return the entries under a tile of level 0, as far as the mirror has them."""
        bundle = self._own(Tile(ENTRIES, tile.index, tile.width))
        return _entries(self._read(bundle), bundle) if bundle is not None else []

    def _own(self, tile: Tile) -> Tile | None:
        width = min(hashes_at(tile.level, self._size) - tile.index * TILE_WIDTH, tile.width)
        return Tile(tile.level, tile.index, width) if width > 0 else None

    def _read(self, tile: Tile) -> bytes | None:
        if self.is_given_up:
            return None
        try:
            data = self._source.read_tile(tile)
        except Unavailable:
            self._failures += 1
            return None
        except MusubiError:
            data = None
        self._failures = 0
        return data


def _unless_unreadable(read: Callable[[Tile], bytes | None], tile: Tile) -> bytes | None:
    try:
        return read(tile)
    except Unavailable:
        return None


def _hashes(data: bytes | None, tile: Tile) -> list[bytes]:
    """Return as many hashes as the file has, at most the tile's width."""
    whole = (data or b"")[: tile.width * HASH_BYTES]
    return [whole[at : at + HASH_BYTES] for at in range(0, len(whole) - HASH_BYTES + 1, HASH_BYTES)]


def _entries(data: bytes | None, tile: Tile) -> list[bytes]:
    """Return the entries of a bundle, those before the damage if it is damaged."""
    entries: list[bytes] = []
    left = data or b""
    while len(left) >= 2 and len(entries) < tile.width:
        end = 2 + int.from_bytes(left[:2], "big")
        if len(left) < end:
            break
        entries.append(left[2:end])
        left = left[end:]
    return entries

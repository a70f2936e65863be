"""Holding every file and row of the signed tree against its true hashes, one group of 256 entries after the other."""

from collections.abc import Callable, Iterator

from ledger.errors import Malformed, Unavailable
from ledger.hashing import leaf_hash
from ledger.tlog.tile_recovery import RecoveredTiles
from ledger.tlog.tiles import (
    ENTRIES,
    TILE_WIDTH,
    Tile,
    decode_bundle,
    encode_bundle,
    hashes_at,
    levels_of_size,
    tile_at,
)
from trust.log.tile_folder import TileFolder
from trust.service.upkeep.fsck.copies import Files, Group, Groups, Mirror
from trust.service.upkeep.fsck.report import Fault, FsckReport
from trust.service.upkeep.fsck.rows import LogRows

Progress = Callable[[int, int], None]
"""Called with (entries checked, entries in all)."""
Entries = list[bytes | None]
"""The true entries of a group, None where no copy is left."""


class TreeCheck:
    """Names, and where ``folder`` is given repairs, what is wrong with tiles, bundles and rows of a tree."""

    def __init__(
        self,
        tree: RecoveredTiles,
        files: Files,
        groups: Groups,
        rows: LogRows | None,
        mirror: Mirror | None,
        report: FsckReport,
        folder: TileFolder | None,
    ) -> None:
        self._tree = tree
        self._files = files
        self._groups = groups
        self._rows = rows
        self._mirror = mirror
        self._report = report
        self._folder = folder
        self.last: bytes | None = None
        """The last entry of the tree, where it is known."""

    def run(self, progress: Progress | None) -> None:
        """Check the whole tree."""
        size = self._tree.size
        for level in levels_of_size(size)[1:]:
            for index in range(-(-hashes_at(level, size) // TILE_WIDTH)):
                tile = tile_at(level, index, size)
                if level > 0:
                    self._check_files(tile, self._tree.hashes(level, index), [])
                    continue
                self._check_group(tile)
                if progress is not None:
                    progress(min((index + 1) * TILE_WIDTH, size), size)

    def _check_group(self, tile: Tile) -> None:
        hashes = self._tree.hashes(0, tile.index)
        group = self._groups.read(tile)
        entries = self._entries(group, hashes)
        self._check_files(tile, hashes, [])
        self._check_files(Tile(ENTRIES, tile.index, tile.width), hashes, entries)
        if self._rows is not None:
            self._report.rows += tile.width
            self._check_rows(self._rows, group, hashes, entries)
        self.last = entries[-1]

    def _entries(self, group: Group, hashes: list[bytes] | None) -> Entries:
        if hashes is None:
            return [None] * group.tile.width
        entries = [group.entry(place, meant) for place, meant in enumerate(hashes)]
        if self._mirror is not None and None in entries:
            there = {leaf_hash(entry): entry for entry in self._mirror.entries(group.tile)}
            entries = [there.get(hashes[place]) if each is None else each for place, each in enumerate(entries)]
        return entries

    def _check_files(self, tile: Tile, hashes: list[bytes] | None, entries: Entries) -> None:
        """Hold a tile or bundle, and the narrower ones that are kept of it, against what belongs there."""
        for each in [tile, *self._files.older(tile)]:
            self._report.files += 1
            fault = self._fault(each, hashes)
            if fault is not None:
                repaired = self._repair_file(each, hashes, entries)
                self._report.add(f"log/{each.path}", fault, repaired=repaired)

    def _fault(self, tile: Tile, hashes: list[bytes] | None) -> Fault | None:
        try:
            data = self._files.tile(tile)
        except Unavailable:
            return "unreadable"
        if data is None:
            return "missing"
        if hashes is None:
            return "unknown"
        if tile.level != ENTRIES:
            return None if data == b"".join(hashes[: tile.width]) else "altered"
        try:
            held = [leaf_hash(entry) for entry in decode_bundle(data, tile.width)]
        except Malformed:
            return "altered"
        return None if held == hashes[: tile.width] else "altered"

    def _repair_file(self, tile: Tile, hashes: list[bytes] | None, entries: Entries) -> bool:
        if self._folder is None or hashes is None:
            return False
        if tile.level == ENTRIES:
            known = [entry for entry in entries[: tile.width] if entry is not None]
            data = encode_bundle(known) if len(known) == tile.width else None
        else:
            data = b"".join(hashes[: tile.width])
        if data is None:
            return False
        try:
            self._folder.write_tiles([(tile, data)])
        except Unavailable:
            return False
        return True

    def _check_rows(self, rows: LogRows, group: Group, hashes: list[bytes] | None, entries: Entries) -> None:
        faults = dict(_faults_of_rows(group, hashes))
        put = {group.first + place: each for place in faults if (each := entries[place]) is not None}
        repaired: set[int] = set()
        if put and self._folder is not None:
            try:
                rows.write_entries(put)
                repaired = set(put)
            except Unavailable:
                pass
        for place, fault in faults.items():
            index = group.first + place
            self._report.add_row(index, fault, repaired=index in repaired)


def _faults_of_rows(group: Group, hashes: list[bytes] | None) -> Iterator[tuple[int, Fault]]:
    """Yield which places' rows are not what belongs there."""
    for place in range(group.tile.width):
        row = group.row_hashes[place]
        if group.rows is None:
            yield place, "unreadable"
        elif row is None:
            yield place, "missing"
        elif hashes is None:
            yield place, "unknown"
        elif row != hashes[place]:
            yield place, "altered"

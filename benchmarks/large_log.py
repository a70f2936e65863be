"""What the ledger costs when it is long: 10 million entries really built on disk, and 100 million made on demand.

Entries are 100 bytes and carry no signature; what is measured is the tree. Each log runs in a process of its own, so
that its peak memory is its own. In both, with the very code that service and auditor run:

- 10,000 entries are appended durably at the log's end;
- inclusion and consistency are proven at random places, warm (the reader is kept from proof to proof), and timed; each
  of a sample is proven once more with an empty cache, and its tiles are counted;
- an audit is resumed a million entries before the end: every tile checked against the signed root, every entry hashed.

The log of 100 million holds the same 65,536 entries over and over, so that any of its tiles can be made when it is
asked for: no tile of it is stored. To its readers it is a log like any other.
"""

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.note import VerifierKey
from ledger.tlog.proofs import check_consistency, check_inclusion
from ledger.tlog.tiles import ENTRIES, TILE_WIDTH, Tile, TileAppender, TileReader, encode_bundle
from ledger.tlog.tree import Frontier, merkle_root, prove_consistency, prove_inclusion, root_hash, subtrees
from trust.log.follower import LogFollower
from trust.log.tile_folder import TileFolder

ORIGIN = "bench.example/large"
BUILT = 10_000_000
ON_DEMAND = 100_000_000
BATCH = 10_000
RESUMED = 1_000_000
PROOFS = 2_000
COUNTED = 200
PERIOD = TILE_WIDTH * TILE_WIDTH

ReadTile = Callable[[Tile], bytes]


def entry_at(index: int) -> bytes:
    """Return the 100 bytes of one entry: JSON with a time, as every ledger entry is."""
    return b'{"at":1790000000,"filling":"musubi-musubi-musubi-musubi-musubi-musubi-musubi-","index":"%010d"}' % index


class OnDemand:
    """The tiles of a log whose entry i is ``entry_at(i mod 65,536)``, each made when it is asked for."""

    def __init__(self) -> None:
        self._leaves = [sha256(b"\x00" + entry_at(i)).digest() for i in range(PERIOD)]
        self._first = [merkle_root(self._leaves[i : i + TILE_WIDTH]) for i in range(0, PERIOD, TILE_WIDTH)]
        self._above = [merkle_root(self._first)]
        """The one hash that all places of a level from 2 on have."""

    def read_tile(self, tile: Tile) -> bytes:
        """Return a tile's bytes."""
        first = tile.index * TILE_WIDTH % PERIOD
        if tile.level == ENTRIES:
            return encode_bundle([entry_at(first + i) for i in range(tile.width)])
        if tile.level == 0:
            return b"".join(self._leaves[first : first + tile.width])
        if tile.level == 1:
            return b"".join(self._first[: tile.width])
        while tile.level - 2 >= len(self._above):
            self._above.append(merkle_root([self._above[-1]] * TILE_WIDTH))
        return self._above[tile.level - 2] * tile.width


class Signed:
    """A log to read from (``trust.log.source.LogSource``): tiles, and a checkpoint over them."""

    def __init__(self, read_tile: ReadTile, size: int, key: SigningKey) -> None:
        self.read_tile = read_tile
        self._checkpoint = sign_checkpoint(Checkpoint(ORIGIN, size, root_hash(size, TileReader(read_tile, size))), key)

    def read_checkpoint(self) -> bytes:
        """Return the checkpoint."""
        return self._checkpoint


def build(folder: TileFolder, size: int, key: SigningKey) -> None:
    """Append ``size`` entries durably, a checkpoint after each 10,000."""
    appender = TileAppender()
    for first in range(0, size, BATCH):
        folder.write_tiles(appender.append([entry_at(i) for i in range(first, min(first + BATCH, size))]))
        folder.write_checkpoint(sign_checkpoint(Checkpoint(ORIGIN, appender.size, appender.root()), key))


def measure_append(read_tile: ReadTile, folder: TileFolder, size: int, key: SigningKey) -> float:
    """Return the seconds to restore the appender at ``size`` and to append 10,000 entries durably behind it."""
    entries = [entry_at(i) for i in range(BATCH)]
    start = time.perf_counter()
    appender = TileAppender.restore(size, read_tile)
    folder.write_tiles(appender.append(entries))
    folder.write_checkpoint(sign_checkpoint(Checkpoint(ORIGIN, appender.size, appender.root()), key))
    return time.perf_counter() - start


def measure_proofs(read_tile: ReadTile, size: int, leaf: Callable[[int], bytes]) -> dict[str, float]:
    """Return milliseconds (99th percentile) of warm proofs, and the most tiles that one cold proof read."""
    source = random.Random(size)
    warm = TileReader(read_tile, size)
    root = root_hash(size, warm)
    seconds: dict[str, list[float]] = {"inclusion": [], "consistency": []}
    tiles: dict[str, int] = {"inclusion": 0, "consistency": 0}
    for number in range(PROOFS):
        index, old = source.randrange(size), source.randrange(1, size)
        start = time.perf_counter()
        path = prove_inclusion(index, size, warm)
        middle = time.perf_counter()
        steps = prove_consistency(old, size, warm)
        seconds["consistency"].append(time.perf_counter() - middle)
        seconds["inclusion"].append(middle - start)
        if number < COUNTED:
            check_inclusion(leaf(index), index, size, path, root)
            check_consistency(old, size, root_hash(old, warm), root, steps)
            tiles["inclusion"] = max(tiles["inclusion"], _tiles_read(read_tile, size, index, prove_inclusion))
            tiles["consistency"] = max(tiles["consistency"], _tiles_read(read_tile, size, old, prove_consistency))
    found = {f"{kind}_ms": 1e3 * sorted(each)[len(each) * 99 // 100] for kind, each in seconds.items()}
    return found | {f"{kind}_tiles": float(count) for kind, count in tiles.items()}


def _tiles_read(
    read_tile: ReadTile, size: int, place: int, prove: Callable[[int, int, TileReader], list[bytes]]
) -> int:
    asked = []

    def counted(tile: Tile) -> bytes:
        asked.append(tile)
        return read_tile(tile)

    prove(place, size, TileReader(counted, size))
    return len(asked)


def measure_resume(source: Signed, size: int, key: SigningKey) -> float:
    """Return how many entries a second an audit reads that goes on a million entries before the end."""
    first = size - RESUMED
    reader = TileReader(source.read_tile, first)
    frontier = Frontier(size=first, hashes=reader.read_hashes(subtrees(0, first)))
    follower = LogFollower(source, VerifierKey.ed25519(ORIGIN, bytes(key.verify_key)), frontier=frontier)
    start = time.perf_counter()
    read = sum(len(batch.entries) for batch in follower.follow())
    if read != RESUMED:
        raise RuntimeError(f"The resumed audit read {read} entries.")
    return read / (time.perf_counter() - start)


def measure(size: int, *, built: bool) -> dict[str, float]:
    """Measure one log in this process."""
    key = SigningKey(bytes(32))
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as root:
        folder = TileFolder(Path(root))
        if built:
            start = time.perf_counter()
            build(folder, size, key)
            found["build_per_second"] = size / (time.perf_counter() - start)
            read_tile, period = folder.read_tile, size
        else:
            read_tile, period = OnDemand().read_tile, PERIOD
        found |= measure_proofs(read_tile, size, lambda index: sha256(b"\x00" + entry_at(index % period)).digest())
        found["resume_per_second"] = measure_resume(Signed(read_tile, size, key), size, key)
        found["append_ms"] = 1e3 * measure_append(read_tile, folder, size, key)
        folder.close()
    found["peak_mib"] = peak_mib()
    return found


def peak_mib() -> float:
    """Return this process's own peak of resident memory; ``getrusage`` would count that of its parent."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("This system does not tell a process's peak of memory.")


def run() -> list[dict[str, Any]]:
    """Measure both logs, each in a process of its own; return three rows for each."""
    rows = []
    for size, how in ((BUILT, "built"), (ON_DEMAND, "on-demand")):
        command = [sys.executable, "-m", "benchmarks.large_log", str(size), how]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        built = f"built at {found['build_per_second']:,.0f} entries/s durably; " if how == "built" else ""
        name = f"a log of {size:,} entries ({how.replace('-', ' ')})"
        rows += [
            {
                "name": f"{name}: peak memory of all this, MiB",
                "ratio": found["peak_mib"],
                "target": "< 300",
                "detail": f"{built}10,000 more appended in {found['append_ms']:.0f} ms; audit of the last 1,000,000 "
                f"resumed at {found['resume_per_second']:,.0f} entries/s",
            },
            {
                "name": f"{name}: p99 of a warm proof, ms",
                "ratio": max(found["inclusion_ms"], found["consistency_ms"]),
                "target": "< 2",
                "detail": f"inclusion {found['inclusion_ms']:.2f}, consistency {found['consistency_ms']:.2f}, "
                f"{PROOFS:,} random places each",
            },
            {
                "name": f"{name}: most tiles that one proof reads, nothing cached",
                "ratio": max(found["inclusion_tiles"], found["consistency_tiles"]),
                "target": "<= 12",
                "detail": f"inclusion {found['inclusion_tiles']:.0f}, consistency {found['consistency_tiles']:.0f}",
            },
        ]
    return rows


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]), built=sys.argv[2] == "built")))

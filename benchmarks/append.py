"""Durable appending, against the hashing that no log can do without.

Entries of 100 to 300 bytes go through ``TileAppender`` and ``TileFolder`` in batches of 10,000, each with a signed,
durable checkpoint. The yardstick is a bare loop of 2n SHA-256 calls for n entries: one over each entry, one over 65
bytes, as many as a Merkle tree needs. Rounds of both alternate, and the medians are compared.
"""

import random
import statistics
import tempfile
import time
from hashlib import sha256
from pathlib import Path

from nacl.signing import SigningKey

from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.tlog.tiles import TileAppender
from trust.log.tile_folder import TileFolder

BATCH = 10_000
ROUNDS = 20
TARGET = ">= 0.25"


def run() -> dict[str, object]:
    """Return the ratio bare time / append time; 1.0 would mean that appending costs nothing but its hashing."""
    source = random.Random(1)
    batches = [[source.randbytes(source.randint(100, 300)) for _ in range(BATCH)] for _ in range(ROUNDS)]
    key = SigningKey(bytes(32))
    bare, append = [], []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as root:
        folder, appender = TileFolder(Path(root)), TileAppender()
        for batch in batches:
            bare.append(_seconds_of_bare_hashing(batch))
            start = time.perf_counter()
            folder.write_tiles(appender.append(batch))
            checkpoint = Checkpoint("bench.example/log", appender.size, appender.root())
            folder.write_checkpoint(sign_checkpoint(checkpoint, key))
            append.append(time.perf_counter() - start)
        folder.close()
    bare_median, append_median = statistics.median(bare), statistics.median(append)
    detail = (
        f"{ROUNDS} batches of {BATCH:,}: {BATCH / append_median:,.0f} entries/s durably, "
        f"{1e3 * append_median:.0f} ms a batch; bare hashing {1e3 * bare_median:.0f} ms"
    )
    return {
        "name": "append durably / bare SHA-256",
        "ratio": round(bare_median / append_median, 3),
        "target": TARGET,
        "detail": detail,
    }


def _seconds_of_bare_hashing(entries: list[bytes]) -> float:
    node = bytes(65)
    start = time.perf_counter()
    for entry in entries:
        sha256(entry).digest()
    for _ in entries:
        sha256(node).digest()
    return time.perf_counter() - start

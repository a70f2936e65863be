"""How long a node and the service take to start on a long log: with what they kept, and by replaying every entry.

The log has the mix of ``benchmarks.replay``: consents, one in twenty taken back, and some questions, with real
signatures; it is built on disk and never held in memory. The node is a holder of no policy: what is timed is the
ledger, from opening the books until the log has been held against what was read. (A holder's own leaves add what
checking their seals takes, 30 µs each.) Without: every entry read from the tiles, verified, replayed and noted in the
books.

At sizes where a replay takes too long for a benchmark (``REPLAYED`` and up), what is kept is made from the builder's
own state, which came about by the same replay; only the start from it is timed.
"""

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from msgspec import structs
from sqlalchemy import insert

from benchmarks.large_log import peak_mib
from benchmarks.replay import SPREAD, _Log
from ledger import entries as e
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.witness_policy import PolicyLog, WitnessPolicy
from ledger.tlog.tiles import TILE_WIDTH, TileAppender, TileReader
from ledger.tlog.tree import Frontier, subtrees
from policies.kept_state import encode_kept
from policies.ledger_state import State
from policies.rules import NEWEST_RULES
from queries.replay import replay
from trust.files.keys import read_key, read_post_quantum_key
from trust.log.follower import LogFollower
from trust.log.pins import Trust, load_trust
from trust.log.source import FolderLog, tiles_of
from trust.log.tile_folder import TileFolder
from trust.node.books.books import Books
from trust.node.books.start_snapshots import StartSnapshot
from trust.node.kept.holder_state import HolderState, Lacking
from trust.node.ledger_reader import LedgerReader
from trust.runtime.software import software
from trust.service.database import tables as t
from trust.service.database.bulk import insert_many
from trust.service.database.engine import Databases
from trust.service.keys.record_keys import RecordKeys
from trust.service.store.kept_start import StartFile
from trust.service.store.store import Store
from trust.town.layout import Layout, lay_out
from trust.town.loader import load_town

SIZES = (276_000, 10_000_000)
REPLAYED = 2_000_000
HOLDER = "nobody"
BATCH = 10_000
QUESTIONS = 20_000
"""The most questions in a log: each takes signatures, and a year of a city has no more."""


class _AllNew:
    """Consent identifiers drawn at random: every one is new."""

    def add(self, consent: str, index: int) -> bool:  # noqa: ARG002 - no two are alike
        return True


class _Streamed(_Log):
    """A log that is written as it grows."""

    def __init__(self, layout: Layout, folder: Path) -> None:
        super().__init__(layout)
        self.appender, self.files = TileAppender(), TileFolder(folder)

    def add(self, entry: e.AnyEntry) -> int:
        """Append an entry; return its index."""
        data = e.encode(entry)
        replay(self.state, self.state.size, data, _AllNew())
        self.entries.append(data)
        if len(self.entries) == BATCH:
            self.write()
        return self.state.size - 1

    def write(self) -> None:
        """Write what was appended since."""
        self.files.write_tiles(self.appender.append(self.entries))
        self.entries.clear()
        del self.grants[:-BATCH]

    def sign(self) -> Frontier:
        """Write the rest and a checkpoint; return the tree's edge."""
        self.write()
        keys = self.layout.service / "keys"
        checkpoint = Checkpoint(self.state.log, self.appender.size, self.appender.root())
        note = sign_checkpoint(checkpoint, read_key(keys / "log.key"), read_post_quantum_key(keys / "log.pq.key"))
        self.files.write_checkpoint(note)
        size = self.appender.size
        return Frontier(size, TileReader(self.files.read_tile, size).read_hashes(subtrees(0, size)))


def build(layout: Layout, folder: Path, entries: int) -> tuple[_Streamed, Frontier]:
    """Make the log."""
    log = _Streamed(layout, folder)
    policies = log.found()
    begin, every = log.state.at, max(50, entries // QUESTIONS)
    while log.state.size < entries:
        at = begin + SPREAD * log.state.size // entries
        policy = log.random.choice([each for each in policies if max(each.until) >= log.state.day(at)])
        if log.state.size % every == 0:
            log.ask(policy, at)
        elif log.random.random() < 0.05 and log.grants:
            log.revoke(at)
        else:
            log.grant(policy, at)
    return log, log.sign()


def open_reader(folder: Path, trust: Trust, now: int) -> tuple[Books, LedgerReader]:
    """Open a node's books and what reads the ledger into them."""
    books = Books(folder / "books.sqlite", lambda: now)
    follower = LogFollower(
        FolderLog(folder / "log"), trust.log_keys, trust.witnesses, latest=books.noted("checkpoint"), clock=lambda: now
    )
    return books, LedgerReader(follower, trust, books, HOLDER, lambda _first, _last: [])


def start(folder: Path, trust: Trust, now: int) -> tuple[float, Books, LedgerReader]:
    """Start once; return the seconds."""
    began = time.perf_counter()
    books, reader = open_reader(folder, trust, now)
    reader.read()
    return time.perf_counter() - began, books, reader


async def start_service(folder: Path, data: Iterable[bytes], size: int, state: State) -> dict[str, float]:
    """Start a service's store on the log, by replay if its entries are given, and from what is kept; return seconds."""
    databases = Databases(f"sqlite+aiosqlite:///{folder / 'service.sqlite'}")
    await databases.migrate()
    keys = RecordKeys(folder / "records.keys")
    file = StartFile(folder / "state.kept", TileFolder(folder / "log"))
    found: dict[str, float] = {}
    async with databases.writer.begin() as connection:
        await connection.execute(insert(t.head).values(id=1, size=size, at=state.at))
        await connection.execute(insert(t.published).values(id=1, size=size, checkpoint=b""))
        await insert_many(connection, t.entries, ("index", "data"), list(enumerate(data)))
    try:
        for how in ("service_whole", "service_kept") if size <= REPLAYED else ("service_kept",):
            if how == "service_kept":
                file.keep(state, size)
            store = Store(databases, keys, start_file=file)
            began = time.perf_counter()
            await store.start()
            found[how] = time.perf_counter() - began
            if store.size != size:
                raise RuntimeError("The service did not start as it should.")
            await store.stop()
    finally:
        await databases.close()
        await keys.close()
    return found


def measure(size: int) -> dict[str, float]:
    """Measure one size in this process."""
    town = load_town(Path(__file__).parents[2] / "towns" / "momijidai")
    found: dict[str, float] = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as root:
        folder = Path(root)
        layout = lay_out(town, folder / "town", residents=50, port=1, witness_port=2)
        began = time.perf_counter()
        log, edge = build(layout, folder / "log", size)
        found["build_per_second"] = size / (time.perf_counter() - began)
        pins = load_trust(layout.folder / "trust.json")
        trust = structs.replace(pins, witness_policy=WitnessPolicy(logs=(PolicyLog(pins.verifier),)).format())
        now = log.state.at + 1
        if size <= REPLAYED:
            found["whole"], books, reader = start(folder, trust, now)
            began = time.perf_counter()
            reader.keep_start()
        else:
            books = Books(folder / "books.sqlite", lambda: now)
            books.note("size", str(edge.size).encode())
            began = time.perf_counter()
            with books.transaction():
                books.keep_start(
                    StartSnapshot(
                        size=edge.size,
                        edge=encode_kept(edge),
                        rules=NEWEST_RULES,
                        software=software(),
                        state=HolderState(HOLDER, trust, log.state).kept(),
                        lacking=encode_kept(Lacking.of({})),
                    )
                )
        found["keep"] = time.perf_counter() - began
        kept = books.kept_start()
        found["kept_mib"] = len(kept.state) / 2**20 if kept is not None else 0
        books.close()
        found["kept"], books, reader = start(folder, trust, now)
        if reader.rests_on is None or reader.size != edge.size:
            raise RuntimeError("The start did not go on from what was kept.")
        books.close()
        data: Iterable[bytes] = ()
        if size <= REPLAYED:
            reader_of_all = tiles_of(FolderLog(folder / "log"), Checkpoint(log.state.log, edge.size, edge.root()))
            data = (each for number in range(-(-edge.size // TILE_WIDTH)) for each in reader_of_all.bundle(number))
        found |= asyncio.run(start_service(folder, data, edge.size, log.state))
    found["peak_mib"] = peak_mib()
    return found


def run() -> list[dict[str, Any]]:
    """Measure each size in a process of its own; return its row."""
    rows = []
    for size in SIZES:
        command = [sys.executable, "-m", "benchmarks.starts.node_start", str(size)]
        found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1])
        whole = f"by replay {found['whole']:.1f} s; " if "whole" in found else ""
        replayed = f"by replay {found['service_whole']:.1f} s" if "service_whole" in found else "by replay not measured"
        rows += [
            {
                "name": f"a node's start on {size:,} entries, from what it kept, s",
                "ratio": found["kept"],
                "target": "<= 10",
                "detail": f"{whole}{found['kept_mib']:.1f} MiB kept, written in {found['keep']:.2f} s",
            },
            {
                "name": f"the service's store, its start on {size:,} entries, from what it kept, s",
                "ratio": found["service_kept"],
                "target": "<= 10",
                "detail": replayed,
            },
        ]
    return rows


if __name__ == "__main__":
    print(json.dumps(measure(int(sys.argv[1]))))

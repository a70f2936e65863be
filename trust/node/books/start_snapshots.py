"""What a node's books keep of its own reading, so that a start need not replay every entry.

A part of ``trust.node.books.books``, whose file, seals and transactions these are.

It binds nobody, and follows from the ledger: whatever does not fit is as good as missing, and the whole ledger is read.
"""

import sqlite3

import numpy as np
from msgspec import Struct

START_SNAPSHOTS_SCHEMA = """
CREATE TABLE IF NOT EXISTS start_snapshots (
    size INTEGER PRIMARY KEY, edge BLOB NOT NULL, rules INTEGER NOT NULL, software TEXT NOT NULL,
    state BLOB NOT NULL, lacking BLOB NOT NULL) STRICT;
"""


class StartSnapshot(Struct, frozen=True, kw_only=True):
    """A node's state after ``size`` entries, and to what it is bound."""

    size: int
    edge: bytes
    """The tree's edge, which gives its root (``ledger.tlog.tree.Frontier``)."""
    rules: int
    """The newest rules that the software read, and which software it was: others may judge otherwise."""
    software: str
    state: bytes
    lacking: bytes
    """Grants of ours whose leaf had not come."""


class StartSnapshots:
    """The one snapshot that is kept, the latest."""

    _db: sqlite3.Connection

    def keep_start(self, snapshot: StartSnapshot) -> None:
        """Keep a snapshot in place of the one before. For one of the caller's transactions."""
        self.forget_start()
        row = [getattr(snapshot, name) for name in StartSnapshot.__struct_fields__]
        self._db.execute("INSERT INTO start_snapshots VALUES (?, ?, ?, ?, ?, ?)", row)

    def kept_start(self) -> StartSnapshot | None:
        """Return the snapshot that is kept."""
        row = self._db.execute("SELECT * FROM start_snapshots ORDER BY size DESC LIMIT 1").fetchone()
        return None if row is None else StartSnapshot(**dict(zip(StartSnapshot.__struct_fields__, row, strict=True)))

    def forget_start(self) -> None:
        """Keep none: the next start reads the whole ledger."""
        self._db.execute("DELETE FROM start_snapshots")

    def held_all(self) -> np.ndarray:
        """Return the indices of all leaves that are held."""
        rows = self._db.execute("SELECT place FROM leaves ORDER BY place")
        return np.fromiter((row[0] for row in rows), dtype=np.int64)

    def erased_entries(self) -> list[tuple[int, int, str]]:
        """Return (index, entry, the entry's hash) of every erased consent."""
        return self._db.execute("SELECT place, entry, entry_sha256 FROM erased ORDER BY place").fetchall()

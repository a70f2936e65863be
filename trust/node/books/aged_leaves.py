"""What a node's books note beside its leaves so that no old copy of a consent counts: ends, and which leaves are void.

A part of ``trust.node.books.books``, whose file and transactions these are.
"""

import sqlite3
from collections.abc import Sequence

from policies.consents.age import LastEnd

AGED_LEAVES_SCHEMA = """
CREATE TABLE IF NOT EXISTS void (place INTEGER PRIMARY KEY, code TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS ends (place INTEGER PRIMARY KEY, entry INTEGER NOT NULL, at INTEGER NOT NULL) STRICT;
"""


class AgedLeaves:
    """The ends of our grants, and the leaves that count for nothing."""

    _db: sqlite3.Connection

    def _changed(self) -> None:
        raise NotImplementedError

    def make_void(self, place: int, code: str) -> None:
        """Note that the consent behind a leaf that is held counts for nothing, and by which error's code."""
        self._db.execute("INSERT OR IGNORE INTO void VALUES (?, ?)", (place, code))
        self._changed()

    def note_end(self, place: int, entry: int, at: int) -> None:
        """Note which entry ended a grant, and when (UTC seconds); a grant ends once."""
        self._db.execute("INSERT OR IGNORE INTO ends VALUES (?, ?, ?)", (place, entry, at))

    def last_end(self, key: str, policies: Sequence[str], before: int) -> LastEnd | None:
        """Return the end of the key's grant to a policy (of these versions' hashes) that ended last before an entry.

        Of erased consents nothing is known any more.
        """
        row = self._db.execute(
            "SELECT ends.place, ends.at FROM leaves JOIN ends ON ends.place = leaves.place"
            f" WHERE leaves.key = ? AND leaves.policy IN ({', '.join('?' * len(policies))}) AND ends.entry < ?"
            " ORDER BY ends.entry DESC LIMIT 1",
            (bytes.fromhex(key), *map(bytes.fromhex, policies), before),
        ).fetchone()
        return None if row is None else LastEnd(grant=row[0], at=row[1])

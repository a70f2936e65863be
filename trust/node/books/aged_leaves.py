"""What a node's books note of its leaves so that no old copy of a consent counts: ends, and what they put an end to.

A part of ``trust.node.books.books``, whose file and transactions these are.

A leaf is *outlived* from the first end on that says its resident took back what they had signed by then: of another
grant of its key and policy (any version), at or after the second in which the leaf's notice was shown. What ended in
favour of another consent (``replaced``) says so of the leaves alone that stood before it: the one that took its place
comes right after. It stands in the leaf's own row, so that it outlasts the other one's erasure, and so that a damaged
row is a leaf to fetch and to judge again.
"""

import sqlite3
from collections.abc import Sequence

from policies.consents.age import LastEnd

AGED_LEAVES_SCHEMA = """
CREATE TABLE IF NOT EXISTS own_ends (
    place INTEGER PRIMARY KEY, entry INTEGER NOT NULL, at INTEGER NOT NULL, replaced INTEGER NOT NULL) STRICT;
"""


def widen_leaves(db: sqlite3.Connection) -> None:
    """Give books from before leaves were dated the columns for it: what they hold has no date.

    Where verdicts stood in a table of their own, every leaf is dropped: it is fetched and judged again.
    """
    columns = {row[1] for row in db.execute("PRAGMA table_info(leaves)")}
    if not columns or "outlived" in columns:
        return
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'void'").fetchone():
        db.execute("DELETE FROM leaves")
    for column in ("void TEXT", "shown_at INTEGER", "outlived INTEGER"):
        db.execute(f"ALTER TABLE leaves ADD COLUMN {column}")
    for table in ("void", "ends"):
        db.execute(f"DROP TABLE IF EXISTS {table}")


class AgedLeaves:
    """The ends of our grants, and the leaves that they put an end to."""

    _db: sqlite3.Connection

    def _changed(self) -> None:
        raise NotImplementedError

    def policy_of(self, place: int) -> str | None:
        """Return the policy version of a leaf that is held, by its hash."""
        row = self._db.execute("SELECT policy FROM leaves WHERE place = ?", (place,)).fetchone()
        return None if row is None else bytes(row[0]).hex()

    def note_end(self, place: int, entry: int, at: int, *, replaced: bool) -> bool:
        """Note which entry ended a grant, and when (UTC seconds); return whether that is news. A grant ends once."""
        row = (place, entry, at, int(replaced))
        return self._db.execute("INSERT OR IGNORE INTO own_ends VALUES (?, ?, ?, ?)", row).rowcount == 1

    def last_end(self, key: str, policies: Sequence[str], before: int) -> LastEnd | None:
        """Return the end of the key's grant to a policy (of these versions' hashes) that ended last before an entry.

        Of erased consents nothing is known any more.
        """
        row = self._db.execute(
            "SELECT own_ends.place, own_ends.at FROM leaves JOIN own_ends ON own_ends.place = leaves.place"
            f" WHERE leaves.key = ? AND leaves.policy IN ({_marks(policies)}) AND own_ends.entry < ?"
            " ORDER BY own_ends.entry DESC LIMIT 1",
            (bytes.fromhex(key), *map(bytes.fromhex, policies), before),
        ).fetchone()
        return None if row is None else LastEnd(grant=row[0], at=row[1])

    def outlive(self, place: int, policies: Sequence[str]) -> None:
        """Note whose end outlives the leaf at ``place``, and which leaves its own end outlives, if it has ended.

        To be called when the leaf is kept and when its end is noted, whichever comes later; ``policies`` are the hashes
        of all versions of its policy. It costs a look at each leaf of its key.
        """
        versions = [bytes.fromhex(each) for each in policies]
        query = (
            "SELECT min(own_ends.entry) FROM leaves AS mine JOIN leaves AS other ON other.key = mine.key"
            f" AND other.policy IN ({_marks(policies)}) AND other.place <> mine.place"
            " JOIN own_ends ON own_ends.place = other.place"
            " WHERE mine.place = ? AND own_ends.at >= mine.shown_at"
            " AND (NOT own_ends.replaced OR own_ends.entry > mine.place)"
        )
        by = self._db.execute(query, (*versions, place)).fetchone()[0]
        changed = 0
        if by is not None:
            own = "UPDATE leaves SET outlived = min(coalesce(outlived, ?1), ?1) WHERE place = ?2"
            changed = self._db.execute(own, (by, place)).rowcount
        end = self._db.execute("SELECT entry, at, replaced FROM own_ends WHERE place = ?", (place,)).fetchone()
        if end is not None:
            entry, at, replaced = end
            changed += self._db.execute(
                "UPDATE leaves SET outlived = ?1 WHERE key = (SELECT key FROM leaves WHERE place = ?2)"
                " AND place <> ?2 AND shown_at <= ?3 AND (NOT ?4 OR place < ?1) AND coalesce(outlived > ?1, 1)"
                f" AND policy IN ({', '.join(f'?{number}' for number in range(5, 5 + len(versions)))})",
                (entry, place, at, replaced, *versions),
            ).rowcount
        if changed:
            self._changed()

    def outlived(self, policy_sha256: str) -> list[tuple[int, int]]:
        """Return (index, entry) of every leaf of a policy version that counts no more after an entry."""
        query = "SELECT place, outlived FROM leaves WHERE policy = ? AND outlived IS NOT NULL"
        return self._db.execute(query, (bytes.fromhex(policy_sha256),)).fetchall()


def _marks(values: Sequence[str]) -> str:
    return ", ".join("?" * len(values))

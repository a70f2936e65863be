"""A node's books as its holder looks at them: read beside the running node, and never written."""

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from ledger.errors import Unavailable
from trust.node.books.charged_rounds import ChargedRounds, RoundState


class BooksRead(ChargedRounds):
    """The rounds, charges, caps and links that a node's books hold now."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db

    def noted(self, name: str) -> bytes | None:
        """Return a kept value."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return bytes(row[0]) if row else None

    def accounts(self) -> list[str]:
        """Return the names of all accounts that were ever charged."""
        query = "SELECT account FROM caps UNION SELECT account FROM charges ORDER BY account"
        return [account for (account,) in self._db.execute(query)]

    def rounds(self, most: int) -> list[tuple[int, RoundState]]:
        """Return the newest rounds that the node has had a part in, newest first: ``admit`` and state."""
        query = "SELECT admit, state FROM rounds ORDER BY admit DESC LIMIT ?"
        return [(int(admit), state) for admit, state in self._db.execute(query, (most,))]

    def customers(self) -> list[str]:
        """Return the customers who are linked, in the order of their slots."""
        return [customer for (customer,) in self._db.execute("SELECT customer FROM links ORDER BY slot")]

    def key_of(self, customer: str) -> str | None:
        """Return the pairwise key (hex) that a customer is linked to, or None."""
        row = self._db.execute("SELECT key FROM links WHERE customer = ?", (customer,)).fetchone()
        return None if row is None else bytes(row[0]).hex()

    def links(self) -> int:
        """Return how many customers are linked."""
        return int(self._db.execute("SELECT count(*) FROM links").fetchone()[0])


@contextmanager
def books_read(path: Path) -> Iterator[BooksRead]:
    """Open a node's books to look at them, all as they are at one moment; raise Unavailable where that fails."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)) as db:
            db.execute("BEGIN")
            yield BooksRead(db)
    except sqlite3.Error:
        raise Unavailable("The node's books cannot be read; look at the folder and its permissions.") from None

"""A node's books held against the ledger's entries, one after the other, without changing anything.

For the check of what a node kept (``trust.node.kept.background_check``): consent identifiers have no seal, and ends and
erasures are else written anew from the ledger. It has a connection of its own, that only reads, and needs no memory
that grows: each identifier is looked up once, and in the end as many must have been found as there are.
"""

import sqlite3
from pathlib import Path

from ledger import entries as e
from ledger.errors import KeptStateDiffers
from trust.node.books.books import ErasedConsent

DIFFERS = (
    "What this node kept of its own reading is not what the ledger says{what}; it is thrown away. Look at the disk of the "
    "node's folder and at who can write it, then start the node again: it reads the whole ledger."
)


def differs(what: str = "") -> KeptStateDiffers:
    """Return the finding; ``what`` names where."""
    return KeptStateDiffers(DIFFERS.format(what=what))


class CheckedBooks:
    """What the books say of the first ``size`` entries. Raises KeptStateDiffers where they say something else."""

    def __init__(self, path: Path, size: int) -> None:
        self._db = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True, isolation_level=None, timeout=30)
        self._size = size
        self._found = 0

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def add(self, consent: str, index: int) -> bool:
        """Return whether ``index`` is the first use of an identifier, as the books say it (``SeenConsents``)."""
        rows = self._db.execute("SELECT place FROM consents WHERE consent = ?", (bytes.fromhex(consent),)).fetchall()
        if not rows or rows[0][0] > index:
            raise differs(" of the consents that were given")
        self._found += rows[0][0] == index
        return bool(rows[0][0] == index)

    def check_none_besides(self) -> None:
        """Check, after all entries, that the books have no identifier that no entry used."""
        query = "SELECT count(*) FROM consents WHERE place < ?"
        if self._db.execute(query, (self._size,)).fetchall() != [(self._found,)]:
            raise differs(" of the consents that were given")

    def note_own_end(self, grant: int, entry: int, at: int, *, replaced: bool) -> None:
        """Check that the books know this end, or one before it."""
        rows = self._db.execute("SELECT entry, at, replaced FROM own_ends WHERE place = ?", (grant,)).fetchall()
        if not rows or (rows[0] != (entry, at, int(replaced)) and rows[0][0] >= entry):
            raise differs(" of the consents that have ended")

    def note_own_erasure(self, erased: ErasedConsent) -> None:
        """Check that the books know this erasure."""
        if not self._db.execute("SELECT 1 FROM erased WHERE place = ?", (erased.index,)).fetchall():
            raise differs(" of what is erased")

    def note_own_closing(self, entry: e.Closing) -> None:
        """The end of a round leaves nothing in the books."""

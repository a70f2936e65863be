"""What a node's books keep of rounds: how far its own part went, and what it charged for it.

A part of ``trust.node.books.books``, whose file and transactions these are, and which says what must be true of them.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import AbstractContextManager
from typing import Literal

from msgspec import Struct

from ledger.errors import BudgetExceeded, RoundClosed

RoundState = Literal["countersigned", "sending", "sent", "no-share"]
CHARGED_ROUNDS_SCHEMA = """
CREATE TABLE IF NOT EXISTS rounds (
    admit INTEGER PRIMARY KEY, admit_sha256 TEXT NOT NULL, state TEXT NOT NULL
    CHECK (state IN ('countersigned', 'sending', 'sent', 'no-share')), token TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS countersignatures (admit INTEGER PRIMARY KEY, token TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS charges (
    admit INTEGER NOT NULL, account TEXT NOT NULL, nano_rho INTEGER NOT NULL, PRIMARY KEY (admit, account)) STRICT;
CREATE TABLE IF NOT EXISTS caps (account TEXT PRIMARY KEY, nano_rho INTEGER NOT NULL) STRICT, WITHOUT ROWID;
"""


class OwnRound(Struct, frozen=True, kw_only=True):
    """What this node has done in one round; ``token`` is the message that goes with the state."""

    admit_sha256: str
    state: RoundState
    token: str


class DataCharge(Struct, frozen=True, kw_only=True):
    """A question's charge to one account, in nano-rho; ``account_cap`` by the settings, ``in_ledger`` before it."""

    account: str
    account_cap: int
    nano_rho: int
    in_ledger: int


class ChargedRounds:
    """The rounds that this node took part in, and their charges."""

    _db: sqlite3.Connection

    def note(self, name: str, value: bytes) -> None:
        """Keep one small value."""
        raise NotImplementedError

    def noted(self, name: str) -> bytes | None:
        """Return a kept value."""
        raise NotImplementedError

    def _binding(self) -> AbstractContextManager[None]:
        raise NotImplementedError

    def round(self, admit: int) -> OwnRound | None:
        """Return what was done in a round, if anything."""
        query = "SELECT admit_sha256, state, token FROM rounds WHERE admit = ?"
        row = self._db.execute(query, (admit,)).fetchone()
        return OwnRound(admit_sha256=row[0], state=row[1], token=row[2]) if row else None

    def countersignature(self, admit: int) -> str | None:
        """Return the countersignature of a round, whatever its state is by now; None where it is not kept."""
        row = self._db.execute("SELECT token FROM countersignatures WHERE admit = ?", (admit,)).fetchone()
        return str(row[0]) if row else None

    def charged(self, account: str) -> int:
        """Return what an account of one's own was charged, in nano-rho."""
        query = "SELECT coalesce(sum(nano_rho), 0) FROM charges WHERE account = ?"
        return int(self._db.execute(query, (account,)).fetchone()[0])

    def account_cap(self, account: str) -> int | None:
        """Return the least cap that an account was ever charged under, in nano-rho; None where it never was.

        It is kept twice, as the ledger does not know it: a damaged row leaves the other.
        """
        row = self._db.execute("SELECT nano_rho FROM caps WHERE account = ?", (account,)).fetchone()
        copy = self.noted(f"cap {account}")
        kept = [int(each) for each in (row and row[0], copy) if each is not None]
        return min(kept, default=None)

    def countersign(self, admit: int, admit_sha256: str, token: str, charges: Iterable[DataCharge]) -> None:
        """Charge every account and countersign in one durable write.

        What is spent is the larger of these books and what the ledger says of questions admitted before this one. The
        cap of an account, and so of its year, is kept with the first charge, and from then on only lowered. Raises
        BudgetExceeded past a cap, RoundClosed if the round was begun before.
        """
        with self._binding():
            if self.round(admit) is not None:
                raise RoundClosed("This node has begun this round before.")
            for each in charges:
                kept = self.account_cap(each.account)
                cap = each.account_cap if kept is None else min(kept, each.account_cap)
                left = max(0, cap - max(self.charged(each.account), each.in_ledger))
                if each.nano_rho > left:
                    raise BudgetExceeded(each.account, each.nano_rho, left)
                self._db.execute("INSERT INTO charges VALUES (?, ?, ?)", (admit, each.account, each.nano_rho))
                self._db.execute("INSERT OR REPLACE INTO caps VALUES (?, ?)", (each.account, cap))
                self.note(f"cap {each.account}", str(cap).encode())
            self._db.execute("INSERT INTO rounds VALUES (?, ?, 'countersigned', ?)", (admit, admit_sha256, token))
            self._db.execute("INSERT OR REPLACE INTO countersignatures VALUES (?, ?)", (admit, token))

    def send(self, admit: int, token: str) -> None:
        """Store the share's bytes and mark ``sending``, in one durable write; raise RoundClosed from another state."""
        with self._binding():
            self._move(admit, "countersigned", "sending", token)

    def sent(self, admit: int) -> None:
        """Note that the service has the share."""
        self._db.execute("UPDATE rounds SET state = 'sent' WHERE admit = ? AND state = 'sending'", (admit,))

    def give_word(self, admit: int, admit_sha256: str, token: str) -> None:
        """Store the word that no share left, and never will; give the charge back to these books.

        Raises RoundClosed where a share may have left.
        """
        with self._binding():
            own = self.round(admit)
            if own is None:
                self._db.execute("INSERT INTO rounds VALUES (?, ?, 'no-share', ?)", (admit, admit_sha256, token))
            else:
                self._move(admit, "countersigned", "no-share", token)
                self._db.execute("DELETE FROM charges WHERE admit = ?", (admit,))

    def _move(self, admit: int, old: RoundState, new: RoundState, token: str) -> None:
        moved = self._db.execute(
            "UPDATE rounds SET state = ?, token = ? WHERE admit = ? AND state = ?", (new, token, admit, old)
        )
        if moved.rowcount != 1:
            raise RoundClosed("This node's part in the round was decided before.")

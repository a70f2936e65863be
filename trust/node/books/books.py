"""A node's own durable books: what it has read, whose leaf it holds, what it has charged, and what it has sent.

They are one rule, and therefore one file: *what binds this node is written here, durably and in one
transaction with everything that must be true with it, before any of it is said to anybody; and what is written is never
taken back.* Leaves, links, charges, rounds and erasures are its cases; they share the transaction, the mark by which a
restored copy is noticed, and the scrubbing, and no case could be kept without the others.

One SQLite file, mode 0600, WAL with ``synchronous=FULL``: a statement that returned is on the disk. The rules that
keep budgets true stand here as single transactions:

- a charge and the countersignature that it is for are written together, before the countersignature is sent;
- books that were restored from a backup do not know what left since. They notice that their file is another one (inode,
  and a random mark beside it that plain copies do not carry), or that an old copy was written over it: the mark changes
  at every start and with everything that binds the node, and the books say which one is next. They note the time, and
  the node begins nothing admitted before it;
- a round's state moves one way only: ``countersigned`` to ``sending`` (with the noised share's bytes in the same
  write) or to ``no-share``. ``sending`` and ``no-share`` are two values of one column, so a late go is refused after a
  word, and a word after a share; what was once written is sent again as it is, never computed anew.

**Erasure.** ``erase`` deletes the leaf of an erased consent and, with a key's last leaf, its link. An index that was
erased is kept in ``erased`` for good: no leaf of it is ever taken in again. A slot is never given twice.
``secure_delete`` overwrites what is deleted, but SQLite also moves rows between pages and may leave a copy in a page's
free space: so ``scrub`` writes the whole file anew and cuts the write-ahead log. Only after it the node says that the
consent is gone.
"""

import hashlib
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from msgspec import Struct

from trust.node.books.aged_leaves import AGED_LEAVES_SCHEMA, AgedLeaves, widen_leaves
from trust.node.books.charged_rounds import CHARGED_ROUNDS_SCHEMA, ChargedRounds
from trust.node.books.seals import open_sealed
from trust.node.books.start_snapshots import START_SNAPSHOTS_SCHEMA, StartSnapshots
from trust.runtime.clock import Clock, system_clock

_PRAGMAS = "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
_SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS consents (consent BLOB PRIMARY KEY, place INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS leaves (
    place INTEGER PRIMARY KEY, policy BLOB NOT NULL, key BLOB, leaf BLOB NOT NULL,
    void TEXT, shown_at INTEGER, outlived INTEGER) STRICT;
CREATE INDEX IF NOT EXISTS leaves_by_policy ON leaves (policy, place);
CREATE INDEX IF NOT EXISTS leaves_by_key ON leaves (key);
CREATE TABLE IF NOT EXISTS links (slot INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, customer TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE IF NOT EXISTS replaced (key_sha256 BLOB PRIMARY KEY, slot INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS erased (
    place INTEGER PRIMARY KEY, entry INTEGER NOT NULL, entry_sha256 TEXT NOT NULL, said INTEGER NOT NULL) STRICT;
"""


_MARK = "user.musubi.books"
_MARK_BYTES = 16
UNDATED = b""
"""What a copy keeps as the time of its restore: whoever opens it first writes that down."""


def _mark_of(path: Path) -> bytes:
    try:
        return os.getxattr(path, _MARK)
    except OSError:  # not every file system has such attributes; the inode is left
        return b""


def _set_mark(path: Path, mark: bytes) -> None:
    with suppress(OSError):  # as above
        os.setxattr(path, _MARK, mark)


def _identity(path: Path, mark: bytes) -> bytes:
    """Return what tells a file with this mark from a copy of it that was put in its place, or over it."""
    return f"{path.stat().st_ino} {mark.hex()}".encode()


class ErasedConsent(Struct, frozen=True, kw_only=True):
    """One erased consent of ours, and the ``erase`` entry that says so."""

    index: int
    entry: int
    entry_sha256: str


class Books(AgedLeaves, ChargedRounds, StartSnapshots):
    """The file, opened by one process. Methods that write return when the write is durable.

    Opening notices whether the file was restored from a backup, and writes down when by ``clock``; rows that are
    damaged are dropped then (``trust.node.books.seals``), unless another connection ``checks`` that. Raises
    Unavailable where the file as a whole cannot be read.
    """

    def __init__(self, path: Path, clock: Clock = system_clock, *, checks: bool = True) -> None:
        if not path.exists():
            os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
        self._db = sqlite3.connect(path, isolation_level=None, timeout=30, check_same_thread=False)
        schema = _PRAGMAS + _SCHEMA + AGED_LEAVES_SCHEMA + CHARGED_ROUNDS_SCHEMA + START_SNAPSHOTS_SCHEMA
        binds = open_sealed(self._db, schema, widen_leaves, checks=checks)
        self._path = path
        found = _identity(path, _mark_of(path))
        if not _mark_of(path):  # else the books would know a file without a mark, as any copy is: inodes are used again
            _set_mark(path, os.urandom(_MARK_BYTES))
        with self._binding():
            kept = self.noted("file")
            is_another = kept is not None and found not in (kept, self.noted("file-next"))
            if is_another or binds or self.noted("restored") == UNDATED:
                self.note("restored", str(clock()).encode())
                self.note("restored-unsure", b"1")
                self.forget_start()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Make several writes one: all of them durable, or none."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    @contextmanager
    def _binding(self) -> Iterator[None]:
        """Make several writes one, after which no copy of these books from before can take their place unnoticed.

        A crash before the mark is set leaves the mark that stood, one right after it the next: the books know both.
        (The commit's fsync also makes the mark before it durable, where the file system keeps one journal.)
        """
        mark = os.urandom(_MARK_BYTES)
        with self.transaction():
            yield
            self.note("file", _identity(self._path, _mark_of(self._path)))
            self.note("file-next", _identity(self._path, mark))
        _set_mark(self._path, mark)

    # What was read of the log

    def add(self, consent: str, index: int) -> bool:
        """Remember a consent identifier; return False where another index used it before (``SeenConsents``)."""
        key = bytes.fromhex(consent)
        self._db.execute("INSERT OR IGNORE INTO consents VALUES (?, ?)", (key, index))
        row = self._db.execute("SELECT place FROM consents WHERE consent = ?", (key,)).fetchone()
        return int(row[0]) == index

    def forget_consents(self) -> None:
        """Forget which consent identifiers were used: who reads the ledger from its beginning finds all of them again.

        So no damaged row makes a grant void that is not, and the whole ledger unbelievable.
        """
        self._db.execute("DELETE FROM consents")

    def note(self, name: str, value: bytes) -> None:
        """Keep one small value."""
        self._db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (name, value))

    def noted(self, name: str) -> bytes | None:
        """Return a kept value."""
        row = self._db.execute("SELECT value FROM meta WHERE name = ?", (name,)).fetchone()
        return bytes(row[0]) if row else None

    @property
    def caught_up(self) -> int:
        """The tree size below which this node has signed that it begins nothing any more."""
        return int(self.noted("caught-up") or b"0")

    def catch_up(self, size: int) -> None:
        """Raise the caught-up size; it never goes back."""
        if size > self.caught_up:
            with self._binding():
                self.note("caught-up", str(size).encode())

    @property
    def restored_at(self) -> int | None:
        """When these books were first opened after they were restored from a backup (UTC seconds), or None."""
        kept = self.noted("restored")
        return int(kept) if kept is not None else None

    def date_restore(self, now: int) -> None:
        """Date a restore anew by a clock that somebody else has taken: the one that it was opened by may be wrong.

        A crash before it leaves it to the next start; nothing was asked of these books meanwhile.
        """
        if self.noted("restored-unsure") == b"1":
            with self._binding():
                self.note("restored", str(now).encode())
                self.note("restored-unsure", b"0")

    # Leaves and links

    def keep_leaves(
        self,
        rows: Iterable[tuple[int, str, str | None, bytes]],
        *,
        shown_at: int | None = None,
        void: str | None = None,
    ) -> None:
        """Keep this holder's leaves: (index, policy hash, pairwise key or None, the disclosed leaf).

        ``shown_at`` is the second in which their notice was shown, where the rules know of it; ``void`` the code of the
        error by which they count for nothing.

        An erased index is passed over, and so is one that has its leaf.
        """
        before = self._db.total_changes
        self._db.executemany(
            "INSERT OR IGNORE INTO leaves SELECT ?1, ?2, ?3, ?4, ?5, ?6, NULL"
            " WHERE NOT EXISTS (SELECT 1 FROM erased WHERE place = ?1)",
            [(i, bytes.fromhex(p), bytes.fromhex(k) if k else None, leaf, void, shown_at) for i, p, k, leaf in rows],
        )
        if self._db.total_changes != before:
            self._changed()

    def held(self, first: int, last: int) -> set[int]:
        """Return the indices in a range for which a leaf is held."""
        rows = self._db.execute("SELECT place FROM leaves WHERE place BETWEEN ? AND ?", (first, last))
        return {int(row[0]) for row in rows}

    def slots(self, policy_sha256: str) -> list[tuple[int, int]]:
        """Return (index, slot) of every leaf of a policy version, the indices rising.

        The slot is -1 where no customer is linked or chosen, or the consent is void.
        """
        rows = self._db.execute(
            "SELECT leaves.place, coalesce(links.slot, -1) FROM leaves LEFT JOIN links ON links.key = leaves.key "
            "AND leaves.void IS NULL WHERE leaves.policy = ? ORDER BY leaves.place",
            (bytes.fromhex(policy_sha256),),
        )
        return rows.fetchall()

    def version(self) -> tuple[int, int]:
        """Return a number that grows whenever leaves or links change, and the number of slots ever given."""
        return int(self.noted("changes") or b"0"), self._slots_given()

    def _changed(self) -> None:
        self._db.execute(
            "INSERT INTO meta VALUES ('changes', CAST('1' AS BLOB)) ON CONFLICT (name) DO UPDATE"
            " SET value = CAST(CAST(CAST(value AS TEXT) AS INTEGER) + 1 AS BLOB)"
        )

    def _slots_given(self) -> int:
        row = self._db.execute("SELECT coalesce(max(slot), -1) + 1 FROM links").fetchone()
        return max(int(self.noted("slots") or b"0"), int(row[0]))

    def link(self, links: Iterable[tuple[str, str]]) -> int:
        """Link (pairwise key, customer) pairs; return how many were new or took an old key's place.

        One customer has one key: a customer who links another (of a new device) keeps the slot, and what the old key
        signed counts for nobody from then on. A key that was replaced never comes back, and one that is linked to a
        customer is never linked to another.
        """
        first = slot = self._slots_given()  # never a slot that a link now erased had
        replaced = 0
        for key, customer in links:
            row = (slot, bytes.fromhex(key), customer)
            if self._is_replaced(row[1]):
                continue
            added = self._db.execute("INSERT OR IGNORE INTO links VALUES (?, ?, ?)", row).rowcount
            slot += added
            replaced += 0 if added else self._replace_key(row[1], customer)
        if slot != first:
            self.note("slots", str(slot).encode())  # a crash before this: the links themselves say it
        if slot != first or replaced:
            self._changed()
        return slot - first + replaced

    def _replace_key(self, key: bytes, customer: str) -> int:
        """Give a linked customer another key; return 1 if that was done, 0 where the key is linked already."""
        old = self._db.execute("SELECT key, slot FROM links WHERE customer = ?", (customer,)).fetchone()
        if old is None or self._db.execute("SELECT 1 FROM links WHERE key = ?", (key,)).fetchone():
            return 0
        self._db.execute("INSERT INTO replaced VALUES (?, ?)", (hashlib.sha256(old[0]).digest(), old[1]))
        return self._db.execute("UPDATE links SET key = ? WHERE customer = ?", (key, customer)).rowcount

    def _is_replaced(self, key: bytes) -> bool:
        query = "SELECT 1 FROM replaced WHERE key_sha256 = ?"
        return self._db.execute(query, (hashlib.sha256(key).digest(),)).fetchone() is not None

    def linked(self, first_slot: int) -> list[tuple[str, int]]:
        """Return (customer, slot) of the links from a slot on."""
        rows = self._db.execute("SELECT customer, slot FROM links WHERE slot >= ? ORDER BY slot", (first_slot,))
        return rows.fetchall()

    # Erasure

    def erase(self, erased: Iterable[ErasedConsent]) -> list[int]:
        """Delete the leaves of erased consents, and the links whose last leaf that was; return those links' slots.

        For one of the caller's transactions. What was erased before stays as it is noted; its leaf goes again if a
        backup brought it back.
        """
        slots = []
        for each in erased:
            row = (each.index, each.entry, each.entry_sha256)
            self._db.execute("INSERT OR IGNORE INTO erased VALUES (?, ?, ?, 0)", row)
            held = self._db.execute("SELECT key FROM leaves WHERE place = ?", (each.index,)).fetchone()
            if held is None:
                continue
            self._changed()
            self._db.execute("DELETE FROM leaves WHERE place = ?", (each.index,))
            self._db.execute("UPDATE erased SET said = 0 WHERE place = ?", (each.index,))
            if held[0] is not None:
                slots += self._unlink_idle(held[0])
        return slots

    def _unlink_idle(self, key: bytes) -> list[int]:
        """Delete the link of a key without a leaf, or of the one in its place if it has none; return its slot."""
        query = "SELECT slot FROM replaced WHERE key_sha256 = ?"
        later = self._db.execute(query, (hashlib.sha256(key).digest(),)).fetchone()
        keys = [key]
        if later is not None:  # a lost device's: the customer is linked by another key now
            keys += [row[0] for row in self._db.execute("SELECT key FROM links WHERE slot = ?", later)]
        if any(self._db.execute("SELECT 1 FROM leaves WHERE key = ? LIMIT 1", (each,)).fetchone() for each in keys):
            return []
        given = self._slots_given()
        rows = self._db.execute("DELETE FROM links WHERE key = ? RETURNING slot", (keys[-1],)).fetchall()
        self.note("slots", str(given).encode())
        return [int(row[0]) for row in rows]

    def unsaid(self) -> list[ErasedConsent]:
        """Return the erased consents of which the service has not yet been told that they are gone from here."""
        rows = self._db.execute("SELECT place, entry, entry_sha256 FROM erased WHERE said = 0 ORDER BY place")
        return [ErasedConsent(index=row[0], entry=row[1], entry_sha256=row[2]) for row in rows]

    def said(self, erased: Iterable[ErasedConsent]) -> None:
        """Note that the service has been told."""
        self._db.executemany("UPDATE erased SET said = 1 WHERE place = ?", [(each.index,) for each in erased])

    def scrub(self) -> None:
        """Write the file anew without what was deleted, cut the write-ahead log; raise sqlite3.Error if it is in use.

        It takes as long, and for that time as much room, as copying the file. A crash leaves the old file or the new
        one.
        """
        self._db.execute("VACUUM")
        busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:
            raise sqlite3.OperationalError("the write-ahead log is in use")

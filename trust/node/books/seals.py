"""A seal on every row of a node's books: one flipped bit is seen when they are opened, and the row is as good as lost.

A checksum of each row's values (BLAKE2b, 16 bytes) lies beside it in the table ``seals``. SQLite's own triggers keep
it, for every table but those in ``UNSEALED`` and every column: who adds one need not think of it. It tells damage, and
no attacker: whoever can write the books can write the seals.

What becomes of a damaged row is what would if it had never been written, on the safe side: a leaf is fetched and judged
again, an erasure is read again from the ledger, a link has to be given anew by its customer, the ledger says what was
charged. Of a device's key that was replaced the hash stays (``KEPT``), so that it never comes back. What binds the node
(``BINDING``) cannot be got again: then the books count as restored from a backup, and the node takes part in new
questions only. What stands for all the others (``FOLLOWING``) goes with any of them. Which rows those were, the log
names by table and number, never by value.
"""

import hashlib
import sqlite3
from collections.abc import Callable

import structlog

from ledger.errors import Unavailable

UNSEALED = ("seals", "consents")
"""The seals themselves; and what every start writes anew, from the ledger."""
BINDING = {"rounds": None, "caps": None, "meta": ("caught-up", "restored", "slots")}
"""Tables, or of one the rows by their key, without which a node does not know what it has said."""
FOLLOWING = ("start_snapshots",)
"""Tables that say what all the others hold: they are emptied with any damaged row."""
KEPT = {"replaced": "INSERT OR IGNORE INTO replaced VALUES (?, -1)"}
"""Tables whose rows say by their key alone what is not done: of a damaged one the key stays, as it is and as it was."""
_SUM_BYTES = 16
logger = structlog.get_logger()


def open_sealed(
    db: sqlite3.Connection, schema: str, widen: Callable[[sqlite3.Connection], None], *, checks: bool = True
) -> bool:
    """Make the books' tables, and drop what is damaged; return whether that bound the node.

    ``widen`` brings older tables into the form that the schema gives new ones.
    Raises Unavailable where the file as a whole cannot be read, and what sqlite3 does where it cannot be written now.
    """
    try:
        db.executescript(schema)
        db.execute("BEGIN IMMEDIATE")
        try:
            widen(db)
            seal(db)
            binds = checks and drop_damaged(db)
        except BaseException:
            db.execute("ROLLBACK")
            raise
        db.execute("COMMIT")
    except sqlite3.OperationalError:  # a full disk, say: that passes
        raise
    except sqlite3.DatabaseError:
        raise Unavailable(
            "The node's books are damaged as a whole; restore them from the node's backup with `musubi restore`."
        ) from None
    return binds


def seal(db: sqlite3.Connection) -> None:
    """Keep a seal on every row that this connection writes.

    The rows of a table that has none yet, or other columns than when it was sealed, are sealed as they are.
    """
    db.text_factory = _read_text
    db.create_function("musubi_sum", -1, _sum, deterministic=True)
    db.execute(
        "CREATE TABLE IF NOT EXISTS seals (of TEXT NOT NULL, id BLOB NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (of, id))"
        " STRICT, WITHOUT ROWID"
    )
    for table in sealed_tables(db):
        for event in ("INSERT", "UPDATE", "DELETE"):
            db.execute(f"DROP TRIGGER IF EXISTS seal_{table}_{event}")  # it may know other columns
        for event in ("INSERT", "UPDATE"):
            db.execute(
                f"CREATE TRIGGER seal_{table}_{event} AFTER {event} ON {table} BEGIN"
                f" DELETE FROM seals WHERE of = '{table}' AND id = {_id(db, table, 'NEW')};"  # the outer OR … rules, here
                f" INSERT INTO seals VALUES ('{table}', {_id(db, table, 'NEW')}, {_values(db, table, 'NEW')});"
                " END"
            )
        db.execute(
            f"CREATE TRIGGER seal_{table}_DELETE AFTER DELETE ON {table} BEGIN"
            f" DELETE FROM seals WHERE of = '{table}' AND id = {_id(db, table, 'OLD')}; END"
        )
        columns = _sum(*_columns(db, table))
        kept = db.execute("SELECT sum FROM seals WHERE of = 'columns' AND id = ?", (table.encode(),)).fetchone()
        if kept is None or bytes(kept[0]) != columns:  # books without seals, or a table that has other columns now
            db.execute("DELETE FROM seals WHERE of = ?", (table,))
            db.execute(
                f"INSERT INTO seals SELECT '{table}', {_id(db, table, table)}, {_values(db, table, table)} FROM {table}"
            )
            db.execute("INSERT OR REPLACE INTO seals VALUES ('columns', ?, ?)", (table.encode(), columns))


def drop_damaged(db: sqlite3.Connection) -> bool:
    """Delete every row whose seal does not fit; return whether one of them bound the node. For one transaction."""
    binds = is_hurt = False
    for table in sealed_tables(db):
        names = _columns(db, table, key=True)
        key = ", ".join(f"CAST({table}.{each} AS BLOB)" for each in names)  # a damaged text may be none
        found = db.execute(
            f"SELECT {key} FROM {table} LEFT JOIN seals ON of = '{table}' AND id = {_id(db, table, table)}"
            f" WHERE sum IS NULL OR sum <> {_values(db, table, table)}"
        ).fetchall()
        lost = _lost(db, table) if table in BINDING or table in KEPT else []
        for row in found:
            where = " AND ".join(f"CAST({name} AS BLOB) = ?" for name in names)
            db.execute(f"DELETE FROM {table} WHERE {where}", row)
        if table in KEPT:
            db.executemany(KEPT[table], [*found, *((each,) for each in lost)])
        if found or lost:
            logger.error("books-damaged", table=table, rows=max(len(found), len(lost)))
            is_hurt = True
            rows = BINDING.get(table, ())
            binds = (
                binds or rows is None or any(_read_text(each) in rows for each in [*(row[0] for row in found), *lost])
            )
    if is_hurt:  # in the same transaction: the next opening would find nothing wrong
        for table in FOLLOWING:
            db.execute(f"DELETE FROM {table}")
    return binds


def sealed_tables(db: sqlite3.Connection) -> list[str]:
    """Return the tables whose rows are sealed."""
    rows = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    return [row[0] for row in rows if row[0] not in UNSEALED]


def _lost(db: sqlite3.Connection, table: str) -> list[bytes]:
    """Return the keys of seals whose row is not there under its key any more, and forget those seals."""
    rows = db.execute(
        f"DELETE FROM seals WHERE of = '{table}'"
        f" AND id NOT IN (SELECT {_id(db, table, table)} FROM {table}) RETURNING id"
    ).fetchall()
    return [bytes(row[0]) for row in rows]


def _columns(db: sqlite3.Connection, table: str, *, key: bool = False) -> list[str]:
    """Return a table's columns, or those of its primary key."""
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[5] or not key]


def _id(db: sqlite3.Connection, table: str, row: str) -> str:
    """Return the SQL of what names a row in ``seals``: its key's values."""
    return "CAST(" + " || '/' || ".join(f"{row}.{each}" for each in _columns(db, table, key=True)) + " AS BLOB)"


def _values(db: sqlite3.Connection, table: str, row: str) -> str:
    """Return the SQL of a row's seal."""
    parts = (f"typeof({row}.{each}), CAST({row}.{each} AS BLOB)" for each in _columns(db, table))
    return f"musubi_sum({', '.join(parts)})"


def _sum(*values: str | bytes | None) -> bytes:
    """Return the checksum of (type, bytes) pairs."""
    said = hashlib.blake2b(digest_size=_SUM_BYTES)
    for value in values:
        data = value.encode() if isinstance(value, str) else value or b""
        said.update(len(data).to_bytes(8, "big") + data)
    return said.digest()


def _read_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")

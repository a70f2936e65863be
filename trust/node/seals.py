"""A seal on every row of a node's books: one flipped bit is seen when they are opened, and the row is as good as lost.

A checksum of each row's values (BLAKE2b, 16 bytes) lies beside it in the table ``seals``. SQLite's own triggers keep
it, for every table but those in ``UNSEALED`` and every column: who adds one need not think of it. It tells damage, and
no attacker: whoever can write the books can write the seals.

What becomes of a damaged row is what would if it had never been written, on the safe side: a leaf is fetched again, an
erasure is read again from the ledger, a link has to be given anew by its customer, the ledger says what was charged.
What binds the node (``BINDING``) cannot be got again: then the books count as restored from a backup, and the node
takes part in new questions only. Which rows those were, the log names by table and number, never by value.
"""

import hashlib
import sqlite3

import structlog

UNSEALED = ("seals", "consents")
"""The seals themselves; and what every start writes anew, from the ledger."""
BINDING = {"rounds": None, "meta": ("caught-up", "restored")}
"""Tables, or of one the rows by their key, without which a node does not know what it has said."""
_SUM_BYTES = 16
logger = structlog.get_logger()


def seal(db: sqlite3.Connection) -> None:
    """Keep a seal on every row that this connection writes; rows of books that have none yet are sealed as they are."""
    db.text_factory = _read_text
    db.create_function("musubi_sum", -1, _sum, deterministic=True)
    is_new = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'seals'").fetchone() is None
    db.execute(
        "CREATE TABLE IF NOT EXISTS seals (of TEXT NOT NULL, id BLOB NOT NULL, sum BLOB NOT NULL, PRIMARY KEY (of, id))"
        " STRICT, WITHOUT ROWID"
    )
    for table in sealed_tables(db):
        for event in ("INSERT", "UPDATE"):
            db.execute(
                f"CREATE TRIGGER IF NOT EXISTS seal_{table}_{event} AFTER {event} ON {table} BEGIN"
                f" DELETE FROM seals WHERE of = '{table}' AND id = {_id(db, table, 'NEW')};"  # the outer OR … rules, here
                f" INSERT INTO seals VALUES ('{table}', {_id(db, table, 'NEW')}, {_values(db, table, 'NEW')});"
                " END"
            )
        db.execute(
            f"CREATE TRIGGER IF NOT EXISTS seal_{table}_DELETE AFTER DELETE ON {table} BEGIN"
            f" DELETE FROM seals WHERE of = '{table}' AND id = {_id(db, table, 'OLD')}; END"
        )
        if is_new:
            db.execute(
                f"INSERT INTO seals SELECT '{table}', {_id(db, table, table)}, {_values(db, table, table)} FROM {table}"
            )


def drop_damaged(db: sqlite3.Connection) -> bool:
    """Delete every row whose seal does not fit; return whether one of them bound the node. For one transaction."""
    binds = False
    for table in sealed_tables(db):
        key = ", ".join(_columns(db, table, key=True))
        found = db.execute(
            f"SELECT {key} FROM {table} LEFT JOIN seals ON of = '{table}' AND id = {_id(db, table, table)}"
            f" WHERE sum IS NULL OR sum <> {_values(db, table, table)}"
        ).fetchall()
        lost = _lost(db, table) if table in BINDING else []
        for row in found:
            where = " AND ".join(f"{name} IS ?" for name in _columns(db, table, key=True))
            db.execute(f"DELETE FROM {table} WHERE {where}", row)
        if found or lost:
            logger.error("books-damaged", table=table, rows=max(len(found), len(lost)))
            rows = BINDING.get(table, ())
            binds = binds or rows is None or any(each in rows for each in [*(row[0] for row in found), *lost])
    return binds


def sealed_tables(db: sqlite3.Connection) -> list[str]:
    """Return the tables whose rows are sealed."""
    rows = db.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")
    return [row[0] for row in rows if row[0] not in UNSEALED]


def _lost(db: sqlite3.Connection, table: str) -> list[str]:
    """Return the keys of seals whose row is not there under its key any more, and forget those seals."""
    rows = db.execute(
        f"DELETE FROM seals WHERE of = '{table}'"
        f" AND id NOT IN (SELECT {_id(db, table, table)} FROM {table}) RETURNING id"
    ).fetchall()
    return [bytes(row[0]).decode("utf-8", "replace") for row in rows]


def _columns(db: sqlite3.Connection, table: str, *, key: bool = False) -> list[str]:
    """Return a table's columns, or those of its primary key."""
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})") if row[5] or not key]


def _id(db: sqlite3.Connection, table: str, row: str) -> str:
    """Return the SQL of what names a row in ``seals``: its key's values."""
    return "CAST(" + " || '/' || ".join(f"{row}.{each}" for each in _columns(db, table, key=True)) + " AS BLOB)"


def _values(db: sqlite3.Connection, table: str, row: str) -> str:
    """Return the SQL of a row's seal."""
    return f"musubi_sum({', '.join(f'{row}.{each}' for each in _columns(db, table))})"


def _sum(*values: str | bytes | int | None) -> bytes:
    said = hashlib.blake2b(digest_size=_SUM_BYTES)
    for value in values:
        data = value if isinstance(value, bytes) else str(value).encode("utf-8", "surrogateescape")
        said.update(f"{type(value).__name__} {len(data)} ".encode())
        said.update(data)
    return said.digest()


def _read_text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")

"""A backup of a holder's node, taken while it runs, and putting it back.

In it: the books (``books.sqlite``), ``node.toml`` and ``trust.json``; the keys only if asked for. Not the data.

A restored node reads the whole ledger again before it does anything else, so whatever was erased since the backup goes
from the restored books at once. And it does not know what has left it since: so the books note that they were restored,
and the node begins new questions only (``trust.node.books.books``).

The backup itself holds leaves and links in the clear, also of consents that are erased later. It is to be kept for days
and not for years, as the how-to page says.
"""

import sqlite3
from pathlib import Path

from ledger.errors import Malformed, NotFound, NotPermitted, Unavailable
from trust.files.backups import Backup, begin_backup, end_backup, put_file, put_large_file, read_backup, take_file
from trust.log.pins import TRUST_FILE, load_trust
from trust.node.books.books import UNDATED, Books
from trust.node.settings import BOOKS, SETTINGS, load_node_settings
from trust.runtime.clock import system_clock


def back_up(folder: Path, out: Path, *, signing_keys: bool = False) -> Backup:
    """Take a backup of the node in ``folder`` into the new folder ``out``; return what it says of itself.

    Raises NotFound, NotPermitted where ``out`` holds something, and Unavailable; ``out`` is then no whole backup.
    """
    load_node_settings(folder)
    origin = load_trust(folder / TRUST_FILE).origin
    if not (folder / BOOKS).exists():
        raise NotFound("The node has no books yet; was it ever started?")
    begin_backup(out)
    (out / BOOKS).touch(mode=0o600)
    try:
        db = sqlite3.connect(folder / BOOKS, timeout=30)
        try:
            db.execute("VACUUM INTO ?", (str(out / BOOKS),))
        finally:
            db.close()
    except sqlite3.Error:
        raise Unavailable("The books could not be copied; look at their disk and at the backup's.") from None
    for name in (SETTINGS, TRUST_FILE):
        take_file(folder / name, out, name)
    if signing_keys:
        for path in sorted((folder / "keys").iterdir()):
            take_file(path, out, f"keys/{path.name}")
    return end_backup(out, "node", origin, system_clock())


def restore(backup: Path, folder: Path) -> None:
    """Put a node's backup into ``folder``, and note in the books that they were restored.

    Raises NotFound or Malformed for a backup that is none, and NotPermitted where the folder has books.
    """
    made = read_backup(backup)
    if made.kind != "node":
        raise Malformed("That is a backup of a service.")
    if (folder / BOOKS).exists() or (folder / SETTINGS).exists():
        raise NotPermitted("The folder holds a node already; restore into another one.")
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    fresh = folder / f"{BOOKS}.new"
    put_large_file(backup / BOOKS, fresh)
    books = Books(fresh)
    books.note("restored", UNDATED)
    books.scrub()
    books.close()
    fresh.rename(folder / BOOKS)
    # A crash up to here leaves books that no node starts on: there is no node.toml. The books say that they are
    # restored.
    for name in sorted(set(made.files) - {BOOKS, SETTINGS}):
        put_file(backup, name, folder)
    put_file(backup, SETTINGS, folder)

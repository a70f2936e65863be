"""A backup of the service, taken while it runs: everything but what must be able to be forgotten, or must stay secret.

In it: the database as one SQLite file, of one moment (also where the service keeps it in PostgreSQL), the log's
checkpoint and tiles, ``service.toml``, ``genesis.json`` and the witness policy. The database is taken first, so every
published entry in it is in the log that is copied after it.

**Not in it: the records' keys** (``trust.service.keys.record_keys``). Without them the sealed records in it say
nothing, so an old backup gives no erased record back, whoever has it. They have a backup of their own
(``back_up_record_keys``), which is to be kept for days and not for years.

**Not in it: the secret signing keys**, unless asked for. They change rarely; keep them apart, offline.
"""

import sqlite3
from pathlib import Path

from sqlalchemy import Table, insert, select, text
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import entries as e
from ledger.errors import NotFound, Unavailable
from trust.files.backups import Backup, begin_backup, end_backup, take_file
from trust.log.export import copy_log
from trust.log.pins import pins_of
from trust.log.source import FolderLog
from trust.runtime.clock import system_clock
from trust.service.database import tables as t
from trust.service.database.engine import Databases
from trust.service.settings import SETTINGS, Settings, load_settings

DATABASE = "service.sqlite"
GENESIS = "genesis.json"
ROWS_AT_ONCE = 1_000


def read_genesis(path: Path) -> e.Genesis:
    """Read ``genesis.json``; raise NotFound or Malformed."""
    try:
        entry = e.decode(path.read_bytes().rstrip(b"\n"))
    except FileNotFoundError:
        raise NotFound("There is no genesis.json, the ledger's first entry.") from None
    if not isinstance(entry, e.Genesis):
        raise NotFound("The file genesis.json does not hold a genesis entry.")
    return entry


async def back_up(folder: Path, out: Path, *, signing_keys: bool = False) -> Backup:
    """Take a backup of the service in ``folder`` into the new folder ``out``; return what it says of itself.

    Raises NotFound, NotPermitted where ``out`` holds something, and Unavailable; ``out`` is then no whole backup.
    """
    settings = load_settings(folder)
    genesis = read_genesis(folder / GENESIS)
    begin_backup(out)
    await _copy_database(settings, out / DATABASE)
    if (folder / "log" / "checkpoint").exists():
        copy_log(FolderLog(folder / "log"), pins_of(genesis, settings.witnesses().format()), out / "log")
    for name in (SETTINGS, GENESIS, settings.service.witness_policy):
        take_file(folder / name, out, name)
    if signing_keys:
        for path in sorted((folder / "keys").iterdir()):
            take_file(path, out, f"keys/{path.name}")
    return end_backup(out, "service", genesis.origin, system_clock())


def back_up_record_keys(folder: Path, out: Path) -> None:
    """Copy the file of the records' keys, while the service runs, to the new file ``out``, mode 0600.

    Raises NotFound or Unavailable. Erased keys are zeros in it; keys erased later are in it until it is deleted.
    """
    source = load_settings(folder).record_keys
    if not source.exists():
        raise NotFound("There is no file of the records' keys; service.toml says where it lies.")
    _copy_sqlite(source, out)


async def _copy_database(settings: Settings, target: Path) -> None:
    databases = Databases(settings.database_url)
    try:
        if databases.sqlite:
            _copy_sqlite(Path(settings.database_url.removeprefix("sqlite+aiosqlite:///")), target)
            return
        copy = Databases(f"sqlite+aiosqlite:///{target}")
        try:
            await copy.migrate()
            async with databases.reader.connect() as source, copy.writer.begin() as into:
                await source.execute(text("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"))
                await copy_rows(source, into)
            await copy.cut_log()
        finally:
            await copy.close()
    finally:
        await databases.close()


def _copy_sqlite(source: Path, target: Path) -> None:
    """Copy one moment of a SQLite file that is in use. Written anew: nothing deleted is in the copy's free space."""
    if not source.exists():
        raise NotFound("The service's database is not there; was the service ever started?")
    if target.exists():
        raise Unavailable("The backup's file is there already; choose a new name.")
    target.touch(mode=0o600)
    try:
        db = sqlite3.connect(f"file:{source}?mode=rw", uri=True, timeout=30)
        try:
            db.execute("VACUUM INTO ?", (str(target),))
        finally:
            db.close()
    except sqlite3.Error:
        target.unlink(missing_ok=True)
        raise Unavailable("The database could not be copied; look at its disk and at the backup's.") from None


async def copy_rows(source: AsyncConnection, into: AsyncConnection) -> None:
    """Copy every row of every table, in an order in which each finds what it refers to."""
    for table in t.metadata.sorted_tables:
        rows = (await source.stream(select(table))).mappings()
        async for part in rows.partitions(ROWS_AT_ONCE):
            await into.execute(insert(table), [dict(row) for row in part])
    await _count_on(into, t.residents)


async def _count_on(connection: AsyncConnection, table: Table) -> None:
    """Have PostgreSQL give new rows numbers after those that were copied."""
    if connection.dialect.name == "postgresql":
        sequence = f"pg_get_serial_sequence('{table.name}', 'id')"
        await connection.execute(
            text(f"SELECT setval({sequence}, coalesce(max(id), 1), max(id) IS NOT NULL) FROM {table.name}")
        )

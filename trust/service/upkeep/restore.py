"""Restoring a service from a backup: the log never goes back, and nothing that has ended or was erased comes back.

In this order, and each step before the next:

1. The backup's files are checked, and the database, the log and the pins are put into the folder.
2. The log is brought up to date from mirrors. Every file is held against a checkpoint that the log's key signed and the
   witnesses' quorum cosigned, and that extends the backup's own.
3. The witnesses are asked for the newest tree that they have cosigned. It must be part of what is here now. One that
   names none (it may have no such address) is asked to cosign what is here, which it does only where it knows no more.
   If so many witnesses do not answer that they could have cosigned a larger one among themselves, the restore refuses.
4. What the log says after the backup acts again on the tables: grants are known (their sealed records are lost),
   revocations end them, **erasures destroy the restored records**, a lost device stays shut out, rounds and refusals
   stand where they stood. The records' keys of everything erased are destroyed, also in a file of keys that came from a
   backup of its own.
5. ``service.toml`` is written. Before that no service starts in the folder, so a crash anywhere leaves nothing that
   could run; done again, the restore begins anew.

Lost for good is what only the database held after the backup: enrolments (residents enrol again), sealed records of
grants (such a grant stays in force; the nodes have their own leaves of it; its resident ends it through the stewards),
and what was said in open rounds (nodes say it again).
"""

import shutil
from pathlib import Path

import httpx
from msgspec import Struct, structs
from sqlalchemy import delete, func, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.errors import HistoryForked, Malformed, MusubiError, NotPermitted, Unavailable
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.cosignatures import check_cosignature
from ledger.notes.note import parse_note
from ledger.notes.witness_policy import NO_WITNESS, WitnessPolicy
from ledger.second_reads import read_in_turn
from ledger.tlog.tiles import TileReader
from ledger.tlog.tree import prove_consistency, root_hash
from policies.ledger_state import State
from queries.replay import replay
from trust.files.backups import Backup, put_file, put_large_file, read_backup
from trust.files.durable import write_whole
from trust.log.export import copy_log
from trust.log.follower import LogFollower
from trust.log.pins import Trust, pins_of
from trust.log.seen_checkpoint import VerifiedBatch
from trust.log.source import FolderLog, LogSource, open_log, past_caches
from trust.log.tile_folder import TileFolder
from trust.log.witness_client import collect_cosignatures, fetch_latest
from trust.runtime.http_clients import open_async_http
from trust.service.database import tables as t
from trust.service.database.bulk import insert_many
from trust.service.database.engine import Databases
from trust.service.keys.record_keys import RecordKeys
from trust.service.settings import SETTINGS, Settings, load_settings
from trust.service.store.entry_rows import read_entries
from trust.service.store.store import UniqueByTable
from trust.service.upkeep.backup import DATABASE, GENESIS, copy_rows, read_genesis
from trust.service.upkeep.rows_from_log import RowsFromLog

MARK = "restore-under-way"
"""A file that is in the folder from the first write to the last."""
_MARK = b"A restore is under way, or broke off; run `musubi restore` again.\n"
_MARK_KEYS = b"The file of the records' keys is its own: it came from --record-keys.\n"
WITNESS_SECONDS = 10.0


class Restored(Struct, frozen=True, kw_only=True):
    """What a restore did: tree sizes in the backup and now, and what is lost or gone."""

    backed_up: int
    size: int
    witnesses: list[str]
    """Those that answered."""
    lost_records: list[int]
    """Grants in force whose sealed record is in no backup: only the ledger and the nodes know of them."""
    erased: int
    """Restored records that were destroyed again."""
    unreadable: int
    """Restored records whose key is not here."""


async def restore(
    backup: Path, folder: Path, *, mirrors: list[str], database_url: str | None = None, record_keys: Path | None = None
) -> Restored:
    """Restore a service's backup into ``folder``; return what was done, once a service may start there.

    ``record_keys`` is a backup of the records' keys; without it the file that is in the folder serves, if one is.
    ``database_url`` names an empty database instead of the one in the backup's settings.

    Raises NotFound or Malformed for a backup that is none, NotPermitted where the folder or database is in use,
    Unavailable where the newest cosigned tree cannot be reached, and HistoryForked where histories contradict.
    """
    made = read_backup(backup)
    if made.kind != "service":
        raise Malformed("That is a backup of a node.")
    _put_files(backup, made, folder, record_keys)
    settings = _settings(backup, folder, database_url)
    trust = pins_of(read_genesis(folder / GENESIS), settings.witnesses().format())
    if (backup / "log").exists():
        copy_log(FolderLog(backup / "log"), trust, folder / "log")
    backed_up = _size(folder / "log")
    _catch_up(folder, trust, mirrors)
    answered = await _check_witnesses(settings, trust, folder / "log", has_mirror=bool(mirrors))
    keys, databases = RecordKeys(settings.record_keys), Databases(settings.database_url)
    try:
        restored = await _restore_database(databases, keys, trust, folder)
    finally:
        await databases.close()
        await keys.close()
    # A crash up to here leaves a folder without service.toml, in which no service starts.
    text = (backup / SETTINGS).read_text("utf-8")
    write_whole(folder / SETTINGS, _with_database(text, database_url).encode())
    (folder / MARK).unlink()
    return Restored(backed_up=backed_up, size=_size(folder / "log"), witnesses=sorted(answered), **restored)  # type: ignore[arg-type]


def _put_files(backup: Path, made: Backup, folder: Path, record_keys: Path | None) -> None:
    """Put all but the settings into the folder, which must hold no service; begin anew where a restore broke off."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    taken = [name for name in (SETTINGS, DATABASE, "log") if (folder / name).exists()]
    # The settings are written last: where they are, a restore came to its end, even if its mark outlived a crash.
    if taken and (SETTINGS in taken or not (folder / MARK).exists()):
        raise NotPermitted(f"The folder holds a service already ('{taken[0]}'); restore into another one.")
    keys = _settings(backup, folder, None).record_keys
    ours = (folder / MARK).exists() and _MARK_KEYS in (folder / MARK).read_bytes()
    if record_keys is not None:
        if keys.exists() and not ours:
            raise NotPermitted("There is a file of the records' keys already; move it away, or restore without one.")
        ours = True
    write_whole(folder / MARK, _MARK + (_MARK_KEYS if ours else b""))
    if ours:  # what a restore that broke off has put there, whole or torn
        for path in (keys, keys.with_name(f"{keys.name}-wal"), keys.with_name(f"{keys.name}-shm")):
            path.unlink(missing_ok=True)
    shutil.rmtree(folder / "log", ignore_errors=True)
    for name in (SETTINGS, DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"):
        (folder / name).unlink(missing_ok=True)
    for name in made.files:
        if name == DATABASE:
            put_large_file(backup / name, folder / name)
        elif name != SETTINGS:
            put_file(backup, name, folder)
    if record_keys is not None:
        put_large_file(record_keys, keys)


def _settings(backup: Path, folder: Path, database_url: str | None) -> Settings:
    """Return the backup's settings as they will be in the folder."""
    settings = load_settings(backup)
    if database_url is not None:
        return Settings(folder=folder, service=structs.replace(settings.service, database_url=database_url))
    return Settings(folder=folder, service=settings.service)


def _with_database(text: str, database_url: str | None) -> str:
    if database_url is None:
        return text
    lines = [line for line in text.splitlines() if line.partition("=")[0].strip() != "database_url"]
    return "\n".join([*lines, f'database_url = "{database_url}"']) + "\n"


def _size(log: Path) -> int:
    """Return the size of the log in a folder, 0 where there is none."""
    note = TileFolder(log).read_checkpoint()
    return Checkpoint.parse(parse_note(note).text).size if note is not None else 0


def _size_at(way: LogSource) -> int:
    return Checkpoint.parse(parse_note(way.read_checkpoint()).text).size


def _catch_up(folder: Path, trust: Trust, mirrors: list[str]) -> None:
    """Bring the folder's log to the largest tree that a mirror has; one that fails is passed over if another does."""
    log = folder / "log"
    failed: list[MusubiError] = []
    for place in mirrors:
        source = open_log(place)
        try:
            size = read_in_turn([source, *past_caches(source)], _size_at)
            if size > _size(log):
                copy_log(source, trust, log)
        except HistoryForked:
            raise
        except MusubiError as error:
            failed.append(error)
        finally:
            source.close()
    if mirrors and len(failed) == len(mirrors):
        raise failed[0]


async def _check_witnesses(settings: Settings, trust: Trust, log: Path, *, has_mirror: bool) -> list[str]:
    """Hold the log against the newest tree of each witness; return the witnesses that answered.

    Raises Unavailable where a larger cosigned tree is known, or could be, and HistoryForked for another root.
    """
    policy = trust.witnesses
    if policy.quorum == NO_WITNESS:
        if not has_mirror:
            raise Unavailable("No witness keeps this log, so only a mirror can say how far it is; name one: --mirror.")
        return []
    async with open_async_http(seconds=WITNESS_SECONDS) as client:
        notes = await fetch_latest(client, policy, settings.service.origin, WITNESS_SECONDS)
        nameless = [name for name, note in notes.items() if not note]
        agreeing = await _cosigning(client, policy, nameless, log)
    notes = {name: note for name, note in notes.items() if note or name in agreeing}
    if policy.is_quorum(set(policy.witnesses) - set(notes)):
        raise Unavailable(
            "Too few witnesses answer: those that are silent could have cosigned a larger tree. Try again when they do."
        )
    size = _size(log)
    reader = TileReader(TileFolder(log).read_tile, size)
    for name, note in notes.items():
        if not note:
            continue  # it knows nothing beyond what is here
        newest = _cosigned(policy, name, note, settings.service.origin)
        if newest.size > size:
            raise Unavailable(
                f"The witness '{name}' has cosigned {newest.size} entries, and backup and mirrors have {size}. The log "
                "never goes back: name a mirror that has the rest, with --mirror."
            )
        if root_hash(newest.size, reader) != newest.root:
            raise HistoryForked(f"The witness '{name}' has cosigned another history than this one.")
    return list(notes)


async def _cosigning(client: httpx.AsyncClient, policy: WitnessPolicy, names: list[str], log: Path) -> list[str]:
    """Return which of these witnesses cosign the log as it is here: they know no larger tree of it.

    Before the first checkpoint there is nothing to cosign, and they are believed. Raises Unavailable where one knows
    more.
    """
    note = TileFolder(log).read_checkpoint()
    if note is None or not names:
        return names
    checkpoint = Checkpoint.parse(parse_note(note).text)
    reader = TileReader(TileFolder(log).read_tile, checkpoint.size)
    asked = WitnessPolicy(witnesses={name: policy.witnesses[name] for name in names})
    answers = await collect_cosignatures(
        client,
        asked,
        note,
        checkpoint,
        lambda old, new: prove_consistency(old, new, reader),
        {},
        WITNESS_SECONDS,
        clock=None,  # what a witness knows is the question, not what time it is here
    )
    if answers.disputed:
        raise Unavailable(
            f"A witness ({', '.join(answers.failures)}) has cosigned more, or something else, than backup and mirrors "
            "have. The log never goes back: name a mirror that has the rest, with --mirror.",
        )
    return [name for name in names if any(line.is_by(policy.witnesses[name].key) for line in answers.signatures)]


def _cosigned(policy: WitnessPolicy, name: str, note: bytes, origin: str) -> Checkpoint:
    """Return the tree that a witness has cosigned. That it checked the log's own signature is the witness's part."""
    opened = parse_note(note)
    checkpoint = Checkpoint.parse(opened.text)
    if checkpoint.origin != origin or check_cosignature(opened, policy.witnesses[name].key) is None:
        raise Unavailable(f"The witness '{name}' answered with a checkpoint of this log that it did not cosign.")
    return checkpoint


async def _restore_database(
    databases: Databases, keys: RecordKeys, trust: Trust, folder: Path
) -> dict[str, int | list[int]]:
    """Replay the whole log, and bring the tables to where it says, in one transaction."""
    log, state, seen = folder / "log", State(), UniqueByTable()
    await databases.migrate()
    async with databases.writer.begin() as connection:
        if not databases.sqlite:
            await _copy_into(connection, folder)
        before = (await connection.execute(select(t.head.c.size))).scalar_one()
        rows = RowsFromLog(connection, state)
        follower = LogFollower(FolderLog(log), trust.log_keys, trust.witnesses)
        for batch in follower.follow() if _size(log) else ():
            await _take_entries(connection, batch, before)
            for offset, data in enumerate(batch.entries):
                index = batch.first + offset
                rows.take(index, replay(state, index, data, seen), new=index >= before)
            await rows.flush()
        published = state.size
        async for index, data in read_entries(connection, published):  # committed, and not yet published
            rows.take(index, replay(state, index, data, seen), new=False)
        erased = await rows.clear_erased()
        await connection.execute(update(t.head).values(size=state.size, at=state.at))
        note = TileFolder(log).read_checkpoint() or b""
        await connection.execute(update(t.published).values(size=published, checkpoint=note))
        await connection.execute(delete(t.nonces))
        lost = await rows.lost()
        records = [int(row[0]) for row in await connection.execute(select(t.records.c.index))]
    await databases.cut_log()
    await keys.sweep(state.size, sorted(state.erased))
    readable = await keys.find(records)
    if not databases.sqlite:
        _remove_copy(folder)
    return {"lost_records": lost, "erased": erased, "unreadable": len(records) - len(readable)}


async def _copy_into(connection: AsyncConnection, folder: Path) -> None:
    """Copy the backup's rows into PostgreSQL; raise NotPermitted where it holds a ledger."""
    if (await connection.execute(select(func.count()).select_from(t.entries))).scalar():
        raise NotPermitted("The database is not empty; restore into an empty one, with --database-url.")
    copy = Databases(f"sqlite+aiosqlite:///{folder / DATABASE}")
    try:
        await copy.migrate()
        async with copy.reader.connect() as source:
            await copy_rows(source, connection)
    finally:
        await copy.close()


def _remove_copy(folder: Path) -> None:
    for name in (DATABASE, f"{DATABASE}-wal", f"{DATABASE}-shm"):
        (folder / name).unlink(missing_ok=True)


async def _take_entries(connection: AsyncConnection, batch: VerifiedBatch, before: int) -> None:
    """Hold the backup's entries against the log's, and add those that it lacks. Raises HistoryForked or Malformed."""
    end = batch.first + len(batch.entries)
    held = 0
    async for index, data in read_entries(connection, batch.first, end):
        held += 1
        if data != batch.entries[index - batch.first]:
            raise HistoryForked("The backup's database has other entries than the log; it is not a backup of this log.")
    if held != max(0, min(end, before) - batch.first):
        raise Malformed("The backup's database lacks entries; take another backup.")
    new = [(batch.first + place, data) for place, data in enumerate(batch.entries) if place >= held]
    await insert_many(connection, t.entries, ("index", "data"), new)

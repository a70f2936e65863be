"""Whether the service may go on from what it finds: the place of the ledger, which must neither be missing nor older.

Three things say how far the ledger is: the row of ``head`` with the entries, the row of ``published``, and the folder
of tiles with its checkpoint file. Each may be ahead of the next, as a crash between two steps leaves it, and never
behind:

================================  ==================================================================================
what is found                     what it is
================================  ==================================================================================
nothing at all                    a new ledger: both rows are made, in one transaction
head = entries ≥ published ≥ file the usual state, also after a crash at any step
a row missing, entries or log     a database that was put together by hand, or a new one beside an old log
head ≠ entries                    a damaged database
published > head                  entries were lost
file > published                  the database is older than the log that was published from it: a restored backup
tiles missing or of another root  the folder is not this ledger's, or was lost or damaged
a witness ahead of the entries    as "file > published", where the folder was restored too
a witness with another root       this log has signed two histories already
================================  ==================================================================================

Going on from any but the first two would give an index away a second time: history would fork. So the service refuses,
and says what to do.
"""

from dataclasses import dataclass

from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.errors import HistoryForked, MusubiError, Unavailable
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import parse_note
from ledger.tlog.tiles import TileReader
from ledger.tlog.tree import root_hash
from trust.log.tile_folder import TileFolder
from trust.service.database import tables as t
from trust.service.database.engine import STARTING, Databases

RESTORE = "Bring the newest state back with `musubi restore`, and look at it with `musubi fsck`, before it is started."


@dataclass(frozen=True, slots=True)
class Found:
    """How far each part says that the ledger is; None where that part is missing."""

    entries: int
    head: int | None
    published: int | None
    checkpoint: bytes
    """The note in ``published``; empty before the first."""
    file: Checkpoint | None
    """The checkpoint on disk."""
    tiles: bool
    """Whether the folder holds anything of a log."""


async def begin_or_check(databases: Databases, folder: TileFolder) -> Found:
    """Look, make both rows of a new ledger, and return what was found; raise HistoryForked as the table above says."""
    async with databases.writer.begin() as connection:
        if not databases.sqlite:
            await connection.execute(select(func.pg_advisory_xact_lock(STARTING)))
        found = await _look(connection, folder)
        if found.head is None and found.published is None and not found.entries and not found.tiles:
            await connection.execute(insert(t.head).values(id=1, size=0, at=0))
            await connection.execute(insert(t.published).values(id=1, size=0, checkpoint=b""))
            # A crash here leaves neither row: the transaction has not committed.
            return found
    check(found)
    check_tiles(found, folder)
    return found


async def _look(connection: AsyncConnection, folder: TileFolder) -> Found:
    # Another process may append and publish meanwhile. The file comes after its row, so it is read before it; and the
    # rows are of one moment, for which one statement is enough everywhere.
    note = folder.read_checkpoint()
    row = (
        await connection.execute(
            select(
                select(func.max(t.entries.c.index)).scalar_subquery().label("last"),
                select(t.head.c.size).scalar_subquery().label("head"),
                select(t.published.c.size).scalar_subquery().label("published"),
                select(t.published.c.checkpoint).scalar_subquery().label("checkpoint"),
            )
        )
    ).one()
    return Found(
        entries=0 if row.last is None else int(row.last) + 1,
        head=row.head,
        published=None if row.published is None else int(row.published),
        checkpoint=b"" if row.checkpoint is None else bytes(row.checkpoint),
        file=None if note is None else Checkpoint.parse(parse_note(note).text),
        tiles=folder.holds_a_log(),
    )


def check(found: Found) -> None:
    """Hold the parts against each other; raise HistoryForked."""
    if found.head is None or found.published is None:
        raise HistoryForked(
            "The database does not say how far the ledger is, but a log of it is there: to begin anew would fork its "
            f"history. {RESTORE}"
        )
    if found.head != found.entries or found.published > found.head:
        raise HistoryForked(f"Entries of the ledger are missing from the database. {RESTORE}")
    if found.file is not None and found.file.size > found.published:
        raise HistoryForked(f"The database is older than the log that was published from it. {RESTORE}")


def check_tiles(found: Found, folder: TileFolder) -> None:
    """Hold the tiles against both checkpoints; raise HistoryForked where they are others, or not there."""
    for checkpoint in [found.file, Checkpoint.parse(parse_note(found.checkpoint).text) if found.checkpoint else None]:
        if checkpoint is not None:
            check_root(folder, checkpoint, found.published or 0)


def check_root(folder: TileFolder, checkpoint: Checkpoint, published: int) -> None:
    """Check that the first entries of the published tiles have a checkpoint's root; raise HistoryForked."""
    try:
        root = root_hash(checkpoint.size, TileReader(folder.read_tile, published))
    except Unavailable:
        raise
    except MusubiError:
        raise HistoryForked(
            "The log's folder lacks tiles of the published checkpoint. All service processes share one folder; if it "
            "is the right one, `musubi fsck` makes its tiles anew from the entries."
        ) from None
    if root != checkpoint.root:
        raise HistoryForked(
            "The tiles on disk are not those of the last published checkpoint; `musubi fsck` says which, and makes "
            "them anew from the entries."
        )

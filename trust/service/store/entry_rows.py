"""The ledger's entries as they lie in the database: one by its index, or many in their order."""

from collections.abc import AsyncIterator

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import entries as e
from ledger.errors import MusubiError, NotFound, Unavailable
from trust.service.database import tables as t

CHUNK = 2_000


async def read_size(connection: AsyncConnection) -> int:
    """Return how many entries are committed."""
    return int((await connection.execute(select(t.head.c.size))).scalar_one())


async def read_entry(connection: AsyncConnection, index: int) -> bytes | None:
    """Return the exact bytes of one entry, or None where there is none."""
    row = (await connection.execute(select(t.entries.c.data).where(t.entries.c.index == index))).first()
    return bytes(row.data) if row else None


async def entry_at(connection: AsyncConnection, index: int) -> e.AnyEntry:
    """Return one entry; raise NotFound where there is none, Unavailable where it is damaged."""
    data = await read_entry(connection, index)
    if data is None:
        raise NotFound("The ledger has no entry at that place.")
    return decode_stored(data)


async def granted_at(connection: AsyncConnection, index: int) -> e.Grant:
    """Return one consent's entry; raise NotFound where none stands there, Unavailable where it is damaged.

    The row in ``grants`` says the same of consent and policy; where that is damaged, the entry still holds.
    """
    entry = await entry_at(connection, index)
    if not isinstance(entry, e.Grant):
        raise NotFound("There is no consent at that place of the ledger.")
    return entry


def decode_stored(data: bytes) -> e.AnyEntry:
    """Read an entry of ours as it is stored; raise Unavailable where it is damaged: that is nobody's fault who asks."""
    try:
        return e.decode(data)
    except MusubiError:
        raise Unavailable(
            "A stored entry is damaged; whoever runs the service has to mend it with `musubi fsck`."
        ) from None


def readable(data: bytes) -> e.AnyEntry | None:
    """Read an entry of ours as it is stored, or None where it is damaged: for who goes on with the others."""
    try:
        return e.decode(data)
    except MusubiError:
        return None


async def read_entries(
    connection: AsyncConnection, first: int, last: int | None = None
) -> AsyncIterator[tuple[int, bytes]]:
    """Yield (index, bytes) of the committed entries from ``first`` to before ``last``, a bounded chunk at a time."""
    while last is None or first < last:
        end = first + CHUNK if last is None else min(first + CHUNK, last)
        wanted = t.entries.c.index.between(first, end - 1)
        query = select(t.entries.c.index, t.entries.c.data).where(wanted).order_by(t.entries.c.index)
        rows = (await connection.execute(query)).all()
        for row in rows:
            yield int(row[0]), bytes(row[1])
        if len(rows) < end - first:
            return
        first = end

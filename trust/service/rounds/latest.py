"""The latest questions and refusals, with their entries as they are published: for whoever shows them."""

from msgspec import Struct
from sqlalchemy import select

from ledger import entries as e
from ledger.errors import NotFound
from trust.service.database import tables as t
from trust.service.store.entry_rows import entry_at
from trust.service.store.store import Store


class LatestQuestion(Struct, frozen=True, kw_only=True):
    """A question that was let in, and the published entry that closed its round, if one did."""

    index: int
    admit: e.Admit
    closed_by: int | None
    closing: e.AnyEntry | None


class LatestRefusal(Struct, frozen=True, kw_only=True):
    """A question that was not let in."""

    index: int
    refuse: e.Refuse


async def latest_questions(store: Store, published: int, most: int) -> list[LatestQuestion]:
    """Return at most so many of the published questions, the newest first."""
    query = (
        select(t.rounds.c.admit, t.rounds.c.closed_by)
        .where(t.rounds.c.admit < published)
        .order_by(t.rounds.c.admit.desc())
        .limit(most)
    )
    found = []
    async with store.databases.reader.connect() as connection:
        for row in (await connection.execute(query)).all():
            closed_by = row.closed_by if row.closed_by is not None and row.closed_by < published else None
            try:
                admit = await entry_at(connection, row.admit)
                closing = await entry_at(connection, closed_by) if closed_by is not None else None
            except NotFound:  # the row is damaged: it is as good as lost
                continue
            if isinstance(admit, e.Admit):
                found.append(LatestQuestion(index=row.admit, admit=admit, closed_by=closed_by, closing=closing))
    return found


async def latest_refusals(store: Store, published: int, most: int) -> list[LatestRefusal]:
    """Return at most so many of the published refusals, the newest first."""
    query = (
        select(t.refusals.c.index.label("place"))
        .where(t.refusals.c.index < published)
        .order_by(t.refusals.c.index.desc())
        .limit(most)
    )
    found = []
    async with store.databases.reader.connect() as connection:
        for row in (await connection.execute(query)).all():
            try:
                refuse = await entry_at(connection, row.place)
            except NotFound:  # as above
                continue
            if isinstance(refuse, e.Refuse):
                found.append(LatestRefusal(index=row.place, refuse=refuse))
    return found

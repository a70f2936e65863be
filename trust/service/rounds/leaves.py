"""Each holder's own leaves of the consents that name it, opened from the sealed records."""

from sqlalchemy import select

from policies.consents.bundle import disclose
from queries.rounds.messages import HeldLeaf
from trust.service.database import tables as t
from trust.service.keys.records import open_records
from trust.service.store.store import Store

MAX_LEAVES = 2_048
"""Over how many places of the ledger leaves are given at once."""


async def leaves_of(store: Store, holder: str, first: int, last: int) -> list[HeldLeaf]:
    """Return a holder's own leaves, and no one else's, of the grants from ``first`` to ``last``; no erased ones."""
    positions = {
        bytes.fromhex(sha256): record.document.holders.index(holder) + 1
        for sha256, record in store.state.versions.items()
        if holder in record.document.holders
    }
    query = (
        select(t.grants.c.index.label("place"), t.grants.c.policy_sha256, t.records.c.sealed)
        .join(t.records, t.records.c.index == t.grants.c.index)
        .where(t.grants.c.index.between(first, last))
        .where(t.grants.c.policy_sha256.in_(list(positions)))
        .order_by(t.grants.c.index)
    )
    async with store.databases.reader.connect() as connection:
        rows = (await connection.execute(query)).all()
    opened = await open_records(store.keys, ((row.place, bytes(row.sealed)) for row in rows))
    return [
        HeldLeaf(index=row.place, leaf=disclose(opened[row.place], positions[bytes(row.policy_sha256)]))
        for row in rows
        if row.place in opened  # erased since the rows were read, or lost
    ]

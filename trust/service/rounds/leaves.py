"""Each holder's own leaves of the consents that name it, opened from the sealed records."""

from sqlalchemy import select

from ledger import entries as e
from policies.consents.bundle import disclose
from queries.rounds.messages import HeldLeaf
from trust.service.database import tables as t
from trust.service.keys.records import open_records
from trust.service.store.entry_rows import readable
from trust.service.store.store import Store

MAX_LEAVES = 2_048
"""Over how many places of the ledger leaves are given at once."""


async def leaves_of(store: Store, holder: str, first: int, last: int) -> list[HeldLeaf]:
    """Return a holder's own leaves, and no one else's, of the grants from ``first`` to ``last``; no erased ones."""
    positions = {
        sha256: record.document.holders.index(holder) + 1
        for sha256, record in store.state.versions.items()
        if holder in record.document.holders
    }
    query = (
        select(t.grants.c.index.label("place"), t.entries.c.data, t.records.c.sealed)
        .join(t.entries, t.entries.c.index == t.grants.c.index)
        .join(t.records, t.records.c.index == t.grants.c.index)
        .where(t.grants.c.index.between(first, last))
        .order_by(t.grants.c.index)
    )
    async with store.databases.reader.connect() as connection:
        rows = (await connection.execute(query)).all()
    found = {}
    for row in rows:
        entry = readable(bytes(row.data))  # which policy it is for, the entry says: its row may be damaged
        if isinstance(entry, e.Grant) and entry.policy_sha256 in positions:
            found[row.place] = (positions[entry.policy_sha256], bytes(row.sealed))
    opened = await open_records(store.keys, ((place, sealed) for place, (_, sealed) in found.items()))
    return [
        HeldLeaf(index=place, leaf=disclose(opened[place], position))
        for place, (position, _) in found.items()
        if place in opened and position < len(opened[place].leaves)  # erased since the rows were read, or lost
    ]

"""What a resident is shown of the stops that an identity provider signed for them: the record itself, to be checked."""

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import entries as e
from policies.ledger_state import State
from trust.client.wire import AttestedEnd
from trust.service.database import tables as t
from trust.service.keys.record_keys import RecordKeys
from trust.service.keys.records import open_records
from trust.service.store.entry_rows import readable


async def attested_ends(
    connection: AsyncConnection, keys: RecordKeys, state: State, ends: list[int]
) -> dict[int, AttestedEnd]:
    """Return, of the entries at ``ends``, those by which a provider ended a consent, each with the stop it signed.

    Where the record is lost, the entry still says which provider it was.
    """
    query = (
        select(t.entries.c.index.label("place"), t.entries.c.data, t.records.c.sealed)
        .outerjoin(t.records, t.records.c.index == t.entries.c.index)
        .where(t.entries.c.index.in_(ends))
    )
    rows = (await connection.execute(query)).all() if ends else []
    found = {
        row.place: entry
        for row in rows
        if isinstance(entry := readable(bytes(row.data)), e.Revoke) and entry.reason == "attested"
    }
    sealed = [(row.place, bytes(row.sealed)) for row in rows if row.place in found and row.sealed is not None]
    opened = await open_records(keys, sealed)
    return {
        index: AttestedEnd(
            by=str(entry.by), member=_member_before(state, str(entry.by), index), record=opened.get(index)
        )
        for index, entry in found.items()
    }


def _member_before(state: State, provider: str, index: int) -> int:
    """Return the ``member`` entry that brought the key with which the provider signed what stands at ``index``."""
    return max((each.index for each in state.member_keys[provider] if each.index < index), default=0)

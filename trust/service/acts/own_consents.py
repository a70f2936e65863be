"""A resident sees their own consents. Gather: who asks, and their records. Nothing is decided and nothing applied.

The request is signed with the key at the service. Anyone can make keys: one that is not enrolled gets an empty answer
before its nonce is noted, so that it pushes nobody else's out of memory.
"""

from sqlalchemy import select

from ledger import jws
from ledger.errors import SignatureInvalid
from policies.consents.consent import General
from queries.rounds.messages import Mine
from trust.client.wire import MyConsent
from trust.service.acts.enrol import refuse_lost
from trust.service.database import tables as t
from trust.service.keys.records import open_record
from trust.service.store.nonces import Nonces
from trust.service.store.store import Store

MOST = 1_000
"""How many consents one answer shows."""


async def own_consents(store: Store, nonces: Nonces, token: str) -> list[MyConsent]:
    """Return the consents given with the key that signed the request, without those whose record is erased or lost.

    Raises Malformed, SignatureInvalid, ClockSkew, Replayed, or NotPermitted for a key that was on a lost device.
    """
    claimed = jws.read_unverified(token, Mine)
    mine = jws.verify(token, bytes.fromhex(claimed.key), Mine)
    if mine.log != store.state.log:
        raise SignatureInvalid("The request was signed for another town's ledger.")
    key = bytes.fromhex(mine.key)
    async with store.databases.reader.connect() as connection:
        if (await connection.execute(select(t.residents.c.id).where(t.residents.c.key == key))).first() is None:
            await refuse_lost(connection, [key])
            return []
    await nonces.check(mine.nonce, mine.at)
    query = (
        select(t.grants.c.index.label("place"), t.grants.c.ended_by, t.records.c.sealed)
        .join(t.residents, t.residents.c.id == t.grants.c.resident)
        .join(t.records, t.records.c.index == t.grants.c.index)
        .where(t.residents.c.key == key)
        .order_by(t.grants.c.index)
        .limit(MOST)
    )
    async with store.databases.reader.connect() as connection:
        rows = (await connection.execute(query)).all()
    keys = await store.keys.find(row.place for row in rows)
    # a record without a key was erased since the rows were read, or lost
    return [_shown(row.place, keys[row.place], bytes(row.sealed), row.ended_by) for row in rows if row.place in keys]


def _shown(index: int, key: bytes, sealed: bytes, ended_by: int | None) -> MyConsent:
    general = jws.read_unverified(open_record(key, sealed).leaves[0].body, General)
    return MyConsent(
        index=index,
        consent=general.consent,
        policy=general.policy,
        version=general.version,
        policy_sha256=general.policy_sha256,
        until=general.until,
        yearly_cap=general.yearly_cap,
        holders=general.holders,
        ended_by=ended_by,
    )

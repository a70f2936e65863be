"""A resident sees their own consents. Gather: who asks, and their records. Nothing is decided and nothing applied.

The request is signed with the key at the service. Anyone can make keys: one that is not enrolled is told so before its
nonce is noted, so that it pushes nobody else's out of memory. Only who has the key itself can ask that.
"""

from sqlalchemy import select

from ledger import entries as e
from ledger import jws
from ledger.errors import NotEnrolled, SignatureInvalid, Unavailable
from policies.consents.bundle import Bundle
from policies.consents.consent import General
from policies.ledger_state import State
from queries.rounds.messages import Mine
from trust.client.wire import AttestedEnd, MyConsent
from trust.runtime.callers.per_minute import PerMinute
from trust.service.acts.enrol import NOT_ENROLLED, refuse_lost
from trust.service.acts.stops.shown_stops import attested_ends
from trust.service.database import tables as t
from trust.service.keys.records import open_records
from trust.service.store.entry_rows import decode_stored
from trust.service.store.nonces import Nonces
from trust.service.store.store import Store

MOST = 1_000
"""How many consents one answer shows: the newest."""


async def own_consents(store: Store, nonces: Nonces, token: str, accounts: PerMinute | None = None) -> list[MyConsent]:
    """Return the consents given with the key that signed the request, without those whose record is erased.

    Raises Malformed, SignatureInvalid, ClockSkew, Replayed, NotEnrolled, or NotPermitted for a key that was on a lost
    device, or RateLimited: ``accounts`` limits what one resident asks in a minute.
    """
    claimed = jws.read_unverified(token, Mine)
    mine = jws.verify(token, bytes.fromhex(claimed.key), Mine)
    if mine.log != store.state.log:
        raise SignatureInvalid("The request was signed for another town's ledger.")
    key = bytes.fromhex(mine.key)
    async with store.databases.reader.connect() as connection:
        if (await connection.execute(select(t.residents.c.id).where(t.residents.c.key == key))).first() is None:
            await refuse_lost(connection, [key])
            raise NotEnrolled(NOT_ENROLLED)
    if accounts is not None:
        accounts.count(mine.key)
    await nonces.check(mine.nonce, mine.at)
    query = (
        select(t.grants.c.index.label("place"), t.grants.c.ended_by, t.records.c.sealed, t.entries.c.data)
        .join(t.residents, t.residents.c.id == t.grants.c.resident)
        .join(t.entries, t.entries.c.index == t.grants.c.index)
        .outerjoin(t.records, t.records.c.index == t.grants.c.index)
        .where(t.residents.c.key == key)
        .order_by(t.grants.c.index.desc())
        .limit(MOST)
    )
    async with store.databases.reader.connect() as connection:
        rows = (await connection.execute(query)).all()
        ends = [row.ended_by for row in rows if row.ended_by is not None]
        attested = await attested_ends(connection, store.keys, store.state, ends)
    opened = await open_records(store.keys, ((row.place, bytes(row.sealed)) for row in rows if row.sealed is not None))
    erased = store.state.erased  # since the rows were read
    return [
        _shown(store.state, row.place, bytes(row.data), opened.get(row.place), row.ended_by, attested.get(row.ended_by))
        for row in reversed(rows)
        if row.place not in erased
    ]


def _shown(
    state: State, index: int, data: bytes, record: Bundle | None, ended_by: int | None, attested: AttestedEnd | None
) -> MyConsent:
    """Return what the ledger says of a consent, and of its record the holders; where it is lost, the policy's."""
    granted = decode_stored(data)
    if not isinstance(granted, e.Grant):
        raise Unavailable("The service's database does not fit its ledger; whoever runs it has to look at it.")
    holders = state.versions[granted.policy_sha256].document.holders
    if record is not None:
        holders = jws.read_unverified(record.leaves[0].body, General).holders
    return MyConsent(
        index=index,
        consent=granted.consent,
        policy=granted.policy,
        version=granted.version,
        policy_sha256=granted.policy_sha256,
        until=granted.until,
        yearly_cap=granted.yearly_cap,
        holders=holders,
        ended_by=ended_by,
        attested=attested,
        record="lost" if record is None else "kept",
    )

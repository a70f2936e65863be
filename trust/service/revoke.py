"""Ending a consent. Gather: the grant and its record. Decide: same resident, not ended yet. Apply: the entry.

It acts from its own transaction on. The answer carries the service's signed promise to have it in the ledger within a
minute, which convicts the service if it is not.
"""

from msgspec import Struct
from nacl.signing import SigningKey
from sqlalchemy import insert, select, update

from ledger import canonical, jws
from ledger import entries as e
from ledger.entries import Index
from ledger.errors import AlreadyEnded, NotFound
from policies.bundle import Bundle, commitment
from policies.consent import PROMISE_SECONDS, Promise, read_consent, read_revocation
from trust.service import metrics
from trust.service.database import tables as t
from trust.service.records import open_record, seal_record
from trust.service.store import Store, Transaction


class RevokeRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The grant to end, and the signed revocation."""

    grant: Index
    bundle: Bundle


class Revoked(Struct, frozen=True, kw_only=True):
    """Where the revocation stands in the ledger, and the signed promise."""

    index: int
    promise: str


async def revoke(store: Store, request: RevokeRequest, operator_key: SigningKey) -> Revoked:
    """End one grant; return its index and the promise once it is durable.

    Raises NotFound, AlreadyEnded, ConsentMismatch or SignatureInvalid.
    """
    key, sealed = seal_record(canonical.encode(request.bundle))
    committed = commitment(request.bundle)

    async def act(transaction: Transaction) -> Revoked:
        connection, state = transaction.connection, transaction.state
        query = (
            select(t.grants.c.policy_sha256, t.grants.c.ended_by, t.records.c.sealed, t.record_keys.c.key)
            .join(t.records, t.records.c.index == t.grants.c.index)
            .join(t.record_keys, t.record_keys.c.index == t.grants.c.index)
            .where(t.grants.c.index == request.grant)
        )
        row = (await connection.execute(query)).first()
        if row is None:
            raise NotFound("There is no consent at that place of the ledger.")
        record = state.versions[bytes(row.policy_sha256).hex()]
        bundle = open_record(bytes(row.key), bytes(row.sealed))
        granted = read_consent(bundle, lambda _: (record.document, record.sha256), state.log)
        read_revocation(request.bundle, granted, request.grant, record.document)
        if row.ended_by is not None:
            raise AlreadyEnded("This consent was ended before; nothing more needs to be done.", index=row.ended_by)
        index = transaction.append(e.Revoke(at=0, grant=request.grant, reason="withdrawn", commitment=committed))
        await connection.execute(update(t.grants).where(t.grants.c.index == request.grant).values(ended_by=index))
        await connection.execute(insert(t.records), {"index": index, "sealed": sealed})
        await connection.execute(insert(t.record_keys), {"index": index, "key": key})
        promise = Promise(
            log=state.log,
            grant=request.grant,
            commitment=committed,
            index=index,
            promised_at=transaction.at,
            by=transaction.at + PROMISE_SECONDS,
        )
        return Revoked(index=index, promise=jws.sign(promise, operator_key))

    revoked = await store.submit(act)
    metrics.revocations.inc()
    return revoked

"""Destroying records.

Gather: the grant, and the record of its end. Decide: who may ask. Apply: entries, then the bytes.

One act erases the record behind a grant and, where a revocation ended it, the revocation's record too; each gets an
``erase`` entry of its own. In the entry's own transaction go: both sealed records, the tie between grant and resident,
and the kept answer that says which consents were given together. A grant that was in force ends with it.

Only then the records' keys are destroyed (``trust.service.keys.record_keys``), because the transaction could still
fail. A crash before that leaves keys whose records are gone; the next start destroys them. Nobody is told "erased"
before.

The resident's signed wish is not kept: it would tie the consent to its key again.
"""

from collections.abc import Callable
from typing import Any

import msgspec
from sqlalchemy import ColumnElement, Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import canonical, jws
from ledger import entries as e
from ledger.errors import AlreadyEnded, ConsentMismatch, NotEnrolled, NotFound, NotPermitted, SignatureInvalid
from policies.consents.erasure import Farewell, read_erasure
from policies.governance import check_quorum
from policies.rules import LIES_SEEN
from trust.client.wire import Erased, OrderRequest
from trust.service import metrics
from trust.service.acts.enrol import NOT_ENROLLED
from trust.service.acts.revoke import end_grant
from trust.service.database import tables as t
from trust.service.store.idempotency import forget_naming
from trust.service.store.nonces import Nonces
from trust.service.store.store import Store, Transaction


async def erase_own(store: Store, token: str) -> list[Erased]:
    """Erase the record of one grant, as its resident has signed; return once the bytes are gone.

    Raises SignatureInvalid, ConsentMismatch (another resident's consent), NotFound, or AlreadyEnded where it was erased
    before.
    """
    said = read_erasure(token, store.state.log)

    def decide(granted: e.Grant, row: Row[*tuple[Any, ...]]) -> None:
        if granted.consent != said.consent:
            raise ConsentMismatch("The erasure names another consent than the one at that place of the ledger.")
        if row.key is None or bytes(row.key).hex() != said.key:
            raise ConsentMismatch("The erasure is not signed with the key of the consent that it names.")

    return await _erase(store, said.grant, "requested", decide, None)


async def erase_ordered(store: Store, request: OrderRequest) -> list[Erased]:
    """Erase the record of one grant, as the stewards' quorum has signed; return once the bytes are gone.

    Raises SignatureInvalid, NotPermitted below the quorum, ConsentMismatch, NotFound or AlreadyEnded.
    """
    if request.order.log != store.state.log:
        raise ConsentMismatch("The order was signed for another ledger.")
    check_quorum("erasure", canonical.encode(request.order), request.signatures, store.state.trust_root)
    return await _erase(store, request.order.index, "authority", lambda *_: None, request.signatures)


async def _erase(
    store: Store,
    index: int,
    reason: e.EraseReason,
    decide: Callable[[e.Grant, Row[*tuple[Any, ...]]], None],
    approvals: list[e.Token] | None,
) -> list[Erased]:
    async def act(transaction: Transaction) -> list[Erased]:
        if index in transaction.state.erased:
            raise AlreadyEnded("This consent's record was erased before; nothing more needs to be done.", grant=index)
        query = (
            select(t.grants.c.index, t.residents.c.key)
            .outerjoin(t.residents, t.residents.c.id == t.grants.c.resident)
            .where(t.grants.c.index == index)
        )
        row = (await transaction.connection.execute(query)).first()
        if row is None:
            raise NotFound("There is no consent at that place of the ledger.")
        decide(await transaction.granted(index), row)
        return await erase_records(transaction, [index], reason, approvals)

    try:
        erased = await store.submit(act)
    except AlreadyEnded:  # whatever befell us then: said twice, it is done at least once
        ends = select(t.grants.c.ended_by).where(t.grants.c.index == index)
        async with store.databases.reader.connect() as connection:
            end = (await connection.execute(ends)).scalar()
        await store.keys.destroy([index, end] if end in store.state.erased else [index])
        raise
    await finish_erasure(store, erased)
    return erased


async def erase_records(
    transaction: Transaction, grants: list[int], reason: e.EraseReason, approvals: list[e.Token] | None = None
) -> list[Erased]:
    """Append the ``erase`` entries of these grants and of what ended them, and delete their rows.

    ``finish_erasure`` follows.
    """
    connection = transaction.connection
    ends = (
        select(t.grants.c.ended_by)
        .join(t.records, t.records.c.index == t.grants.c.ended_by)
        .where(t.grants.c.index.in_(grants))
    )
    revocations = [int(row.ended_by) for row in await connection.execute(ends)]
    entries = [e.Erase(at=0, index=index, reason=reason) for index in [*grants, *revocations]]
    if approvals is not None and transaction.state.rules >= LIES_SEEN:  # one order is for one grant, the first
        entries[0] = msgspec.structs.replace(entries[0], approvals=approvals)
    erased = [Erased(index=entry.index, entry=transaction.append(entry)) for entry in entries]
    await clear_rows(connection, erased, approvals)
    return erased


async def clear_rows(connection: AsyncConnection, erased: list[Erased], approvals: list[e.Token] | None = None) -> None:
    """Delete everything that the tables hold of these records, and note which entry erased them."""
    indices = [each.index for each in erased]
    await connection.execute(delete(t.records).where(t.records.c.index.in_(indices)))
    await forget_naming(connection, indices)
    await connection.execute(update(t.grants).where(t.grants.c.index.in_(indices)).values(resident=None))
    for each in erased:
        await end_grant(connection, each.index, each.entry)
    kept = None if approvals is None else msgspec.json.encode(approvals).decode()
    rows = [{"index": each.index, "entry": each.entry, "approvals": kept} for each in erased]
    await connection.execute(insert(t.erasures), rows)


async def finish_erasure(store: Store, erased: list[Erased]) -> None:
    """Destroy the keys, now that the entries are durable; cut what the database's own log still holds."""
    await store.keys.destroy(each.index for each in erased)
    await store.databases.cut_log()
    metrics.erasures.inc(len(erased))


async def farewell(store: Store, nonces: Nonces, token: str) -> None:
    """Forget an enrolment, as its resident has signed with the key at the service.

    Raises Malformed, SignatureInvalid, ClockSkew, Replayed, NotEnrolled, and NotPermitted
    while consents of it are left.
    """
    claimed = jws.read_unverified(token, Farewell, "farewell")
    said = jws.verify(token, bytes.fromhex(claimed.key), Farewell, "farewell")
    if said.log != store.state.log:
        raise SignatureInvalid("The request was signed for another town's ledger.")
    mine = t.residents.c.key == bytes.fromhex(said.key)
    async with store.databases.reader.connect() as connection:
        await _enrolled(connection, mine)  # anyone can make keys: theirs must not push others' nonces out of memory
    await nonces.check(said.nonce, said.at)

    async def act(transaction: Transaction) -> None:
        resident = await _enrolled(transaction.connection, mine)
        left = select(t.grants.c.index).where(t.grants.c.resident == resident).limit(1)
        if (await transaction.connection.execute(left)).first():
            raise NotPermitted("Consents of this resident are left; erase them first.")
        person = select(t.residents.c.subject_sha256).where(mine).scalar_subquery()
        await transaction.connection.execute(delete(t.stop_attempts).where(t.stop_attempts.c.subject_sha256 == person))
        await transaction.connection.execute(delete(t.residents).where(mine))

    await store.submit(act)
    await store.databases.cut_log()


async def _enrolled(connection: AsyncConnection, mine: ColumnElement[bool]) -> int:
    """Return the resident of that key; raise NotEnrolled where there is none."""
    row = (await connection.execute(select(t.residents.c.id).where(mine))).first()
    if row is None:
        raise NotEnrolled(NOT_ENROLLED)
    return int(row.id)

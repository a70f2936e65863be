"""Destroying records. Gather: the grant, and the record of its end. Decide: who may ask. Apply: entries, then the bytes.

One act erases the record behind a grant and, where a revocation ended it, the revocation's record too; each gets an
``erase`` entry of its own. In the entry's own transaction go: both sealed records, the tie between grant and resident,
and the kept answer that says which consents were given together. A grant that was in force ends with it.

Only then the records' keys are destroyed (``trust.service.keys.record_keys``), because the transaction could still fail. A
crash before that leaves keys whose records are gone; the next start destroys them. Nobody is told "erased" before.

The resident's signed wish is not kept: it would tie the consent to its key again.
"""

import hashlib
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct
from sqlalchemy import Row, delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import canonical, jws
from ledger import entries as e
from ledger.entries import Token
from ledger.errors import AlreadyEnded, ConsentMismatch, NotFound, NotPermitted, ProofInvalid, SignatureInvalid
from policies.consents.erasure import ErasedWord, ErasureOrder, Farewell, check_erased_word, read_erasure
from policies.governance import check_quorum
from trust.service import metrics
from trust.service.acts.govern import Tokens
from trust.service.database import tables as t
from trust.service.store.idempotency import forget_naming
from trust.service.store.store import Store, Transaction


class OrderRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An authority's order with the stewards' approvals."""

    order: ErasureOrder
    signatures: Tokens


class Erased(Struct, frozen=True, kw_only=True):
    """One record that is gone, and the ``erase`` entry that says so."""

    index: int
    entry: int


async def erase_own(store: Store, token: str) -> list[Erased]:
    """Erase the record of one grant, as its resident has signed; return once the bytes are gone.

    Raises SignatureInvalid, ConsentMismatch (another resident's consent), NotFound, or AlreadyEnded where it was erased
    before.
    """
    said = read_erasure(token, store.state.log)

    def decide(row: Row[*tuple[Any, ...]]) -> None:
        if bytes(row.consent).hex() != said.consent:
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
    approvals = msgspec.json.encode(request.signatures).decode()
    return await _erase(store, request.order.index, "authority", lambda _: None, approvals)


async def _erase(
    store: Store,
    index: int,
    reason: e.EraseReason,
    decide: Callable[[Row[*tuple[Any, ...]]], None],
    approvals: str | None,
) -> list[Erased]:
    async def act(transaction: Transaction) -> list[Erased]:
        if index in transaction.state.erased:
            raise AlreadyEnded("This consent's record was erased before; nothing more needs to be done.", grant=index)
        query = (
            select(t.grants.c.consent, t.residents.c.key)
            .outerjoin(t.residents, t.residents.c.id == t.grants.c.resident)
            .where(t.grants.c.index == index)
        )
        row = (await transaction.connection.execute(query)).first()
        if row is None:
            raise NotFound("There is no consent at that place of the ledger.")
        decide(row)
        return await erase_records(transaction, [index], reason, approvals)

    try:
        erased = await store.submit(act)
    except AlreadyEnded:  # whatever befell us then: said twice, it is done at least once
        ends = select(t.grants.c.ended_by).where(t.grants.c.index == index)
        async with store.databases.reader.connect() as connection:
            end = (await connection.execute(ends)).scalar()
        await store.keys.destroy([index, end] if end in store.state.erased else [index])
        raise
    await finish(store, erased)
    return erased


async def erase_records(
    transaction: Transaction, grants: list[int], reason: e.EraseReason, approvals: str | None = None
) -> list[Erased]:
    """Append the ``erase`` entries of these grants and of what ended them, and delete their rows. ``finish`` follows."""
    connection = transaction.connection
    ends = (
        select(t.grants.c.ended_by)
        .join(t.records, t.records.c.index == t.grants.c.ended_by)
        .where(t.grants.c.index.in_(grants))
    )
    revocations = [int(row.ended_by) for row in await connection.execute(ends)]
    erased = [
        Erased(index=index, entry=transaction.append(e.Erase(at=0, index=index, reason=reason)))
        for index in [*grants, *revocations]
    ]
    await clear_rows(connection, erased, approvals)
    return erased


async def clear_rows(connection: AsyncConnection, erased: list[Erased], approvals: str | None = None) -> None:
    """Delete everything that the tables hold of these records, and note which entry erased them."""
    indices = [each.index for each in erased]
    await connection.execute(delete(t.records).where(t.records.c.index.in_(indices)))
    await forget_naming(connection, indices)
    await connection.execute(update(t.grants).where(t.grants.c.index.in_(indices)).values(resident=None))
    for each in erased:
        still = (t.grants.c.index == each.index) & t.grants.c.ended_by.is_(None)
        await connection.execute(update(t.grants).where(still).values(ended_by=each.entry))
    rows = [{"index": each.index, "entry": each.entry, "approvals": approvals} for each in erased]
    await connection.execute(insert(t.erasures), rows)


async def finish(store: Store, erased: list[Erased]) -> None:
    """Destroy the keys, now that the entries are durable; cut what the database's own log still holds."""
    await store.keys.destroy(each.index for each in erased)
    await store.databases.cut_log()
    metrics.erasures.inc(len(erased))


async def farewell(store: Store, said: Farewell) -> None:
    """Forget an enrolment whose signature and freshness the caller has checked.

    Raises NotFound where the key is not enrolled, NotPermitted while consents of it are left.
    """

    async def act(transaction: Transaction) -> None:
        mine = t.residents.c.key == bytes.fromhex(said.key)
        row = (await transaction.connection.execute(select(t.residents.c.id).where(mine))).first()
        if row is None:
            raise NotFound("No resident is enrolled with this key.")
        left = select(t.grants.c.index).where(t.grants.c.resident == row.id).limit(1)
        if (await transaction.connection.execute(left)).first():
            raise NotPermitted("Consents of this resident are left; erase them first.")
        await transaction.connection.execute(delete(t.residents).where(mine))

    await store.submit(act)
    await store.databases.cut_log()


async def take_erased_words(store: Store, tokens: list[Token]) -> int:
    """Keep holders' words that an erased consent is gone from their nodes; return how many were new.

    Raises SignatureInvalid, NotFound or ProofInvalid, and then keeps none.
    """

    async def act(transaction: Transaction) -> int:
        rows = [await _check_word(transaction, token) for token in tokens]
        new = 0
        for row in rows:
            same = (t.erased_words.c.index == row["index"]) & (t.erased_words.c.holder == row["holder"])
            if (await transaction.connection.execute(select(t.erased_words.c.index).where(same))).first() is None:
                await transaction.connection.execute(insert(t.erased_words), row)
                new += 1
        return new

    return await store.submit(act)


async def _check_word(transaction: Transaction, token: str) -> dict[str, str | int]:
    claimed = jws.read_unverified(token, ErasedWord, "erased word")
    member = transaction.state.participant(claimed.from_)
    if member is None:
        raise SignatureInvalid("The word is not by a holder of this town.")
    query = (
        select(t.erasures.c.entry, t.entries.c.data, t.grants.c.policy_sha256)
        .join(t.entries, t.entries.c.index == t.erasures.c.entry)
        .join(t.grants, t.grants.c.index == t.erasures.c.index)
        .where(t.erasures.c.index == claimed.index)
    )
    row = (await transaction.connection.execute(query)).first()
    if row is None:
        raise NotFound("No consent at that place of the ledger was erased.")
    sha256 = hashlib.sha256(bytes(row.data)).hexdigest()
    check_erased_word(
        token,
        # Said anew with the key of today: an older one may be in a thief's hands, and this has no end as a round has.
        transaction.state.keys_since(claimed.from_, row.entry)[:1],
        log=transaction.state.log,
        holder=claimed.from_,
        index=claimed.index,
        entry=row.entry,
        entry_sha256=sha256,
    )
    if claimed.from_ not in transaction.state.versions[bytes(row.policy_sha256).hex()].document.holders:
        raise ProofInvalid("The word is by a holder that never had a part in that consent.")
    return {"index": claimed.index, "holder": claimed.from_, "token": token}

"""Ending a consent. Gather: the grant and its record. Decide: same resident, not ended yet. Apply: the entry.

It acts from its own transaction on. The answer carries the service's signed promise to have it in the ledger within a
minute, which convicts the service if it is not. The very same revocation sent again (its answer was lost) gets the same
answer: everything that the promise says stands in the entry.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct, UnsetType, structs
from sqlalchemy import Row, Select, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import canonical, jws
from ledger import entries as e
from ledger.errors import AlreadyEnded, ConsentMismatch, NotFound
from policies.consents.bundle import Bundle, commitment
from policies.consents.consent import read_consent
from policies.consents.promises import PROMISE_SECONDS, Promise
from policies.consents.revocation import Revocation, read_lone_revocation, read_revocation
from policies.ledger_state import State
from trust.client.wire import Revoked, RevokeRequest
from trust.service import metrics
from trust.service.acts.enrol import refuse_lost
from trust.service.database import tables as t
from trust.service.keys.own_keys import OperatorSigner
from trust.service.keys.records import open_records, seal_record
from trust.service.store.entry_rows import entry_at, granted_at
from trust.service.store.store import Store, Transaction


async def revoke(store: Store, request: RevokeRequest, operator: str, signer: OperatorSigner) -> Revoked:
    """End one grant; return its index and the promise, signed as the member ``operator``, once it is durable.

    Everything is looked at before the act takes its turn to write. In its transaction it looks at the row again, and at
    signatures only where what they are held against has changed meanwhile. Raises NotFound, AlreadyEnded,
    ConsentMismatch, SignatureInvalid, or NotPermitted for a key that was on a lost device.
    """
    key, sealed = seal_record(canonical.encode(request.bundle))
    committed = commitment(request.bundle)
    async with store.databases.reader.connect() as connection:
        granted = await granted_at(connection, request.grant)
        if granted.policy_sha256 not in store.state.versions:
            await store.follow()  # another process published that policy a moment ago

        async def read(index: int) -> e.AnyEntry:
            return await entry_at(connection, index)

        looked = await _look(store, connection, store.state, read, request, committed, None)
    if isinstance(looked, _Same):
        return promised(store.state, looked.entry, looked.index, operator, signer)

    async def act(transaction: Transaction) -> tuple[Revoked, bool]:
        connection, state = transaction.connection, transaction.state
        found = await _look(store, connection, state, transaction.entry, request, committed, looked)
        if isinstance(found, _Same):
            return promised(state, found.entry, found.index, operator, signer), False
        entry = e.Revoke(at=transaction.at, grant=request.grant, reason="withdrawn", commitment=committed)
        index = await append_revocation(transaction, entry, key, sealed)
        if found.by_own_copy and found.resident is None:
            await _tie_again(connection, request)
        return promised(state, entry, index, operator, signer), True

    revoked, is_new = await store.submit(act)
    metrics.revocations.inc(int(is_new))
    return revoked


class _Same(Struct, frozen=True, kw_only=True):
    """The very revocation was taken before: its answer was lost."""

    entry: e.Revoke
    index: int


class _Looked(Struct, frozen=True, kw_only=True):
    """A good revocation of a grant that stands, with what it was held against."""

    key: bytes | None
    sealed: bytes | None
    resident: int | None
    by_own_copy: bool


async def _look(
    store: Store,
    connection: AsyncConnection,
    state: State,
    read: Callable[[int], Awaitable[e.AnyEntry]],
    request: RevokeRequest,
    committed: str,
    before: "_Looked | None",
) -> _Same | _Looked:
    """Look at a revocation, on ``connection`` and by ``state``; ``before`` is what a first look has found."""
    row = (await connection.execute(_query(request.grant))).first()
    if row is None:
        raise _unknown()
    await refuse_lost(connection, [_said_by(request)])
    if row.ended_by is not None:
        ended = await read(row.ended_by)
        if isinstance(ended, e.Revoke) and (ended.grant, ended.commitment) == (request.grant, committed):
            return _Same(entry=ended, index=row.ended_by)
    if request.grant in state.erased:
        raise AlreadyEnded("This consent was erased; nothing more needs to be done.", index=row.ended_by)
    found = _Looked(
        key=None if row.key is None else bytes(row.key),
        sealed=None if row.sealed is None else bytes(row.sealed),
        resident=row.resident,
        by_own_copy=before is not None and before.by_own_copy,
    )
    if before is None or (found.key, found.sealed) != (before.key, before.sealed):
        granted = await read(request.grant)
        if not isinstance(granted, e.Grant):
            raise _unknown()
        bundle = await _opened(store, request.grant, found.sealed)
        by_own_copy = _check(state, granted, request, row, bundle)
        found = structs.replace(found, by_own_copy=by_own_copy)
    if row.ended_by is not None:
        raise AlreadyEnded("This consent was ended before; nothing more needs to be done.", index=row.ended_by)
    return found


def _query(grant: int) -> Select[tuple[Any, ...]]:
    return (
        select(t.grants, t.residents.c.key, t.records.c.sealed)
        .outerjoin(t.residents, t.residents.c.id == t.grants.c.resident)
        .outerjoin(t.records, t.records.c.index == t.grants.c.index)
        .where(t.grants.c.index == grant)
    )


def _unknown() -> NotFound:
    return NotFound("There is no consent at that place of the ledger.")


def _said_by(request: RevokeRequest) -> bytes:
    """Return the key at the service that a revocation names; whether it signed is looked at later."""
    general = jws.read_unverified(request.bundle.leaves[0].body, Revocation, "revocation")
    return bytes.fromhex(general.key)


async def append_revocation(transaction: Transaction, entry: e.Revoke, key: bytes, sealed: bytes) -> int:
    """Append a ``revoke`` entry, end its grant and keep the sealed record behind it; return the entry's index."""
    index = transaction.append(entry)
    await end_grant(transaction.connection, entry.grant, index)
    await transaction.connection.execute(insert(t.records), {"index": index, "sealed": sealed})
    transaction.record_keys.append((index, key))
    return index


async def end_grant(connection: AsyncConnection, grant: int, ended_by: int) -> None:
    """Note which entry ended a grant.

    One that has ended keeps its end: an erasure comes after it, and changes nothing.
    """
    stands = (t.grants.c.index == grant) & t.grants.c.ended_by.is_(None)
    await connection.execute(update(t.grants).where(stands).values(ended_by=ended_by))


def promised(state: State, entry: e.Revoke, index: int, operator: str, signer: OperatorSigner) -> Revoked:
    """Return the answer to a revocation at ``index``: the signed promise that its entry will be in the ledger."""
    promise = Promise(
        log=state.log,
        grant=entry.grant,
        commitment=entry.commitment,
        index=index,
        promised_at=entry.at,
        by=entry.at + PROMISE_SECONDS,
    )
    return Revoked(
        index=index, operator=state.member_entries.get(operator), promise=jws.sign(promise, signer.key(state))
    )


async def _opened(store: Store, grant: int, sealed: bytes | None) -> Bundle | None:
    """Return the bundle behind a grant, or None where its record is lost or damaged."""
    return None if sealed is None else (await open_records(store.keys, [(grant, bytes(sealed))])).get(grant)


def _check(
    state: State, entry: e.Grant, request: RevokeRequest, row: Row[*tuple[Any, ...]], bundle: Bundle | None
) -> bool:
    """Check a revocation against the consent that it ends; return whether that was the copy that the resident brought.

    Where our record is lost, it is held against that copy, if the ledger's entry commits to it; else against the key
    that the resident is enrolled with. What was given can be taken back, whatever befell our disks.
    """
    record = state.versions[entry.policy_sha256]
    by_own_copy = bundle is None and not isinstance(request.granted, UnsetType)
    if bundle is None and not isinstance(request.granted, UnsetType):
        if commitment(request.granted) != entry.commitment:
            raise ConsentMismatch("The consent that was brought is not the one that the ledger's entry commits to.")
        bundle = request.granted
    if bundle is not None:
        granted = read_consent(bundle, lambda _: (record.document, record.sha256), state.log)
        read_revocation(request.bundle, granted, request.grant, record.document)
    elif row.key is not None:
        general = (state.log, entry.consent, request.grant)
        read_lone_revocation(request.bundle, general, bytes(row.key), record.document)
    else:
        raise NotFound(
            "The service has lost this consent's record, and whose it is. The device that gave it has a copy: take it back "
            "from there; or ask the stewards to have it erased."
        )
    return by_own_copy


async def check_replaced(store: Store, transaction: Transaction, request: RevokeRequest) -> None:
    """Check the revocation of a grant that another is to replace; the caller knows whose it is, and that it stands.

    Raises ConsentMismatch, Malformed, SignatureInvalid or NotFound.
    """
    row = (await transaction.connection.execute(_query(request.grant))).one()
    bundle = await _opened(store, request.grant, row.sealed)
    _check(transaction.state, await transaction.granted(request.grant), request, row, bundle)


async def _tie_again(connection: AsyncConnection, request: RevokeRequest) -> None:
    """Note whose consent this was, now that it is shown: so that they see it, and can have it erased."""
    resident = select(t.residents.c.id).where(t.residents.c.key == _said_by(request)).scalar_subquery()
    await connection.execute(update(t.grants).where(t.grants.c.index == request.grant).values(resident=resident))

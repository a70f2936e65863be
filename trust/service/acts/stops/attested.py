"""A stop without the resident's key: the identity provider that enrolled the person signs that a consent ends.

Gather: the person by the provider's own subject, the grant, what the provider has sent of late. Decide: the stop is of
now and new, the provider is within its limits, the grant is that person's and stands. Apply: an ordinary ``revoke``
with the reason ``attested`` and the provider's alias, which everybody can count; the stop itself is the sealed record
behind it, which the resident is shown.

**An attempt is noted whatever becomes of it**, for a day: so a nonce is good once, also over a restart, and a provider
cannot find out whose a consent is by trying one after the other. A stop that was done answers again as it did.
"""

import secrets
from typing import Any

from sqlalchemy import Row, delete, insert, select

from ledger import canonical
from ledger import entries as e
from ledger.errors import (
    AlreadyEnded,
    ClockSkew,
    ConsentMismatch,
    MusubiError,
    NotFound,
    NotPermitted,
    Replayed,
)
from policies.consents.attested_stop import Stop, check_stop, stop_record
from policies.consents.bundle import commitment
from policies.rules import STOPS
from trust.client.wire import Revoked
from trust.runtime.clock import MAX_SKEW_SECONDS
from trust.service import metrics
from trust.service.acts.enrol import providers_of, subject_hash
from trust.service.acts.revoke import append_revocation, promised
from trust.service.acts.stops.stop_limits import StopLimits, refuse_over
from trust.service.database import tables as t
from trust.service.keys.own_keys import OperatorSigner
from trust.service.keys.record_keys import RecordKeys
from trust.service.keys.records import open_records, seal_record
from trust.service.store.signed_first import look_first
from trust.service.store.store import Store, Transaction

KEPT_SECONDS = 86_400
"""How long an attempt is noted: as long as the longest limit looks back, and longer than a stop is of now."""


async def stop(store: Store, token: str, limits: StopLimits, operator: str, signer: OperatorSigner) -> Revoked:
    """End the grant that the stop names; return the entry's index and the promise, once it is durable.

    Raises Malformed, SignatureInvalid, ConsentMismatch (another ledger, another person's grant), NotPermitted (before
    the town's rules know of stops), ClockSkew, Replayed, RateLimited, NotFound or AlreadyEnded.
    """
    await look_first(store, lambda state: check_stop(token, providers_of(state), state.log))

    async def act(transaction: Transaction) -> tuple[Revoked | MusubiError, str | None]:
        state = transaction.state
        said = check_stop(token, providers_of(state), state.log)
        if state.rules < STOPS:
            raise NotPermitted(
                f"Stops without the resident's key need rules number {STOPS}; the town's stewards bring them with "
                "`musubi rules`."
            )
        person = subject_hash(said.from_, said.subject)
        row = await _gather(transaction, said.grant)
        before = await _same_before(transaction, store.keys, row, token)
        if before is not None:  # its answer was lost
            return promised(state, before, row.ended_by, operator, signer), None  # type: ignore[union-attr]
        await _note(transaction, said, person, limits)
        refusal = await _decide(row, said, person, transaction)
        if refusal is not None:
            return refusal, None
        holders = state.versions[(await transaction.granted(said.grant)).policy_sha256].document.holders
        record = stop_record(token, [secrets.token_bytes(32) for _ in range(len(holders) + 1)])
        entry = e.Revoke(
            at=transaction.at, grant=said.grant, reason="attested", commitment=commitment(record), by=said.from_
        )
        index = await append_revocation(transaction, entry, *seal_record(canonical.encode(record)))
        return promised(state, entry, index, operator, signer), said.from_

    answer, done_by = await store.submit(act)
    if isinstance(answer, MusubiError):
        raise answer
    if done_by is not None:
        metrics.revocations.inc()
        metrics.attested_stops.labels(provider=done_by).inc()
    return answer


async def _gather(transaction: Transaction, grant: int) -> Row[*tuple[Any, ...]] | None:
    """Return the grant with the person it belongs to, or None where there is none."""
    query = (
        select(t.grants, t.residents.c.provider, t.residents.c.subject_sha256)
        .outerjoin(t.residents, t.residents.c.id == t.grants.c.resident)
        .where(t.grants.c.index == grant)
    )
    return (await transaction.connection.execute(query)).first()


async def _same_before(
    transaction: Transaction, keys: RecordKeys, row: Row[*tuple[Any, ...]] | None, token: str
) -> e.Revoke | None:
    """Return the entry that ended the grant, if this very stop is what it stands for."""
    if row is None or row.ended_by is None:
        return None
    entry = await transaction.entry(row.ended_by)
    if not isinstance(entry, e.Revoke) or entry.reason != "attested":
        return None
    query = select(t.records.c.sealed).where(t.records.c.index == row.ended_by)
    kept = (await transaction.connection.execute(query)).first()
    if kept is None:
        return None
    record = (await open_records(keys, [(row.ended_by, bytes(kept.sealed))])).get(row.ended_by)
    return entry if record is not None and record.leaves[0].body == token else None


async def _note(transaction: Transaction, said: Stop, person: bytes, limits: StopLimits) -> None:
    """Note the attempt and forget old ones; raise ClockSkew, Replayed or RateLimited, which are noted by nobody."""
    connection, now = transaction.connection, transaction.at
    if abs(now - said.at) > MAX_SKEW_SECONDS:
        raise ClockSkew("The stop's time is more than a minute from the service's; check the clock.", now=now)
    seen = select(t.stop_attempts.c.nonce).where(t.stop_attempts.c.nonce == said.nonce)
    if (await connection.execute(seen)).first() is not None:
        raise Replayed("This stop was sent before; sign a new one.")
    await refuse_over(connection, limits, said.from_, person, now)
    await connection.execute(delete(t.stop_attempts).where(t.stop_attempts.c.at <= now - KEPT_SECONDS))
    row = {"nonce": said.nonce, "provider": said.from_, "subject_sha256": person, "at": now}
    await connection.execute(insert(t.stop_attempts), row)


async def _decide(
    row: Row[*tuple[Any, ...]] | None, said: Stop, person: bytes, transaction: Transaction
) -> MusubiError | None:
    """Return why the stop is not done, or None; it is returned, and not raised, so that the attempt stays noted."""
    if row is None or said.grant in transaction.state.erased:
        return _unknown()
    if row.provider is None:
        return NotFound(
            "The service no longer knows whose this consent is: it came back from a backup that was made before. The "
            "resident's own device can take it back, or the stewards have it erased."
        )
    theirs = row.provider == said.from_ and bytes(row.subject_sha256) == person
    if not theirs or (await transaction.granted(said.grant)).consent != said.consent:
        return ConsentMismatch(
            "The consent at that place of the ledger is not this person's, as far as this provider enrolled them."
        )
    if row.ended_by is not None:
        return AlreadyEnded("This consent was ended before; nothing more needs to be done.", index=row.ended_by)
    return None


def _unknown() -> NotFound:
    return NotFound("There is no consent at that place of the ledger, or its record was erased.")

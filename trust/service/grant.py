"""Taking consents in. Gather: policy, resident, consents used before. Decide. Apply: entries, grants, sealed records.

One request may carry many consents; they are taken all or none. Their entries are shuffled within the request, so that
the ledger does not show which consents of several policies came from one sitting.
"""

import asyncio
from secrets import SystemRandom
from typing import Annotated

import msgspec
from msgspec import Meta, Struct
from sqlalchemy import insert, select

from ledger import entries as e
from ledger import jws
from ledger.errors import ConsentMismatch, NotPermitted, PolicyNotCurrent, ProofInvalid, Replayed
from policies.bundle import Bundle, commitment
from policies.consent import Consent, General, read_consent
from policies.replay import PolicyRecord, State, current_policy
from trust.service import metrics
from trust.service.database import tables as t
from trust.service.idempotency import answered_before, remember
from trust.service.records import seal_record
from trust.service.signatures import check_signatures
from trust.service.store import Store, Transaction

MAX_BATCH = 512
_random = SystemRandom()


class GrantRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Consents to take in, each a whole bundle."""

    bundles: Annotated[list[Bundle], Meta(min_length=1, max_length=MAX_BATCH)]


class Prepared(Struct, frozen=True, kw_only=True):
    """A consent whose parts agree and whose signatures are good."""

    bundle: Bundle
    consent: Consent
    commitment: str
    record_key: bytes
    sealed: bytes


def _policy_of(state: State, general: General) -> PolicyRecord:
    try:
        return current_policy(state, general.policy, general.version, general.policy_sha256)
    except ProofInvalid:
        raise PolicyNotCurrent("The consent is for an unknown or old policy version; read the current one.") from None


def _prepare(state: State, bundle: Bundle) -> Prepared:
    general = jws.read_unverified(bundle.leaves[0].body, General, "consent")
    record = _policy_of(state, general)
    consent = read_consent(bundle, record.document, record.sha256, state.log)
    key, sealed = seal_record(bundle)
    return Prepared(bundle=bundle, consent=consent, commitment=commitment(bundle), record_key=key, sealed=sealed)


async def grant(store: Store, request: GrantRequest, body: bytes, key: str | None) -> list[int]:
    """Take consents in; return their ledger indices, in the request's order, once they are durable.

    Raises Malformed, SignatureInvalid, ConsentMismatch, PolicyNotCurrent, NotPermitted (no attested resident stands
    behind the key), or Replayed (a consent identifier used before).
    """
    state = store.state
    prepared = await asyncio.to_thread(lambda: [_prepare(state, bundle) for bundle in request.bundles])
    await check_signatures([signed for each in prepared for signed in each.consent.signatures])

    async def act(transaction: Transaction) -> list[int]:
        before = await answered_before(transaction, key, body)
        if before is not None:
            return msgspec.json.decode(before, type=list[int])
        residents = await _gather(transaction, prepared)
        _decide(transaction, prepared, residents)
        order = list(range(len(prepared)))
        _random.shuffle(order)
        indices = [0] * len(prepared)
        for place in order:
            indices[place] = transaction.append(_entry(prepared[place]))
        await _apply(transaction, prepared, residents, indices)
        await remember(transaction, key, body, msgspec.json.encode(indices).decode())
        return indices

    indices = await store.submit(act)
    metrics.grants.inc(len(indices))
    return indices


async def _gather(transaction: Transaction, prepared: list[Prepared]) -> dict[bytes, int]:
    """Return the residents behind the consents' keys; raise Replayed if a consent was used before."""
    consents = [bytes.fromhex(each.consent.general.consent) for each in prepared]
    used = select(t.grants.c.index).where(t.grants.c.consent.in_(consents)).limit(1)
    if len(set(consents)) != len(consents) or (await transaction.connection.execute(used)).first():
        raise Replayed("A consent with this identifier was used before; sign a new one with a fresh identifier.")
    keys = {bytes.fromhex(each.consent.general.key) for each in prepared}
    query = select(t.residents.c.id, t.residents.c.key).where(t.residents.c.key.in_(keys))
    return {bytes(row.key): row.id for row in await transaction.connection.execute(query)}


def _decide(transaction: Transaction, prepared: list[Prepared], residents: dict[bytes, int]) -> None:
    today = transaction.state.day(transaction.at)
    for each in prepared:
        general = each.consent.general
        _policy_of(transaction.state, general)  # it may have changed since the consent was read
        if bytes.fromhex(general.key) not in residents:
            raise NotPermitted("No identity provider has attested the resident behind this key; enrol first.")
        if general.until < today:
            raise PolicyNotCurrent("The consent's last day is past.")
        if general.shown_at > transaction.at + 60:
            raise ConsentMismatch("The consent says that its notice was shown in the future; check the device's clock.")


def _entry(each: Prepared) -> e.Grant:
    general = each.consent.general
    return e.Grant(
        at=0,
        consent=general.consent,
        policy=general.policy,
        version=general.version,
        policy_sha256=general.policy_sha256,
        until=general.until,
        cap=general.cap,
        commitment=each.commitment,
    )


async def _apply(
    transaction: Transaction, prepared: list[Prepared], residents: dict[bytes, int], indices: list[int]
) -> None:
    grants, records, keys = [], [], []
    for each, index in zip(prepared, indices, strict=True):
        general = each.consent.general
        grants.append(
            {
                "index": index,
                "consent": bytes.fromhex(general.consent),
                "policy_sha256": bytes.fromhex(general.policy_sha256),
                "resident": residents[bytes.fromhex(general.key)],
            }
        )
        records.append({"index": index, "sealed": each.sealed})
        keys.append({"index": index, "key": each.record_key})
    await transaction.connection.execute(insert(t.grants), grants)
    await transaction.connection.execute(insert(t.records), records)
    await transaction.connection.execute(insert(t.record_keys), keys)

"""Taking consents in. Gather: policy, resident, consents used before. Decide. Apply: entries, grants, sealed records.

One request may carry many consents; they are taken all or none. Their entries are shuffled within the request, so that
the ledger does not show which consents of several policies came from one sitting.
"""

import asyncio
from secrets import SystemRandom

import msgspec
from sqlalchemy import select

from ledger import entries as e
from ledger.errors import ConsentMismatch, NotPermitted, PolicyNotCurrent, ProofInvalid, Replayed
from policies.replay import current_policy
from trust.service import metrics
from trust.service.acts.enrol import refuse_lost
from trust.service.acts.intake import SMALL, CheckedConsent, CurrentPolicies, Workers, read_consents
from trust.service.database import tables as t
from trust.service.database.bulk import insert_many
from trust.service.store.idempotency import answered_before, read_answer, remember
from trust.service.store.store import Store, Transaction

_random = SystemRandom()


async def grant(store: Store, workers: Workers, body: bytes, key: str | None) -> list[int]:
    """Take consents in; return their ledger indices, in the request's order, once they are durable.

    Raises Malformed, SignatureInvalid, ConsentMismatch, PolicyNotCurrent, NotPermitted (no attested resident stands
    behind the key), or Replayed (a consent identifier used before).
    """
    state = store.state
    policies = CurrentPolicies(
        log=state.log, documents={record.sha256: record.document for record in state.policies.values()}
    )
    if body.count(b'{"leaves":') <= SMALL:
        checked = await asyncio.to_thread(read_consents, body, policies)
    else:
        checked = await workers.read(body, policies)

    async def act(transaction: Transaction) -> list[int]:
        before = await answered_before(transaction, "grant", key, body)
        if before is not None:
            return read_answer(before, list[int])
        residents = await _gather(transaction, checked)
        _decide(transaction, checked, residents)
        order = list(range(len(checked)))
        _random.shuffle(order)
        indices = [0] * len(checked)
        for place in order:
            indices[place] = transaction.append(_entry(checked[place]))
        await _apply(transaction, checked, residents, indices)
        await remember(transaction, "grant", key, body, msgspec.json.encode(indices).decode(), indices)
        return indices

    indices = await store.submit(act)
    metrics.grants.inc(len(indices))
    return indices


async def _gather(transaction: Transaction, checked: list[CheckedConsent]) -> dict[bytes, int]:
    """Return the residents behind the consents' keys; raise Replayed if a consent was used before."""
    consents = [bytes.fromhex(each.consent) for each in checked]
    used = select(t.grants.c.index).where(t.grants.c.consent.in_(consents)).limit(1)
    if len(set(consents)) != len(consents) or (await transaction.connection.execute(used)).first():
        raise Replayed("A consent with this identifier was used before; sign a new one with a fresh identifier.")
    keys = {each.key for each in checked}
    await refuse_lost(transaction.connection, list(keys))
    query = select(t.residents.c.id, t.residents.c.key).where(t.residents.c.key.in_(keys))
    return {bytes(row.key): row.id for row in await transaction.connection.execute(query)}


def _decide(transaction: Transaction, checked: list[CheckedConsent], residents: dict[bytes, int]) -> None:
    today = transaction.state.day(transaction.at)
    for each in checked:
        try:  # the policy may have changed since the consent was read
            current_policy(transaction.state, each.policy, each.version, each.policy_sha256)
        except ProofInvalid:
            raise PolicyNotCurrent("The policy has changed meanwhile; read the current version.") from None
        if each.key not in residents:
            raise NotPermitted("No identity provider has attested the resident behind this key; enrol first.")
        if each.until < today:
            raise PolicyNotCurrent("The consent's last day is past.")
        if each.shown_at > transaction.at + 60:
            raise ConsentMismatch("The consent says that its notice was shown in the future; check the device's clock.")


def _entry(each: CheckedConsent) -> e.Grant:
    return e.Grant(
        at=0,
        consent=each.consent,
        policy=each.policy,
        version=each.version,
        policy_sha256=each.policy_sha256,
        until=each.until,
        yearly_cap=each.yearly_cap,
        commitment=each.commitment,
    )


async def _apply(
    transaction: Transaction, checked: list[CheckedConsent], residents: dict[bytes, int], indices: list[int]
) -> None:
    places = list(zip(checked, indices, strict=True))
    hashes = {each.policy_sha256: bytes.fromhex(each.policy_sha256) for each in checked}
    grants = [
        (index, bytes.fromhex(each.consent), hashes[each.policy_sha256], residents[each.key]) for each, index in places
    ]
    await insert_many(transaction.connection, t.grants, ("index", "consent", "policy_sha256", "resident"), grants)
    records = [(index, each.sealed) for each, index in places]
    await insert_many(transaction.connection, t.records, ("index", "sealed"), records)
    transaction.record_keys += [(index, each.record_key) for each, index in places]

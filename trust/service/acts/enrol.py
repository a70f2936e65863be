"""Enrolment: an identity provider of the town says that a real, verified person stands behind a resident's key.

Gather: is the person or the key known? Decide: one enrolment per person per provider, one key per resident.
Apply: a row; enrolment leaves nothing in the ledger. A person whose device is lost is enrolled again by
``trust.service.acts.lost_device``; the lost key never is.
"""

import asyncio
import hashlib
from typing import Any

from sqlalchemy import insert, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.errors import NotPermitted, Replayed, SignatureInvalid
from policies.consents.attestation import AttestedFor, check_enrolment
from policies.ledger_state import State
from trust.client.wire import EnrolmentRequest
from trust.service.database import tables as t
from trust.service.store.store import Store, Transaction

NOT_ENROLLED = (
    "This key is not enrolled in this town, so nothing is kept under it. Is it the right seed? Whoever is new goes to an "
    "identity provider first; of whoever has left the town, nothing is kept."
)


async def enrol(store: Store, requests: list[EnrolmentRequest]) -> int:
    """Enrol residents, all or none; return how many. The same key for the same person again is the same enrolment.

    Raises SignatureInvalid, ConsentMismatch, or Replayed where the person or the key is enrolled otherwise.
    """
    state = store.state
    providers = providers_of(state)
    # A thousand of them take a fifth of a second, which nobody else is to wait for; one's own a thousand times is one.
    different = list(dict.fromkeys(requests))
    rows = await asyncio.to_thread(lambda: [attested_row(each, providers, state.log) for each in different])

    async def act(transaction: Transaction) -> int:
        if providers_of(transaction.state) != providers:
            raise SignatureInvalid("An identity provider has changed its key meanwhile; have it attest again.")
        keys = [row["key"] for row in rows]
        await refuse_lost(transaction.connection, keys)
        subjects = [row["subject_sha256"] for row in rows]
        query = select(t.residents.c.key, t.residents.c.provider, t.residents.c.subject_sha256).where(
            or_(t.residents.c.key.in_(keys), t.residents.c.subject_sha256.in_(subjects))
        )
        known = {
            (bytes(r.key), r.provider, bytes(r.subject_sha256)) for r in await transaction.connection.execute(query)
        }
        new = [row for row in rows if (row["key"], row["provider"], row["subject_sha256"]) not in known]
        taken_keys = {key for key, _, _ in known}
        taken_people = {(provider, subject) for _, provider, subject in known}
        for row in new:
            person = (row["provider"], row["subject_sha256"])
            if row["key"] in taken_keys or person in taken_people:
                raise Replayed("This person is enrolled with another key, or this key by another person.")
            taken_keys.add(row["key"])
            taken_people.add(person)
        if new:
            await transaction.connection.execute(insert(t.residents), new)
        return len(requests)

    return await store.submit(act)


def providers_of(state: State) -> dict[str, bytes]:
    """Return the identity providers' public keys, by alias."""
    return {member.alias: bytes.fromhex(member.key) for member in state.members_with("identity")}


def attested_row(
    request: EnrolmentRequest, providers: dict[str, bytes], log: str, attested_for: AttestedFor = "attestation"
) -> dict[str, Any]:
    """Check an attestation and its answer, and return the resident's row; raises what ``check_enrolment`` does."""
    attested = check_enrolment(request.enrolment, request.attestation, providers, log, attested_for)
    return {
        "key": bytes.fromhex(attested.key),
        "provider": attested.from_,
        "subject_sha256": subject_hash(attested.from_, attested.subject),
        "level": attested.level,
        "date": attested.date,
    }


def subject_hash(provider: str, subject: str) -> bytes:
    """Return what is kept of a provider's own name for a person."""
    return hashlib.sha256(f"{provider}\n{subject}".encode()).digest()


async def refuse_lost(connection: AsyncConnection, keys: list[bytes]) -> None:
    """Raise NotPermitted where one of these keys was on a device that was reported lost."""
    query = select(t.lost_keys.c.key).where(t.lost_keys.c.key.in_(keys)).limit(1)
    if (await connection.execute(query)).first() is not None:
        raise NotPermitted(
            "This device was reported lost, and its key is not taken any more. If it is yours, go to the identity "
            "provider again."
        )

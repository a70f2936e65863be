"""A resident's device is lost: the identity provider attests the person again, with the key of a new device.

Gather: the person, by the provider's own pairwise subject, and the grants that stand. Decide: the attestation is for a
lost device (an ordinary one never does this, however old a copy of it turns up), the new key is nobody's and was never
lost. Apply, in one transaction: the new key takes the old one's place, which is never enrolled again, and every grant
that stands is revoked with the reason ``lost-device``. From that transaction on the old device can do nothing.

**What the ledger shows.** Ordinary ``revoke`` entries, shuffled, each with a commitment of its own that nobody can
compare with another. Nothing in them names the old key, the new key or the person, and the new device's grants come
later and by themselves. But the revocations stand together, and their reason is rare: that they ended consents of one
person can be guessed. They are not spread over time, because the holders are to be told at once. New grants can be: see
``docs/how-to/replace-a-lost-device.md``.

The record behind each revocation is the provider's attestation, sealed like any other: the resident signed nothing.
"""

import secrets
from secrets import SystemRandom
from typing import Any

from msgspec import Struct
from sqlalchemy import insert, or_, select, update

from ledger import canonical
from ledger import entries as e
from ledger.errors import NotFound, Replayed
from policies.consents.bundle import NONE, Bundle, Leaf, commitment
from policies.replay import grant_in_force
from trust.client.wire import EndedGrant, EnrolmentRequest, ReplacedDevice
from trust.service import metrics
from trust.service.acts.enrol import attested_row, providers_of, refuse_lost
from trust.service.acts.revoke import append_revocation, promised
from trust.service.database import tables as t
from trust.service.keys.own_keys import OperatorSigner
from trust.service.keys.record_keys import RecordKeys
from trust.service.keys.records import open_records, seal_record
from trust.service.store.entry_rows import decode_stored
from trust.service.store.signed_first import look_first
from trust.service.store.store import Store, Transaction

_random = SystemRandom()


async def replace_device(
    store: Store, request: EnrolmentRequest, operator: str, signer: OperatorSigner
) -> ReplacedDevice:
    """Enrol a new key for a person whose device is lost and end what the old key granted, once that is durable.

    The same request again gives the same answer and changes nothing more. Raises SignatureInvalid, ConsentMismatch,
    NotFound (a person who was never enrolled), NotPermitted (a key that was lost) or Replayed (a key of somebody
    else's).
    """
    await look_first(store, lambda state: attested_row(request, providers_of(state), state.log, "lost-device"))

    async def act(transaction: Transaction) -> tuple[list[EndedGrant], int]:
        state = transaction.state
        row = attested_row(request, providers_of(state), state.log, "lost-device")
        person = _decide(row, await _gather(transaction, row))
        if person.key == row["key"]:  # the answer to this very request was lost
            ended, new = await _ended_before(transaction, store.keys, person.id, request.attestation), 0
        else:
            ended = await _apply(transaction, row, person, request.attestation)
            new = len(ended)
        told = [
            EndedGrant(grant=entry.grant, revoked=promised(state, entry, index, operator, signer))
            for index, entry in ended
        ]
        return sorted(told, key=lambda each: each.grant), new

    ended, new = await store.submit(act)
    metrics.revocations.inc(new)
    return ReplacedDevice(ended=ended)


class _Enrolled(Struct, frozen=True, kw_only=True):
    """Someone who is enrolled as this person, or with this key."""

    id: int
    key: bytes
    is_theirs: bool


async def _gather(transaction: Transaction, row: dict[str, Any]) -> list[_Enrolled]:
    """Return who is enrolled as the attested person or with the new key; raise NotPermitted where that key was lost."""
    await refuse_lost(transaction.connection, [row["key"]])
    person = (t.residents.c.provider == row["provider"]) & (t.residents.c.subject_sha256 == row["subject_sha256"])
    query = select(t.residents.c.id, t.residents.c.key, person.label("is_theirs"))
    found = await transaction.connection.execute(query.where(or_(t.residents.c.key == row["key"], person)))
    return [_Enrolled(id=each.id, key=bytes(each.key), is_theirs=bool(each.is_theirs)) for each in found]


def _decide(row: dict[str, Any], found: list[_Enrolled]) -> _Enrolled:
    """Return the person whose device is lost; raise Replayed for another's key, NotFound for an unknown person."""
    if any(each.key == row["key"] and not each.is_theirs for each in found):
        raise Replayed("This key is enrolled by another person; make a new one.")
    theirs = next((each for each in found if each.is_theirs), None)
    if theirs is None:
        raise NotFound("This person is not enrolled here; enrol the device in the ordinary way.")
    return theirs


async def _apply(
    transaction: Transaction, row: dict[str, Any], person: _Enrolled, attestation: str
) -> list[tuple[int, e.Revoke]]:
    """Revoke every grant that stands, in no order, and put the new key in the old one's place."""
    ended = []
    grants = await _standing(transaction, person.id)
    _random.shuffle(grants)
    for grant, leaves in grants:
        record = _record(attestation, leaves)
        entry = e.Revoke(at=transaction.at, grant=grant, reason="lost-device", commitment=commitment(record))
        index = await append_revocation(transaction, entry, *seal_record(canonical.encode(record)))
        ended.append((index, entry))
    connection = transaction.connection
    values = {name: row[name] for name in ("key", "level", "date")}
    await connection.execute(update(t.residents).where(t.residents.c.id == person.id).values(values))
    if (await connection.execute(select(t.lost_keys.c.key).where(t.lost_keys.c.key == person.key))).first() is None:
        await connection.execute(insert(t.lost_keys), {"key": person.key})
    return ended


async def _ended_before(
    transaction: Transaction, keys: RecordKeys, resident: int, attestation: str
) -> list[tuple[int, e.Revoke]]:
    """Return (index, entry) of the revocations that this very attestation has brought about, by their records."""
    query = (
        select(t.entries.c.index.label("place"), t.entries.c.data, t.records.c.sealed)
        .join(t.grants, t.grants.c.ended_by == t.entries.c.index)
        .join(t.records, t.records.c.index == t.entries.c.index)
        .where(t.grants.c.resident == resident)
        .order_by(t.grants.c.index)
    )
    rows = (await transaction.connection.execute(query)).all()
    opened = await open_records(keys, ((row.place, bytes(row.sealed)) for row in rows))
    ended = []
    for row in rows:
        entry = decode_stored(bytes(row.data))
        record = opened.get(row.place)
        if isinstance(entry, e.Revoke) and record is not None and record.leaves[0].body == attestation:
            ended.append((int(row.place), entry))
    return ended


async def _standing(transaction: Transaction, resident: int) -> list[tuple[int, int]]:
    """Return (index, leaves of a bundle) of the resident's grants that are not ended."""
    query = select(t.grants.c.index.label("place")).where(
        t.grants.c.resident == resident, t.grants.c.ended_by.is_(None)
    )
    standing = []
    for grant in (await transaction.connection.execute(query)).scalars().all():
        policy_sha256 = grant_in_force(transaction.state, grant)
        if policy_sha256 is not None:
            holders = transaction.state.versions[policy_sha256].document.holders
            standing.append((int(grant), len(holders) + 1))
    return standing


def _record(attestation: str, leaves: int) -> Bundle:
    """Return what stands behind one revocation: fresh salts, so that no two commitments look alike."""
    bodies = [attestation, *[NONE] * (leaves - 1)]
    return Bundle(leaves=[Leaf(salt=secrets.token_hex(32), body=body) for body in bodies])

"""Taking consents in. Gather: policy, resident, consents used before, what stands and what ended. Decide. Apply.

One request may carry many consents; they are taken all or none. Their entries are shuffled within the request, so that
the ledger does not show which consents of several policies came from one sitting.

A resident has one consent in force for each policy. A further one **replaces** it: it names the newest that stands in
``replaces`` and comes alone, with the signed revocations of all that stand. These are appended right before it, in the
same transaction, the one that it names last. Anything else is refused, and nothing changes; acts run one at a time, so
this holds in a race as well. (What was not ended stands, also past its last day, past its cap, or of an old version.)
"""

import asyncio
from secrets import SystemRandom

import msgspec
from msgspec import UNSET, Struct, UnsetType
from sqlalchemy import func, select

from ledger import canonical
from ledger import entries as e
from ledger.errors import (
    AlreadyEnded,
    ConsentMismatch,
    ConsentStands,
    NotPermitted,
    PolicyNotCurrent,
    ProofInvalid,
    Replayed,
    Unavailable,
)
from policies.consents.age import LastEnd, check_age
from policies.consents.bundle import commitment
from policies.replay import current_policy
from policies.rules import REPLACING
from trust.client.wire import Granted, GrantRequest, Revoked, RevokeRequest
from trust.service import metrics
from trust.service.acts.enrol import refuse_lost
from trust.service.acts.intake import SMALL, CheckedConsent, CurrentPolicies, Workers, read_consents
from trust.service.acts.revoke import append_revocation, check_replaced, promised
from trust.service.database import tables as t
from trust.service.database.bulk import insert_many
from trust.service.keys.own_keys import OperatorSigner
from trust.service.keys.records import seal_record
from trust.service.store.idempotency import CallersKey, answered_before, read_answer, remember
from trust.service.store.store import Store, Transaction

_random = SystemRandom()
Theirs = tuple[int, str]
"""A resident and a policy's id."""


class _Gathered(Struct, frozen=True, kw_only=True):
    """What the tables say of the residents behind a request's keys."""

    residents: dict[bytes, int]
    standing: dict[Theirs, list[int]]
    """Their grants that have not ended, of any version, in the ledger's order."""
    last_ends: dict[Theirs, LastEnd]


class _Replaced(Struct, frozen=True, kw_only=True):
    """A revocation that comes with the consent which replaces its grant: its commitment, and its sealed record."""

    request: RevokeRequest
    commitment: str
    record_key: bytes
    sealed: bytes


async def grant(
    store: Store, workers: Workers, body: bytes, key: str | None, operator: str, signer: OperatorSigner
) -> Granted:
    """Take consents in; return their ledger indices, in the request's order, once they are durable.

    With it come the promises, signed as the member ``operator``, for what a consent replaced. Raises Malformed,
    SignatureInvalid, ConsentMismatch, PolicyNotCurrent, NotPermitted (no attested resident stands behind the key),
    Replayed (a consent identifier used before), ConsentStands (another is in force that this one does not replace),
    AlreadyEnded (what it replaces has ended) or ConsentStale.
    """
    state = store.state
    policies = CurrentPolicies(
        log=state.log, documents={record.sha256: record.document for record in state.policies.values()}
    )
    if body.count(b'{"leaves":') <= SMALL:
        checked = await asyncio.to_thread(read_consents, body, policies)
    else:
        checked = await workers.read(body, policies)
    replaced = await asyncio.to_thread(_read_replaced, body) if b'"revocations":[' in body else []
    mine = CallersKey(kind="grant", caller="\n".join(sorted({each.key.hex() for each in checked})), key=key)

    async def act(transaction: Transaction) -> Granted:
        before = await answered_before(transaction, mine, body)
        if before is not None:
            indices = read_answer(before, list[int])
            first = indices[0] - len(replaced)
            return Granted(
                indices=indices,
                revoked=[
                    await _promised_before(transaction, first + place, operator, signer)
                    for place in range(len(replaced))
                ],
            )
        gathered = await _gather(transaction, checked)
        _decide(transaction, checked, replaced, gathered)
        for each in replaced:
            await check_replaced(store, transaction, each.request)
        revoked = [await _end(transaction, each, operator, signer) for each in replaced]
        order = list(range(len(checked)))
        _random.shuffle(order)
        indices = [0] * len(checked)
        for place in order:
            indices[place] = transaction.append(_entry(checked[place]))
        await _apply(transaction, checked, gathered.residents, indices)
        await remember(transaction, mine, body, msgspec.json.encode(indices).decode(), indices)
        return Granted(indices=indices, revoked=revoked)

    granted = await store.submit(act)
    metrics.grants.inc(len(granted.indices))
    metrics.revocations.inc(len(granted.revoked))
    return granted


def _read_replaced(body: bytes) -> list[_Replaced]:
    """Return a request's revocations, with their sealed records, the newest grant's last."""
    revocations = canonical.decode(body, GrantRequest, "consent").revocations
    if isinstance(revocations, UnsetType):
        return []
    replaced = []
    for request in sorted(revocations, key=lambda each: each.grant):
        record_key, sealed = seal_record(canonical.encode(request.bundle))
        replaced.append(
            _Replaced(request=request, commitment=commitment(request.bundle), record_key=record_key, sealed=sealed)
        )
    return replaced


async def _gather(transaction: Transaction, checked: list[CheckedConsent]) -> _Gathered:
    """Return what is known of the residents; raise Replayed if a consent was used before."""
    connection, state = transaction.connection, transaction.state
    consents = [bytes.fromhex(each.consent) for each in checked]
    used = select(t.grants.c.index).where(t.grants.c.consent.in_(consents)).limit(1)
    if len(set(consents)) != len(consents) or (await connection.execute(used)).first():
        raise Replayed("A consent with this identifier was used before; sign a new one with a fresh identifier.")
    keys = {each.key for each in checked}
    await refuse_lost(connection, list(keys))
    query = select(t.residents.c.id, t.residents.c.key).where(t.residents.c.key.in_(keys))
    residents = {bytes(row.key): int(row.id) for row in await connection.execute(query)}
    asked = {each.policy for each in checked}
    ids = {
        bytes.fromhex(sha256): record.document.id
        for sha256, record in state.versions.items()
        if record.document.id in asked
    }
    theirs = t.grants.c.resident.in_(residents.values()), t.grants.c.policy_sha256.in_(list(ids))
    columns = t.grants.c.resident, t.grants.c.policy_sha256
    stand = select(*columns, t.grants.c.index.label("place")).where(*theirs, t.grants.c.ended_by.is_(None))
    standing: dict[Theirs, list[int]] = {}
    for row in await connection.execute(stand.order_by(t.grants.c.index)):
        standing.setdefault((row.resident, ids[bytes(row.policy_sha256)]), []).append(int(row.place))
    ended = select(*columns, func.max(t.grants.c.ended_by).label("ended_by")).where(*theirs).group_by(*columns)
    ends: dict[Theirs, int] = {}
    for row in (await connection.execute(ended)).all():
        if row.ended_by is not None:
            one = (row.resident, ids[bytes(row.policy_sha256)])
            ends[one] = max(ends.get(one, 0), int(row.ended_by))
    last_ends = {one: await _last_end(transaction, end) for one, end in ends.items()}
    return _Gathered(residents=residents, standing=standing, last_ends=last_ends)


async def _last_end(transaction: Transaction, ended_by: int) -> LastEnd:
    """Return the end of a grant that an entry, also one of this very group, has ended."""
    entry = await transaction.entry(ended_by)
    grant = entry.grant if isinstance(entry, e.Revoke) else entry.index if isinstance(entry, e.Erase) else -1
    return LastEnd(grant=grant, at=entry.at)


def _decide(
    transaction: Transaction, checked: list[CheckedConsent], replaced: list[_Replaced], gathered: _Gathered
) -> None:
    state, today = transaction.state, transaction.state.day(transaction.at)
    if replaced and len(checked) != 1:
        raise ConsentMismatch("A consent that replaces others is handed in alone, with their revocations.")
    for each in checked:
        try:  # the policy may have changed since the consent was read
            current_policy(state, each.policy, each.version, each.policy_sha256)
        except ProofInvalid:
            raise PolicyNotCurrent("The policy has changed meanwhile; read the current version.") from None
        if each.key not in gathered.residents:
            raise NotPermitted("No identity provider has attested the resident behind this key; enrol first.")
        if each.until < today:
            raise PolicyNotCurrent("The consent's last day is past.")
        one = (gathered.residents[each.key], each.policy)
        is_silent = state.rules >= REPLACING and not each.is_dated
        replaces = UNSET if each.replaces is None else each.replaces
        check_age(UNSET if is_silent else each.shown_at, transaction.at, gathered.last_ends.get(one), replaces)
        if state.rules < REPLACING and each.is_dated:
            raise ConsentMismatch(
                "The ledger goes by rules number 1, under which holders cannot read when a notice was shown; leave that "
                "out of the sub-grants."
            )
    revoked, seen = [each.request.grant for each in replaced], set[Theirs]()
    for each in checked:
        one = (gathered.residents[each.key], each.policy)
        if one in seen:
            raise ConsentStands("The request has two consents of one resident to one policy; one would end the other.")
        seen.add(one)
        _check_replacing(each, revoked, gathered.standing.get(one, []), state.rules)


def _check_replacing(each: CheckedConsent, revoked: list[int], standing: list[int], rules: int) -> None:
    """Check that a consent ends exactly those of its resident and policy that stand, and names the newest of them."""
    if not standing:
        if each.replaces is not None or revoked:
            raise AlreadyEnded("What this consent would replace is not in force any more; sign one that replaces none.")
        return
    wanted = standing[-1] if rules >= REPLACING else None
    if revoked != standing or each.replaces != wanted:
        where = ", ".join(map(str, standing))
        raise ConsentStands(
            f"You have a consent to '{each.policy}' in force, at {where}. Replace it: name {standing[-1]} in the new "
            "one, and hand it in with the revocation of each of those; or take those back first.",
            in_force=[str(index) for index in standing],
        )


async def _end(transaction: Transaction, each: _Replaced, operator: str, signer: OperatorSigner) -> Revoked:
    """End a grant that the next consent takes the place of; return the promise."""
    state = transaction.state
    reason: e.RevokeReason = "replaced" if state.rules >= REPLACING else "withdrawn"
    entry = e.Revoke(at=transaction.at, grant=each.request.grant, reason=reason, commitment=each.commitment)
    index = await append_revocation(transaction, entry, each.record_key, each.sealed)
    return promised(state, entry, index, operator, signer)


async def _promised_before(transaction: Transaction, index: int, operator: str, signer: OperatorSigner) -> Revoked:
    entry = await transaction.entry(index)
    if not isinstance(entry, e.Revoke):
        raise Unavailable("The service's database does not fit its ledger; whoever runs it has to look at it.")
    return promised(transaction.state, entry, index, operator, signer)


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
        replaces=UNSET if each.replaces is None else each.replaces,
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

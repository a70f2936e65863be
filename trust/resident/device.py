"""What a resident's own device signs to end a consent; how it gives one is in ``trust.resident.giving``.

The device trusts no answer: what was signed must stand in the ledger, with a receipt. What it checks besides is in
``trust.resident.uses``, ``stopped``, ``promises`` and ``erasure``.
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress

from msgspec import Struct

from ledger import entries as e
from ledger.entries import Text
from ledger.errors import (
    AlreadyEnded,
    MusubiError,
    NotEnrolled,
    NotFound,
    ProofInvalid,
)
from policies.consents.bundle import Bundle, commitment
from policies.consents.revocation import make_revocation
from policies.policy_document import Policy
from trust.client import paths
from trust.client.service import ServiceClient
from trust.client.wire import ErasureAnswer, MyConsent, Revoked, RevokeRequest
from trust.resident.own_copies import OwnCopies, OwnCopy
from trust.resident.promises import KeptPromise, doubt_of
from trust.runtime.clock import system_clock

_NOT_ENDED = (
    "The ledger does not say there that this consent ended. Run `musubi resident check-promises`, and tell the town's "
    "stewards."
)


class Ended(Struct, frozen=True, kw_only=True):
    """A consent was taken back: which one, what the service answered, and what is wrong with its promise, or "".

    ``since`` is when the consent came into force (UTC seconds).
    """

    grant: int
    policy: str
    title: Text
    holders: list[str]
    since: int
    revoked: Revoked
    doubt: str


class _ConsentToEnd(Struct, frozen=True, kw_only=True):
    """A consent of one's own that is to end: as the service shows it, or by one's own copy."""

    consent: str
    policy_sha256: str
    holders: list[str]
    granted: Bundle | None


def revoke(
    client: ServiceClient,
    seed: bytes,
    index: int,
    keep: Callable[[KeptPromise], None] | None = None,
    copies: OwnCopies | None = None,
) -> Ended:
    """Sign and hand in a revocation; return what came of it, once the receipt and the service's promise were checked.

    The promise is handed to ``keep`` first of all, so that it convicts a service that goes no further. Where the
    service has lost the consent, the device's own copy of it (``copies``) is handed in as well. Raises NotFound where
    it is none of one's own, ProofInvalid where the ledger does not say there that this consent has ended, and what the
    service raises.
    """
    mine = _own_consent(client, seed, index, copies)
    policy = client.policy(mine.policy_sha256)  # perhaps an old version: what was given can always be taken back
    bundle = sign_end(client, seed, policy, grant=index, consent=mine.consent, holders=mine.holders)
    answer = client.revoke(index, bundle, mine.granted)
    kept = KeptPromise.of(answer)
    if keep is not None:
        keep(kept)
        # a crash from here on leaves the promise; `musubi resident check-promises` finds out whether it was kept
    doubt = check_end(client, RevokeRequest(grant=index, bundle=bundle), answer, kept, "withdrawn")
    given = _prove_kept(client, index)
    if not isinstance(given, e.Grant) or given.consent != mine.consent:
        raise ProofInvalid(_NOT_ENDED)
    return Ended(
        grant=index,
        policy=policy.id,
        title=policy.title,
        holders=mine.holders,
        since=given.at,
        revoked=answer,
        doubt=doubt,
    )


def standing(consents: Sequence[MyConsent], policy_id: str) -> list[MyConsent]:
    """Return the consents to a policy, of any version, that have not ended, the newest last."""
    theirs = [consent for consent in consents if consent.policy == policy_id and consent.ended_by is None]
    return sorted(theirs, key=lambda consent: consent.index)


def fresh_salts(policy: Policy) -> list[bytes]:
    """Return a new salt for each leaf of a bundle under a policy."""
    return [secrets.token_bytes(32) for _ in range(len(policy.holders) + 1)]


def sign_end(
    client: ServiceClient, seed: bytes, policy: Policy, *, grant: int, consent: str, holders: list[str]
) -> Bundle:
    """Sign the revocation of one's consent at ``grant``; ``policy`` is the version that it is to."""
    return make_revocation(
        seed,
        policy,
        log=client.trust.origin,
        consent=consent,
        grant=grant,
        salts=fresh_salts(policy),
        holders=holders,
        said_at=system_clock(),
    )


def check_end(
    client: ServiceClient, end: RevokeRequest, answer: Revoked, kept: KeptPromise, reason: e.RevokeReason
) -> str:
    """Return what is wrong with the promise of an end, or ""; raise ProofInvalid where the ledger does not have it."""
    proven = _prove_kept(client, answer.index)
    expected = e.Revoke(at=proven.at, grant=end.grant, reason=reason, commitment=commitment(end.bundle))
    if proven != expected:
        raise ProofInvalid(_NOT_ENDED)
    return doubt_of(client, kept, expected, answer.index)


def _prove_kept(client: ServiceClient, index: int) -> e.AnyEntry:
    """Return a proven entry; an error says that the promise is kept."""
    try:
        return client.prove(index).entry
    except MusubiError as error:
        error.message += " The service's signed promise is kept; `musubi resident check-promises` holds it to that."
        raise


def _own_consent(client: ServiceClient, seed: bytes, index: int, copies: OwnCopies | None) -> _ConsentToEnd:
    """Return one's own consent at ``index``; raise NotFound where neither the service nor this device knows of it."""
    try:
        shown = next((each for each in client.my_consents(seed) if each.index == index), None)
    except NotEnrolled:  # it may have come back from a backup that was made before this device was enrolled
        if copies is None or not copies.all():
            raise
        shown = None
    if shown is not None and shown.record == "kept":
        return _ConsentToEnd(
            consent=shown.consent, policy_sha256=shown.policy_sha256, holders=shown.holders, granted=None
        )
    copy = None if copies is None else copies.at(index)
    if copy is not None:
        said = copy.general
        return _ConsentToEnd(
            consent=said.consent, policy_sha256=said.policy_sha256, holders=said.holders, granted=copy.bundle
        )
    if shown is None:
        raise NotFound("None of your consents is at that place of the ledger; `musubi resident show` lists them.")
    return _ConsentToEnd(consent=shown.consent, policy_sha256=shown.policy_sha256, holders=shown.holders, granted=None)


def stop_policy(
    client: ServiceClient,
    seed: bytes,
    policy_id: str,
    keep: Callable[[KeptPromise], None] | None = None,
    copies: OwnCopies | None = None,
) -> Iterator[Ended]:
    """Take back every consent to a policy, of any version, that is in force; yield each once it has ended.

    Also those that only this device knows of any more. Whoever stops in the middle has ended those that were yielded.
    Raises NotFound where none is in force, and as ``revoke``.
    """
    listed = [each.index for each in standing(client.my_consents(seed), policy_id)]
    unlisted = [index for index, copy in unlisted_copies(client, seed, copies) if copy.general.policy == policy_id]
    if not listed and not unlisted:
        raise NotFound(f"No consent of yours to '{policy_id}' is in force; `musubi resident show` lists yours.")
    for index in listed:
        yield revoke(client, seed, index, keep, copies)
    for index in unlisted:
        with suppress(AlreadyEnded):
            yield revoke(client, seed, index, keep, copies)


def unlisted_copies(client: ServiceClient, seed: bytes, copies: OwnCopies | None) -> list[tuple[int, OwnCopy]]:
    """Return (index, copy) of the consents that this device keeps and the service does not show, and did not erase.

    The service has lost them, or hides them. A copy whose record is erased, as the ledger itself says, is deleted.
    """
    if copies is None:
        return []
    listed = {each.consent for each in client.my_consents(seed)}
    found = []
    for copy in copies.all():
        if copy.index is None or copy.general.consent in listed:
            continue
        if _is_erased(client, copy.index):
            copies.forget(copy.general.consent)
        else:
            found.append((copy.index, copy))
    return found


def _is_erased(client: ServiceClient, index: int) -> bool:
    """Return whether the ledger says that the record at ``index`` is erased; the service only says where."""
    try:
        answer = client.get(paths.at(paths.ERASURE, index=index), ErasureAnswer)
    except NotFound:
        return False
    entry = client.prove(answer.entry).entry
    return isinstance(entry, e.Erase) and entry.index == index

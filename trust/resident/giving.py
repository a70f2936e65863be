"""What a resident's own device signs to give a consent, which takes the place of what they agreed to before.

The device trusts no answer: what was signed must stand in the ledger, with a receipt, and so must the ends of what it
replaces. How one is ended by itself is in ``trust.resident.device``.
"""

import secrets
from collections.abc import Callable
from typing import Protocol

from msgspec import UNSET, Struct

from ledger import entries as e
from ledger.errors import (
    ConsentMismatch,
    ConsentStands,
    PolicyNotCurrent,
    ProofInvalid,
)
from policies.consents.age import AHEAD_SECONDS
from policies.consents.bundle import Bundle, commitment
from policies.consents.consent import make_consent
from policies.languages import NoticeLanguage
from policies.policy_document import Policy, document_sha256
from policies.rules import REPLACING
from trust.client.service import ServiceClient
from trust.client.wire import MAX_REPLACED, Granted, MyConsent, RevokeRequest
from trust.resident.device import check_end, fresh_salts, sign_end, standing
from trust.resident.promises import KeptPromise


class KeepsCopies(Protocol):
    """Where a device keeps what it has signed, so that it can be taken back whatever the service loses."""

    def keep(self, bundle: Bundle) -> None:
        """Keep a consent that is about to be handed in."""
        ...

    def place(self, consent: str, index: int) -> None:
        """Note where in the ledger it stands."""
        ...


class Given(Struct, frozen=True, kw_only=True):
    """A consent was given: its ledger index, which ones it took the place of, and what is wrong with their promises."""

    index: int
    replaced: list[int]
    doubt: str


def current(client: ServiceClient, policy_id: str) -> Policy:
    """Return the current version of a policy; raise PolicyNotCurrent, with those that there are."""
    policies = client.policies()
    if policy_id not in policies:
        raise PolicyNotCurrent(
            f"There is no policy '{policy_id}' in force; there are: {', '.join(sorted(policies))}.",
            policies=sorted(policies),
        )
    return policies[policy_id]


def grant(
    client: ServiceClient,
    seed: bytes,
    policy: Policy,
    *,
    holders: list[str],
    until: str,
    yearly_cap: int,
    language: NoticeLanguage,
    shown_at: int,
    keep: Callable[[KeptPromise], None] | None = None,
    copies: KeepsCopies | None = None,
) -> Given:
    """Sign and hand in one consent to a notice shown at ``shown_at`` (UTC seconds), once the receipt was checked.

    Where others to this policy are in force, the new one replaces them: their revocations are signed with it, and come
    in one transaction. A copy of what is signed goes to ``copies`` first, the promises for what ended to ``keep``.
    Raises ProofInvalid where the ledger does not say there what was signed, and ConsentStands where another came in
    between.
    """
    check_choices(policy, holders, [until], [yearly_cap])
    rules = client.rules()
    mine = client.my_consents(seed)
    before = standing(mine, policy.id)
    if len(before) > MAX_REPLACED:
        raise ConsentStands(
            f"You have {len(before)} consents to '{policy.id}' in force, more than one can replace at once. Take some back "
            "first.",
            in_force=[str(each.index) for each in before],
        )
    bundle = make_consent(
        seed,
        policy,
        log=client.trust.origin,
        consent=(consent := secrets.token_bytes(32)),
        salts=fresh_salts(policy),
        holders=holders,
        until=until,
        yearly_cap=yearly_cap,
        language=language,
        shown_at=_after_last_end(client, mine, policy.id, shown_at),
        replaces=before[-1].index if before and rules >= REPLACING else None,
        dated=rules >= REPLACING,
    )
    ends = [RevokeRequest(grant=each.index, bundle=_sign_end(client, seed, each)) for each in before]
    if copies is not None:
        copies.keep(bundle)  # a crash from here on leaves a copy of what the ledger may have
    granted = client.replace(bundle, ends) if ends else Granted(indices=client.grant([bundle]))
    promises = [KeptPromise.of(each) for each in granted.revoked]
    for promise in promises:
        if keep is not None:
            keep(promise)
    # a crash from here on leaves the promises; `musubi resident check-promises` finds out whether they were kept
    (index,) = granted.indices
    proven = client.prove(index).entry
    expected = e.Grant(
        at=proven.at,
        consent=consent.hex(),
        policy=policy.id,
        version=policy.version,
        policy_sha256=document_sha256(policy),
        until=until,
        yearly_cap=yearly_cap,
        commitment=commitment(bundle),
        replaces=before[-1].index if before and rules >= REPLACING else UNSET,
    )
    if proven != expected or len(promises) != len(ends):
        raise ProofInvalid("The ledger does not say there what was signed; tell the town's stewards.", index=index)
    if copies is not None:
        copies.place(consent.hex(), index)
    reason: e.RevokeReason = "replaced" if rules >= REPLACING else "withdrawn"
    doubts = [
        check_end(client, end, answer, promise, reason)
        for end, answer, promise in zip(ends, granted.revoked, promises, strict=True)
    ]
    return Given(index=index, replaced=[each.index for each in before], doubt=" ".join(filter(None, doubts)))


def _after_last_end(client: ServiceClient, mine: list[MyConsent], policy_id: str, shown_at: int) -> int:
    """Return ``shown_at``, or the second after one's last consent to the policy ended, where clocks differ by so much.

    Who takes a consent back and at once reads the notice again has read it after that, whatever this clock says.
    """
    ends = [each.ended_by for each in mine if each.policy == policy_id and each.ended_by is not None]
    if not ends:
        return shown_at
    ended = client.prove(max(ends)).entry.at
    return ended + 1 if shown_at <= ended <= shown_at + AHEAD_SECONDS else shown_at


def check_choices(policy: Policy, holders: list[str], untils: list[str], yearly_caps: list[int]) -> None:
    """Raise ConsentMismatch, with the choices that there are, before anything is signed that cannot be taken."""
    for what, chosen, choices in (
        ("holder", holders, list(policy.holders)),
        ("last day", untils, list(policy.until)),
        ("yearly cap in nano-rho", [str(each) for each in yearly_caps], [str(each) for each in policy.yearly_caps]),
    ):
        if not set(chosen) <= set(choices):
            raise ConsentMismatch(f"The policy '{policy.id}' has no such {what}; choose from: {', '.join(choices)}.")


def _sign_end(client: ServiceClient, seed: bytes, consent: MyConsent) -> Bundle:
    """Sign the end of one's consent, perhaps to an old version: what was given can always be taken back."""
    policy = client.policy(consent.policy_sha256)
    return sign_end(client, seed, policy, grant=consent.index, consent=consent.consent, holders=consent.holders)

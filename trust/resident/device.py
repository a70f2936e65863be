"""What a resident's own device signs: consents and revocations.

The device trusts no answer: what was signed must stand in the ledger, with a receipt. What it checks besides is in
``trust.resident.uses``, ``stopped``, ``promises`` and ``erasure``.
"""

import secrets
from collections.abc import Callable

from msgspec import Struct

from ledger import entries as e
from ledger.errors import (
    ConsentMismatch,
    Malformed,
    MusubiError,
    NotFound,
    NotPermitted,
    PolicyNotCurrent,
    ProofInvalid,
    SignatureInvalid,
)
from policies.consents.bundle import commitment
from policies.consents.consent import make_consent
from policies.consents.revocation import make_revocation
from policies.languages import NoticeLanguage
from policies.policy_document import Policy, document_sha256
from trust.client.service import ServiceClient
from trust.client.wire import Revoked
from trust.resident.promises import KeptPromise, check_new
from trust.runtime.clock import system_clock


def grant(
    client: ServiceClient,
    seed: bytes,
    policy_id: str,
    *,
    holders: list[str],
    until: str | None,
    yearly_cap: int | None,
    language: NoticeLanguage,
) -> tuple[int, str]:
    """Sign and hand in one consent; return its ledger index and its last day, once the receipt was checked.

    Raises ProofInvalid where the ledger does not say there what was signed.
    """
    policies = client.policies()
    if policy_id not in policies:
        raise PolicyNotCurrent(
            f"There is no policy '{policy_id}' in force; there are: {', '.join(sorted(policies))}.",
            policies=sorted(policies),
        )
    policy = policies[policy_id]
    last_day = until or policy.until[-1]
    chosen_yearly_cap = policy.yearly_caps[-1] if yearly_cap is None else yearly_cap
    _check_choices(policy, holders, last_day, chosen_yearly_cap)
    consent = secrets.token_bytes(32)
    bundle = make_consent(
        seed,
        policy,
        log=client.trust.origin,
        consent=consent,
        salts=[secrets.token_bytes(32) for _ in range(len(policy.holders) + 1)],
        holders=holders or list(policy.holders),
        until=last_day,
        yearly_cap=chosen_yearly_cap,
        language=language,
        shown_at=system_clock(),
    )
    index = client.grant([bundle])[0]
    proven = client.prove(index).entry
    expected = e.Grant(
        at=proven.at,
        consent=consent.hex(),
        policy=policy.id,
        version=policy.version,
        policy_sha256=document_sha256(policy),
        until=last_day,
        yearly_cap=chosen_yearly_cap,
        commitment=commitment(bundle),
    )
    if proven != expected:
        raise ProofInvalid("The ledger does not say there what was signed; tell the town's stewards.", index=index)
    return index, last_day


def _check_choices(policy: Policy, holders: list[str], until: str, yearly_cap: int) -> None:
    """Raise ConsentMismatch, with the choices that there are, before anything is signed that cannot be taken."""
    for what, chosen, choices in (
        ("holder", holders, list(policy.holders)),
        ("last day", [until], list(policy.until)),
        ("yearly cap in nano-rho", [str(yearly_cap)], [str(each) for each in policy.yearly_caps]),
    ):
        if not set(chosen) <= set(choices):
            raise ConsentMismatch(f"The policy '{policy.id}' has no such {what}; choose from: {', '.join(choices)}.")


class Ended(Struct, frozen=True, kw_only=True):
    """A consent was taken back: what the service answered, and what is wrong with its promise, or ""."""

    revoked: Revoked
    doubt: str


def revoke(client: ServiceClient, seed: bytes, index: int, keep: Callable[[KeptPromise], None] | None = None) -> Ended:
    """Sign and hand in a revocation; return what came of it, once the receipt and the service's promise were checked.

    The promise is handed to ``keep`` first of all, so that it convicts a service that goes no further. Raises
    ProofInvalid where the ledger does not say there that this consent has ended, and what the service raises.
    """
    mine = {consent.index: consent for consent in client.my_consents(seed)}
    if index not in mine:
        raise NotFound("None of your consents is at that place of the ledger; `musubi resident show` lists them.")
    consent = mine[index]
    policy = client.policy(consent.policy_sha256)  # perhaps an old version: what was given can always be taken back
    bundle = make_revocation(
        seed,
        policy,
        log=client.trust.origin,
        consent=consent.consent,
        grant=index,
        salts=[secrets.token_bytes(32) for _ in range(len(policy.holders) + 1)],
        holders=consent.holders,
        said_at=system_clock(),
    )
    answer = client.revoke(index, bundle)
    kept = KeptPromise.of(answer)
    if keep is not None:
        keep(kept)
        # a crash from here on leaves the promise; `musubi resident check-promises` finds out whether it was kept
    try:
        proven = client.prove(answer.index).entry
    except MusubiError as error:
        error.message += " The service's signed promise is kept; `musubi resident check-promises` holds it to that."
        raise
    expected = e.Revoke(at=proven.at, grant=index, reason="withdrawn", commitment=commitment(bundle))
    if proven != expected:
        raise ProofInvalid(
            "The ledger does not say there that this consent ended. Run `musubi resident check-promises`, and tell the "
            "town's stewards."
        )
    try:
        check_new(client, kept, expected, answer.index)
    except (ProofInvalid, SignatureInvalid, NotPermitted, Malformed) as error:
        return Ended(revoked=answer, doubt=error.message)
    return Ended(revoked=answer, doubt="")

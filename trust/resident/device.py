"""What a resident's own device signs to end a consent; how it gives one is in ``trust.resident.giving``.

The device trusts no answer: what was signed must stand in the ledger, with a receipt. What it checks besides is in
``trust.resident.uses``, ``stopped``, ``promises`` and ``erasure``.
"""

import secrets
from collections.abc import Callable

from msgspec import Struct

from ledger import entries as e
from ledger.errors import (
    Malformed,
    MusubiError,
    NotFound,
    NotPermitted,
    ProofInvalid,
    SignatureInvalid,
)
from policies.consents.bundle import commitment
from policies.consents.revocation import make_revocation
from trust.client.service import ServiceClient
from trust.client.wire import Revoked
from trust.resident.promises import KeptPromise, check_new
from trust.runtime.clock import system_clock


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

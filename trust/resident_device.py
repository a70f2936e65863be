"""What a resident's own device does: sign consents and revocations, and look for every question that could count it.

The device trusts no answer: which questions could count a consent follows from the public log alone, which it reads
and replays itself.
"""

import secrets
import time

from msgspec import Struct, structs

from ledger import entries as e
from ledger.errors import ConsentMismatch, MusubiError, NotFound, PolicyNotCurrent, ProofInvalid
from policies.bundle import commitment
from policies.consent import Language, make_consent, make_revocation
from policies.document import Policy, document_sha256
from policies.in_force import check_in_force, prove_in_force
from policies.replay import MemoryConsents, State
from queries.messages import MyConsent
from queries.replay import replay
from trust.log_follower import LogFollower
from trust.service_client import ServiceClient


class Use(Struct, frozen=True, kw_only=True):
    """One question that could count a consent: where it is, who asked, when, and how it ended."""

    admit: int
    at: int
    by: str
    policy: str
    counted: bool
    ended: str


def grant(
    client: ServiceClient,
    seed: bytes,
    policy_id: str,
    *,
    holders: list[str],
    until: str | None,
    cap: int | None,
    language: Language,
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
    last_day, yearly_cap = until or policy.until[-1], policy.caps[-1] if cap is None else cap
    _check_choices(policy, holders, last_day, yearly_cap)
    consent = secrets.token_bytes(32)
    bundle = make_consent(
        seed,
        policy,
        log=client.trust.origin,
        consent=consent,
        salts=[secrets.token_bytes(32) for _ in range(len(policy.holders) + 1)],
        holders=holders or list(policy.holders),
        until=last_day,
        cap=yearly_cap,
        language=language,
        shown_at=int(time.time()),
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
        cap=yearly_cap,
        commitment=commitment(bundle),
    )
    if proven != expected:
        raise ProofInvalid("The ledger does not say there what was signed; tell the town's stewards.", index=index)
    return index, last_day


def _check_choices(policy: Policy, holders: list[str], until: str, cap: int) -> None:
    """Raise ConsentMismatch, with the choices that there are, before anything is signed that cannot be taken."""
    for what, chosen, choices in (
        ("holder", holders, list(policy.holders)),
        ("last day", [until], list(policy.until)),
        ("yearly cap in nano-rho", [str(cap)], [str(each) for each in policy.caps]),
    ):
        if not set(chosen) <= set(choices):
            raise ConsentMismatch(f"The policy '{policy.id}' has no such {what}; choose from: {', '.join(choices)}.")


def revoke(client: ServiceClient, seed: bytes, index: int) -> tuple[int, str]:
    """Sign and hand in a revocation; return its index and the service's promise, once the receipt was checked.

    Raises ProofInvalid where the ledger does not say there that this consent has ended.
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
        said_at=int(time.time()),
    )
    answer = client.revoke(index, bundle)
    proven = client.prove(answer["index"]).entry
    if proven != e.Revoke(at=proven.at, grant=index, reason="withdrawn", commitment=commitment(bundle)):
        raise ProofInvalid("The ledger does not say there that this consent ended; tell the town's stewards.")
    return answer["index"], answer["promise"]


def uses(follower: LogFollower, mine: list[MyConsent]) -> list[Use]:
    """Read the whole log and return every question of one's own policies since one's consents, in order.

    Each bit is checked with its in-force proof against the root in the question's own entry.
    """
    state, seen = State(), MemoryConsents()
    found: dict[int, Use] = {}
    first = {consent.policy: min(c.index for c in mine if c.policy == consent.policy) for consent in mine}
    for batch in follower.follow():
        for offset, data in enumerate(batch.entries):
            index = batch.first + offset
            counted = False
            if b'"kind":"admit"' in data:
                counted = _counts(state, index, data, mine)
            entry = replay(state, index, data, seen)
            if isinstance(entry, e.Admit) and index > first.get(entry.policy, index):
                found[index] = Use(
                    admit=index, at=entry.at, by=entry.by, policy=entry.policy, counted=counted, ended="open"
                )
            elif isinstance(entry, e.Release | e.Refund) and entry.admit in found:
                ended = "answered" if isinstance(entry, e.Release) else "refunded"
                found[entry.admit] = structs.replace(found[entry.admit], ended=ended)
    return list(found.values())


def _counts(state: State, index: int, data: bytes, mine: list[MyConsent]) -> bool:
    """Return whether any of one's consents is in the in-force set that the ``admit`` at ``index`` commits to."""
    try:
        entry = e.decode(data)
    except MusubiError:
        return False  # the replay that follows says what is wrong
    if not isinstance(entry, e.Admit):
        return False
    chunks = state.eligible(entry.policy_sha256, entry.at, entry.charge)
    proofs = [
        (consent.index, prove_in_force(chunks, index, consent.index))
        for consent in mine
        if consent.policy == entry.policy and consent.index < index
    ]
    counted = [  # every proof is checked
        check_in_force(proof, entry.in_force_root, index=place, size=index) for place, proof in proofs
    ]
    return any(counted)

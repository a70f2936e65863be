"""A revocation: what a resident signs to end one grant, in the same shape as the consent that it ends.

Leaf 0 is signed with the key at the service, leaf i with the key at holder i, so nobody can end another's consent.
Which grant an entry of the ledger ends is told here as well (``ended_grant``).
"""

from typing import Literal

from msgspec import Struct

from ledger import entries as e
from ledger import jws
from ledger.entries import Alias, Hex32, Index, Seconds
from ledger.errors import ConsentMismatch
from policies.consents.bundle import NONE, Bundle, Leaf
from policies.consents.consent import Consent
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from policies.policy_document import Policy


class Revocation(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The resident ends one grant. Leaf 0 is signed with the key at the service, leaf i with the key at holder i."""

    v: Literal[1] = 1
    kind: Literal["revocation"] = "revocation"
    log: str
    consent: Hex32
    grant: Index
    holder: Alias
    key: Hex32
    said_at: Seconds


def make_revocation(
    seed: bytes,
    policy: Policy,
    *,
    log: str,
    consent: str,
    grant: int,
    salts: list[bytes],
    holders: list[str],
    said_at: int,
) -> Bundle:
    """Sign a revocation of the grant at ledger index ``grant``, in the same shape as the consent that it ends."""
    leaves = []
    for salt, holder in zip(salts, [SERVICE, *policy.holders], strict=True):
        body = NONE
        if holder == SERVICE or holder in holders:
            key = pairwise_key(seed, holder)
            said = Revocation(
                log=log, consent=consent, grant=grant, holder=holder, key=public_hex(key), said_at=said_at
            )
            body = jws.sign(said, key)
        leaves.append(Leaf(salt=salt.hex(), body=body))
    return Bundle(leaves=leaves)


def read_revocation(bundle: Bundle, granted: Consent, grant: int, policy: Policy) -> None:
    """Check a revocation against the consent that it ends: same keys, same consent, every signature.

    Raises Malformed, ConsentMismatch or SignatureInvalid.
    """
    expected = {SERVICE: granted.general.key} | {sub.holder: sub.key for sub in granted.sub_grants}
    if len(bundle.leaves) != len(policy.holders) + 1:
        raise ConsentMismatch("The revocation has not one part for each holder of the policy, and a general part.")
    for holder, leaf in zip([SERVICE, *policy.holders], bundle.leaves, strict=True):
        if holder not in expected:
            if leaf.body != NONE:
                raise ConsentMismatch("The revocation has a part for a holder that the consent did not choose.")
            continue
        said = jws.verify(leaf.body, bytes.fromhex(expected[holder]), Revocation, "revocation")
        if (said.log, said.consent, said.grant) != (granted.general.log, granted.general.consent, grant):
            raise ConsentMismatch("The revocation names another consent, grant or ledger.")
        if said.holder != holder or said.key != expected[holder]:
            raise ConsentMismatch("The revocation's parts are not signed with the keys of the consent that it ends.")


def read_lone_revocation(bundle: Bundle, ends: tuple[str, Hex32, int], key: bytes, policy: Policy) -> None:
    """Check a revocation without the consent that it ends: by the 32-byte ``key`` at the service alone.

    For a record that was lost. ``ends`` is (log, consent, grant's index). The parts for holders are signed by the keys
    that they name themselves; nothing is left to compare those with. Raises as ``read_revocation``.
    """
    if len(bundle.leaves) != len(policy.holders) + 1:
        raise ConsentMismatch("The revocation has not one part for each holder of the policy, and a general part.")
    for holder, leaf in zip([SERVICE, *policy.holders], bundle.leaves, strict=True):
        if leaf.body == NONE and holder != SERVICE:
            continue
        named = jws.read_unverified(leaf.body, Revocation, "revocation")
        said = jws.verify(leaf.body, key if holder == SERVICE else bytes.fromhex(named.key), Revocation, "revocation")
        if (said.log, said.consent, said.grant) != ends or said.holder != holder:
            raise ConsentMismatch("The revocation names another consent, grant or ledger.")


def ended_grant(entry: e.AnyEntry, erased: e.AnyEntry | None) -> int | None:
    """Return the index of the grant whose end an entry is about, or None where it is about none.

    ``erased`` is the entry that an ``erase`` names: where that is a revocation, its record is erased, and the grant is
    the one that was revoked. For any other entry it does not matter.
    """
    if isinstance(entry, e.Erase):
        return erased.grant if isinstance(erased, e.Revoke) else entry.index
    return entry.grant if isinstance(entry, e.Revoke) else None

"""Residents' devices for tests: seeds, whole consents for the hand-made town, and parts of them signed anew."""

import hashlib
from collections.abc import Mapping
from typing import Any

from msgspec import structs

from ledger import jws
from ledger.entries import Grant
from policies.consents.bundle import NONE, Bundle, Leaf, commitment, leaf_digest
from policies.consents.consent import General, SubGrant, make_consent
from policies.document import Policy, document_sha256
from policies.pairwise_keys import SERVICE, pairwise_key
from tests.kit.log_builder import ORIGIN, mobility

SHOWN_AT = 1_790_000_000
UNTIL = "2027-03-31"
CAP = 5_000_000


def seed_of(name: str) -> bytes:
    """Return the fixed seed of a resident's device."""
    return hashlib.sha256(b"resident " + name.encode()).digest()


def salts_for(name: str, count: int) -> list[bytes]:
    """Return fixed salts, all different."""
    return [hashlib.sha256(f"salt {name} {place}".encode()).digest() for place in range(count)]


def consent_bundle(name: str, policy: Policy | None = None, **changes: Any) -> Bundle:
    """Return a right consent of a resident, to every holder unless told otherwise."""
    document = policy or mobility()
    said: dict[str, Any] = {
        "log": ORIGIN,
        "consent": hashlib.sha256(b"consent of " + name.encode()).digest(),
        "salts": salts_for(name, len(document.holders) + 1),
        "holders": list(document.holders),
        "until": UNTIL,
        "cap": CAP,
        "language": "ja",
        "shown_at": SHOWN_AT,
    }
    return make_consent(seed_of(name), document, **(said | changes))


def general_of(bundle: Bundle) -> General:
    """Return what leaf 0 says."""
    return jws.read_unverified(bundle.leaves[0].body, General)


def signed_anew(
    bundle: Bundle,
    name: str,
    *,
    general: Mapping[str, Any] | None = None,
    sub_grant: Mapping[str, Any] | None = None,
    rebind: bool = True,
) -> Bundle:
    """Change what the parts say and sign them again with the resident's own keys, sub-grants bound to the new leaf 0."""
    said = structs.replace(general_of(bundle), **(general or {}))
    first = Leaf(salt=bundle.leaves[0].salt, body=jws.sign(said, pairwise_key(seed_of(name), SERVICE)))
    leaves = [first]
    for leaf in bundle.leaves[1:]:
        if leaf.body == NONE:
            leaves.append(leaf)
            continue
        old = jws.read_unverified(leaf.body, SubGrant)
        bound = {"general": leaf_digest(first).hex()} if rebind else {}
        new = structs.replace(old, **(bound | dict(sub_grant or {})))
        leaves.append(Leaf(salt=leaf.salt, body=jws.sign(new, pairwise_key(seed_of(name), old.holder))))
    return Bundle(leaves=leaves)


def with_leaf(bundle: Bundle, place: int, leaf: Leaf) -> Bundle:
    """Return the bundle with one leaf put in another's place."""
    leaves = list(bundle.leaves)
    leaves[place] = leaf
    return Bundle(leaves=leaves)


def entry_for(bundle: Bundle, policy: Policy | None = None, **changes: Any) -> Grant:
    """Return the ledger entry that the service would append for a bundle."""
    said = general_of(bundle)
    grant = Grant(
        at=SHOWN_AT + 60,
        consent=said.consent,
        policy=said.policy,
        version=said.version,
        policy_sha256=document_sha256(policy or mobility()),
        until=said.until,
        cap=said.cap,
        commitment=commitment(bundle),
    )
    return structs.replace(grant, **changes)

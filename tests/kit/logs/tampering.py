"""What a forger would do to bytes, to a signed message, or to a part of a consent."""

from collections.abc import Mapping
from typing import Any

from msgspec import structs
from nacl.bindings import crypto_core_ed25519_scalar_add

from ledger import jws
from policies.consents.bundle import NONE, Bundle, Leaf, leaf_digest
from policies.consents.consent import General, SubGrant
from policies.pairwise_keys import SERVICE, pairwise_key

_ORDER = (2**252 + 27742317777372353535851937790883648493).to_bytes(32, "little")
"""The order of Ed25519's group."""


def flip(data: bytes, place: int, bit: int = 0) -> bytes:
    """Return the bytes with one bit of one of them turned over."""
    changed = bytearray(data)
    changed[place] ^= 1 << bit
    return bytes(changed)


def flipped(token: str) -> str:
    """Return a signed message with one bit of its signature turned over."""
    head, _, signature = token.rpartition(".")
    return f"{head}.{jws.b64url(flip(jws.unb64url(signature), 5))}"


def stretched(token: str) -> str:
    """Return a signed message with the group's order added to its signature's scalar: another text, the same said."""
    head, _, signature = token.rpartition(".")
    data = jws.unb64url(signature)
    added = (int.from_bytes(data[32:], "little") + int.from_bytes(_ORDER, "little")).to_bytes(32, "little")
    assert crypto_core_ed25519_scalar_add(added, bytes(32)) == crypto_core_ed25519_scalar_add(data[32:], bytes(32))
    return f"{head}.{jws.b64url(data[:32] + added)}"


def unsigned(token: str) -> str:
    """Return what a signed message says under an ``alg: none`` header, without a signature."""
    header = jws.b64url(b'{"alg":"none"}')
    return f"{header}.{token.split('.')[1]}."


def with_leaf(bundle: Bundle, place: int, leaf: Leaf) -> Bundle:
    """Return the bundle with one leaf put in another's place."""
    leaves = list(bundle.leaves)
    leaves[place] = leaf
    return Bundle(leaves=leaves)


def with_body(bundle: Bundle, place: int, body: str) -> Bundle:
    """Return the bundle with one leaf saying something else under the same salt."""
    return with_leaf(bundle, place, Leaf(salt=bundle.leaves[place].salt, body=body))


def signed_anew(
    bundle: Bundle,
    seed: bytes,
    *,
    general: Mapping[str, Any] | None = None,
    sub_grant: Mapping[str, Any] | None = None,
    rebind: bool = True,
) -> Bundle:
    """Change what the parts say and sign them again with the resident's keys, sub-grants bound to the new leaf 0."""
    said = structs.replace(jws.read_unverified(bundle.leaves[0].body, General), **(general or {}))
    first = Leaf(salt=bundle.leaves[0].salt, body=jws.sign(said, pairwise_key(seed, SERVICE)))
    leaves = [first]
    for leaf in bundle.leaves[1:]:
        if leaf.body == NONE:
            leaves.append(leaf)
            continue
        old = jws.read_unverified(leaf.body, SubGrant)
        bound = {"general": leaf_digest(first).hex()} if rebind else {}
        new = structs.replace(old, **(bound | dict(sub_grant or {})))
        leaves.append(Leaf(salt=leaf.salt, body=jws.sign(new, pairwise_key(seed, old.holder))))
    return Bundle(leaves=leaves)

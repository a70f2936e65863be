"""A bundle of salted leaves under one commitment: what lets each holder see its own part of a consent and no other.

::

    leaf        H(0x00 || salt (32 bytes) || body)
    node        H(0x01 || left || right)                         RFC 6962's tree
    commitment  H("musubi/consent/v1" || uint32be(leaf count) || root)

A bundle has one leaf more than the policy has holders. Leaf 0 is the general part; leaf i is the sub-grant for the
policy's i-th holder, or the body ``none`` where that holder was not chosen. The salt hides a body from whoever sees
only hashes; the leaf count keeps a small tree from passing for a large one.

The tree is built by ``merkletools``; paths are checked by ``ledger.tlog.proofs``, because merkletools' own check
accepts an empty proof for the root itself.
"""

import hashlib
import warnings
from typing import Annotated

from msgspec import Meta, Struct

from ledger.entries import Hex32
from ledger.errors import Malformed, ProofInvalid
from ledger.tlog.proofs import check_inclusion

with warnings.catch_warnings():
    # merkletools looks for SHA-3, which we do not use, and warns where it is not found.
    warnings.filterwarnings("ignore", message="sha3 is not working!")
    from merkletools import MerkleTools

NONE = "none"
"""The body of a leaf for a holder that was not chosen."""
_CONTEXT = b"musubi/consent/v1"


class Leaf(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One salted leaf: a compact JWS, or ``none``."""

    salt: Hex32
    body: Annotated[str, Meta(max_length=8_192, pattern=r"^[A-Za-z0-9._-]+\Z")]


class Bundle(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All leaves, in the policy's order. Only the resident and the service ever hold a whole one."""

    leaves: Annotated[list[Leaf], Meta(min_length=2, max_length=33)]


class DisclosedLeaf(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One holder's leaf with its path to the commitment (hashes from leaf to root)."""

    position: Annotated[int, Meta(ge=0, le=32)]
    count: Annotated[int, Meta(ge=2, le=33)]
    leaf: Leaf
    path: Annotated[list[Hex32], Meta(max_length=6)]


def leaf_digest(leaf: Leaf) -> bytes:
    """Return H(0x00 || salt || body)."""
    return hashlib.sha256(b"\x00" + bytes.fromhex(leaf.salt) + leaf.body.encode("ascii")).digest()


def _tree(leaves: list[Leaf]) -> MerkleTools:
    tree = MerkleTools(hash_type="sha256")
    tree.hash_function = lambda pair: hashlib.sha256(b"\x01" + pair)
    tree.add_leaf([leaf_digest(leaf).hex() for leaf in leaves])
    tree.make_tree()
    return tree


def _commit(count: int, root: bytes) -> Hex32:
    return hashlib.sha256(_CONTEXT + count.to_bytes(4, "big") + root).hexdigest()


def commitment(bundle: Bundle) -> Hex32:
    """Return the commitment that the ledger entry carries."""
    return _commit(len(bundle.leaves), bytes.fromhex(_tree(bundle.leaves).get_merkle_root()))


def disclose(bundle: Bundle, position: int) -> DisclosedLeaf:
    """Return one leaf with its path, and nothing else of the bundle but hashes."""
    steps = _tree(bundle.leaves).get_proof(position)
    path = [step.get("left") or step["right"] for step in steps]
    return DisclosedLeaf(position=position, count=len(bundle.leaves), leaf=bundle.leaves[position], path=path)


def root_of_path(disclosed: DisclosedLeaf) -> bytes:
    """Return the root that the leaf and its path lead to; raise Malformed where they fit no tree of that count."""
    if disclosed.position >= disclosed.count:
        raise Malformed("The leaf's position is outside its bundle.")
    node, last, path = disclosed.position, disclosed.count - 1, iter(disclosed.path)
    digest = leaf_digest(disclosed.leaf)
    try:
        while last:  # RFC 9162, section 2.1.3.2: the right edge may skip levels
            if node % 2 or node < last:
                sibling = bytes.fromhex(next(path))
                pair = sibling + digest if node % 2 else digest + sibling
                digest = hashlib.sha256(b"\x01" + pair).digest()
            node, last = node >> 1, last >> 1
    except StopIteration:
        raise ProofInvalid("The leaf's path is too short for its bundle.") from None
    if next(path, None) is not None:
        raise ProofInvalid("The leaf's path is too long for its bundle.")
    return digest


def check_disclosed(disclosed: DisclosedLeaf, expected: Hex32) -> None:
    """Raise ProofInvalid unless the leaf is at its position in the bundle that ``expected`` commits to."""
    root = root_of_path(disclosed)
    proof = [bytes.fromhex(step) for step in disclosed.path]
    check_inclusion(leaf_digest(disclosed.leaf), disclosed.position, disclosed.count, proof, root)
    if _commit(disclosed.count, root) != expected:
        raise ProofInvalid("The leaf is not part of the consent that the ledger names.")

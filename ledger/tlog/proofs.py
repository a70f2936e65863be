"""Checking what ``ledger.tlog.tree`` proves: inclusion and consistency (RFC 9162, sections 2.1.3.2 and 2.1.4.2).

RFC 9162 computes the same tree as RFC 6962 and spells the checks out. Both raise ProofInvalid and return nothing, so
a result cannot be forgotten. Hashes that are not 32 bytes long never verify.
"""

from collections.abc import Sequence

from ledger.errors import ProofInvalid
from ledger.hashing import HASH_BYTES, node_hash


def _check_lengths(hashes: Sequence[bytes]) -> None:
    if any(len(each) != HASH_BYTES for each in hashes):
        raise ProofInvalid("The proof holds a hash that is not 32 bytes long.")


def inclusion_root(leaf: bytes, index: int, size: int, proof: Sequence[bytes]) -> bytes:
    """Return the root of the tree of ``size`` leaves that has leaf hash ``leaf`` at ``index``, if the path is right.

    ``proof`` runs from the leaf's sibling to the root's child. Raises ProofInvalid where index, size and length of
    the path do not fit, or a hash is not 32 bytes long.
    """
    if not 0 <= index < size:
        raise ProofInvalid("The proof is for an index that the tree does not have.")
    _check_lengths([leaf, *proof])
    # RFC 9162: fn walks up from the leaf, sn from the last leaf. Where fn is odd, or both are the last node of their
    # level, the sibling is at the left; levels without a sibling are skipped.
    fn, sn = index, size - 1
    root = leaf
    for sibling in proof:
        if sn == 0:
            raise ProofInvalid("The inclusion proof is too long for its tree.")
        if fn & 1 or fn == sn:
            root = node_hash(sibling, root)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            root = node_hash(root, sibling)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise ProofInvalid("The inclusion proof is too short for its tree.")
    return root


def check_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Raise ProofInvalid unless leaf hash ``leaf`` is at ``index`` of the tree of ``size`` leaves with root ``root``.

    ``leaf`` is ``hashing.leaf_hash(entry)``; ``proof`` runs from the leaf's sibling to the root's child.
    """
    if inclusion_root(leaf, index, size, proof) != root:
        raise ProofInvalid("The entry is not in the tree with that root, at that index.")


def check_consistency(old: int, new: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]) -> None:
    """Raise ProofInvalid unless the tree of ``old`` leaves begins the tree of ``new`` leaves.

    Equal sizes need equal roots and an empty proof; the roots are then only compared. An old size of 0 is refused:
    every tree extends the empty one, so asking proves nothing, and a caller who means "nothing seen yet" must say so.
    """
    if not 0 < old <= new:
        raise ProofInvalid("Consistency is proven from a tree with entries to one at least as large.")
    if old == new:
        if proof or old_root != new_root:
            raise ProofInvalid("Between equal sizes the roots are equal and the consistency proof is empty.")
        return
    if not proof:
        raise ProofInvalid("The consistency proof is missing.")
    _check_lengths([old_root, new_root, *proof])
    # RFC 9162: where old is a power of two, its root is itself the first node, and the proof leaves it out.
    path = [old_root, *proof] if _is_complete(old) else list(proof)
    if _consistency_roots(old, new, path) != (old_root, new_root):
        raise ProofInvalid("The larger tree does not extend the smaller one.")


def proven_prefix(old: int, new: int, proof: Sequence[bytes]) -> bytes | None:
    """Return the root of the first ``old`` leaves that a consistency proof to ``new`` leaves speaks of.

    It is theirs only if ``check_consistency`` takes it with the new root. None where ``old`` is a power of two: then
    the proof leaves that root out. Raises ProofInvalid where the proof does not fit the sizes.
    """
    if not 0 < old < new or not proof:
        raise ProofInvalid("Only a consistency proof from a tree with entries to a larger one speaks of a prefix.")
    _check_lengths(proof)
    return None if _is_complete(old) else _consistency_roots(old, new, proof)[0]


def _is_complete(size: int) -> bool:
    """Return whether a tree of ``size`` leaves, at least one, is one complete subtree."""
    return size & (size - 1) == 0


def _consistency_roots(old: int, new: int, path: Sequence[bytes]) -> tuple[bytes, bytes]:
    """Return the two roots that a consistency path leads up to (RFC 9162, section 2.1.4.2), for 0 < old < new."""
    fn, sn = old - 1, new - 1
    while fn & 1:
        fn >>= 1
        sn >>= 1
    first = second = path[0]
    for sibling in path[1:]:
        if sn == 0:
            raise ProofInvalid("The consistency proof is too long for its trees.")
        if fn & 1 or fn == sn:
            first = node_hash(sibling, first)
            second = node_hash(sibling, second)
            while fn and not fn & 1:
                fn >>= 1
                sn >>= 1
        else:
            second = node_hash(second, sibling)
        fn >>= 1
        sn >>= 1
    if sn != 0:
        raise ProofInvalid("The consistency proof is too short for its trees.")
    return first, second

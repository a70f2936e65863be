"""The Merkle tree of RFC 6962: roots and proofs from stored hashes, and a right edge that grows.

Every function here asks a ``HashReader`` for hashes of complete subtrees and never opens a file. The node ``(level,
index)`` is the root of the complete subtree over the leaves from ``index * 2^level`` up to, without,
``(index + 1) * 2^level``; level 0 is the leaf hashes.

A tree over more than one leaf splits at k, the largest power of two *below* its size n: k < n <= 2k. So each left
part is complete, and any right part ``[begin, end)`` starts at a multiple of a power of two that is at least
``end - begin``: it falls into complete subtrees of falling size, one for each bit of ``end - begin``.

The counterpart that checks these proofs is ``ledger.tlog.proofs``.
"""

from collections.abc import Iterable, Sequence
from functools import reduce
from hashlib import sha256
from typing import Protocol

from msgspec import Struct

from ledger.errors import Malformed, NotFound
from ledger.hashing import EMPTY_ROOT, HASH_BYTES, NODE_PREFIX, node_hash


class HashReader(Protocol):
    """Whatever can look up hashes of complete subtrees: tiles, a list in memory, a database."""

    def read_hashes(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the 32-byte hash of each ``(level, index)``, in the same order."""
        ...


def split(size: int) -> int:
    """Return the largest power of two below ``size``, for a size of at least 2 (RFC 6962, section 2.1)."""
    return 1 << ((size - 1).bit_length() - 1)


def subtrees(begin: int, end: int) -> list[tuple[int, int]]:
    """Return the complete subtrees, left to right, that make up the part ``[begin, end)`` of a tree.

    ``begin`` is 0 or a split point, so it is a multiple of each subtree's size; see the module's docstring.
    """
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append((level, begin >> level))
        begin += 1 << level
    return nodes


def fold(hashes: Sequence[bytes]) -> bytes:
    """Hash complete subtrees of falling size, at least one, into their common root: from the right, smallest first."""
    return reduce(lambda right, left: node_hash(left, right), reversed(hashes))


def _fold_parts(parts: Sequence[tuple[int, int]], reader: HashReader) -> list[bytes]:
    """Return the root of each part ``[begin, end)``, with one read for all of them."""
    wanted = [subtrees(begin, end) for begin, end in parts]
    hashes = iter(reader.read_hashes([node for nodes in wanted for node in nodes]))
    return [fold([next(hashes) for _ in nodes]) for nodes in wanted]


def root_hash(size: int, reader: HashReader) -> bytes:
    """Return the root of the first ``size`` leaves."""
    if size == 0:
        return EMPTY_ROOT
    return _fold_parts([(0, size)], reader)[0]


def prove_inclusion(index: int, size: int, reader: HashReader) -> list[bytes]:
    """Return the path from leaf ``index`` to the root of the first ``size`` leaves (RFC 6962, section 2.1.1).

    The hashes run from the leaf's sibling to the root's child. Raises NotFound unless 0 <= index < size.
    """
    if not 0 <= index < size:
        raise NotFound("There is no entry at that index in a tree of that size.")
    parts = []
    begin, end = 0, size
    while end - begin > 1:
        middle = begin + split(end - begin)
        if index < middle:
            parts.append((middle, end))
            end = middle
        else:
            parts.append((begin, middle))
            begin = middle
    return _fold_parts(parts[::-1], reader)


def prove_consistency(old: int, new: int, reader: HashReader) -> list[bytes]:
    """Return the proof that the first ``old`` leaves begin the first ``new`` (RFC 6962, section 2.1.2).

    It is empty where nothing needs proof: from the empty tree, and between equal sizes.
    Raises NotFound unless 0 <= old <= new.
    """
    if not 0 <= old <= new:
        raise NotFound("The log has not reached that size.")
    if old in (0, new):
        return []
    parts = []
    begin, end = 0, new
    while old < end:
        middle = begin + split(end - begin)
        if old <= middle:
            parts.append((middle, end))
            end = middle
        else:
            parts.append((begin, middle))
            begin = middle
    # Now end == old. If begin is 0, [0, old) is the old tree itself, whose root the checker has; else it is SUBPROOF
    # with b = false, and its root opens the proof.
    if begin > 0:
        parts.append((begin, end))
    return _fold_parts(parts[::-1], reader)


class Frontier(Struct, forbid_unknown_fields=True):
    """The right edge of a growing tree (a compact range): enough to append leaves and to know the root.

    ``hashes`` holds the roots of the complete subtrees that make up the first ``size`` leaves, largest first: one for
    each 1 bit of ``size``. It can be stored with msgspec and read back. Raises Malformed where the two do not fit.
    """

    size: int = 0
    hashes: list[bytes] = []

    def __post_init__(self) -> None:
        if self.size < 0 or len(self.hashes) != self.size.bit_count():
            raise Malformed("The stored edge of the tree does not have one hash for each 1 bit of its size.")
        if any(len(each) != HASH_BYTES for each in self.hashes):
            raise Malformed("The stored edge of the tree holds a hash that is not 32 bytes long.")

    def append(self, leaf_hashes: Iterable[bytes]) -> None:
        """Add leaf hashes (32 bytes each) at the right."""
        hashes, size = self.hashes, self.size
        for leaf in leaf_hashes:
            # Adding a leaf is adding 1 in binary: each trailing 1 bit of the size is a subtree that merges and carries.
            node, carry = leaf, size
            while carry & 1:
                node = sha256(NODE_PREFIX + hashes.pop() + node).digest()
                carry >>= 1
            hashes.append(node)
            size += 1
        self.size = size

    def root(self) -> bytes:
        """Return the root of all leaves added."""
        return fold(self.hashes) if self.hashes else EMPTY_ROOT

    def copy(self) -> "Frontier":
        """Return a frontier that grows apart from this one."""
        return Frontier(self.size, list(self.hashes))


def _parents(hashes: Sequence[bytes]) -> list[bytes]:
    """Return the next level up: pairs hashed, an odd last hash carried over as it is."""
    parents = [node_hash(hashes[i], hashes[i + 1]) for i in range(0, len(hashes) - 1, 2)]
    return parents if len(hashes) % 2 == 0 else [*parents, hashes[-1]]


def merkle_root(leaf_hashes: Sequence[bytes]) -> bytes:
    """Return the RFC 6962 root of a small tree held in memory."""
    if not leaf_hashes:
        return EMPTY_ROOT
    while len(leaf_hashes) > 1:
        leaf_hashes = _parents(leaf_hashes)
    return leaf_hashes[0]

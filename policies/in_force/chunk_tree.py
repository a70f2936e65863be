"""The in-force set as a kept tree: chunks of 512 bytes as leaves, and the hash of every subtree that is not empty.

The tree is that of RFC 6962 over the chunks 0 to n - 1, leaf hash ``H(0x00 || 512 bytes)``; n grows with the log. A
complete subtree's hash does not depend on n, and the chunks that nobody has touched are all zero. So the hashes of
complete subtrees are kept as those of a tree that goes on for ever to the right with zeros: a chunk that changes costs
its own hash and one for each level above it, and a log that grows costs nothing. The root over n chunks is then folded
from at most log2(n) kept hashes (``ledger.tlog.tree``).

Measured at 10 million ledger indices (2,442 chunks): 5 ms for all chunks anew, 0.04 ms after one grant.
"""

from collections.abc import Sequence

from ledger.entries import Hex32
from ledger.errors import ProofInvalid
from ledger.hashing import leaf_hash, node_hash
from ledger.tlog.tree import prove_inclusion, root_hash

CHUNK_BITS = 4_096
CHUNK_BYTES = CHUNK_BITS // 8

Chunks = dict[int, int]
"""Chunk number to its 4,096 bits as an integer; chunks with no bit set are absent."""


def set_bit(bits: Chunks, index: int) -> None:
    """Set the bit of one ledger index."""
    number, bit = divmod(index, CHUNK_BITS)
    bits[number] = bits.get(number, 0) | 1 << bit


def has_bit(bits: Chunks, index: int) -> bool:
    """Return whether the bit of one ledger index is set."""
    number, bit = divmod(index, CHUNK_BITS)
    return bool(bits.get(number, 0) >> bit & 1)


def _empty_subtrees() -> list[bytes]:
    """Return, by level, the hash of a complete subtree in which nothing is set; 2^53 indices need 41 levels."""
    hashes = [leaf_hash(bytes(CHUNK_BYTES))]
    while len(hashes) < 64:
        hashes.append(node_hash(hashes[-1], hashes[-1]))
    return hashes


_EMPTY = _empty_subtrees()


class ChunkTree:
    """Bits over ledger indices, and the hashes over them. Nothing is hashed before a root or path is asked for."""

    def __init__(self, chunks: Chunks | None = None) -> None:
        self.chunks: Chunks = {}
        """What is set. To read only: it changes through ``put``."""
        self.count = 0
        """How many bits are set."""
        self._levels: list[dict[int, bytes]] = [{}]
        self._dirty: set[int] = set()
        for number, bits in (chunks or {}).items():
            self.put(number, bits)

    def put(self, number: int, bits: int) -> None:
        """Set the 4,096 bits of one chunk."""
        before = self.chunks.get(number, 0)
        if bits == before:
            return
        self.count += bits.bit_count() - before.bit_count()
        if bits:
            self.chunks[number] = bits
        else:
            del self.chunks[number]
        self._dirty.add(number)

    def chunk(self, number: int) -> bytes:
        """Return the 512 bytes of one chunk."""
        return self.chunks.get(number, 0).to_bytes(CHUNK_BYTES, "little")

    def root(self, size: int) -> Hex32:
        """Return the root over the bits of indices 0 to ``size`` - 1."""
        return root_hash(_chunks_of(size), self).hex()

    def path(self, size: int, number: int) -> list[bytes]:
        """Return the path from one chunk to the root over ``size`` bits, leaf to root."""
        return prove_inclusion(number, _chunks_of(size), self)

    def read_hashes(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        """Return the hashes of complete subtrees (``ledger.tlog.tree.HashReader``)."""
        self._hash(max((level for level, _ in nodes), default=0))
        return [self._levels[level].get(index, _EMPTY[level]) for level, index in nodes]

    def _hash(self, top: int) -> None:
        """Hash what has changed, and the subtrees above it, up to level ``top`` at least."""
        numbers, self._dirty = self._dirty, set()
        if not numbers and top < len(self._levels):
            return
        for number in numbers:
            self._levels[0][number] = leaf_hash(self.chunk(number))
        level = 0
        while level < top or level + 1 < len(self._levels) or any(numbers):
            below = self._levels[level]
            numbers = {number >> 1 for number in numbers}
            if level + 1 == len(self._levels):
                self._levels.append({})
                numbers.add(0)  # the old top is a part of the new one, whether it has changed or not
            above, empty = self._levels[level + 1], _EMPTY[level]
            for number in numbers:
                above[number] = node_hash(below.get(2 * number, empty), below.get(2 * number + 1, empty))
            level += 1


def _chunks_of(size: int) -> int:
    if size < 0:
        raise ProofInvalid("An in-force set has no negative size.")
    return -(-size // CHUNK_BITS)

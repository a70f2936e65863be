"""Which grants count: the in-force set, as bits over ledger indices, with a root that proves each bit.

Bit i says whether the grant at ledger index i counts. Bits are kept in chunks of 4,096 (512 bytes; index i is bit
``i % 4096`` of chunk ``i // 4096``, least significant bit of the first byte first). The root is the RFC 6962 tree hash over all chunks
from 0 to the one that holds index N - 1, as leaves ``H(0x00 || 512 bytes)``; a chunk where nothing is set is 512 zero
bytes. So a proof that a grant was, or was not, eligible is 512 bytes and a short path.

For one policy version, bits are grouped by the last day (``until``) and the yearly cap that the resident chose,
because both decide for whole groups:

- a group whose last day is past at the ``admit``'s day counts for nothing;
- **yearly cap.** Against the grant at index g count the charges of all ``admit`` entries of the policy version after g in the
  same calendar year that were not refunded, whether or not the grant was eligible for each. The grant is eligible if
  that sum plus the new charge is at most its cap. Later grants have seen fewer charges, so in each group all from one
  threshold index on are eligible. (Counting a charge that did not touch the resident errs on the resident's side.)
"""

import hashlib

from msgspec import Struct

from ledger.entries import Grant, Hex32
from ledger.errors import ProofInvalid
from ledger.proofs import check_inclusion
from ledger.tree import merkle_path, merkle_root

CHUNK_BITS = 4_096
CHUNK_BYTES = CHUNK_BITS // 8

Chunks = dict[int, int]
"""Chunk number to its 4,096 bits as an integer; chunks with no bit set are absent."""


class PastCharge(Struct, frozen=True, kw_only=True):
    """One ``admit`` that counts against yearly caps: its index, calendar year and nano-rho."""

    admit: int
    year: int
    charge: int


class InForceProof(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shows what bit ``index`` was in an in-force set of ``size`` bits: its chunk (hex) and the path to the root."""

    index: int
    size: int
    chunk: str
    path: list[Hex32]


class InForce:
    """The grants of one policy version that were not ended, and the charges that count against their caps."""

    def __init__(self) -> None:
        self.groups: dict[tuple[str, int], Chunks] = {}
        self.charges: list[PastCharge] = []

    def add(self, index: int, grant: Grant) -> None:
        """Bring the grant at ``index`` into force."""
        chunks = self.groups.setdefault((grant.until, grant.cap), {})
        number, bit = divmod(index, CHUNK_BITS)
        chunks[number] = chunks.get(number, 0) | (1 << bit)

    def end(self, index: int) -> bool:
        """Take the grant at ``index`` out; return whether it was in."""
        number, bit = divmod(index, CHUNK_BITS)
        for chunks in self.groups.values():
            if chunks.get(number, 0) >> bit & 1:
                chunks[number] &= ~(1 << bit)
                if not chunks[number]:
                    del chunks[number]
                return True
        return False

    def holds(self, index: int) -> bool:
        """Return whether the grant at ``index`` was not ended (it may still be past its day or cap)."""
        number, bit = divmod(index, CHUNK_BITS)
        return any(chunks.get(number, 0) >> bit & 1 for chunks in self.groups.values())

    def threshold(self, cap: int, year: int, charge: int) -> int | None:
        """Return the least grant index that a new ``charge`` may still count at this cap; None for no index at all."""
        total = charge
        if total > cap:
            return None
        for past in reversed(self.charges):
            if past.year != year:
                continue
            total += past.charge
            if total > cap:
                return past.admit + 1
        return 0

    def eligible(self, day: str, charge: int) -> Chunks:
        """Return the in-force set for a question of ``charge`` nano-rho on ``day`` (``YYYY-MM-DD``, town time)."""
        result: Chunks = {}
        for (until, cap), chunks in self.groups.items():
            first = self.threshold(cap, int(day[:4]), charge)
            if until < day or first is None:
                continue
            first_chunk, first_bit = divmod(first, CHUNK_BITS)
            for number, bits in chunks.items():
                if number > first_chunk:
                    result[number] = result.get(number, 0) | bits
                elif number == first_chunk and bits >> first_bit:
                    result[number] = result.get(number, 0) | bits >> first_bit << first_bit
        return result


def chunk_bytes(chunks: Chunks, number: int) -> bytes:
    """Return the 512 bytes of one chunk."""
    return chunks.get(number, 0).to_bytes(CHUNK_BYTES, "little")


def _leaf(chunk: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + chunk).digest()


_EMPTY_LEAF = _leaf(bytes(CHUNK_BYTES))


def _leaves(chunks: Chunks, size: int) -> list[bytes]:
    count = -(-size // CHUNK_BITS)
    return [_leaf(chunk_bytes(chunks, number)) if number in chunks else _EMPTY_LEAF for number in range(count)]


def in_force_root(chunks: Chunks, size: int) -> Hex32:
    """Return the root over the bits of indices 0 to ``size`` - 1."""
    return merkle_root(_leaves(chunks, size)).hex()


def prove_in_force(chunks: Chunks, size: int, index: int) -> InForceProof:
    """Make the proof for bit ``index`` of a set of ``size`` bits."""
    if not 0 <= index < size:
        raise ProofInvalid("The in-force set has no such index.")
    number = index // CHUNK_BITS
    path = merkle_path(_leaves(chunks, size), number)
    return InForceProof(
        index=index, size=size, chunk=chunk_bytes(chunks, number).hex(), path=[step.hex() for step in path]
    )


def check_in_force(proof: InForceProof, root: Hex32, *, index: int, size: int) -> bool:
    """Return what the proven bit says: whether the grant at ``index`` was eligible for the ``admit`` at ``size``.

    The reader brings both numbers: the root does not bind the size, and at the right edge of the tree a path for another
    size would show another chunk's bits. Raises ProofInvalid.
    """
    if (proof.index, proof.size) != (index, size):
        raise ProofInvalid("The in-force proof is for another grant or another question.")
    try:
        chunk = bytes.fromhex(proof.chunk)
        path = [bytes.fromhex(step) for step in proof.path]
    except ValueError:
        raise ProofInvalid("The in-force proof is not hexadecimal.") from None
    if len(chunk) != CHUNK_BYTES or not 0 <= proof.index < proof.size:
        raise ProofInvalid("The in-force proof is not of its shape.")
    number, bit = divmod(proof.index, CHUNK_BITS)
    check_inclusion(_leaf(chunk), number, -(-proof.size // CHUNK_BITS), path, bytes.fromhex(root))
    return bool(int.from_bytes(chunk, "little") >> bit & 1)


def count_in_force(chunks: Chunks) -> int:
    """Return how many grants are in the set."""
    return sum(bits.bit_count() for bits in chunks.values())


def indices_in_force(chunks: Chunks) -> list[int]:
    """Return the ledger indices in the set, rising."""
    found: list[int] = []
    for number in sorted(chunks):
        base, bits = number * CHUNK_BITS, chunks[number]
        while bits:
            low = bits & -bits
            found.append(base + low.bit_length() - 1)
            bits ^= low
    return found

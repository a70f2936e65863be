"""Bits over ledger indices as an array of booleans."""

import numpy as np

from ledger.errors import Malformed
from policies.in_force.chunk_tree import CHUNK_BITS, CHUNK_BYTES, Chunks


def bits_of(chunks: Chunks, size: int) -> np.ndarray:
    """Return an in-force set as ``size`` booleans. Raises Malformed where it has bits beyond them."""
    if max(chunks, default=0) * CHUNK_BITS > size:
        raise Malformed("There are bits beyond the ledger's end.")
    packed = np.zeros((-(-size // CHUNK_BITS), CHUNK_BYTES), dtype=np.uint8)
    for number, bits in chunks.items():
        packed[number] = np.frombuffer(bits.to_bytes(CHUNK_BYTES, "little"), dtype=np.uint8)
    return np.unpackbits(packed.reshape(-1), bitorder="little")[:size].astype(bool)

"""Who counts in a question: the linked customers whose consent is in force at exactly its ``admit``.

A customer counts by the newest of their grants that had not ended there, and by no older one: also where the newest is
out of force, because its yearly cap is used up or its last day is past. So a narrower consent is not widened by one
that it left standing.

Nothing is changed here.
"""

import numpy as np

from ledger.errors import Unavailable
from policies.in_force.chunk_tree import CHUNK_BITS, CHUNK_BYTES, Chunks
from policies.ledger_state import OpenRound
from trust.node.books.books import Books
from trust.node.ledger_reader import LedgerReader


class CountedSlots:
    """Which slots (linked customers) of this node's books count in a question."""

    def __init__(self, reader: LedgerReader, books: Books) -> None:
        self._reader = reader
        self._books = books
        self._read: dict[str, tuple[tuple[int, int], np.ndarray, np.ndarray]] = {}
        """What the books said of a policy, by its hash, and at which version of them."""

    def at(self, index: int, opened: OpenRound) -> np.ndarray:
        """Return for each slot whether it counts in the question at ``index``, by the in-force set at that very place.

        A consent that was erased since counts no more, also in a question from before: nothing of it is left here.
        Raises Unavailable where the leaf of a consent in force is not held.
        """
        places, slots = self._places(opened.admit.policy_sha256)
        in_force = bits_of(self._reader.in_force[index], index)
        in_force[[place for place in self._reader.state.erased if place < index]] = False
        standing = bits_of(self._reader.standing[index], index)
        held = np.zeros(index, dtype=bool)
        held[places[places < index]] = True
        if bool(np.any(in_force & ~held)):
            raise Unavailable("This node lacks the leaf of a consent that is in force; it will not take part yet.")
        counted = np.zeros(self._books.version()[1], dtype=bool)
        theirs = (places < index) & (slots >= 0)
        theirs[theirs] = standing[places[theirs]]
        newest = np.full(len(counted), -1, dtype=np.int64)
        np.maximum.at(newest, slots[theirs], places[theirs])
        counted[newest >= 0] = in_force[newest[newest >= 0]]
        return counted

    def _places(self, policy_sha256: str) -> tuple[np.ndarray, np.ndarray]:
        version = self._books.version()
        read = self._read.get(policy_sha256)
        if read is None or read[0] != version:
            pairs = np.array(self._books.slots(policy_sha256), dtype=np.int64).reshape(-1, 2)
            read = self._read[policy_sha256] = (version, pairs[:, 0], pairs[:, 1])
        return read[1], read[2]


def bits_of(chunks: Chunks, size: int) -> np.ndarray:
    """Return an in-force set as ``size`` booleans."""
    packed = np.zeros((-(-size // CHUNK_BITS), CHUNK_BYTES), dtype=np.uint8)
    for number, bits in chunks.items():
        packed[number] = np.frombuffer(bits.to_bytes(CHUNK_BYTES, "little"), dtype=np.uint8)
    return np.unpackbits(packed.reshape(-1), bitorder="little")[:size].astype(bool)

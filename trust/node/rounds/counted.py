"""Who counts in a question: the linked customers whose consent is in force at exactly its ``admit``.

A customer has one grant of a policy that has not ended, where the service is honest: each further one replaces it. A
service that lies, or lost its newest records, may leave several standing. A customer counts then only where *all*
are in force: none is out of force because its yearly cap is used up or its last day is past. So nothing that a service
holds back and writes later, in whatever order, makes a consent wider. Of grants from before the rules that know of
replacing the newest decides alone, as it did then.

A grant that was signed before its resident took another one back does not count (``trust.node.books.aged_leaves``).

Nothing is changed here.
"""

import numpy as np

from ledger.errors import Unavailable
from policies.ledger_state import OpenRound
from policies.rules import REPLACING
from trust.node.books.books import Books
from trust.node.kept.index_bits import bits_of
from trust.node.ledger_reader import LedgerReader


class CountedSlots:
    """Which slots (linked customers) of this node's books count in a question."""

    def __init__(self, reader: LedgerReader, books: Books) -> None:
        self._reader = reader
        self._books = books
        self._read: dict[str, tuple[tuple[int, int], np.ndarray, np.ndarray, np.ndarray]] = {}
        """What the books said of a policy, by its hash, and at which version of them."""

    def at(self, index: int, opened: OpenRound) -> np.ndarray:
        """Return for each slot whether it counts in the question at ``index``, by the in-force set at that very place.

        A consent that was erased since counts no more, also in a question from before: nothing of it is left here.
        Raises Unavailable where the leaf of a consent in force is not held.
        """
        places, slots, outlived = self._places(opened.admit.policy_sha256)
        erased = [place for place in self._reader.state.erased if place < index]
        in_force = bits_of(self._reader.in_force[index], index)
        in_force[erased] = False
        standing = bits_of(self._reader.standing[index], index)
        standing[erased] = False
        held = np.zeros(index, dtype=bool)
        held[places[places < index]] = True
        if bool(np.any(in_force & ~held)):
            raise Unavailable("This node lacks the leaf of a consent that is in force; it will not take part yet.")
        counted = np.zeros(self._books.version()[1], dtype=bool)
        theirs = (places < index) & (slots >= 0) & (outlived >= index)
        theirs[theirs] = standing[places[theirs]]
        newest = np.full(len(counted), -1, dtype=np.int64)
        np.maximum.at(newest, slots[theirs], places[theirs])
        counted[newest >= 0] = in_force[newest[newest >= 0]]
        theirs[theirs] = ~in_force[places[theirs]]
        resting = slots[theirs]
        counted[resting[newest[resting] > self._replacing_since()]] = False
        return counted

    def _replacing_since(self) -> int:
        """Return the entry after which each grant of a policy replaces those that stand."""
        state = self._reader.state
        return next((since for since, number in state.rules_since if number >= REPLACING), state.size)

    def _places(self, policy_sha256: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return a policy's leaves: indices, slots (or -1), and which entry outlives each (or a very late one)."""
        version = self._books.version()
        read = self._read.get(policy_sha256)
        if read is None or read[0] != version:
            pairs = np.array(self._books.slots(policy_sha256), dtype=np.int64).reshape(-1, 2)
            outlived = np.full(len(pairs), np.iinfo(np.int64).max)
            ended = np.array(self._books.outlived(policy_sha256), dtype=np.int64).reshape(-1, 2)
            outlived[np.searchsorted(pairs[:, 0], ended[:, 0])] = ended[:, 1]
            read = self._read[policy_sha256] = (version, pairs[:, 0], pairs[:, 1], outlived)
        return read[1:]

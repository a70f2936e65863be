"""Where replacing grants stand for the yearly cap: at the first index of their chain.

A grant that replaces another takes that one's place for the cap (and the one's before it, and so on), so that replacing
never begins a cap anew. Two numbers are kept for each replacing grant, for ever: the set as it was at any earlier tree
size is made from them too. They are kept twice, in two orders, 32 bytes in all, because a question needs both: which
replacing grants lie in a chunk, and in which chunks some stand between two places.
"""

from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence

from policies.in_force.chunk_tree import CHUNK_BITS


class Chains:
    """The first index of each replacing grant's chain; every other grant stands where it is."""

    def __init__(self) -> None:
        self._indices = array("q")
        self._firsts = array("q")
        """The chain's first index for each of ``_indices``, which rise."""
        self._by_first = array("q")
        self._index_by_first = array("q")
        """The grant for each of ``_by_first``, which rise."""

    @classmethod
    def of(cls, chains: Sequence[tuple[int, int]]) -> "Chains":
        """Return chains of (index, where it stands), the indices rising: what ``all`` gives."""
        made = cls()
        made._indices, made._firsts = array("q", (i for i, _ in chains)), array("q", (first for _, first in chains))
        by_first = sorted((first, index) for index, first in chains)
        made._by_first = array("q", (first for first, _ in by_first))
        made._index_by_first = array("q", (index for _, index in by_first))
        return made

    @property
    def all(self) -> list[tuple[int, int]]:
        """Every replacing grant, with where it stands; the indices rising."""
        return list(zip(self._indices, self._firsts, strict=True))

    def copy(self) -> "Chains":
        """Return the same chains, which go on by themselves."""
        other = Chains()
        other._indices, other._firsts = self._indices[:], self._firsts[:]
        other._by_first, other._index_by_first = self._by_first[:], self._index_by_first[:]
        return other

    def add(self, index: int, first: int) -> None:
        """Note that the grant at an index above all others stands at ``first``."""
        self._indices.append(index)
        self._firsts.append(first)
        place = bisect_right(self._by_first, first)
        self._by_first.insert(place, first)
        self._index_by_first.insert(place, index)

    def first(self, index: int) -> int:
        """Return where the grant at ``index`` stands."""
        place = bisect_left(self._indices, index)
        found = place < len(self._indices) and self._indices[place] == index
        return self._firsts[place] if found else index

    def between(self, first: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield (index, where it stands) of the replacing grants from index ``first`` to before ``end``."""
        for place in range(bisect_left(self._indices, first), bisect_left(self._indices, end)):
            yield self._indices[place], self._firsts[place]

    def chunks_standing(self, first: int, end: int) -> set[int]:
        """Return the chunks in which a replacing grant stands at ``first`` or later and before ``end``."""
        places = range(bisect_left(self._by_first, first), bisect_left(self._by_first, end))
        return {self._index_by_first[place] // CHUNK_BITS for place in places}

"""What the vector of a question is made of.

A **primitive** is one linear function of the bounded view, over all cells. The vector is the primitives' blocks one
after the other, in the plan's order. In a block, cells stand in row-major order of the group keys (the first key
moves slowest); a primitive's own edges move fastest of all. Every cell of the public key domain is there, also where no
row falls in it. Which kinds there are is said by the measures that ask for them (``queries.question.measures``); a node
computes them (``trust.node.data.compute``).
"""

from msgspec import Struct


class Primitive(Struct, frozen=True, kw_only=True):
    """One block of the vector: of a ``kind``, of a column if it reads one, in bins between ``edges`` if it has some.

    ``squared_sensitivity`` is an upper bound of the square of the L2 distance that all rows of one resident at one
    holder, present or absent, can move this block; always a whole number (``queries.question.sensitivity`` argues
    each).
    """

    kind: str
    column: str = ""
    edges: tuple[int, ...] = ()
    squared_sensitivity: int

    @property
    def name(self) -> str:
        """The name that the ledger's noise list uses: ``rows``, ``sum:fare``, ``bins:fare:0,200,400``."""
        name = f"{self.kind}:{self.column}" if self.column else self.kind
        return f"{name}:{','.join(map(str, self.edges))}" if self.edges else name

    @property
    def width(self) -> int:
        """How many numbers this primitive has in each cell: one for each bin, else 1."""
        return len(self.edges) - 1 if self.edges else 1

"""A checked question as the vector of integers that every holder computes. No data has been seen to make it.

A **primitive** is one linear function of the bounded view, over all cells. The vector is the primitives' blocks one
after the other, in the plan's order. In a block, cells stand in row-major order of the group keys (the first key
moves slowest); a histogram's bins move fastest of all. Every cell of the public key domain is there, also where no
row falls in it.

==========  =======================================  ============================================
kind        one cell holds                           name
==========  =======================================  ============================================
rows        the number of rows                       ``rows``
residents   the number of distinct residents         ``residents``
sum         the sum of the clipped column            ``sum:<column>``
values      the number of rows with a value there    ``values:<column>``
bins        the number of rows whose clipped value   ``bins:<column>:<edge>,<edge>,…``
            falls in the bin
==========  =======================================  ============================================
"""

from typing import Literal

from msgspec import Struct

from policies.document import View
from queries.question.tree import Filter, MeasureAsked


class Key(Struct, frozen=True):
    """One group key and its public domain, in order: category values, or every integer of a range."""

    column: str
    values: tuple[str | int, ...]


class Primitive(Struct, frozen=True, kw_only=True):
    """One block of the vector.

    ``squared_sensitivity`` is an upper bound of the square of the L2 distance that all rows of one resident at one
    holder, present or absent, can move this block; always a whole number (``queries.question.sensitivity`` argues each).
    """

    kind: Literal["rows", "residents", "sum", "values", "bins"]
    column: str = ""
    edges: tuple[int, ...] = ()
    squared_sensitivity: int

    @property
    def name(self) -> str:
        """The name that the ledger's noise list uses."""
        if self.kind == "bins":
            return f"bins:{self.column}:{','.join(map(str, self.edges))}"
        return f"{self.kind}:{self.column}" if self.column else self.kind

    @property
    def width(self) -> int:
        """How many numbers this primitive has in each cell."""
        return len(self.edges) - 1 if self.kind == "bins" else 1


class Plan(Struct, frozen=True, kw_only=True):
    """What every holder computes, and how measures follow from it."""

    policy: str
    version: int
    view: View
    participants: tuple[str, ...]
    filters: tuple[Filter, ...]
    keys: tuple[Key, ...]
    primitives: tuple[Primitive, ...]
    measures: tuple[MeasureAsked, ...]

    @property
    def cells(self) -> int:
        """The number of groups: the product of the key domains, 1 without keys."""
        count = 1
        for key in self.keys:
            count *= len(key.values)
        return count

    @property
    def length(self) -> int:
        """The number of integers in the whole vector."""
        return self.cells * sum(primitive.width for primitive in self.primitives)

"""A checked question as the vector of integers that every holder computes. No data has been seen to make it.

How the vector is laid out is said in ``queries.question.primitives``.
"""

from msgspec import Struct

from policies.policy_document import View
from queries.question.measure_forms import MeasureAsked
from queries.question.primitives import Primitive
from queries.question.tree import Filter


class Key(Struct, frozen=True):
    """One group key and its public domain, in order: values of a category, integers of a range, texts of a time."""

    column: str
    values: tuple[str | int, ...]


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

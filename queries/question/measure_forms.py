"""The form of a measure in a question, and what every class of ``queries.question.measures`` says of its own."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Annotated, ClassVar, Literal, Protocol, Self

from msgspec import UNSET, Meta, Struct, UnsetType, field

from policies.policy_document import Name, View
from queries.question.columns import Int, Label
from queries.question.primitives import Primitive

Gettext = Callable[[str], str]


class MeasureAsked(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """A measure in the tree, under the name ``as``: the fields of exactly one class are set."""

    as_: Label = field(name="as")
    count: Literal["rows", "residents"] | UnsetType = UNSET
    sum: Name | UnsetType = UNSET
    mean: Name | UnsetType = UNSET
    histogram: Name | UnsetType = UNSET
    edges: Annotated[list[Int], Meta(min_length=2, max_length=101)] | UnsetType = UNSET
    over_limit: Literal["residents"] | UnsetType = UNSET
    clipped: Name | UnsetType = UNSET


class Block(Struct, frozen=True):
    """One primitive's released numbers over all cells, and the half width that they all share."""

    numbers: Sequence[int]
    half_width: int


class Finished(Struct, frozen=True):
    """One number of an answer: its name, and value ± half width as decimal text."""

    name: str
    value: str
    half_width: str


Truth = Literal["exact", "at-least", "at-most", "either"]
Provided = Literal["none-below", "none-above"]


class Direction(Struct, frozen=True):
    """How the number without noise stands to the true one: what the question gives with all rows and no value clipped.

    The ``truth`` is exactly that number, at least, at most, or either; ``provided`` that the column has no value below
    its lower bound, or above its upper one.
    """

    truth: Truth
    provided: tuple[Provided, ...] = ()


class Seen(Struct, frozen=True):
    """What a question says of its rows.

    Whether they are ``all`` rows of the view, in one cell; and between which numbers its filters say that all values of
    a measure's column are, before clipping. None where they say nothing.
    """

    all: bool
    low: int | None = None
    high: int | None = None


class Call(Protocol):
    """The call of a function in SQL, as ``queries.question.sql`` reads it. Each method raises QueryInvalid."""

    is_star: bool
    """Whether it is ``F(*)``."""
    arguments: int

    def column(self, otherwise: str) -> str:
        """Return the first argument, a column of the view; ``otherwise`` says what belongs there."""

    def distinct(self, otherwise: str) -> str | None:
        """Return the name in ``F(DISTINCT name)``, known or not, ``resident`` for the view's own; None if none."""

    def integers(self, otherwise: str) -> list[int]:
        """Return the arguments after the first, all whole numbers; ``otherwise`` says what belongs there."""


class AnyMeasure(ABC):
    """One measure of one question. ``name`` is what the question calls it, ``column`` what it reads ("" for none)."""

    form: ClassVar[frozenset[str]]
    """The fields of ``MeasureAsked`` that are set, these and no others."""
    listed: ClassVar[str]
    """How a refusal lists the form."""
    function: ClassVar[str]
    """The function in SQL."""
    is_average: ClassVar[bool] = False
    """Whether it is drawn as a point on a scale: bars would say that it starts at 0."""
    name: str
    column: str

    @classmethod
    @abstractmethod
    def of(cls, asked: MeasureAsked) -> Self | None:
        """Read the form; return None where one of its fields is not set."""

    @classmethod
    @abstractmethod
    def from_sql(cls, call: Call, label: str) -> MeasureAsked:
        """Read a call of ``function``; ``label`` is the name that it was given, or ""."""

    @abstractmethod
    def primitives(self, view: View, cells: int) -> list[Primitive]:
        """Return what it is computed from; raise QueryInvalid where it does not fit the view."""

    @abstractmethod
    def finish(self, view: View, blocks: Sequence[Block], cell: int) -> list[Finished]:
        """Return what people read of one cell; ``blocks`` are those of ``primitives``, in their order."""

    def direction(self, view: View, seen: Seen) -> Direction:
        """Return which way bounding moves it, by the policy and the question alone."""
        return Direction("either")

    @abstractmethod
    def words(self, gettext: Gettext, title: str, unit: str) -> tuple[str, str]:
        """Return label and unit in a reader's language; ``title`` and ``unit`` are the column's."""

    def interval(self, view: View, cells: int) -> Primitive:
        """Return the one primitive whose noise is the whole interval; raise QueryInvalid where data decides it too."""
        (primitive,) = self.primitives(view, cells)
        return primitive


class ReleasedMeasure(AnyMeasure):
    """A measure of one number, shown as it was released."""

    def finish(self, view: View, blocks: Sequence[Block], cell: int) -> list[Finished]:
        """Return the number as it was released."""
        return [as_released(self.name, blocks[0], cell)]


def as_released(name: str, block: Block, place: int) -> Finished:
    """Return a number of a block as it was released."""
    return Finished(name, str(block.numbers[place]), str(block.half_width))

"""The measures: what a question may ask for in every group, each one class, from its form to its words.

A class says its form in the tree and in SQL, the primitives that it is computed from and how far one resident moves
them, how the released numbers become values with intervals, and what people read. A new measure is one more class in
``MEASURES`` (and its fields in ``queries.question.measure_forms``); docs/contributing.md lists what else it touches.

==========  =======================================  ============================================
primitive   one cell holds                           name
==========  =======================================  ============================================
rows        the number of rows                       ``rows``
residents   the number of distinct residents         ``residents``
sum         the sum of the clipped column            ``sum:<column>``
values      the number of rows with a value there    ``values:<column>``
bins        the number of rows whose clipped value   ``bins:<column>:<edge>,<edge>,…``
            falls in the bin
over_limit  the number of distinct residents who     ``over_limit``
            had more rows than the view keeps
clipped     the number of rows whose value was       ``clipped:<column>``
            outside the bounds
==========  =======================================  ============================================
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from operator import attrgetter
from typing import Literal, Self

from msgspec import UNSET

from ledger.errors import QueryInvalid
from policies.policy_document import Category, Measure, Time, View
from queries.question.bounding_measures import ClippedMeasure, OverLimitMeasure
from queries.question.columns import column_of, is_int
from queries.question.measure_forms import (
    AnyMeasure,
    Block,
    Call,
    Direction,
    Finished,
    Gettext,
    MeasureAsked,
    Provided,
    ReleasedMeasure,
    Seen,
    as_released,
)
from queries.question.primitives import Primitive
from queries.question.sensitivity import squared_by_cells, squared_by_rows

MAX_SUM_SENSITIVITY = 2**32
"""The most that one resident may move a sum, so that sums over millions of residents stay exact in JSON."""


@dataclass(frozen=True)
class CountMeasure(ReleasedMeasure):
    """How many rows, or how many distinct residents, fall in the cell; shown as released, so it may be negative.

    Sensitivity: each row adds 1 to ``rows``; ``residents`` counts a resident once in each cell.
    """

    form = frozenset({"count"})
    listed = "count"
    function = "COUNT"
    name: str
    counted: str
    column: str = ""

    @classmethod
    def of(cls, asked: MeasureAsked) -> Self | None:
        """Read ``count``."""
        return cls(asked.as_, asked.count) if asked.count is not UNSET else None

    @classmethod
    def from_sql(cls, call: Call, label: str) -> MeasureAsked:
        """Read ``COUNT(*)`` or ``COUNT(DISTINCT resident)``."""
        if call.is_star:
            return MeasureAsked(as_=label or "rows", count="rows")
        if call.distinct("COUNT(DISTINCT …) takes a column") == "resident":
            return MeasureAsked(as_=label or "residents", count="residents")
        raise QueryInvalid("COUNT takes * or DISTINCT resident.")

    def primitives(self, view: View, cells: int) -> list[Primitive]:
        """Return ``rows`` or ``residents``."""
        if self.counted == "residents":
            return [
                Primitive(kind="residents", squared_sensitivity=squared_by_cells(view.rows_per_resident, cells)),
            ]
        if self.counted == "rows":
            return [Primitive(kind="rows", squared_sensitivity=squared_by_rows(view.rows_per_resident))]
        raise QueryInvalid(f"The measure '{self.name}' counts 'rows' or 'residents'.")

    def direction(self, view: View, seen: Seen) -> Direction:
        """Rows are only left out; each resident with a row keeps one, in some cell."""
        return Direction("exact" if self.counted == "residents" and seen.all else "at-least")

    def words(self, gettext: Gettext, title: str, unit: str) -> tuple[str, str]:
        """Say what is counted."""
        if self.counted == "rows":
            return gettext("number of records"), ""
        return gettext("number of people"), ""


@dataclass(frozen=True)
class SumMeasure(ReleasedMeasure):
    """The sum of a clipped column; shown as released."""

    form = frozenset({"sum"})
    listed = "sum"
    function = "SUM"
    name: str
    column: str

    @classmethod
    def of(cls, asked: MeasureAsked) -> Self | None:
        """Read ``sum``."""
        return cls(asked.as_, asked.sum) if asked.sum is not UNSET else None

    @classmethod
    def from_sql(cls, call: Call, label: str) -> MeasureAsked:
        """Read ``SUM(column)``."""
        name = call.column("SUM takes one column")
        return MeasureAsked(as_=label or f"sum_{name}", sum=name)

    def primitives(self, view: View, cells: int) -> list[Primitive]:
        """Return ``sum``."""
        return [_sum(self.column, view)]

    def direction(self, view: View, seen: Seen) -> Direction:
        """Say what a row left out adds, and what clipping one takes away.

        A row left out adds its value. A row that is kept adds what clipping took away: something above 0 where the
        value was above hi, and below 0 where it was below lo. If no value is below 0 nor below lo, all that is missing
        is 0 or more; and the other way round.
        """
        column = _summed_column(self.column, view)
        if seen.low is not None and seen.low >= 0:
            return Direction("at-least")
        if seen.high is not None and seen.high <= 0:
            return Direction("at-most")
        if seen.low is None and column.lo >= 0:
            return Direction("at-least", ("none-below",))
        if seen.high is None and column.hi <= 0:
            return Direction("at-most", ("none-above",))
        return Direction("either")

    def words(self, gettext: Gettext, title: str, unit: str) -> tuple[str, str]:
        """Say what is summed."""
        return gettext("total %(column)s") % {"column": title}, unit


@dataclass(frozen=True)
class MeanMeasure(AnyMeasure):
    """The mean of a clipped column: the noised sum divided by the noised count of values, moved into the clip bounds.

    Sensitivity: each row adds 1 to ``values``, or 0 where it has none; the sum as for ``SumMeasure``.
    """

    form = frozenset({"mean"})
    listed = "mean"
    function = "AVG"
    is_average = True
    name: str
    column: str

    @classmethod
    def of(cls, asked: MeasureAsked) -> Self | None:
        """Read ``mean``."""
        return cls(asked.as_, asked.mean) if asked.mean is not UNSET else None

    @classmethod
    def from_sql(cls, call: Call, label: str) -> MeasureAsked:
        """Read ``AVG(column)``."""
        name = call.column("AVG takes one column")
        return MeasureAsked(as_=label or f"mean_{name}", mean=name)

    def primitives(self, view: View, cells: int) -> list[Primitive]:
        """Return ``sum`` and ``values``."""
        squared = squared_by_rows(view.rows_per_resident)
        return [_sum(self.column, view), Primitive(kind="values", column=self.column, squared_sensitivity=squared)]

    def interval(self, view: View, cells: int) -> Primitive:
        """Refuse: the interval also depends on how many values there are."""
        raise QueryInvalid(
            "A mean's interval depends on the data, so it cannot be asked for beforehand; name a count or a sum."
        )

    def finish(self, view: View, blocks: Sequence[Block], cell: int) -> list[Finished]:
        """Return value and half width with 2 decimals.

        Where both intervals hold, the true sum is within S ± a and the true number of values within N ± b. A quotient
        with positive denominator is monotone in each of them, so its ends are reached at the ends of the intervals. A
        true mean always lies in the clip bounds, so the interval is cut to them; they are also what is left to say
        where N - b is not above 0. ``half_width`` is the distance to the farther end, rounded up.
        """
        total, count = blocks
        column = _summed_column(self.column, view)
        lo, hi = Fraction(column.lo), Fraction(column.hi)
        summed, number = total.numbers[cell], count.numbers[cell]
        value = round(100 * _into(Fraction(summed, max(number, 1)), lo, hi))
        low, high = lo, hi
        fewest, most = number - count.half_width, number + count.half_width
        if fewest > 0:
            least, greatest = summed - total.half_width, summed + total.half_width
            low = _into(Fraction(least, most if least > 0 else fewest), lo, hi)
            high = _into(Fraction(greatest, fewest if greatest > 0 else most), lo, hi)
        half_width = math.ceil(max(100 * high - value, value - 100 * low))
        return [Finished(self.name, _hundredths(value), _hundredths(half_width))]

    def words(self, gettext: Gettext, title: str, unit: str) -> tuple[str, str]:
        """Say what is averaged."""
        return gettext("average %(column)s") % {"column": title}, unit


@dataclass(frozen=True)
class HistogramMeasure(AnyMeasure):
    """How many rows have a clipped value in each bin [edge, next edge), the last one closed; shown as released.

    Sensitivity: each row adds 1 in at most one bin, for bins of rising edges do not overlap.
    """

    form = frozenset({"histogram", "edges"})
    listed = "histogram (with edges)"
    function = "HISTOGRAM"
    name: str
    column: str
    edges: tuple[int, ...]

    @classmethod
    def of(cls, asked: MeasureAsked) -> Self | None:
        """Read ``histogram`` and ``edges``."""
        if asked.histogram is UNSET or asked.edges is UNSET:
            return None
        return cls(asked.as_, asked.histogram, tuple(asked.edges))

    @classmethod
    def from_sql(cls, call: Call, label: str) -> MeasureAsked:
        """Read ``HISTOGRAM(column, edge, edge, …)``."""
        if call.arguments < 3:
            raise QueryInvalid("HISTOGRAM takes a column and at least two edges: HISTOGRAM(fare, 0, 200, 400).")
        name = call.column("HISTOGRAM takes a column first")
        edges = call.integers("HISTOGRAM takes whole numbers as edges")
        return MeasureAsked(as_=label or f"{name}_histogram", histogram=name, edges=edges)

    def primitives(self, view: View, cells: int) -> list[Primitive]:
        """Return ``bins``."""
        column, edges = column_of(self.column, view), self.edges
        if isinstance(column, Category | Time):
            what = "a category" if isinstance(column, Category) else "time"
            raise QueryInvalid(f"The column '{self.column}' is {what}: group by it instead of asking for a histogram.")
        if not 2 <= len(edges) <= 101 or not all(map(is_int, edges)):
            raise QueryInvalid(f"The histogram of '{self.column}' has from 2 to 101 whole edges.")
        if any(low >= high for low, high in pairwise(edges)):
            raise QueryInvalid(f"The histogram of '{self.column}' has edges that do not rise.")
        if edges[0] < column.lo or edges[-1] > column.hi:
            raise QueryInvalid(
                f"The histogram of '{self.column}' has edges outside the column's {column.lo} to {column.hi}."
            )
        squared = squared_by_rows(view.rows_per_resident)
        return [Primitive(kind="bins", column=self.column, edges=edges, squared_sensitivity=squared)]

    def finish(self, view: View, blocks: Sequence[Block], cell: int) -> list[Finished]:
        """Return one number for each bin, named like ``fares[0,200)``, the last ``fares[200,400]``."""
        bins = len(self.edges) - 1
        return [
            as_released(f"{self.name}[{low},{high}{']' if place == bins - 1 else ')'}", blocks[0], cell * bins + place)
            for place, (low, high) in enumerate(pairwise(self.edges))
        ]

    def direction(self, view: View, seen: Seen) -> Direction:
        """Rows are only left out, but a bin that begins or ends at a bound also has what was moved to it."""
        column = column_of(self.column, view)
        if not isinstance(column, Measure):
            return Direction("at-least")
        below: tuple[Provided, ...] = ("none-below",) if self.edges[0] == column.lo and seen.low is None else ()
        above: tuple[Provided, ...] = ("none-above",) if self.edges[-1] == column.hi and seen.high is None else ()
        return Direction("at-least", below + above)

    def words(self, gettext: Gettext, title: str, unit: str) -> tuple[str, str]:
        """Say what is spread out."""
        return gettext("spread of %(column)s") % {"column": title}, gettext("records")


_form_values = attrgetter(*(name for name in MeasureAsked.__struct_fields__ if name != "as_"))
MEASURES: tuple[type[AnyMeasure], ...] = (
    CountMeasure,
    SumMeasure,
    MeanMeasure,
    HistogramMeasure,
    OverLimitMeasure,
    ClippedMeasure,
)
"""Every measure, in the order in which refusals list them."""


def measure_of(asked: MeasureAsked) -> AnyMeasure:
    """Return the measure that is asked for; raise QueryInvalid unless the form is exactly that of one."""
    values = _form_values(asked)
    given = len(values) - values.count(UNSET)
    for kind in MEASURES:
        if len(kind.form) == given and (measure := kind.of(asked)) is not None:
            return measure
    forms = _listed([kind.listed for kind in MEASURES], "and")
    raise QueryInvalid(f"The measure '{asked.as_}' is exactly one of {forms}.")


def measure_in_sql(function: str) -> type[AnyMeasure] | None:
    """Return the measure whose function in SQL has that name, in capital letters."""
    return next((kind for kind in MEASURES if kind.function == function), None)


def sql_functions(last: Literal["and", "or"]) -> str:
    """Return the functions in SQL as a list for an error message: ``COUNT, SUM, AVG and HISTOGRAM``."""
    return _listed([kind.function for kind in MEASURES], last)


def _listed(names: Sequence[str], last: str) -> str:
    return f"{', '.join(names[:-1])} {last} {names[-1]}"


def _summed_column(name: str, view: View) -> Measure:
    column = column_of(name, view)
    if not isinstance(column, Measure):
        raise QueryInvalid(f"The column '{name}' is not a measure, so it has no sum or mean.")
    return column


def _sum(name: str, view: View) -> Primitive:
    """Return ``sum``: each row adds its value clipped to lo..hi, of size at most max(|lo|, |hi|), or 0 for a null."""
    column = _summed_column(name, view)
    squared = squared_by_rows(view.rows_per_resident, max(abs(column.lo), abs(column.hi)))
    if squared > MAX_SUM_SENSITIVITY**2:
        raise QueryInvalid(f"The view's bounds let one resident move a sum of '{name}' too far for an exact answer.")
    return Primitive(kind="sum", column=name, squared_sensitivity=squared)


def _into(number: Fraction, lo: Fraction, hi: Fraction) -> Fraction:
    return min(max(number, lo), hi)


def _hundredths(count: int) -> str:
    return f"{Decimal(count).scaleb(-2):.2f}"

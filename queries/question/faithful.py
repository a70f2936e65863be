"""Filters that mean on clipped values what they mean on the holder's own, and the refusal of all others.

Filters come after bounding. A measure's value is clipped to lo..hi first, so a filter sees ``clip(v)`` and not v: what
is below lo counts as lo, what is above hi as hi. For every whole number v,

=============  =================================  =======================================
comparison     ``clip(v)`` gives the same as v    otherwise
=============  =================================  =======================================
``v >= c``     exactly where lo < c <= hi         true of all (c <= lo) or of none
``v <= c``     exactly where lo <= c < hi         true of all (c >= hi) or of none
``v = c``      exactly where lo < c < hi          at a bound, also what was moved there
=============  =================================  =======================================

*Proof.* ``clip`` keeps order, and is the identity from lo to hi. For lo < c <= hi: v >= c gives clip(v) >= clip(c) = c;
v < c gives clip(v) <= max(lo, v) < c. The second line is its mirror image, the third both lines together. For other c
the filter is decided by where values were moved to, whatever they were: it says 0 of what a table has, or all.

In SQL each comparison is by itself, so each that is not faithful is refused (``check_comparison``). In the tree a
``between`` has two ends; there an end that is the column's own bound is open, as SQL's ``<=`` alone is written, and no
end may be outside (``check_faithful``). A null matches no filter, clipped or not.

A range or time is not clipped: what is outside is no value there. A filter that no value of it can match says 0 of
whatever a table has, and is refused as well.

What is refused follows from question and policy alone. From rules number 4 on no such question is in a ledger
(``policies.rules``); those of before stay as they are.
"""

from collections.abc import Iterable, Sequence

from msgspec import UNSET

from ledger.errors import QueryInvalid
from policies.policy_document import Column, Measure, Range, Time
from queries.question.columns import column_of, place_in_time
from queries.question.plan import Plan
from queries.question.tree import Filter


def check_faithful(plan: Plan) -> None:
    """Raise QueryInvalid, saying what to write instead, where clipping decides a filter of the question."""
    for condition in plan.filters:
        column = column_of(condition.column, plan.view)
        if isinstance(column, Measure) and not is_faithful(condition, column):
            raise _instead(column, *_ends(condition, column))
        if isinstance(column, Range | Time) and not _can_match(condition, column):
            first, last = (column.first, column.last) if isinstance(column, Time) else (column.lo, column.hi)
            raise QueryInvalid(
                f"The column '{column.name}' goes from {first} to {last}; the filter on it names a value that is "
                "outside, which no row can have there."
            )


def is_faithful(condition: Filter, column: Measure) -> bool:
    """Return whether a filter matches a clipped value exactly where it matches the value itself."""
    if condition.between is not UNSET:
        low, high = _whole(condition.between)
        return column.lo <= low and high <= column.hi
    return all(column.lo < value < column.hi for value in _listed(condition))


def known_inside(condition: Filter, column: Measure) -> tuple[int | None, int | None]:
    """Return between which numbers a faithful filter says that the holder's own values are; None for an open end."""
    if condition.between is UNSET:
        values = _listed(condition)
        return min(values), max(values)
    low, high = _whole(condition.between)
    return (low if low > column.lo else None), (high if high < column.hi else None)


def check_comparison(column: Column, low: int | None, high: int | None) -> None:
    """Raise QueryInvalid, saying what to write instead, unless ``low <= column`` and ``column <= high`` are faithful.

    That is what SQL says, where both ends are said; None is an end that is not.
    """
    if not isinstance(column, Measure):
        return
    if (low is not None and not column.lo < low <= column.hi) or (
        high is not None and not column.lo <= high < column.hi
    ):
        raise _instead(column, low, high)


def _values(condition: Filter) -> Sequence[object]:
    """Return what a filter names: the two ends of a ``between``, else each value."""
    if condition.between is not UNSET:
        return condition.between
    return condition.in_ if condition.in_ is not UNSET else [condition.equals]


def _listed(condition: Filter) -> list[int]:
    return _whole(_values(condition))


def _whole(values: Iterable[object]) -> list[int]:
    return [value for value in values if isinstance(value, int)]


def _ends(condition: Filter, column: Measure) -> tuple[int | None, int | None]:
    """Return the comparison of a filter that is not faithful."""
    if condition.between is not UNSET:
        low, high = _whole(condition.between)
        return (low if low != column.lo else None), (high if high != column.hi else None)
    wrong = next(value for value in _listed(condition) if not column.lo < value < column.hi)
    return wrong, wrong


def _instead(column: Measure, low: int | None, high: int | None) -> QueryInvalid:
    """Return the refusal of ``low <= column <= high``, with the nearest comparison that is faithful."""
    name, lo, hi = column.name, column.lo, column.hi
    if lo == hi:
        what = "leave the condition out"
    elif low is not None and low >= hi:
        what = f"write {name} >= {hi} for what was {hi} or more"
    elif high is not None and high <= lo:
        what = f"write {name} <= {lo} for what was {lo} or less"
    else:
        ends = []
        if low is not None and low > lo:
            ends.append(f"{name} >= {low}")
        if high is not None and high < hi:
            ends.append(f"{name} <= {high}")
        what = f"write {' AND '.join(ends)}" if ends else "leave the condition out, for every value meets it"
    return QueryInvalid(
        f"The column '{name}' is cut to {lo}..{hi} before any question: what was below counts as {lo}, what was above as "
        f"{hi}. So that would decide this condition, and not the data: {what}.",
        lo=lo,
        hi=hi,
    )


def _can_match(condition: Filter, column: Range | Time) -> bool:
    if isinstance(column, Time):
        begin, end = 0, column.hi - column.lo
        places = [place_in_time(column, value) for value in _values(condition)]
    else:
        begin, end = column.lo, column.hi
        places = _whole(_values(condition))
    if condition.between is not UNSET:
        return places[0] <= end and begin <= places[1]
    return all(begin <= place <= end for place in places)

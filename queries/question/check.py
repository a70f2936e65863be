"""Checking a question against its policy, and planning it. No data is looked at.

``make_plan`` is total: every ``Query`` gives either a plan or a QueryInvalid (PolicyNotCurrent for another version),
and the outcome depends on the question and the policy document alone. It repeats what strict decoding ensures, so
that a query built in other ways (from SQL, in a program) is held to the same rules.
"""

import re
from collections.abc import Sequence
from decimal import Decimal
from itertools import pairwise

from msgspec import UNSET

from ledger.errors import PolicyNotCurrent, QueryInvalid
from policies.document import Category, Column, Measure, Policy, Range, View
from queries.question.plan import Key, Plan, Primitive
from queries.question.sensitivity import squared_residents, squared_rows, squared_sum
from queries.question.tree import Filter, MeasureAsked, Query, Spend

MAX_VECTOR = 4_096
"""The most numbers that one answer may have, whatever the policy allows: an entry of the ledger must hold them."""
MAX_SUM_SENSITIVITY = 2**32
"""The most that one resident may move a sum, so that sums over millions of residents stay exact in JSON."""

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,12})?", re.ASCII)
_LABEL = re.compile(r"[a-z][a-z0-9_]{0,31}", re.ASCII)
_INT_BOUND = 2**31


def parse_decimal(text: str, what: str) -> Decimal:
    """Read a plain non-negative decimal such as ``0.25``; raise QueryInvalid for signs, exponents, NaN and the like."""
    if _DECIMAL.fullmatch(text) is None:
        raise QueryInvalid(f"The {what} is a plain non-negative decimal number such as 0.25.")
    return Decimal(text)


def make_plan(query: Query, policy: Policy) -> Plan:
    """Return the plan of ``query`` under ``policy``.

    Raises PolicyNotCurrent when the query names another policy or version, QueryInvalid when it does not fit: an
    unknown view or column, a column of the wrong type, an undeclared key, bad edges, a repeated name, too many cells
    or measures, or a ``spend`` that is not exactly one of its two forms.
    """
    if (query.policy, query.version) != (policy.id, policy.version):
        raise PolicyNotCurrent("The question names another policy or version than the one it is checked against.")
    view = _view(query, policy)
    _check_spend(query.spend)
    if len(query.where) > 16:
        raise QueryInvalid("A question has at most 16 filters.")
    for condition in query.where:
        _check_filter(condition, view)
    keys = _keys(query.group_by, view)
    cells = 1
    for key in keys:
        cells *= len(key.values)
    if cells > policy.limits.cells:
        raise QueryInvalid(
            f"The answer would have {cells} groups; the policy's limit 'cells' is {policy.limits.cells}.",
            cells=cells,
            limit=policy.limits.cells,
        )
    plan = Plan(
        policy=policy.id,
        version=policy.version,
        view=view,
        participants=tuple(view.holders),
        filters=tuple(query.where),
        keys=keys,
        primitives=_primitives(query.measures, view, cells, policy.limits.measures),
        measures=tuple(query.measures),
    )
    if plan.length > MAX_VECTOR:
        raise QueryInvalid(
            f"The answer would have {plan.length} numbers, more than {MAX_VECTOR}; ask for fewer groups or bins.",
            numbers=plan.length,
            limit=MAX_VECTOR,
        )
    return plan


def measure_primitives(asked: MeasureAsked) -> tuple[str, ...]:
    """Return the names of the primitives that a checked measure is computed from, in order."""
    if asked.count is not UNSET:
        return (asked.count,)
    if asked.sum is not UNSET:
        return (f"sum:{asked.sum}",)
    if asked.mean is not UNSET:
        return (f"sum:{asked.mean}", f"values:{asked.mean}")
    if asked.histogram is not UNSET and asked.edges is not UNSET:
        return (Primitive(kind="bins", column=asked.histogram, edges=tuple(asked.edges), squared_sensitivity=0).name,)
    raise QueryInvalid("A measure is exactly one of count, sum, mean and histogram (with edges).")


def _view(query: Query, policy: Policy) -> View:
    if len(query.from_) != 1:
        raise QueryInvalid("A question is about exactly one view of the policy.")
    view = policy.view(query.from_[0])
    if view is None:
        names = ", ".join(known.name for known in policy.views)
        raise QueryInvalid(f"The policy has no view of that name; it has: {names}.")
    return view


def _check_spend(spend: Spend) -> None:
    if (spend.epsilon is UNSET) == (spend.within is UNSET):
        raise QueryInvalid("A question says either 'epsilon' or 'within', exactly one of them.")


def _column(name: str, view: View) -> Column:
    column = view.column(name)
    if column is None:
        raise no_such_column(name, view)
    return column


def no_such_column(name: str, view: View) -> QueryInvalid:
    """Return the error for a column that the view does not have; it names those that it has."""
    return QueryInvalid(
        f"The view '{view.name}' has no column {shown(name)}; it has: {_first([c.name for c in view.columns])}."
    )


def _first(names: Sequence[str], most: int = 20) -> str:
    return ", ".join(names[:most]) + (f" and {len(names) - most} more" if len(names) > most else "")


def shown(name: str) -> str:
    """Return a name for an error message: quoted when it has the form of a name, else only described."""
    return f"'{name}'" if _LABEL.fullmatch(name) else "of that name"


def _is_int(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and -_INT_BOUND <= value <= _INT_BOUND


def _check_filter(condition: Filter, view: View) -> None:
    column = _column(condition.column, view)
    forms = [form for form in (condition.between, condition.in_, condition.equals) if form is not UNSET]
    if len(forms) != 1:
        raise QueryInvalid(f"The filter on '{column.name}' has exactly one of between, in and equals.")
    if condition.between is not UNSET:
        if isinstance(column, Category):
            raise QueryInvalid(f"The column '{column.name}' is a category: filter it with 'in' or 'equals'.")
        ends = condition.between
        if not all(map(_is_int, ends)):
            raise QueryInvalid(f"The filter on '{column.name}' is between two whole numbers.")
        if ends[0] > ends[1]:
            raise QueryInvalid(f"The filter on '{column.name}' has its lower end above its upper end.")
        return
    values: list[str | int] = []
    if condition.in_ is not UNSET:
        values = condition.in_
    elif condition.equals is not UNSET:
        values = [condition.equals]
    if not 1 <= len(values) <= 512:
        raise QueryInvalid(f"The filter on '{column.name}' lists from 1 to 512 values.")
    if isinstance(column, Category):
        if not all(isinstance(value, str) for value in values):
            raise QueryInvalid(f"The column '{column.name}' is a category: its values are text.")
        if not set(values) <= set(column.values):
            raise QueryInvalid(
                f"The filter on '{column.name}' names a value that the policy does not list; it lists: "
                f"{_first(column.values)}."
            )
    elif not all(map(_is_int, values)):
        raise QueryInvalid(f"The column '{column.name}' holds whole numbers; compare it with whole numbers.")


def _keys(names: list[str], view: View) -> tuple[Key, ...]:
    if len(names) > 2:
        raise QueryInvalid("A question has at most two group keys.")
    if len(set(names)) != len(names):
        raise QueryInvalid("A question names each group key once.")
    keys = []
    for name in names:
        column = _column(name, view)
        if isinstance(column, Measure):
            raise QueryInvalid(f"The column '{name}' is a measure: it can be summed, not grouped by.")
        if isinstance(column, Range) and column.hi - column.lo >= MAX_VECTOR:
            raise QueryInvalid(
                f"The column '{name}' has more than {MAX_VECTOR} keys: too many groups; filter it instead."
            )
        values = tuple(range(column.lo, column.hi + 1)) if isinstance(column, Range) else tuple(column.values)
        keys.append(Key(column=name, values=values))
    return tuple(keys)


def _primitives(asked: list[MeasureAsked], view: View, cells: int, limit: int) -> tuple[Primitive, ...]:
    if not asked:
        raise QueryInvalid("A question asks for at least one measure.")
    if len(asked) > limit:
        raise QueryInvalid(
            f"The question asks for {len(asked)} measures; the policy's limit 'measures' is {limit}.",
            measures=len(asked),
            limit=limit,
        )
    if len({measure.as_ for measure in asked}) != len(asked):
        raise QueryInvalid("Two measures have the same name; give each its own.")
    found: dict[str, Primitive] = {}
    for measure in asked:
        if _LABEL.fullmatch(measure.as_) is None:
            raise QueryInvalid("A measure's name is lower-case letters, digits and underscores, at most 32.")
        for primitive in _of_measure(measure, view, cells):
            found.setdefault(primitive.name, primitive)
    return tuple(found.values())


def _of_measure(asked: MeasureAsked, view: View, cells: int) -> list[Primitive]:
    forms = [form for form in (asked.count, asked.sum, asked.mean, asked.histogram) if form is not UNSET]
    if len(forms) != 1 or (asked.edges is not UNSET) != (asked.histogram is not UNSET):
        raise QueryInvalid(f"The measure '{asked.as_}' is exactly one of count, sum, mean and histogram (with edges).")
    rows = view.rows_per_resident
    if asked.count is not UNSET:
        if asked.count == "residents":
            return [Primitive(kind="residents", squared_sensitivity=squared_residents(rows, cells))]
        if asked.count == "rows":
            return [Primitive(kind="rows", squared_sensitivity=squared_rows(rows))]
        raise QueryInvalid(f"The measure '{asked.as_}' counts 'rows' or 'residents'.")
    if asked.sum is not UNSET:
        return [_sum(asked.sum, view)]
    if asked.mean is not UNSET:
        values = Primitive(kind="values", column=asked.mean, squared_sensitivity=squared_rows(rows))
        return [_sum(asked.mean, view), values]
    if asked.histogram is not UNSET and asked.edges is not UNSET:
        return [_bins(asked.histogram, asked.edges, view)]
    raise QueryInvalid(f"The measure '{asked.as_}' asks for nothing.")


def _sum(name: str, view: View) -> Primitive:
    column = _column(name, view)
    if not isinstance(column, Measure):
        raise QueryInvalid(f"The column '{name}' is not a measure, so it has no sum or mean.")
    squared = squared_sum(view.rows_per_resident, column)
    if squared > MAX_SUM_SENSITIVITY**2:
        raise QueryInvalid(f"The view's bounds let one resident move a sum of '{name}' too far for an exact answer.")
    return Primitive(kind="sum", column=name, squared_sensitivity=squared)


def _bins(name: str, edges: list[int], view: View) -> Primitive:
    column = _column(name, view)
    if isinstance(column, Category):
        raise QueryInvalid(f"The column '{name}' is a category: group by it instead of asking for a histogram.")
    if not 2 <= len(edges) <= 101 or not all(map(_is_int, edges)):
        raise QueryInvalid(f"The histogram of '{name}' has from 2 to 101 whole edges.")
    if any(low >= high for low, high in pairwise(edges)):
        raise QueryInvalid(f"The histogram of '{name}' has edges that do not rise.")
    if edges[0] < column.lo or edges[-1] > column.hi:
        raise QueryInvalid(f"The histogram of '{name}' has edges outside the column's {column.lo} to {column.hi}.")
    squared = squared_rows(view.rows_per_resident)
    return Primitive(kind="bins", column=name, edges=tuple(edges), squared_sensitivity=squared)

"""Checking a question against its policy, and planning it. No data is looked at.

``make_plan`` is total: every ``Query`` gives either a plan or a QueryInvalid (PolicyNotCurrent for another version),
and the outcome depends on the question and the policy document alone. It repeats what strict decoding ensures, so
that a query built in other ways (from SQL, in a program) is held to the same rules.
"""

import re
from decimal import Decimal

from msgspec import UNSET

from ledger.errors import PolicyNotCurrent, QueryInvalid
from policies.policy_document import Category, Column, Measure, Policy, Range, Time, View
from queries.question.columns import column_of, first_names, is_int, is_label, place_in_time
from queries.question.measure_forms import MeasureAsked
from queries.question.measures import measure_of
from queries.question.plan import Key, Plan
from queries.question.primitives import Primitive
from queries.question.tree import Filter, Query, Spend

MAX_VECTOR = 4_096
"""The most numbers that one answer may have, whatever the policy allows: an entry of the ledger must hold them."""

_DECIMAL = re.compile(r"(0|[1-9][0-9]{0,17})(\.[0-9]{1,12})?", re.ASCII)


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


def _check_filter(condition: Filter, view: View) -> None:
    column = column_of(condition.column, view)
    forms = [form for form in (condition.between, condition.in_, condition.equals) if form is not UNSET]
    if len(forms) != 1:
        raise QueryInvalid(f"The filter on '{column.name}' has exactly one of between, in and equals.")
    if condition.between is not UNSET:
        if isinstance(column, Category):
            raise QueryInvalid(f"The column '{column.name}' is a category: filter it with 'in' or 'equals'.")
        low, high = (_in_order(end, column) for end in condition.between)
        if low > high:
            raise QueryInvalid(f"The filter on '{column.name}' has its lower end above its upper end.")
        return
    values: list[str | int] = []
    if condition.in_ is not UNSET:
        values = condition.in_
    elif condition.equals is not UNSET:
        values = [condition.equals]
    if not 1 <= len(values) <= 512:
        raise QueryInvalid(f"The filter on '{column.name}' lists from 1 to 512 values.")
    _check_values(column, values)


def _check_values(column: Column, values: list[str | int]) -> None:
    """Raise QueryInvalid unless each is a value that the column may have."""
    if isinstance(column, Category):
        if not all(isinstance(value, str) for value in values):
            raise QueryInvalid(f"The column '{column.name}' is a category: its values are text.")
        if not set(values) <= set(column.values):
            raise QueryInvalid(
                f"The filter on '{column.name}' names a value that the policy does not list; it lists: "
                f"{first_names(column.values)}."
            )
    elif isinstance(column, Time):
        for value in values:
            place_in_time(column, value)
    elif not all(map(is_int, values)):
        raise QueryInvalid(f"The column '{column.name}' holds whole numbers; compare it with whole numbers.")


def _in_order(end: str | int, column: Column) -> int:
    """Return where an end of a ``between`` stands in the column's order."""
    if isinstance(column, Time):
        return place_in_time(column, end)
    if not isinstance(end, int) or not is_int(end):
        raise QueryInvalid(f"The filter on '{column.name}' is between two whole numbers.")
    return end


def _keys(names: list[str], view: View) -> tuple[Key, ...]:
    if len(names) > 2:
        raise QueryInvalid("A question has at most two group keys.")
    if len(set(names)) != len(names):
        raise QueryInvalid("A question names each group key once.")
    keys = []
    for name in names:
        column = column_of(name, view)
        if isinstance(column, Measure):
            raise QueryInvalid(f"The column '{name}' is a measure: it can be summed, not grouped by.")
        if not isinstance(column, Category) and column.hi - column.lo >= MAX_VECTOR:
            raise QueryInvalid(
                f"The column '{name}' has more than {MAX_VECTOR} keys: too many groups; filter it instead."
            )
        keys.append(Key(column=name, values=_domain(column)))
    return tuple(keys)


def _domain(column: Category | Range | Time) -> tuple[str | int, ...]:
    if isinstance(column, Category):
        return tuple(column.values)
    return column.texts() if isinstance(column, Time) else tuple(range(column.lo, column.hi + 1))


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
        if not is_label(measure.as_):
            raise QueryInvalid("A measure's name is lower-case letters, digits and underscores, at most 32.")
        for primitive in measure_of(measure).primitives(view, cells):
            found.setdefault(primitive.name, primitive)
    return tuple(found.values())

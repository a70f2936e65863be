"""An evaluator of plans that is too simple to be wrong: plain loops over plain rows. An oracle for tests.

A row is a dict: the view's resident column, and raw column values (text, whole numbers or None; a time in its unit's
form) that have not been clipped, mapped to ``other`` or checked against bounds yet. At most ``rows_per_resident`` rows
of each resident must be there already: which rows bounding keeps is not this module's matter, nor is who had more:
``over`` says that.
"""

from collections.abc import Collection, Hashable, Iterable
from itertools import product
from typing import Any

from msgspec import UNSET

from policies.policy_document import Category, Measure, Time, View
from queries.question.plan import Plan
from queries.question.primitives import Primitive
from queries.question.tree import Filter

Row = dict[str, Any]


CLIPPED = "clipped "


def bounded(row: Row, view: View) -> Row:
    """Return the row as the view sees it: other for unlisted values, null outside a range, measures clipped.

    Under ``"clipped "`` and a measure's name stands whether its value was outside the bounds.
    """
    seen: Row = {view.resident: row[view.resident]}
    for column in view.columns:
        value = row.get(column.name)
        if isinstance(column, Category):
            seen[column.name] = value if value in column.values else (column.other or None)
        elif value is None:
            seen[column.name] = None
        elif isinstance(column, Time):  # ISO texts of one unit are in the order of time
            seen[column.name] = value if column.first <= value <= column.last else None
        elif isinstance(column, Measure):
            seen[column.name] = min(max(value, column.lo), column.hi)
            seen[CLIPPED + column.name] = value < column.lo or value > column.hi
        else:
            seen[column.name] = value if column.lo <= value <= column.hi else None
    return seen


def matches(row: Row, condition: Filter) -> bool:
    value = row[condition.column]
    if value is None:
        return False
    if condition.between is not UNSET:
        return bool(condition.between[0] <= value <= condition.between[1])
    if condition.in_ is not UNSET:
        return value in condition.in_
    return bool(value == condition.equals)


def naive_vector(
    plan: Plan, rows: Iterable[Row], counted: set[Hashable], over: Collection[Hashable] = frozenset()
) -> list[int]:
    """Return the exact vector of ``plan`` over the rows of the residents in ``counted``."""
    view = plan.view
    kept = [bounded(row, view) for row in rows if row[view.resident] in counted]
    kept = [row for row in kept if all(matches(row, condition) for condition in plan.filters)]
    vector: list[int] = []
    for primitive in plan.primitives:
        for cell in product(*(key.values for key in plan.keys)):
            inside = [
                row for row in kept if all(row[key.column] == value for key, value in zip(plan.keys, cell, strict=True))
            ]
            vector += _cell(primitive, inside, view, over)
    return vector


def _cell(primitive: Primitive, rows: list[Row], view: View, over: Collection[Hashable]) -> list[int]:
    if primitive.kind == "rows":
        return [len(rows)]
    if primitive.kind in ("residents", "over_limit"):
        people = {row[view.resident] for row in rows}
        return [len(people if primitive.kind == "residents" else people & set(over))]
    if primitive.kind == "clipped":
        return [sum(row.get(CLIPPED + primitive.column, False) for row in rows)]
    values = [row[primitive.column] for row in rows if row[primitive.column] is not None]
    if primitive.kind == "values":
        return [len(values)]
    if primitive.kind == "sum":
        return [sum(values)]
    bins = []
    for place, low in enumerate(primitive.edges[:-1]):
        high = primitive.edges[place + 1]
        last = place == len(primitive.edges) - 2
        bins.append(sum(low <= value < high or (last and value == high) for value in values))
    return bins

"""The exact vector of a plan from a bounded view: Ibis expressions, then folding groups into cells.

The engine groups by the stored keys; groups that are in no cell (no code, or null) are dropped, and cells with no
group are 0. Sums are whole numbers. One pass gives rows, residents, sums and values; each histogram takes one more.

Numbers fit 64 bits: a view of fewer than 2^31 rows has sums of less than 2^31 · 2^31 = 2^62 in size. Past that they
are cut off at ±2^62 rather than refused, so that nothing about the data decides whether there is an answer; cutting
off brings no two vectors further apart (it is 1-Lipschitz in each number), so sensitivities hold.
"""

import functools
import operator
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from msgspec import UNSET

from ledger.errors import QueryInvalid
from policies.policy_document import Category, Column, Time, View
from queries.question.plan import Key, Plan
from queries.question.primitives import Primitive
from queries.question.tree import Filter
from trust.node.data.bounding import OVER_LIMIT, SLOT, clipped, stored

LARGEST = 2**62
"""No number of a vector is larger in size; noise is added on top, still inside 64 bits."""


def exact_vector(bounded: Any, counted: Any, plan: Plan) -> list[int]:
    """Return the plan's vector over the rows of ``bounded`` whose slot is in ``counted``.

    Both are Ibis tables of one engine; ``counted`` has each ``slot`` at most once. Raises QueryInvalid where the plan
    does not fit its view (which ``queries.question.check.make_plan`` never makes).
    """
    rows = bounded.inner_join(counted, bounded[SLOT] == counted[SLOT])
    conditions = [_condition(bounded, filter_, plan.view) for filter_ in plan.filters]
    if conditions:
        rows = rows.filter(functools.reduce(operator.and_, conditions))
    blocks = [[0] * (plan.cells * primitive.width) for primitive in plan.primitives]
    plain = [place for place, primitive in enumerate(plan.primitives) if not primitive.edges]
    if plain:
        totals = {
            f"total_{place}": _TOTALS[plan.primitives[place].kind](rows, plan.primitives[place], plan.view)
            for place in plain
        }
        for cell, group in _groups(rows, plan.keys, totals, plan.view):
            for place in plain:
                blocks[place][cell] += int(group[f"total_{place}"] or 0)
    for place, primitive in enumerate(plan.primitives):
        if primitive.edges:
            _add_bins(blocks[place], rows, primitive, plan)
    return [max(-LARGEST, min(LARGEST, number)) for block in blocks for number in block]


def _column(view: View, name: str) -> Column:
    column = view.column(name)
    if column is None:
        raise QueryInvalid("The plan names a column that its view does not have.")
    return column


def _condition(rows: Any, filter_: Filter, view: View) -> Any:
    """Return a filter as a boolean expression; a null matches none, as nothing equals it."""
    column = _column(view, filter_.column)
    value = rows[stored(column.name)]
    if filter_.between is not UNSET:
        if isinstance(column, Category):
            raise QueryInvalid("A category has no order to be between.")
        return value.between(*(_number(column, end) for end in filter_.between))
    if filter_.in_ is not UNSET:
        asked = filter_.in_
    elif filter_.equals is not UNSET:
        asked = [filter_.equals]
    else:
        raise QueryInvalid("A filter has exactly one of between, in and equals.")
    if isinstance(column, Category):
        return value.isin([column.values.index(item) for item in asked if item in column.values])
    if isinstance(column, Time):
        return value.isin([_number(column, item) for item in asked])
    return value.isin([item for item in asked if isinstance(item, int)])


def _number(column: Column, value: str | int) -> int:
    """Return a value of a filter as it is stored."""
    number = column.place(str(value)) if isinstance(column, Time) else value
    if not isinstance(number, int):
        raise QueryInvalid("A filter has a value of another kind than its column.")
    return number


def _values(rows: Any, primitive: Primitive, view: View) -> Any:
    column = _column(view, primitive.column)
    if isinstance(column, Category | Time):
        raise QueryInvalid("A key has no sum.")
    return rows[stored(column.name)]


_TOTALS: dict[str, Callable[[Any, Primitive, View], Any]] = {
    "rows": lambda rows, _primitive, _view: rows.count(),
    "residents": lambda rows, _primitive, _view: rows[SLOT].nunique(),
    "sum": lambda rows, primitive, view: _values(rows, primitive, view).sum(),
    "values": lambda rows, primitive, view: _values(rows, primitive, view).count(),
    "over_limit": lambda rows, _primitive, _view: rows[SLOT].nunique(where=rows[OVER_LIMIT]),
    "clipped": lambda rows, primitive, _view: rows[clipped(primitive.column)].sum(),
}
"""Each kind of primitive without bins (``queries.question.measures``), as the total of one group's rows."""


def _add_bins(block: list[int], rows: Any, primitive: Primitive, plan: Plan) -> None:
    column = _column(plan.view, primitive.column)
    if isinstance(column, Category | Time):
        raise QueryInvalid("A key has no histogram.")
    # [edge, next edge), the last one closed; what is outside all of them, or null, is in no bin.
    bucket = rows[stored(column.name)].bucket(list(primitive.edges), closed="left", close_extreme=True)
    binned = rows.mutate(bin=bucket)
    for cell, group in _groups(binned, plan.keys, {"total": binned.count()}, plan.view, "bin"):
        if group["bin"] is not None:
            block[cell * primitive.width + group["bin"]] += group["total"]


def _groups(
    rows: Any, keys: Iterable[Key], totals: Mapping[str, Any], view: View, *more: str
) -> Iterable[tuple[int, dict[str, Any]]]:
    """Yield (cell, the group's totals) of every group that is in a cell."""
    keys = list(keys)
    names = [stored(key.column) for key in keys]
    grouped = rows.group_by([*names, *more]) if names or more else rows
    places = [_places(key, view) for key in keys]
    for group in grouped.aggregate(**totals).to_pyarrow().to_pylist():
        cell = 0
        for name, key, place in zip(names, keys, places, strict=True):
            at = place.get(group[name])
            if at is None:
                break
            cell = cell * len(key.values) + at
        else:
            yield cell, group


def _places(key: Key, view: View) -> dict[int, int]:
    """Return where each stored value of a key stands in the key's domain."""
    column = _column(view, key.column)
    if isinstance(column, Category):
        code = {value: place for place, value in enumerate(column.values)}
        return {code[value]: place for place, value in enumerate(key.values) if isinstance(value, str)}
    if isinstance(column, Time):
        return dict(zip(range(column.hi - column.lo + 1), range(len(key.values)), strict=False))
    return {value: place for place, value in enumerate(key.values) if isinstance(value, int)}

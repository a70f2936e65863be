"""Every declared sensitivity is true, and none is larger than it must be."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.errors import QueryInvalid
from policies.policy_document import Measure
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.measures import MAX_SUM_SENSITIVITY, measure_of
from queries.question.plan import Plan
from queries.question.sensitivity import squared_by_cells, squared_by_rows
from tests.kit.questions import ALL_MEASURES, make_policy, plan_of, queries, values
from tests.queries.naive import naive_vector


def squared_distances(plan: Plan, left: list[int], right: list[int]) -> list[int]:
    """Return the squared L2 distance of the two vectors in each primitive's block."""
    distances, start = [], 0
    for primitive in plan.primitives:
        end = start + plan.cells * primitive.width
        distances.append(sum((a - b) ** 2 for a, b in zip(left[start:end], right[start:end], strict=True)))
        start = end
    assert start == plan.length == len(left) == len(right)
    return distances


@given(
    query=queries,
    rows_per_resident=st.integers(1, 4),
    data=st.lists(st.lists(values, max_size=5), min_size=1, max_size=4),
)
def test_with_and_without_any_resident_no_block_moves_further_than_declared(
    query: Any, rows_per_resident: int, data: list[list[dict[str, Any]]]
) -> None:
    """Who has more rows than are kept stands for itself, whoever else is there."""
    plan = make_plan(query, make_policy(rows=rows_per_resident))
    rows = [{"card": who, **row} for who, own in enumerate(data) for row in own[:rows_per_resident]]
    everybody: set[Any] = set(range(len(data)))
    over = {who for who, own in enumerate(data) if len(own) > rows_per_resident}
    whole = naive_vector(plan, rows, everybody, over)
    for who in everybody:
        without = naive_vector(plan, rows, everybody - {who}, over)
        for primitive, distance in zip(plan.primitives, squared_distances(plan, whole, without), strict=True):
            assert distance <= primitive.squared_sensitivity, primitive.name


def test_each_bound_is_reached_by_some_resident() -> None:
    """A bound that nobody can reach would waste budget; rows may repeat in a cell, so these are what they must be."""
    policy = make_policy(rows=3)
    plan = plan_of(policy, *ALL_MEASURES, group_by=["ward"])
    in_one_cell = [{"card": 1, "ward": "east", "ticket": "cash", "hour": 1, "fare": 900, "change": -7}] * 3
    spread = [{**in_one_cell[0], "ward": ward} for ward in ("east", "west", "north")]
    nobody = naive_vector(plan, [], set())
    reached = [
        max(pair)
        for pair in zip(
            squared_distances(plan, naive_vector(plan, in_one_cell, {1}, {1}), nobody),
            squared_distances(plan, naive_vector(plan, spread, {1}, {1}), nobody),
            strict=True,
        )
    ]
    assert reached == [primitive.squared_sensitivity for primitive in plan.primitives]


def test_a_resident_counts_once_in_a_cell_however_many_rows_they_have() -> None:
    assert (
        plan_of(make_policy(rows=10), MeasureAsked(as_="n", count="residents")).primitives[0].squared_sensitivity == 1
    )
    (over_limit,) = plan_of(make_policy(rows=10), MeasureAsked(as_="n", over_limit="residents")).primitives
    assert over_limit.squared_sensitivity == 1
    assert squared_by_cells(10, 7) == 7
    assert squared_by_cells(3, 7) == 3


@given(lo=st.integers(-(2**31), 2**31), hi=st.integers(-(2**31), 2**31), rows=st.integers(1, 1000))
def test_a_sum_moves_by_rows_times_the_larger_clip_bound(lo: int, hi: int, rows: int) -> None:
    column = Measure(name="x", title={}, lo=min(lo, hi), hi=max(lo, hi))
    exact = max((rows * lo) ** 2, (rows * hi) ** 2)
    assert squared_by_rows(rows, max(abs(lo), abs(hi))) == exact
    view = replace(make_policy().views[0], rows_per_resident=rows, columns=[column])
    if exact > MAX_SUM_SENSITIVITY**2:
        with pytest.raises(QueryInvalid):
            measure_of(MeasureAsked(as_="s", sum="x")).primitives(view, 1)
    else:
        (primitive,) = measure_of(MeasureAsked(as_="s", sum="x")).primitives(view, 1)
        assert primitive.squared_sensitivity == exact

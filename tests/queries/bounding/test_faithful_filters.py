"""A filter is let in exactly where it says of clipped values what it says of the holder's own; else what to write."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import UNSET, structs

from ledger.errors import QueryInvalid
from policies.policy_document import Measure, Policy
from queries.question.faithful import check_faithful, is_faithful, known_inside
from queries.question.sql import parse_sql
from queries.question.tree import Filter, Spend
from tests.kit.questions import BOTH, make_policy, make_query, plan_of
from tests.queries.naive import matches

SIGNS: dict[str, Any] = {
    "=": lambda a, b: a == b,
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}
BOUNDS = [(0, 4), (-3, 2), (-4, -1), (2, 2), (0, 1)]
AROUND = range(-9, 10)
OWN = range(-30, 30)
"""Values that a holder may have, well beyond every bound and every number asked for."""


def policy_with(lo: int, hi: int) -> Policy:
    """The tests' policy, its fare from lo to hi."""
    made = make_policy()
    fare = Measure(name="fare", title=BOTH, lo=lo, hi=hi)
    columns = [fare if column.name == "fare" else column for column in made.views[0].columns]
    return structs.replace(made, views=[structs.replace(made.views[0], columns=columns)])


def asked(condition: str, policy: Policy) -> list[Filter]:
    """The filters that SQL becomes, as a partner's command reads it and the service judges it."""
    query = parse_sql(f"SELECT COUNT(*) FROM rides WHERE {condition}", policy, Spend(epsilon="1"))
    check_faithful(plan_of(policy, *query.measures, where=query.where))
    return query.where


@pytest.mark.parametrize(("lo", "hi"), BOUNDS)
@pytest.mark.parametrize("sign", SIGNS)
def test_a_comparison_in_sql_is_let_in_exactly_where_clipping_changes_nothing_of_it(
    sign: str, lo: int, hi: int
) -> None:
    policy = policy_with(lo, hi)
    for number in AROUND:
        own = [SIGNS[sign](value, number) for value in OWN]
        clipped = [SIGNS[sign](min(max(value, lo), hi), number) for value in OWN]
        try:
            (condition,) = asked(f"fare {sign} {number}", policy)
        except QueryInvalid:
            assert own != clipped, number
        else:
            assert own == clipped, number
            assert [matches({"fare": min(max(value, lo), hi)}, condition) for value in OWN] == own


@pytest.mark.parametrize(("lo", "hi"), BOUNDS)
def test_between_in_sql_is_let_in_exactly_where_both_its_ends_are(lo: int, hi: int) -> None:
    policy = policy_with(lo, hi)
    for low in AROUND:
        for high in range(low, max(AROUND) + 1):
            both = lo < low <= hi and lo <= high < hi
            try:
                asked(f"fare BETWEEN {low} AND {high}", policy)
            except QueryInvalid:
                assert not both
            else:
                assert both


@pytest.mark.parametrize(("lo", "hi"), BOUNDS)
def test_what_a_refusal_says_to_write_is_let_in_and_is_true_of_every_value_that_was_meant_within_the_bounds(
    lo: int, hi: int
) -> None:
    policy = policy_with(lo, hi)
    for sign, says in SIGNS.items():
        for number in AROUND:
            try:
                asked(f"fare {sign} {number}", policy)
            except QueryInvalid as refused:
                words = refused.message
            else:
                continue
            written = re.search(r"write (fare [<>]= -?\d+(?: AND fare [<>]= -?\d+)?)", words)
            if written is None:
                assert "leave the condition out" in words
            else:
                filters = asked(written[1], policy)
                meant = [value for value in range(lo, hi + 1) if says(value, number)]
                assert all(matches({"fare": value}, each) for value in meant for each in filters)


def test_the_refusal_of_more_than_the_bound_says_what_it_would_have_said_and_what_to_write() -> None:
    with pytest.raises(QueryInvalid) as refused:
        asked("fare > 400", make_policy())
    assert refused.value.message == (
        "The column 'fare' is cut to 0..400 before any question: what was below counts as 0, what was above as 400. So "
        "that would decide this condition, and not the data: write fare >= 400 for what was 400 or more."
    )
    assert (refused.value.details["lo"], refused.value.details["hi"]) == (0, 400)


@given(
    ends=st.tuples(st.sampled_from(AROUND), st.sampled_from(AROUND)).map(sorted),
    bounds=st.sampled_from(BOUNDS),
    values=st.lists(st.sampled_from(AROUND), min_size=1, max_size=3),
)
def test_a_filter_in_the_tree_is_faithful_where_it_matches_own_and_clipped_values_alike(
    ends: list[int], bounds: tuple[int, int], values: list[int]
) -> None:
    """An end of a ``between`` that is the column's own bound is open: there is no other way to write ``<=`` alone."""
    column = Measure(name="fare", title=BOTH, lo=bounds[0], hi=bounds[1])

    def means(condition: Filter, value: int) -> bool:
        if condition.between is UNSET:
            return matches({"fare": value}, condition)
        low, high = ends
        return (low == column.lo or low <= value) and (high == column.hi or value <= high)

    for condition in (
        Filter(column="fare", between=(ends[0], ends[1])),
        Filter(column="fare", in_=[*values]),
        Filter(column="fare", equals=values[0]),
    ):
        alike = all(
            matches({"fare": min(max(value, column.lo), column.hi)}, condition) == means(condition, value)
            for value in OWN
        )
        if is_faithful(condition, column):
            assert alike
            low, high = known_inside(condition, column)
            inside = [value for value in OWN if means(condition, value)]
            assert low is None or low == min(inside)
            assert high is None or high == max(inside)
        elif condition.between is UNSET:
            assert not alike
        else:  # outside: all or nothing, whatever a holder has
            assert ends[0] < column.lo or ends[1] > column.hi


@pytest.mark.parametrize(
    "condition",
    [
        Filter(column="hour", between=(6, 9)),
        Filter(column="hour", between=(-4, -1)),
        Filter(column="hour", equals=6),
        Filter(column="hour", in_=[1, 6]),
    ],
    ids=str,
)
def test_a_range_is_not_filtered_by_what_no_row_can_have(condition: Filter) -> None:
    policy = make_policy()
    with pytest.raises(QueryInvalid, match="goes from 0 to 5"):
        check_faithful(plan_of(policy, where=[condition]))
    for fine in (Filter(column="hour", between=(3, 30)), Filter(column="hour", in_=[0, 5])):
        check_faithful(plan_of(policy, where=[fine]))


@pytest.mark.parametrize(
    "condition",
    [
        Filter(column="week", between=("2027-W02", "2027-W09")),
        Filter(column="week", equals="2026-W51"),
        Filter(column="week", in_=["2026-W53", "2027-W02"]),
    ],
    ids=str,
)
def test_time_is_not_filtered_by_what_no_row_can_have(condition: Filter) -> None:
    policy = make_policy()
    with pytest.raises(QueryInvalid, match="goes from 2026-W52 to 2027-W01"):
        check_faithful(plan_of(policy, where=[condition]))
    check_faithful(plan_of(policy, where=[Filter(column="week", between=("2026-W10", "2026-W53"))]))


def test_a_category_and_a_question_without_filters_are_nothing_to_clipping() -> None:
    check_faithful(plan_of(make_policy(), where=[Filter(column="ward", equals="east")]))
    check_faithful(plan_of(make_policy(), *make_query().measures))

"""Which questions fit a policy, and how they are planned."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ledger.errors import PolicyNotCurrent, QueryInvalid
from policies.policy_document import Time
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.measures import measure_of
from queries.question.plan import Plan
from queries.question.tree import Filter, Query, Spend, Within
from tests.kit.questions import WEEKS, make_policy, make_query, plan_of

COUNT = MeasureAsked(as_="n", count="rows")
POLICY = make_policy()


def test_a_plan_shares_primitives_between_measures_and_keeps_the_asked_order() -> None:
    asked = [
        COUNT,
        MeasureAsked(as_="riders", count="residents"),
        MeasureAsked(as_="fare", sum="fare"),
        MeasureAsked(as_="mean_fare", mean="fare"),
        MeasureAsked(as_="change", mean="change"),
        MeasureAsked(as_="fares", histogram="fare", edges=[0, 200, 400]),
        MeasureAsked(as_="hours", histogram="hour", edges=[1, 2, 4]),
    ]
    plan = plan_of(POLICY, *asked, MeasureAsked(as_="again", sum="fare"), group_by=["ward", "hour"])
    assert [primitive.name for primitive in plan.primitives] == [
        "rows",
        "residents",
        "sum:fare",
        "values:fare",
        "sum:change",
        "values:change",
        "bins:fare:0,200,400",
        "bins:hour:1,2,4",
    ]
    assert plan.cells == 3 * 6
    assert plan.length == 18 * (6 + 2 + 2)
    assert plan.keys[1].values == (0, 1, 2, 3, 4, 5)
    assert plan.participants == ("bus_co",)
    wanted = [measure_of(each).primitives(plan.view, plan.cells) for each in plan.measures]
    assert {primitive.name for each in wanted for primitive in each} == {p.name for p in plan.primitives}


def test_participants_are_the_views_holders_in_the_views_order() -> None:
    assert plan_of(make_policy(holders=3)).participants == ("bus_co", "rail_co", "tram_co")


@pytest.mark.parametrize("other", [{"version": 2}, {"version": 4}, {"policy": "health"}])
def test_another_policy_or_version_is_not_current(other: dict[str, Any]) -> None:
    with pytest.raises(PolicyNotCurrent):
        make_plan(make_query(**other), POLICY)


REFUSED: dict[str, tuple[Callable[[], Query], str]] = {
    "two views": (lambda: make_query(from_=["rides", "walks"]), "exactly one view"),
    "no view": (lambda: make_query(from_=[]), "exactly one view"),
    "an unknown view": (lambda: make_query(from_=["trips"]), "no view of that name"),
    "an unknown filter column": (lambda: make_query(where=[Filter(column="age", equals=1)]), "no column 'age'"),
    "an unknown key": (lambda: make_query(group_by=["age"]), "no column 'age'"),
    "the resident as a key": (lambda: make_query(group_by=["card"]), "no column 'card'"),
    "a measure as a key": (lambda: make_query(group_by=["fare"]), "is a measure"),
    "a key twice": (lambda: make_query(group_by=["ward", "ward"]), "each group key once"),
    "three keys": (lambda: make_query(group_by=["ward", "hour", "ticket"]), "at most two"),
    "a range too wide for a key": (lambda: make_query(from_=["walks"], group_by=["year"]), "too many groups"),
    "an undeclared key": (lambda: make_query(where=[Filter(column="ward", equals="mars")]), "does not list"),
    "an undeclared key in a list": (
        lambda: make_query(where=[Filter(column="ward", in_=["east", "mars"])]),
        "does not list",
    ),
    "a number for a category": (lambda: make_query(where=[Filter(column="ward", equals=1)]), "values are text"),
    "between on a category": (lambda: make_query(where=[Filter(column="ward", between=(1, 2))]), "is a category"),
    "text for a range": (lambda: make_query(where=[Filter(column="hour", equals="east")]), "whole numbers"),
    "text between for a range": (
        lambda: make_query(where=[Filter(column="hour", between=("2", "3"))]),
        "between two whole numbers",
    ),
    "numbers for a time": (lambda: make_query(where=[Filter(column="week", between=(1, 2))]), "time by the week"),
    "another unit for a time": (lambda: make_query(where=[Filter(column="week", in_=["2026-10"])]), "time by the week"),
    "times the wrong way round": (
        lambda: make_query(where=[Filter(column="week", between=("2027-W01", "2026-W53"))]),
        "lower end above",
    ),
    "the mean of a time": (lambda: make_query(MeasureAsked(as_="x", mean="week")), "not a measure"),
    "a histogram of a time": (
        lambda: make_query(MeasureAsked(as_="x", histogram="week", edges=[0, 1])),
        "is time",
    ),
    "mixed types": (lambda: make_query(where=[Filter(column="hour", in_=[1, "east"])]), "whole numbers"),
    "a boolean": (lambda: make_query(where=[Filter(column="hour", equals=True)]), "whole numbers"),
    "a number past 32 bits": (lambda: make_query(where=[Filter(column="hour", equals=2**40)]), "whole numbers"),
    "ends the wrong way round": (lambda: make_query(where=[Filter(column="hour", between=(2, 1))]), "lower end above"),
    "two forms in one filter": (
        lambda: make_query(where=[Filter(column="hour", equals=1, between=(1, 2))]),
        "exactly one of",
    ),
    "no form in a filter": (lambda: make_query(where=[Filter(column="hour")]), "exactly one of"),
    "an empty list": (lambda: make_query(where=[Filter(column="hour", in_=[])]), "1 to 512"),
    "17 filters": (lambda: make_query(where=[Filter(column="hour", equals=1)] * 17), "at most 16"),
    "no measure": (lambda: make_query(measures=[]), "at least one measure"),
    "an empty measure": (lambda: make_query(MeasureAsked(as_="x")), "exactly one of"),
    "two forms in one measure": (lambda: make_query(MeasureAsked(as_="x", count="rows", sum="fare")), "exactly one of"),
    "edges without a histogram": (
        lambda: make_query(MeasureAsked(as_="x", sum="fare", edges=[0, 1])),
        "exactly one of",
    ),
    "a histogram without edges": (lambda: make_query(MeasureAsked(as_="x", histogram="fare")), "exactly one of"),
    "the same name twice": (lambda: make_query(COUNT, COUNT), "same name"),
    "a bad name": (lambda: make_query(MeasureAsked(as_="A b", count="rows")), "lower-case"),
    "the sum of a category": (lambda: make_query(MeasureAsked(as_="x", sum="ward")), "not a measure"),
    "the sum of a range": (lambda: make_query(MeasureAsked(as_="x", sum="hour")), "not a measure"),
    "the mean of a category": (lambda: make_query(MeasureAsked(as_="x", mean="ward")), "not a measure"),
    "the sum of nothing known": (lambda: make_query(MeasureAsked(as_="x", sum="age")), "no column 'age'"),
    "a histogram of a category": (
        lambda: make_query(MeasureAsked(as_="x", histogram="ward", edges=[0, 1])),
        "is a category",
    ),
    "edges that repeat": (lambda: make_query(MeasureAsked(as_="x", histogram="fare", edges=[0, 1, 1])), "do not rise"),
    "edges below the bounds": (lambda: make_query(MeasureAsked(as_="x", histogram="fare", edges=[-1, 1])), "outside"),
    "edges above the bounds": (lambda: make_query(MeasureAsked(as_="x", histogram="fare", edges=[0, 401])), "outside"),
    "one edge": (lambda: make_query(MeasureAsked(as_="x", histogram="fare", edges=[0])), "2 to 101"),
    "no spend": (lambda: make_query(spend=Spend()), "exactly one of"),
    "two spends": (
        lambda: make_query(spend=Spend(epsilon="1", within=Within(measure="n", plus_minus=1, confidence="0.9"))),
        "exactly one of",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_question_that_does_not_fit_is_refused_with_a_sentence_that_says_why(name: str) -> None:
    build, sentence = REFUSED[name]
    with pytest.raises(QueryInvalid, match=sentence) as caught:
        make_plan(build(), POLICY)
    assert "mars" not in caught.value.message


@pytest.mark.parametrize(
    ("limits", "sentence"),
    [({"cells": 17}, "limit 'cells' is 17"), ({"measures": 1}, "limit 'measures' is 1")],
)
def test_a_question_past_the_policys_limits_is_told_which_limit(limits: dict[str, int], sentence: str) -> None:
    query = make_query(COUNT, MeasureAsked(as_="riders", count="residents"), group_by=["ward", "hour"])
    assert make_plan(query, make_policy(cells=18, measures=2)).cells == 18
    with pytest.raises(QueryInvalid, match=sentence):
        make_plan(query, make_policy(**limits))


def test_a_time_has_every_unit_of_its_bounds_as_a_key_in_order_and_none_too_many() -> None:
    (key,) = plan_of(POLICY, COUNT, group_by=["week"]).keys
    assert key.values == tuple(WEEKS)
    (view, *_) = POLICY.views
    hours = Time(name="at", title=view.title, unit="hour", first="2026-01-01T00", last="2026-12-31T23")
    policy = replace(POLICY, views=[replace(view, columns=[hours])])
    with pytest.raises(QueryInvalid, match="too many groups"):
        plan_of(policy, COUNT, group_by=["at"])
    assert plan_of(policy, COUNT, where=[Filter(column="at", equals="2026-02-28T23")]).cells == 1


def test_an_answer_never_has_more_than_4096_numbers() -> None:
    edges = list(range(101))
    measures = [MeasureAsked(as_=f"h{start}", histogram="fare", edges=[e + start for e in edges]) for start in range(8)]
    with pytest.raises(QueryInvalid, match="4096"):
        make_plan(make_query(*measures, group_by=["hour"]), make_policy())


def test_a_sum_that_could_not_stay_exact_is_refused() -> None:
    query = make_query(MeasureAsked(as_="x", sum="far"), from_=["walks"])
    assert make_plan(query, make_policy(walks_rows=2)).primitives[0].squared_sensitivity == 2**64
    with pytest.raises(QueryInvalid, match="too far"):
        make_plan(query, make_policy(walks_rows=3))


names = st.sampled_from(["ward", "hour", "fare", "age", "card", "", "nothing", "week"])
texts = st.text(max_size=3) | st.sampled_from(["east", "pass", "2026-W53", "2026-W60", "2026-10"])
anything = st.one_of(st.integers(), texts, st.booleans())
wild_filters = st.builds(
    lambda column, parts: Filter(column=column, **parts),
    names,
    st.fixed_dictionaries(
        {},
        optional={
            "between": st.tuples(st.integers() | texts, st.integers() | texts),
            "in_": st.lists(anything),
            "equals": anything,
        },
    ),
)
wild_measures = st.builds(
    lambda as_, parts: MeasureAsked(as_=as_, **parts),
    st.sampled_from(["a", "b", "", "A"]),
    st.fixed_dictionaries(
        {},
        optional={
            "count": st.sampled_from(["rows", "residents", "cells"]),
            "sum": names,
            "mean": names,
            "histogram": names,
            "edges": st.lists(st.integers(-1, 401)),
        },
    ),
)


@given(
    measures=st.lists(wild_measures, max_size=3),
    where=st.lists(wild_filters, max_size=3),
    keys=st.lists(names, max_size=3),
)
def test_checking_is_total_every_question_gives_a_plan_or_a_refusal(
    measures: list[MeasureAsked], where: list[Filter], keys: list[str]
) -> None:
    try:
        plan = make_plan(make_query(measures=measures, where=where, group_by=keys), POLICY)
    except QueryInvalid:
        return
    assert isinstance(plan, Plan)
    assert plan.length >= 1

"""A policy, questions and random rows for the tests of this room."""

from typing import Any

from hypothesis import strategies as st

from policies.policy_document import (
    Budget,
    Category,
    Column,
    Limits,
    Measure,
    Policy,
    Range,
    Time,
    View,
    check_document,
)
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.plan import Plan
from queries.question.tree import Filter, Query, Spend

BOTH = {"ja": "題", "en": "title"}
WARDS = ["east", "west", "north"]
WEEKS = ["2026-W52", "2026-W53", "2027-W01"]


def make_policy(*, rows: int = 10, walks_rows: int = 1, holders: int = 1, **limits: int) -> Policy:
    """Return a policy with the views ``rides`` (at the first ``holders`` firms) and ``walks``."""
    names = ["bus_co", "rail_co", "tram_co", "ship_co"]
    columns: list[Column] = [
        Category(name="ward", title=BOTH, values=WARDS),
        Category(name="ticket", title=BOTH, values=["pass", "cash", "rest"], other="rest"),
        Range(name="hour", title=BOTH, lo=0, hi=5),
        Measure(name="fare", title=BOTH, lo=0, hi=400),
        Measure(name="change", title=BOTH, lo=-7, hi=5),
        Measure(name="nothing", title=BOTH, lo=0, hi=0),
        Time(name="week", title=BOTH, unit="week", first=WEEKS[0], last=WEEKS[-1]),
    ]
    rides = View(
        name="rides",
        title=BOTH,
        holders=names[:holders],
        source="rides",
        resident="card",
        rows_per_resident=rows,
        holders_per_resident=holders,
        columns=columns,
        bounding_measures=True,
    )
    walks = View(
        name="walks",
        title=BOTH,
        holders=names[:1],
        source="walks",
        resident="member",
        rows_per_resident=walks_rows,
        holders_per_resident=1,
        columns=[
            Range(name="year", title=BOTH, lo=-(2**31), hi=2**31),
            Measure(name="far", title=BOTH, lo=0, hi=2**31),
        ],
    )
    policy = Policy(
        id="mobility",
        version=3,
        title=BOTH,
        notice=BOTH | {"ja-easy": "だい"},
        purpose="https://w3id.org/dpv#PublicPolicyMaking",
        group="living",
        controller="city",
        holders=names,
        partners=["city"],
        until=["2027-03-31"],
        yearly_caps=[1],
        views=[rides, walks],
        budget=Budget(delta="0.000001", window="month", per_window=10**9, life=10**9, per_partner=10**9),
        limits=Limits(**{"cells": 100, "measures": 16, "charge": 10**10} | limits),
        aggregation="local",
        reuse=0,
    )
    check_document(policy)
    return policy


ALL_MEASURES = [
    MeasureAsked(as_="rides", count="rows"),
    MeasureAsked(as_="riders", count="residents"),
    MeasureAsked(as_="fare", sum="fare"),
    MeasureAsked(as_="mean_fare", mean="fare"),
    MeasureAsked(as_="change", mean="change"),
    MeasureAsked(as_="fares", histogram="fare", edges=[0, 200, 400]),
    MeasureAsked(as_="hours", histogram="hour", edges=[1, 2, 4]),
    MeasureAsked(as_="regulars", over_limit="residents"),
    MeasureAsked(as_="dear", clipped="fare"),
]


def make_query(
    *measures: MeasureAsked, where: list[Filter] | None = None, group_by: list[str] | None = None, **others: Any
) -> Query:
    fields: dict[str, Any] = {
        "policy": "mobility",
        "version": 3,
        "from_": ["rides"],
        "where": where or [],
        "group_by": group_by or [],
        "measures": list(measures) or ALL_MEASURES[:1],
        "spend": Spend(epsilon="1"),
    }
    return Query(**fields | others)


def plan_of(policy: Policy, *measures: MeasureAsked, **others: Any) -> Plan:
    return make_plan(make_query(*measures, **others), policy)


filters = st.one_of(
    st.builds(lambda value: Filter(column="ward", equals=value), st.sampled_from(WARDS)),
    st.builds(
        lambda values: Filter(column="ticket", in_=values), st.lists(st.sampled_from(["pass", "rest"]), min_size=1)
    ),
    st.builds(
        lambda column, ends: Filter(column=column, between=(min(ends), max(ends))),
        st.sampled_from(["hour", "fare", "change"]),
        st.tuples(st.integers(-9, 500), st.integers(-9, 500)),
    ),
    st.builds(
        lambda ends: Filter(column="week", between=(min(ends), max(ends))),
        st.tuples(st.sampled_from(["2025-W52", *WEEKS]), st.sampled_from([*WEEKS, "2027-W02"])),
    ),
    st.builds(lambda values: Filter(column="week", in_=values), st.lists(st.sampled_from(WEEKS), min_size=1)),
)
queries = st.builds(
    lambda measures, where, keys: make_query(*measures, where=where, group_by=keys),
    st.lists(st.sampled_from(ALL_MEASURES), min_size=1, unique_by=lambda asked: asked.as_),
    st.lists(filters, max_size=2),
    st.lists(st.sampled_from(["ward", "ticket", "hour", "week"]), max_size=2, unique=True),
)
values = st.fixed_dictionaries(
    {
        "ward": st.sampled_from([*WARDS, "elsewhere", None]),
        "ticket": st.sampled_from(["pass", "cash", "rest", "gold", None]),
        "hour": st.none() | st.integers(-1, 6),
        "fare": st.none() | st.integers(-50, 900),
        "change": st.none() | st.integers(-20, 20),
        "nothing": st.none() | st.integers(-3, 3),
        "week": st.none() | st.sampled_from(["2026-W51", *WEEKS, "2027-W02"]),
    }
)

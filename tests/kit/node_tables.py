"""Random sources, views and questions, and the plain-Python meaning of a vector that the node's is held against."""

import hmac
import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from msgspec import UNSET

from policies.calendar.calendar_units import CalendarUnit
from policies.policy_document import Budget, Category, Column, Limits, Measure, Policy, Range, Time, View
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.plan import Plan
from queries.question.primitives import Primitive
from queries.question.tree import Filter, Query, Spend
from trust.node.data.views import ViewStore

PRIME = 2**31 - 1
SECRET = bytes(range(32))
TITLE = {"ja": "題", "en": "title", "ja-easy": "だい"}
WARDS = ["north", "south", "é", "1"]
LINKED = {"1": 0, "2": 1, "3": 2, "4": 3, "-5": 4}
UNLINKED = ["6", "77"]
ODD_TEXTS: dict[str | None, int | None] = {
    "12": 12, " 7 ": 7, "abc": None, "": None, "2.5": 3, "-2.5": -3, "1e3": 1000, "9" * 20: None, "NaN": None,
    "１２": None, "--1": None, "-0": 0, None: None, "100": 100, "0": 0, "true": None, "1,5": None,
}  # fmt: skip
"""Texts that a measure's column may hold, and the whole number that each stands for."""
NO_TIMES = [
        "2026-10-01T07Z", "2026-10-01T07:00+09:00", "2026/10/01", "2026-1-5", " 2026-10-01", "2026-02-30", "2026-W54",
        "2027-W53", "2026-W00", "2026-13", "", None, "2026-10-01T24:00", "20261001", "２０２６-10-01", "2026-10-01  07:00",
        "2026-10-01T07:60", "0000-01-01", "October", "2026-10-01\n", "2026", "9999-99-99",
]  # fmt: skip
TIMES: dict[str | None, dict[CalendarUnit, str]] = {
    "2026-10-01": {"day": "2026-10-01", "week": "2026-W40", "month": "2026-10"},
    "2026-10-01T07": {"hour": "2026-10-01T07", "day": "2026-10-01", "week": "2026-W40", "month": "2026-10"},
    "2026-10-04 23:59:59.999": {"hour": "2026-10-04T23", "day": "2026-10-04", "week": "2026-W40", "month": "2026-10"},
    "2026-10-05T00:00": {"hour": "2026-10-05T00", "day": "2026-10-05", "week": "2026-W41", "month": "2026-10"},
    "2026-09-30 08:05": {"hour": "2026-09-30T08", "day": "2026-09-30", "week": "2026-W40", "month": "2026-09"},
    "2026-12-31": {"day": "2026-12-31", "week": "2026-W53", "month": "2026-12"},
    "2027-01-03": {"day": "2027-01-03", "week": "2026-W53", "month": "2027-01"},
    "2027-01-04T09:30:00": {"hour": "2027-01-04T09", "day": "2027-01-04", "week": "2027-W01", "month": "2027-01"},
    "2026-W40": {"week": "2026-W40"}, "2026-W53": {"week": "2026-W53"}, "2026-10": {"month": "2026-10"},
    "1969-12-31": {"day": "1969-12-31", "week": "1970-W01", "month": "1969-12"},
    **{text: {} for text in NO_TIMES},
}  # fmt: skip
"""Texts that a column of time may hold, and which hour, day, week and month each says."""
BOUNDS: dict[CalendarUnit, list[str]] = {
    "hour": ["2026-09-30T08", "2026-10-01T06", "2026-10-01T07", "2026-10-05T00"],
    "day": ["2026-09-30", "2026-10-01", "2026-10-04", "2026-10-05", "2027-01-01"],
    "week": ["1969-W52", "2026-W39", "2026-W40", "2026-W41", "2026-W53", "2027-W01"],
    "month": ["1969-12", "2026-09", "2026-10", "2026-12", "2027-01"],
}
FLOATS = [0.0, -0.0, 1.5, 2.5, 99.5, -7.25, 1e18, 1e19, -1e300, math.inf, -math.inf, math.nan, 50.0, None]

Row = dict[str, Any]
CUSTOMERS = [*LINKED, *LINKED, *UNLINKED, None]
HOURS = [*FLOATS, *map(float, range(-3, 13))]
PLACES = [*WARDS, *WARDS, "elsewhere", "North", "", None]


@st.composite
def tables(draw: st.DrawFn) -> list[Row]:
    """Up to 80 rows of any customers, so that most residents have several in a cell, and more than a view keeps."""
    chance = draw(st.randoms(use_true_random=False))
    return [
        {
            "customer": None if customer is None else int(customer),
            "ward": chance.choice(PLACES),
            "hour": chance.choice(HOURS),
            "fare": chance.choice([*ODD_TEXTS]),
            "at": chance.choice([*TIMES]),
        }
        for customer in (chance.choice(CUSTOMERS) for _ in range(draw(st.integers(0, 80))))
    ]


def write_rows(path: Path, rows: Sequence[Row], *, text_customers: bool = False) -> None:
    """Replace the source's file in one step."""
    customers = [row["customer"] for row in rows]
    if text_customers:
        column = pa.array([None if number is None else str(number) for number in customers], pa.string())
    else:
        column = pa.array(customers, pa.int64())
    table = pa.table(
        {
            "customer": column,
            "ward": pa.array([row["ward"] for row in rows], pa.string()),
            "hour": pa.array([row["hour"] for row in rows], pa.float64(), from_pandas=False),
            "fare": pa.array([row["fare"] for row in rows], pa.string()),
            "at": pa.array([row.get("at") for row in rows], pa.string()),
        }
    )
    fresh = path.with_suffix(".new")
    pq.write_table(table, fresh)
    fresh.rename(path)


def view_over(source: str, *columns: Column, rows: int = 3, resident: str = "customer", **more: Any) -> View:
    """A view over one source of one holder, named like it, that keeps so many rows of a resident."""
    return View(
        name=source,
        title=TITLE,
        holders=["bus_co"],
        source=source,
        resident=resident,
        rows_per_resident=rows,
        holders_per_resident=1,
        columns=[*columns],
        **more,
    )


@st.composite
def views(draw: st.DrawFn) -> View:
    """Any view of that source."""
    lo = draw(st.integers(-3, 5))
    least = draw(st.integers(-50, 60))
    unit = draw(st.sampled_from([*BOUNDS]))
    first, last = sorted(draw(st.tuples(st.sampled_from(BOUNDS[unit]), st.sampled_from(BOUNDS[unit]))))
    return view_over(
        "rides",
        Category(name="ward", title=TITLE, values=WARDS, other=draw(st.sampled_from(["", "south"]))),
        Range(name="hour", title=TITLE, lo=lo, hi=lo + draw(st.integers(0, 7))),
        Measure(name="fare", title=TITLE, lo=least, hi=least + draw(st.sampled_from([0, 9, 2000, 2**29]))),
        Time(name="at", title=TITLE, unit=unit, first=first, last=last),
        rows=draw(st.integers(1, 6)),
        bounding_measures=draw(st.sampled_from([True, UNSET])),
    )


def policy_of(view: View) -> Policy:
    """A policy with just that view."""
    return Policy(
        id="mobility", version=1, title=TITLE, notice=TITLE, purpose="https://w3id.org/dpv#PublicPolicyMaking",
        group="living", controller="city", holders=["bus_co"], partners=["city"], until=["2027-11-30"], yearly_caps=[1],
        views=[view], budget=Budget(delta="0.000001", window="year", per_window=1, life=1, per_partner=1),
        limits=Limits(cells=4096, measures=16, charge=1), aggregation="local", reuse=0,
    )  # fmt: skip


@st.composite
def plans(draw: st.DrawFn, view: View) -> Plan:
    """Any question that fits the view, planned as the service and the node plan it."""
    _, hour, fare, at = view.columns
    assert isinstance(at, Time)
    assert isinstance(hour, Range)
    assert isinstance(fare, Measure)
    inner = draw(st.sets(st.integers(fare.lo, fare.hi), max_size=4))
    edges = sorted({fare.lo, fare.hi} | inner) if draw(st.booleans()) else sorted(inner)
    asked = [
        MeasureAsked(as_="trips", count="rows"),
        MeasureAsked(as_="riders", count="residents"),
        MeasureAsked(as_="paid", sum="fare"),
        MeasureAsked(as_="each", mean="fare"),
        *([MeasureAsked(as_="fares", histogram="fare", edges=edges)] if len(edges) > 1 else []),
        MeasureAsked(as_="hours", histogram="hour", edges=[hour.lo, hour.hi])
        if hour.lo < hour.hi
        else MeasureAsked(as_="again", sum="fare"),
        *(
            [MeasureAsked(as_="regulars", over_limit="residents"), MeasureAsked(as_="dear", clipped="fare")]
            if view.bounding_measures is not UNSET
            else []
        ),
    ]
    filters = [
        Filter(column="ward", in_=[*draw(st.lists(st.sampled_from(WARDS), min_size=1, max_size=3))]),
        Filter(column="ward", equals=draw(st.sampled_from(WARDS))),
        Filter(column="hour", between=draw(st.tuples(st.integers(-5, 4), st.integers(4, 15)))),
        Filter(column="hour", in_=[*draw(st.lists(st.integers(-5, 15), min_size=1, max_size=5))]),
        Filter(column="fare", between=draw(st.tuples(st.integers(-100, 20), st.integers(20, 2000)))),
        Filter(column="fare", equals=draw(st.integers(-5, 15))),
        Filter(
            column="at",
            between=draw(st.tuples(st.sampled_from(BOUNDS[at.unit][:2]), st.sampled_from(BOUNDS[at.unit][2:]))),
        ),
        Filter(column="at", in_=[*draw(st.lists(st.sampled_from(BOUNDS[at.unit]), min_size=1, max_size=3))]),
        Filter(column="at", equals=draw(st.sampled_from(BOUNDS[at.unit]))),
    ]
    keys = [[], ["ward"], ["ward"], ["hour"], ["ward", "hour"], ["hour", "ward"]]
    units = at.hi - at.lo + 1  # no more groups than an answer may have
    keys += [["at"], ["at"]] if units <= 200 else []
    keys += [["ward", "at"], ["at", "ward"], ["at", "hour"]] if units <= 40 else []
    query = Query(
        policy="mobility",
        version=1,
        from_=["rides"],
        where=draw(st.sampled_from([[], [], [draw(st.sampled_from(filters))], draw(st.permutations(filters))[:2]])),
        group_by=draw(st.sampled_from(keys)),
        measures=asked if draw(st.booleans()) else draw(st.permutations(asked))[: draw(st.integers(1, len(asked)))],
        spend=Spend(epsilon="0.1"),
    )
    return make_plan(query, policy_of(view))


def row_key(policy_sha256: str, view: str) -> tuple[int, int]:
    """(a, b) as trust.node.data.bounding says."""
    digest = hmac.digest(SECRET, f"musubi/v1/rows\n{policy_sha256}\n{view}".encode(), "sha256")
    return 1 + int.from_bytes(digest[:16]) % (PRIME - 1), int.from_bytes(digest[16:]) % PRIME


def priority(number: int, multiplier: int, key: int) -> int:
    """The priority of a resident's row by its number, as trust.node.data.bounding says."""
    return pow((pow((multiplier * number + key) % PRIME, 5, PRIME) + key) % PRIME, 5, PRIME)


def rounded(number: float) -> int:
    """Rounded, .5 away from zero."""
    return int(Decimal(number).to_integral_value(ROUND_HALF_UP))


def naive_vector(
    rows: Sequence[Row], links: Mapping[str, int], counted: Sequence[bool], policy_sha256: str, plan: Plan
) -> list[int]:
    """The vector, by the documents' words, a row at a time."""
    view = plan.view
    a, b = row_key(policy_sha256, view.name)
    own: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        if row["customer"] is not None:
            own[str(row["customer"])].append(row)
    kept = []
    for customer, theirs in own.items():
        slot = links.get(customer)
        if slot is None or slot >= len(counted) or not counted[slot]:
            continue
        salt = int.from_bytes(hmac.digest(SECRET, b"musubi/v1/salt\n" + customer.encode(), "sha256")[:16]) % PRIME
        own_key = (a * salt + b) % PRIME
        places = sorted(range(len(theirs)), key=lambda place: priority(place, a, own_key))
        more = {"over_limit": len(theirs) > view.rows_per_resident}
        kept += [(slot, _coded(theirs[place], view) | more) for place in places[: view.rows_per_resident]]
    chosen = [(slot, row) for slot, row in kept if all(_matches(row[f.column], f) for f in plan.filters)]
    vector = []
    for primitive in plan.primitives:
        block = [0] * (plan.cells * primitive.width)
        seen = set()
        for slot, row in chosen:
            cell = 0
            for key in plan.keys:
                if row[key.column] not in key.values:
                    break
                cell = cell * len(key.values) + key.values.index(row[key.column])
            else:
                if primitive.kind in {"residents", "over_limit"} and (cell, slot) in seen:
                    continue
                seen.add((cell, slot))
                _add(block, cell, row, primitive)
        vector += block
    return vector


def _coded(row: Row, view: View) -> Row:
    ward, hours, fares, at = view.columns
    assert isinstance(at, Time)
    assert isinstance(ward, Category)
    assert isinstance(hours, Range)
    assert isinstance(fares, Measure)
    hour, fare = row["hour"], ODD_TEXTS[row["fare"]]
    moment = TIMES[row["at"]].get(at.unit)  # ISO texts of one unit are in the order of time
    if hour is not None:
        hour = rounded(hour) if math.isfinite(hour) and abs(hour) < 2**63 else None
    return {
        "ward": row["ward"] if row["ward"] in ward.values else ward.other or None,
        "hour": hour if hour is not None and hours.lo <= hour <= hours.hi else None,
        "fare": None if fare is None else min(max(fare, fares.lo), fares.hi),
        "was_clipped": fare is not None and not fares.lo <= fare <= fares.hi,
        "at": moment if moment is not None and at.first <= moment <= at.last else None,
    }


def _matches(value: str | int | None, condition: Filter) -> bool:
    if value is None:
        return False
    if condition.between is not UNSET:
        low, high = condition.between
        ends: tuple[Any, Any, Any] = low, value, high
        return bool(ends[0] <= ends[1] <= ends[2])
    return value in condition.in_ if condition.in_ is not UNSET else value == condition.equals


def _add(block: list[int], cell: int, row: Row, primitive: Primitive) -> None:
    value = row.get(primitive.column)
    if primitive.kind in {"rows", "residents"}:
        block[cell] += 1
    elif primitive.kind == "over_limit":
        block[cell] += row["over_limit"]
    elif primitive.kind == "clipped":
        block[cell] += row["was_clipped"]
    elif value is None:
        return
    elif primitive.kind == "sum":
        block[cell] += value
    elif primitive.kind == "values":
        block[cell] += 1
    else:
        for place, (low, high) in enumerate(zip(primitive.edges, primitive.edges[1:], strict=False)):
            last = place == primitive.width - 1
            if low <= value < high or (last and value == high):
                block[cell * primitive.width + place] += 1


def take_in(store: ViewStore, policy_sha256: str, view: View) -> None:
    """Load the view's source as it is now, and make the view, as a node does between questions."""
    store.load([view])
    store.materialise(policy_sha256, view)


def hourly_plan(rows_per_resident: int = 3, *, customer: str = "customer") -> Plan:
    """Rows and residents by hour 0 to 9."""
    view = View(
        name="rides",
        title=TITLE,
        holders=["bus_co"],
        source="rides",
        resident=customer,
        rows_per_resident=rows_per_resident,
        holders_per_resident=1,
        columns=[Range(name="hour", title=TITLE, lo=0, hi=9)],
    )
    query = Query(
        policy="mobility",
        version=1,
        from_=["rides"],
        where=[],
        group_by=["hour"],
        measures=[MeasureAsked(as_="trips", count="rows"), MeasureAsked(as_="riders", count="residents")],
        spend=Spend(epsilon="1"),
    )
    return make_plan(query, policy_of(view))

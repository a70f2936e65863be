"""A column of time is read from files as holders have them, by the stated rule; else it is null, and told."""

from datetime import date, datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from policies.calendar.calendar_units import CalendarUnit
from policies.policy_document import Time, View
from policies.time_zones import time_zone_of
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.plan import Plan
from queries.question.tree import Filter, Query, Spend
from tests.kit.node_tables import SECRET, TITLE, policy_of, take_in
from trust.node.data.load_report import LoadReport
from trust.node.data.views import ViewStore
from trust.node.sources.mapping import ColumnMapping, SourceMapping

POLICY = "ab" * 32
BOUNDS: dict[CalendarUnit, tuple[str, str]] = {
    "hour": ("2026-09-30T22", "2026-10-01T08"), "day": ("2026-09-30", "2026-10-05"),
    "week": ("2026-W39", "2026-W41"), "month": ("2026-08", "2026-10"),
}  # fmt: skip


def plan_by(unit: CalendarUnit, *where: Filter) -> Plan:
    first, last = BOUNDS[unit]
    view = View(
        name="rides", title=TITLE, holders=["bus_co"], source="rides", resident="who", rows_per_resident=9,
        holders_per_resident=1, columns=[Time(name="at", title=TITLE, unit=unit, first=first, last=last)],
    )  # fmt: skip
    asked = [MeasureAsked(as_="n", count="rows")]
    query = Query(
        policy="mobility", version=1, from_=["rides"], where=list(where), group_by=["at"], measures=asked,
        spend=Spend(epsilon="1"),
    )  # fmt: skip
    return make_plan(query, policy_of(view))


def counted(
    folder: Path, plan: Plan, ending: str = "parquet", mapping: SourceMapping | None = None
) -> tuple[dict[str, int], int]:
    """How many rows fall in each unit, those that none does left out; and how many nulls the holder is told of."""
    store = ViewStore(
        folder / "node", {"rides": folder / f"rides.{ending}"}, SECRET, {"rides": mapping} if mapping else None
    )
    try:
        store.set_links([("1", 0)])
        take_in(store, POLICY, plan.view)
        vector = store.vector(POLICY, plan, np.ones(1, dtype=bool))
    finally:
        store.close()
    report = msgspec.json.decode(
        (folder / "node" / "snapshots" / "rides.who.loaded.json").read_bytes(), type=LoadReport
    )
    assert [column.read_as for column in report.columns] == [plan.view.columns[0].unit]  # type: ignore[union-attr]
    found = dict(zip(plan.keys[0].values, vector, strict=True))
    return {str(key): number for key, number in found.items() if number}, report.columns[0].nulls


NIGHT = [datetime(2026, 9, 30, 23, 59, 59), datetime(2026, 10, 1, 7, 5), None]  # noqa: DTZ001 - local, as in the file
SAID: dict[CalendarUnit, dict[str, int]] = {
    "hour": {"2026-09-30T23": 1, "2026-10-01T07": 1}, "day": {"2026-09-30": 1, "2026-10-01": 1},
    "week": {"2026-W40": 2}, "month": {"2026-09": 1, "2026-10": 1},
}  # fmt: skip
COLUMNS: dict[str, Any] = {
    **{f"timestamp {unit}": pa.array(NIGHT, pa.timestamp(unit)) for unit in ("ms", "us", "ns")},
    "text": pa.array(["2026-09-30T23:59:59", "2026-10-01 07:05", None]),
    "text as a dictionary": pa.array(["2026-09-30 23:59:59.5", "2026-10-01T07", None]).dictionary_encode(),
}


@pytest.mark.parametrize("unit", BOUNDS)
@pytest.mark.parametrize("name", COLUMNS)
def test_a_day_and_time_is_in_its_hour_day_week_and_month(tmp_path: Path, name: str, unit: CalendarUnit) -> None:
    pq.write_table(pa.table({"who": ["1"] * 3, "at": COLUMNS[name]}), tmp_path / "rides.parquet")
    assert counted(tmp_path, plan_by(unit)) == (SAID[unit], 1)


@pytest.mark.parametrize("unit", BOUNDS)
@pytest.mark.parametrize("type_", [pa.date32(), pa.date64()])
def test_a_day_is_in_its_week_and_month_and_in_no_hour(tmp_path: Path, type_: Any, unit: CalendarUnit) -> None:
    days = pa.array([date(2026, 9, 30), date(2026, 10, 1), None], type_)
    pq.write_table(pa.table({"who": ["1"] * 3, "at": days}), tmp_path / "rides.parquet")
    assert counted(tmp_path, plan_by(unit)) == (({}, 3) if unit == "hour" else (SAID[unit], 1))


@pytest.mark.parametrize("unit", BOUNDS)
def test_a_moment_with_a_zone_is_null_until_a_mapping_names_the_towns(tmp_path: Path, unit: CalendarUnit) -> None:
    """23:59 in Tokyo is 14:59 in UTC: guessing would put rides in another hour, day, week or month."""
    path = tmp_path / "rides.parquet"
    at = [None if each is None else each.replace(tzinfo=time_zone_of("Asia/Tokyo")) for each in NIGHT]
    pq.write_table(pa.table({"who": ["1"] * 3, "at": pa.array(at, pa.timestamp("us", "Asia/Tokyo"))}), path)
    assert counted(tmp_path, plan_by(unit)) == ({}, 3)
    mapping = SourceMapping(file=str(path), zone="Asia/Tokyo", columns={"at": ColumnMapping(from_="at", read=["time"])})
    assert counted(tmp_path, plan_by(unit), mapping=mapping) == (SAID[unit], 1)


@pytest.mark.parametrize(("unit", "reader"), [("hour", "time"), ("day", "day"), ("week", "week"), ("month", "month"), ("day", "date"), ("month", "date")])  # fmt: skip
def test_what_readers_say_fits_a_column_of_their_unit(tmp_path: Path, unit: CalendarUnit, reader: str) -> None:
    (tmp_path / "rides.csv").write_text("who,乗車\n1,2026年9月30日 23:59\n1,2026/10/1 7:05\n1,いつか\n", "utf-8")
    mapping = SourceMapping(
        file=str(tmp_path / "rides.csv"), columns={"at": ColumnMapping(from_="乗車", read=[reader])}
    )
    assert counted(tmp_path, plan_by(unit), "csv", mapping) == (SAID[unit], 1)


def test_a_text_of_the_unit_itself_is_read_and_a_coarser_or_another_one_is_null(tmp_path: Path) -> None:
    (tmp_path / "rides.csv").write_text(
        "who,at\n1,2026-W40\n1,2026-W41\n1,2026-10\n1,2026\n1,2026-W4\n1,W40\n", "utf-8"
    )
    assert counted(tmp_path, plan_by("week"), "csv") == ({"2026-W40": 1, "2026-W41": 1}, 4)
    assert counted(tmp_path, plan_by("month"), "csv") == ({"2026-10": 1}, 5)
    assert counted(tmp_path, plan_by("day"), "csv") == ({}, 6)


def test_filters_on_time_count_both_ends_and_what_is_outside_the_bounds_is_in_none(tmp_path: Path) -> None:
    days = ["2026-09-29", "2026-09-30", "2026-10-01", "2026-10-02", "2026-10-05", "2026-10-06"]
    pq.write_table(pa.table({"who": ["1"] * 6, "at": days}), tmp_path / "rides.parquet")

    def by(**form: Any) -> list[str]:
        return list(counted(tmp_path, plan_by("day", Filter(column="at", **form)))[0])

    assert by(between=("2026-09-30", "2026-10-01")) == ["2026-09-30", "2026-10-01"]
    assert by(between=("0001-01-01", "9999-12-31")) == days[1:-1]
    assert by(in_=["2026-10-05", "2026-10-06"]) == ["2026-10-05"]
    assert by(equals="2026-10-02") == ["2026-10-02"]
    assert by(equals="2026-10-06") == []

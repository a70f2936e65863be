"""A made-up town page: もみじ台 with five agreements, six questions of every shape, and refusals of every rule."""

import math
from typing import Any

from msgspec import convert
from msgspec.structs import replace

from policies.policy_document import View
from queries.question.tree import Query
from trust.pages.cards import PolicyCard, QuestionCard, RefusalCard, ShownCell, Spending
from trust.service.pages.town.model import CheckpointCard, Cosigner, HolderCard, TownPage

NOW = 1_795_338_120  # 2026-11-22 18:02 in Tokyo
DPV = "https://w3id.org/dpv#"

BUS = {"ja": "もみじ交通バス", "en": "Momiji Bus"}
REGISTRY = {"ja": "もみじ台町役場 住民課", "en": "Momijidai town registry"}
POINTS = {"ja": "健康ポイント事務局", "en": "Health Points office"}
FOOD = {"ja": "たべきりアプリ運営会社", "en": "Tabekiri food-loss app"}
PLANNING = {"ja": "もみじ台町役場 交通政策課", "en": "Momijidai transport policy section"}
CLINIC = {"ja": "もみじ台地域包括支援センター", "en": "Momijidai community care centre"}
UNIVERSITY = {"ja": "北都大学 まちづくり研究室", "en": "Hokuto University town planning laboratory"}

MOBILITY = {"ja": "バスの使われ方と、おでかけのしやすさ", "en": "How buses are used, and how easy it is to go out"}
HEALTH = {"ja": "歩くことと健康ポイント", "en": "Walking and health points"}
FOOD_LOSS = {"ja": "食べものを捨てない町へ", "en": "Towards a town without food waste"}
LIVING = {"ja": "一人ぐらしの見守り", "en": "Looking out for people who live alone"}
COMMUNITY = {"ja": "集会所と地域の集まり", "en": "Community halls and gatherings"}

WARDS = ("もみじ台東", "もみじ台西", "もみじ台南", "もみじ台北", "駅前地区", "緑が丘")
BANDS = ("朝(6〜9時)", "昼(10〜15時)", "夕方(16〜19時)")
LONG = (
    "総合健康づくりセンター もみじ台本館 一階ふれあいホールおよび多目的室",
    "集会所",
    "Momijidai Community Hall and Library, north building",
    "緑が丘団地 管理事務所 集会室(第二・第四土曜日のみ開放)",
)


def _view(name: str, ja: str, en: str, holder: str, *columns: dict[str, Any]) -> View:
    return convert(
        {
            "name": name,
            "title": {"ja": ja, "en": en},
            "holders": [holder],
            "source": name,
            "resident": "customer",
            "rows_per_resident": 20,
            "holders_per_resident": 1,
            "columns": list(columns),
        },
        View,
    )


def _category(name: str, ja: str, en: str, values: tuple[str, ...]) -> dict[str, Any]:
    return {"type": "category", "name": name, "title": {"ja": ja, "en": en}, "values": list(values)}


def _measure(name: str, ja: str, en: str, hi: int, unit: str) -> dict[str, Any]:
    return {"type": "measure", "name": name, "title": {"ja": ja, "en": en}, "lo": 0, "hi": hi, "unit": unit}


RIDES = _view(
    "rides",
    "バスの乗車",
    "Bus rides",
    "bus_co",
    _category("ward", "地区", "ward", WARDS),
    _category("band", "時間帯", "time of day", BANDS),
    {"type": "range", "name": "hour", "title": {"ja": "時刻", "en": "hour"}, "lo": 0, "hi": 23},
    _measure("fare", "運賃", "fare", 500, "円"),
)
WALKS = _view(
    "walks", "一日の歩数", "Daily steps", "points_co", _measure("steps", "歩数", "steps", 30_000, "歩"),
    {"type": "range", "name": "week", "title": {"ja": "週", "en": "week"}, "lo": 1, "hi": 52},
)  # fmt: skip
HALLS = _view("visits", "集会所の利用", "Visits to halls", "registry", _category("hall", "場所", "place", LONG))


def _query(view: View, policy: str, measures: list[dict[str, Any]], **rest: Any) -> Query:
    body = {"v": 1, "policy": policy, "version": 1, "from": [view.name], "where": [], "group_by": []}
    return convert({**body, "measures": measures, "spend": {"epsilon": "0.2"}, **rest}, Query)


def _cells(measure: str, keys: list[tuple[str | int, ...]], values: list[str], half_width: str) -> list[ShownCell]:
    return [
        ShownCell(key=key, measure=measure, value=value, half_width=half_width)
        for key, value in zip(keys, values, strict=True)
    ]


def question(index: int, view: View, query: Query, cells: list[ShownCell], **rest: Any) -> QuestionCard:
    """One answered question, unless ``rest`` says otherwise."""
    fields: dict[str, Any] = {
        "admit_index": index,
        "release_index": index + 3,
        "status": "answered",
        "asked_at": NOW - (12_350 - index) * 60,
        "by": PLANNING,
        "policy": MOBILITY,
        "purpose": DPV + "ImproveTransportMobility",
        "query": query,
        "views": (view,),
        "epsilon": "0.2",
        "cells": tuple(cells),
    }
    return QuestionCard(**{**fields, **rest})


def many_cells(count: int) -> QuestionCard:
    """A question with that many cells in its answer."""
    query = _query(WALKS, "health_points", [{"as": "records", "count": "rows"}], group_by=["week"])
    keys: list[tuple[str | int, ...]] = [(n,) for n in range(1, count + 1)]
    values = [str(900 + (n * 7919) % 431) for n in range(count)]
    return question(
        12_201, WALKS, query, _cells("records", keys, values, "83"), policy=HEALTH, by=CLINIC,
        purpose=DPV + "ImproveHealthcare",
    )  # fmt: skip


def _questions() -> tuple[QuestionCard, ...]:
    ward_keys: list[tuple[str | int, ...]] = [(ward,) for ward in WARDS]
    pair_keys: list[tuple[str | int, ...]] = [(ward, band) for ward in WARDS[:4] for band in BANDS]
    hall_keys: list[tuple[str | int, ...]] = [(hall,) for hall in LONG]
    morning = [{"column": "hour", "between": [7, 9]}, {"column": "ward", "in": list(WARDS[:5])}]
    four = [
        {"as": "rides", "count": "rows"},
        {"as": "riders", "count": "residents"},
        {"as": "fare", "sum": "fare"},
        {"as": "mean_fare", "mean": "fare"},
    ]
    by_ward = _query(RIDES, "mobility_demand", four, group_by=["ward"], where=morning)
    ward_cells = [
        *_cells("rides", ward_keys, ["1284", "963", "1107", "402", "2215", "38"], "71"),
        *_cells("riders", ward_keys, ["311", "240", "268", "97", "502", "-4"], "29"),
        *_cells("fare", ward_keys, ["269640", "202230", "232470", "84420", "465150", "7980"], "14200"),
        *_cells("mean_fare", ward_keys, ["210.0", "209.9", "210.1", "209.6", "210.0", "211.3"], "18.4"),
    ]
    by_pair = _query(RIDES, "mobility_demand", [{"as": "rides", "count": "rows"}], group_by=["ward", "band"])
    pair_values = ["412", "655", "217", "380", "401", "182", "377", "590", "140", "101", "222", "79"]
    halls = _query(HALLS, "community_halls", [{"as": "visits", "count": "rows"}], group_by=["hall"])
    spread = _query(WALKS, "health_points", [{"as": "steps", "histogram": "steps", "edges": [0, 4000, 8000, 30000]}])
    bins: list[tuple[str | int, ...]] = [("0–4,000",), ("4,000–8,000",), ("8,000–30,000",)]
    total = _query(WALKS, "health_points", [{"as": "walkers", "count": "residents"}])
    return (
        question(12_345, RIDES, by_ward, [], status="running", release_index=None, by=UNIVERSITY),
        question(12_340, RIDES, by_ward, ward_cells, epsilon="0.4"),
        question(12_310, RIDES, by_pair, _cells("rides", pair_keys, pair_values, "44")),
        question(
            12_288, HALLS, halls, _cells("visits", hall_keys, ["1830", "12", "644", "77"], "53"),
            policy=COMMUNITY, purpose=DPV + "PublicPolicyMaking", by=REGISTRY,
        ),
        question(
            12_250, WALKS, spread, _cells("steps", bins, ["1203", "1877", "640"], "38"),
            policy=HEALTH, by=CLINIC, purpose=DPV + "ImproveHealthcare",
        ),
        question(
            12_222, WALKS, total, [ShownCell(key=(), measure="walkers", value="2481", half_width="20")],
            policy=HEALTH, by=CLINIC, purpose=DPV + "ImproveHealthcare",
        ),
        many_cells(30),
        question(12_180, RIDES, by_ward, [], status="refunded", release_index=None),
    )  # fmt: skip


def _spending(spent: int, cap: int) -> Spending:
    """The textbook conversion is near enough for a sample: epsilon = rho + 2 sqrt(rho ln(1/delta))."""

    def epsilon(nano_rho: int) -> str:
        rho = nano_rho / 1e9
        return f"{rho + 2 * math.sqrt(rho * math.log(1e6)):.2f}"

    return Spending(spent=spent, cap=cap, epsilon_spent=epsilon(spent), epsilon_cap=epsilon(cap))


def _policy(
    id_: str, title: dict[str, str], group: str, term: str, *, spent: int, in_force: int, **rest: Any
) -> PolicyCard:
    return convert(
        {
            "id": id_, "version": 1, "title": title, "purpose": DPV + term, "group": group, "in_force": in_force,
            "delta": "0.000001", "window": "month", "window_ends": 1_796_050_800,
            "window_spending": _spending(spent, 100_000_000),
            "life_spending": _spending(spent * 3, 1_200_000_000),
            **rest,
        },
        PolicyCard,
    )  # fmt: skip


def sample_town() -> TownPage:
    """Return the whole page."""
    return TownPage(
        title={"ja": "もみじ台データ信託", "en": "Momijidai Data Trust"},
        origin="momijidai.example/log",
        time_zone="Asia/Tokyo",
        entries_total=12_351,
        in_force_total=11_420,
        checkpoint=CheckpointCard(
            size=12_351,
            root="8c1f6a0e5b7d4f2a9e3c0b1d6f8a7c5e4d3b2a1908f7e6d5c4b3a29180f7e6d5",
            cosigners=(
                Cosigner(name="witness.momijidai.example", time=NOW - 40),
                Cosigner(name="kita-audit.example/w1", time=NOW - 39),
            ),
            published_at=NOW - 41,
            url="/log/checkpoint",
        ),
        holders=(
            HolderCard(title=BUS, size=12_351, seconds_ago=4, is_lagging=False),
            HolderCard(title=POINTS, size=12_100, seconds_ago=310, is_lagging=True),
            HolderCard(title=FOOD, size=0, seconds_ago=None, is_lagging=True),
        ),
        policies=(
            _policy("mobility_demand", MOBILITY, "excursion", "ImproveTransportMobility", spent=41_200_000, in_force=3_102,
                    holders=(BUS, REGISTRY)),
            _policy("health_points", HEALTH, "health", "ImproveHealthcare", spent=8_000_000, in_force=2_744, holders=(POINTS,)),
            _policy("food_loss", FOOD_LOSS, "sdgs", "CombatClimateChange", spent=0, in_force=1_958, holders=(FOOD,),
                    window_spending=_spending(0, 50_000_000)),
            _policy("living_alone", LIVING, "living", "ImprovePublicServices", spent=100_000_000, in_force=1_411,
                    holders=(REGISTRY,), window="year"),
            _policy("community_halls", COMMUNITY, "community", "PublicPolicyMaking", spent=1, in_force=2_205, version=2,
                    holders=(REGISTRY,), window="day"),
        ),
        questions=_questions(),
        refusals=(
            RefusalCard(index=12_333, at=NOW - 900, by=UNIVERSITY, policy=LIVING, rule="budget-exceeded",
                        account="policy:living_alone:2026", asked=31_000_000, left=0, epsilon_asked="1.14", epsilon_left="0"),
            RefusalCard(index=12_290, at=NOW - 9000, by=CLINIC, policy=HEALTH, rule="query-invalid"),
            RefusalCard(index=12_120, at=NOW - 90_000, by=BUS, policy=LIVING, rule="not-permitted"),
            RefusalCard(index=12_119, at=NOW - 90_100, by=UNIVERSITY, policy=COMMUNITY, rule="policy-not-current"),
        ),
    )  # fmt: skip


def empty_town() -> TownPage:
    """Return the page of a town where nothing has happened yet."""
    return replace(
        sample_town(),
        entries_total=1,
        in_force_total=0,
        checkpoint=None,
        holders=(),
        policies=(),
        questions=(),
        refusals=(),
    )

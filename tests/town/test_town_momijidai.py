"""The made-up town is the same every time, looks as its README says, and links nobody by number."""

import hashlib
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pyarrow import parquet

from policies.policy_document import Category, Time
from trust.town.document import Town
from trust.town.loader import generate, load_town, read_residents, source_path

MOMIJIDAI = Path(__file__).parents[2] / "towns" / "momijidai"
RESIDENTS = 5_000


@pytest.fixture(scope="module")
def town() -> Town:
    return load_town(MOMIJIDAI)


@pytest.fixture(scope="module")
def out(town: Town, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("momijidai")
    generate(town, folder)
    return folder


def hashes(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*.parquet"))
    }


def run(out: Path, residents: int, seed: int) -> dict[str, str]:
    arguments = [str(out), "--residents", str(residents), "--seed", str(seed)]
    subprocess.run([sys.executable, str(MOMIJIDAI / "generate.py"), *arguments], check=True)
    return hashes(out)


def column(out: Path, holder: str, source: str, name: str) -> list[object]:
    values: list[object] = parquet.read_table(source_path(out, holder, source)).column(name).to_pylist()
    return values


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_town(tmp_path: Path) -> None:
    first = run(tmp_path / "a", 300, 7)
    assert first == run(tmp_path / "b", 300, 7)
    other = run(tmp_path / "c", 300, 8)
    assert first.keys() == other.keys()
    assert all(first[name] != other[name] for name in first)


def test_one_resident_is_a_town_too(town: Town, tmp_path: Path) -> None:
    assert len(run(tmp_path, 1, 1)) == 1 + sum(len(holder.sources) for holder in town.holders)
    assert len(read_residents(town, tmp_path)) == 1


def test_a_town_past_a_million_is_refused(tmp_path: Path) -> None:
    arguments = [str(tmp_path), "--residents", "1000001"]
    done = subprocess.run(
        [sys.executable, str(MOMIJIDAI / "generate.py"), *arguments], check=False, capture_output=True
    )
    assert done.returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_everybody_is_in_the_registry_and_a_customer_exists_where_a_number_says_so(town: Town, out: Path) -> None:
    people = read_residents(town, out)
    assert len(people) == RESIDENTS
    assert all("town_hall" in person for person in people)
    shares = {holder: sum(holder in person for person in people) / RESIDENTS for holder in people[0] | people[1]}
    assert 0.45 < shares["bus_co"] < 0.65
    assert 0.35 < shares["health_app"] < 0.50
    assert 0.28 < shares["food_app"] < 0.42
    for holder, source in (("town_hall", "residents"), ("health_app", "steps"), ("food_app", "points")):
        numbers = set(column(out, holder, source, "customer_no"))
        assert {person[holder] for person in people if holder in person} <= numbers
    rides, cards = set(column(out, "bus_co", "rides", "customer_no")), {person.get("bus_co") for person in people}
    assert cards - rides - {None}, "some cards have no ride"
    assert rides - cards, "some riders live out of town"


def test_customer_numbers_at_two_holders_have_neither_value_nor_order_in_common(town: Town, out: Path) -> None:
    people = read_residents(town, out)
    for first in town.holders:
        for second in town.holders:
            if first.alias >= second.alias:
                continue
            pairs = [(p[first.alias], p[second.alias]) for p in people if first.alias in p and second.alias in p]
            assert len(pairs) > 500
            digits = [tuple("".join(c for c in number if c.isdigit()) for number in pair) for pair in pairs]
            assert not {pair[0] for pair in digits} & {pair[1] for pair in digits}
            ranks = [np.argsort(np.argsort([int(pair[side]) for pair in digits])) for side in (0, 1)]
            # Four standard errors of a rank correlation of unrelated orders.
            assert abs(np.corrcoef(np.array(ranks, dtype=float))[0, 1]) < 4 / np.sqrt(len(pairs))
    for holder in town.holders:
        numbers = [int("".join(c for c in p[holder.alias] if c.isdigit())) for p in people if holder.alias in p]
        assert abs(np.corrcoef(np.argsort(np.argsort(numbers)), np.arange(len(numbers)))[0, 1]) < 4 / np.sqrt(
            len(numbers)
        )


def test_rows_stand_in_an_order_that_says_nothing_about_the_person(out: Path) -> None:
    for holder, source in (("town_hall", "residents"), ("health_app", "steps"), ("food_app", "rescues")):
        numbers = column(out, holder, source, "customer_no")
        assert numbers == sorted(numbers, key=str)
    days = column(out, "bus_co", "rides", "ridden_on")
    assert days == sorted(days, key=str)


def test_every_view_finds_its_columns_and_most_values_are_in_their_domain(town: Town, out: Path) -> None:
    for policy in town.policies:
        for view in policy.views:
            for holder in view.holders:
                table = parquet.read_table(source_path(out, holder, view.source))
                assert table.schema.field(view.resident).type == pa.string()
                for spec in view.columns:
                    values = table.column(spec.name).to_pylist()
                    if isinstance(spec, Category):
                        inside = [value in spec.values for value in values]
                        assert set(values) >= {value for value in spec.values if value != spec.other}
                    elif isinstance(spec, Time):
                        inside = [value in spec.texts() for value in values]
                        assert set(values) == set(spec.texts())
                    else:
                        inside = [value is not None and spec.lo <= value <= spec.hi for value in values]
                    assert np.mean(inside) > 0.85, f"{policy.id}.{view.name}.{spec.name}"


def test_the_data_is_messy_in_the_ways_that_the_readme_says(out: Path) -> None:
    assert 999 in column(out, "town_hall", "residents", "age")
    assert {"Estate ", None} <= set(column(out, "town_hall", "residents", "ward"))
    assert {24, None} <= set(column(out, "bus_co", "rides", "hour"))
    assert {9_999, None} <= set(column(out, "bus_co", "rides", "fare"))
    assert "(unknown stop)" in column(out, "bus_co", "rides", "ward")
    assert {250_000, None} <= set(column(out, "health_app", "steps", "steps"))
    assert -1 in column(out, "health_app", "meetups", "minutes")
    numbers = column(out, "town_hall", "residents", "customer_no")
    assert RESIDENTS * 1.005 < len(numbers) < RESIDENTS * 1.03


def test_the_estate_is_old_the_station_young_and_the_old_walk_less(out: Path) -> None:
    wards, ages = (column(out, "town_hall", "residents", name) for name in ("ward", "age"))
    known = [(ward, age) for ward, age in zip(wards, ages, strict=True) if isinstance(age, int) and age < 120]
    old = {
        ward: np.mean([age >= 65 for place, age in known if place == ward]) for ward in ("estate", "station", "village")
    }
    assert 0.50 < old["estate"] < 0.60
    assert 0.15 < old["station"] < 0.26
    assert 0.44 < old["village"] < 0.58
    bands, steps = (column(out, "health_app", "steps", name) for name in ("age_band", "steps"))
    mean = {
        band: np.mean([s for b, s in zip(bands, steps, strict=True) if b == band and isinstance(s, int) and s < 50_000])
        for band in ("40-64", "75+")
    }
    assert 5_900 < mean["40-64"] < 7_400
    assert 3_300 < mean["75+"] < 4_400


def test_rides_have_a_morning_peak_and_fewer_at_weekends(out: Path) -> None:
    hours, days = column(out, "bus_co", "rides", "hour"), column(out, "bus_co", "rides", "day")
    assert hours.count(7) > 1.3 * hours.count(12) > 2 * hours.count(22)
    assert days.count("wed") > 1.3 * days.count("sun")
    assert 55 < len(hours) / RESIDENTS < 95


def test_a_year_of_rides_has_the_seasons_and_the_weather_that_the_readme_says(out: Path) -> None:
    rides = parquet.read_table(source_path(out, "bus_co", "rides"), columns=["ridden_on", "month", "weather", "day"])
    on, months, weather = (rides.column(name).to_pylist() for name in ("ridden_on", "month", "weather"))
    assert all(month == f"{day:%Y-%m}" for day, month in zip(on, months, strict=True))
    assert [f"{min(on)}", f"{max(on)}"] == ["2025-11-01", "2026-10-31"]
    assert rides.column("day").to_pylist() == [f"{day:%a}".lower() for day in on]
    count = Counter(months)
    assert max(count, key=lambda month: count[month]) in {"2026-10", "2025-11"}
    assert count["2026-08"] < 0.75 * count["2026-10"]
    skies = dict(zip(on, weather, strict=True))
    assert set(zip(on, weather, strict=True)) == set(skies.items()), "a day has one weather"
    assert {day.month for day, sky in skies.items() if sky == "snow"} <= {12, 1, 2, 3}
    wet = {month: sum(sky == "rain" and day.month == month for day, sky in skies.items()) for month in (1, 6)}
    assert wet[6] > 2 * wet[1]


def test_a_year_of_rides_is_written_a_week_at_a_time_so_that_a_million_peoples_fit_into_memory(out: Path) -> None:
    assert parquet.ParquetFile(source_path(out, "bus_co", "rides")).metadata.num_row_groups == 53

"""Make the town of Momijidai: its residents, a year of bus rides, and a month (October 2026) of records otherwise.

Run as ``python generate.py OUT --residents N --seed S``. The same N and S give the same files. Nobody in them exists.

Everything follows from what a person is: a district, an age, a household. README.md beside this file describes every
distribution and says which faults are put in on purpose. Each holder's tables are drawn from a random stream of their
own, so a change at one holder leaves the others as they were.

Each holder numbers its customers by itself: the person's place in a fresh random order goes through a multiplication
modulo a prime, so two holders' numbers, and the order of their rows, have nothing in common.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
from pyarrow import parquet

DISTRICTS = ["estate", "station", "riverside", "hillside", "village"]
DISTRICT_SHARE = [0.34, 0.22, 0.18, 0.16, 0.10]
AGE_BANDS = ["0-14", "15-39", "40-64", "65-74", "75+"]
AGE_BAND_STARTS = np.array([0, 15, 40, 65, 75, 106])
AGE_SHARE = np.array(  # a row per district
    [
        [0.06, 0.14, 0.25, 0.23, 0.32],  # estate: built in 1971, and aged with those who moved in
        [0.13, 0.34, 0.33, 0.10, 0.10],  # station: flats, young families, people who commute
        [0.12, 0.24, 0.34, 0.15, 0.15],
        [0.14, 0.22, 0.38, 0.14, 0.12],
        [0.07, 0.14, 0.28, 0.22, 0.29],  # village: farms
    ]
)
HOUSEHOLDS = ["single", "couple", "with_children", "three_generations", "other"]
HOUSEHOLD_SHARE = np.array(  # a row per age band
    [
        [0.00, 0.00, 0.84, 0.12, 0.04],
        [0.34, 0.18, 0.38, 0.04, 0.06],
        [0.18, 0.26, 0.44, 0.06, 0.06],
        [0.24, 0.48, 0.12, 0.08, 0.08],
        [0.37, 0.38, 0.07, 0.12, 0.06],
    ]
)
DAYS = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
FIRST_MONTH = np.datetime64("2025-11")
MONTHS = 12
SEASON = np.array(  # a row per month from November on: how much more or less each age band rides
    [
        [1.10, 1.05, 1.10, 1.30, 1.20],  # November: the maples are red
        [0.95, 1.00, 1.00, 0.90, 0.80],
        [0.85, 0.90, 0.90, 0.75, 0.60],
        [0.90, 0.90, 0.90, 0.75, 0.60],
        [0.90, 0.95, 1.00, 0.95, 0.90],
        [1.15, 1.10, 1.05, 1.10, 1.10],  # April: schools and firms begin
        [1.10, 1.05, 1.05, 1.15, 1.15],
        [1.05, 1.00, 1.00, 0.95, 0.90],
        [0.90, 1.00, 0.95, 0.85, 0.75],
        [0.50, 0.80, 0.80, 0.80, 0.65],  # August: no school, and heat
        [1.05, 0.95, 0.95, 0.95, 0.90],
        [1.15, 1.10, 1.10, 1.25, 1.20],  # October
    ]
)
WEATHERS = ["clear", "cloudy", "rain", "snow"]
WEATHER_WEIGHT = np.array(  # a row per month from November on
    [
        [6, 3, 2, 0], [6, 3, 1, 0.5], [5, 3, 0.5, 2], [5, 3, 1, 2], [4, 4, 2.5, 0.3], [5, 3, 2.5, 0],
        [5, 3, 2, 0], [2, 4, 5, 0], [3, 3, 4, 0], [6, 2, 2, 0], [3, 3, 4, 0], [5, 3, 2.5, 0],
    ],
    dtype=float,
)  # fmt: skip
WEATHER_STAYS = 0.35
WEATHER_FACTOR = np.array(  # a row per weather, a column per age band
    [[1.0, 1.0, 1.0, 1.05, 1.05], [1.0, 1.0, 1.0, 1.0, 1.0], [1.1, 1.05, 1.05, 0.8, 0.65], [0.8, 0.85, 0.85, 0.5, 0.35]]
)
WEEKEND_RIDES = np.array([0.35, 0.5, 0.5, 0.7, 0.5])
HOURS = np.arange(5, 24)
HOUR_WEIGHT = np.array(  # a row per age band, for 5 to 23 o'clock
    [
        [0, 1, 9, 3, 1, 1, 1, 1, 1, 2, 7, 6, 3, 1, 1, 0, 0, 0, 0],
        [1, 5, 14, 11, 4, 3, 3, 3, 3, 3, 4, 6, 11, 12, 7, 4, 3, 2, 1],
        [1, 5, 12, 11, 5, 4, 4, 4, 4, 4, 4, 6, 11, 10, 5, 3, 2, 1, 1],
        [0, 1, 3, 6, 11, 12, 10, 7, 8, 9, 8, 6, 4, 2, 1, 1, 0, 0, 0],
        [0, 0, 2, 5, 13, 15, 12, 6, 8, 9, 7, 4, 2, 1, 0, 0, 0, 0, 0],
    ],
    dtype=float,
)
PLACES = ["station", "hospital", "shopping", "school", "momiji_park", "hot_spring", "city_centre"]
PLACE_WEIGHT = np.array(  # a row per age band, on weekdays
    [
        [2, 1, 2, 10, 1, 0.3, 1],
        [10, 1, 3, 4, 0.5, 0.3, 6],
        [9, 2, 4, 0.3, 0.6, 0.6, 5],
        [4, 5, 6, 0.1, 1.2, 1.5, 3],
        [2, 9, 6, 0.1, 0.8, 1.2, 1.5],
    ]
)
WEEKEND_FACTOR = np.array([0.6, 0.2, 1.6, 0.1, 5.0, 4.0, 1.5])
MAPLE_FACTOR = np.array([1, 1, 1, 1, 3.0, 1.5, 1])
"""In October and November."""
SIGHTS = ["momiji_park", "hot_spring", "maple_temple", "farm_market", "museum"]
SIGHT_WEIGHT = np.array(  # a row per age band
    [[5, 1, 0.5, 2, 2], [5, 2, 2, 2, 1.5], [4, 3, 3, 3, 1], [3, 4, 4, 3, 1], [2, 4, 4, 3, 0.5]], dtype=float
)


class People(NamedTuple):
    """One entry per person: indices into DISTRICTS, AGE_BANDS and HOUSEHOLDS, and the age in years."""

    district: np.ndarray
    band: np.ndarray
    age: np.ndarray
    household: np.ndarray


class Customers(NamedTuple):
    """One entry per customer of one holder, in the order of their numbers.

    ``person`` says who it is; the people from ``residents`` on live out of town and are known to nobody else.
    """

    person: np.ndarray
    number: pa.Array


def draw(random: np.random.Generator, weights: np.ndarray, row: np.ndarray) -> np.ndarray:
    """Draw one column index for each entry of ``row`` by that row of ``weights``."""
    steps = np.cumsum(weights / weights.sum(axis=1, keepdims=True), axis=1)[:, :-1]
    chance = random.random(len(row))
    choice = np.zeros(len(row), dtype=np.int8)
    for step in steps.T:
        choice += chance >= step[row]
    return choice


def make_people(random: np.random.Generator, count: int) -> People:
    """Draw people: a district, an age band by district, an age in the band, a household by age band."""
    district = draw(random, np.array([DISTRICT_SHARE]), np.zeros(count, dtype=np.int8))
    band = draw(random, AGE_SHARE, district)
    low, high = AGE_BAND_STARTS[band], AGE_BAND_STARTS[band + 1]
    age = low + (random.random(count) * (high - low)).astype(np.int64)
    age = np.where(band == 4, 75 + np.minimum(random.geometric(0.13, count) - 1, 30), age)
    return People(district, band, age, draw(random, HOUSEHOLD_SHARE, band))


def number_customers(random: np.random.Generator, person: np.ndarray, prefix: str, digits: int) -> Customers:
    """Give customers distinct numbers that say nothing about who they are, and sort them by number."""
    prime = {8: 99_999_989, 9: 999_999_937, 10: 9_999_999_967}[digits]
    order = random.permutation(person)
    step, start = (int(value) for value in random.integers(prime // 7, prime // 2, 2))
    # step * rank stays below 5e9 * 2e6, which int64 holds. Multiplying modulo a prime repeats no number.
    number = (np.arange(len(order), dtype=np.int64) * step + start) % prime
    by_number = np.argsort(number)
    text = [f"{prefix}{value:0{digits}d}" for value in number[by_number].tolist()]
    return Customers(order[by_number], pa.array(text, pa.string()))


def join(random: np.random.Generator, people: People, residents: int, chance: np.ndarray) -> np.ndarray:
    """Draw who is a customer: residents by the ``chance`` of their age band, people from out of town for certain."""
    return np.flatnonzero(
        (random.random(len(people.band)) < chance[people.band]) | (np.arange(len(people.band)) >= residents)
    )


def count_events(random: np.random.Generator, mean: np.ndarray, shape: float) -> np.ndarray:
    """Draw how often each customer comes: Poisson with a gamma-distributed mean, so a few come very often."""
    return np.minimum(random.poisson(random.gamma(shape, 1 / shape, len(mean)) * mean), 200)


def spoil(
    random: np.random.Generator, values: np.ndarray, nulls: float, odd: float = 0.0, odd_value: int = 0
) -> pa.Array:
    """Turn numbers into a column in which a share is null and another share is a value that cannot be."""
    chance = random.random(len(values))
    return pa.array(np.where(chance > 1 - odd, odd_value, values).astype(np.int32), mask=chance < nulls)


def words(
    random: np.random.Generator, index: np.ndarray, names: list[str], nulls: float = 0.0, odd: str = ""
) -> pa.Array:
    """Turn indices into words, of which a share is null and, where ``odd`` is given, one in 250 is that instead."""
    chance = random.random(len(index))
    index = np.where(odd and chance > 0.996, len(names), index).astype(np.int8)
    return pa.DictionaryArray.from_arrays(pa.array(index, mask=chance < nulls), [*names, odd]).cast(pa.string())


def write(out: Path, holder: str, source: str, columns: dict[str, pa.Array]) -> None:
    """Write one source of one holder."""
    (out / holder).mkdir(parents=True, exist_ok=True)
    parquet.write_table(pa.table(columns), out / holder / f"{source}.parquet", compression="zstd")


def town_hall(random: np.random.Generator, out: Path, people: People, residents: int) -> Customers:
    """Write the town registry: everybody, once; one in seventy twice, because they moved within the town."""
    customers = number_customers(random, np.arange(residents), "", 10)
    moved = np.flatnonzero(random.random(residents) < 1 / 70)
    row = np.sort(np.concatenate([np.arange(residents), moved]), kind="stable")
    again = np.concatenate([[False], row[1:] == row[:-1]])
    who = customers.person[row]
    district = np.where(again, random.integers(0, len(DISTRICTS), len(row)), people.district[who])
    write(
        out,
        "town_hall",
        "residents",
        {
            "customer_no": customers.number.take(pa.array(row)),
            "ward": words(random, district, DISTRICTS, nulls=0.006, odd="Estate "),
            "age": spoil(random, people.age[who], nulls=0.002, odd=0.001, odd_value=999),
            "age_band": words(random, people.band[who], AGE_BANDS),
            "household": words(random, people.household[who], HOUSEHOLDS, nulls=0.01),
        },
    )
    return customers


def make_weather(random: np.random.Generator, month: np.ndarray) -> np.ndarray:
    """Draw the weather of each day, given its month: yesterday's stays now and then, else it is drawn by the month."""
    weather = draw(random, WEATHER_WEIGHT, month)
    stays = random.random(len(month)) < WEATHER_STAYS
    for day in range(1, len(month)):
        if stays[day] and WEATHER_WEIGHT[month[day], weather[day - 1]] > 0:
            weather[day] = weather[day - 1]
    return weather


def make_rides(
    random: np.random.Generator, customers: Customers, people: People, rate: np.ndarray
) -> Iterator[pa.Table]:
    """Draw the year's rides, a week at a time (so that a million people's fit), in the order in which they happened.

    ``rate`` is how many a day each customer takes on an ordinary weekday.
    """
    bands, districts = people.band[customers.person], people.district[customers.person]
    dates = np.arange(FIRST_MONTH, FIRST_MONTH + MONTHS, dtype="M8[D]")
    months = (dates.astype("M8[M]") - FIRST_MONTH).astype(int)
    weekdays = (dates.astype(int) + 3) % 7  # 1970 began on a Thursday
    weather = make_weather(random, months)
    maple = (months == 0) | (months == MONTHS - 1)
    place_weight = np.concatenate(
        [each * tree for tree in (1.0, MAPLE_FACTOR) for each in (PLACE_WEIGHT, PLACE_WEIGHT * WEEKEND_FACTOR)]
    )
    for first in range(0, len(dates), 7):
        days = np.arange(first, min(first + 7, len(dates)))
        riders = []
        for at in days:
            factor = SEASON[months[at]] * WEATHER_FACTOR[weather[at]] * (WEEKEND_RIDES if weekdays[at] >= 5 else 1.0)
            riders.append(np.repeat(np.arange(len(bands), dtype=np.int32), random.poisson(rate * factor[bands])))
        day = np.repeat(days, [len(rows) for rows in riders])
        row = np.concatenate(riders)
        hour = HOURS[draw(random, HOUR_WEIGHT, bands[row])]
        order = np.lexsort((random.random(len(row)), hour, day))
        row, day, hour = row[order], day[order], hour[order]
        band = bands[row]
        place = draw(random, place_weight, band + 5 * (weekdays[day] >= 5) + 10 * maple[day])
        elsewhere = draw(random, np.array([[2, 5, 2, 1, 0.5]]), np.zeros(len(row), np.int8))
        boarded = np.where(random.random(len(row)) < 0.62, districts[row], elsewhere)
        ticket = np.select([band == 0, band == 4, (band == 3) & (random.random(len(row)) < 0.4)], [1, 2, 2], 0)
        full = 190 + 30 * random.binomial(8, np.array([0.25, 0.15, 0.3, 0.35, 0.5])[boarded])
        fare = np.select([ticket == 1, ticket == 2], [full // 20 * 10, 100], full)
        yield pa.table(
            {
                "customer_no": customers.number.take(pa.array(row)),
                "ridden_on": pa.array(dates[day]),
                "month": words(random, months[day], [str(FIRST_MONTH + month) for month in range(MONTHS)]),
                "weather": words(random, weather[day], WEATHERS),
                "day": words(random, weekdays[day], DAYS),
                # the firm's day ends after midnight
                "hour": spoil(random, hour, nulls=0.003, odd=0.002, odd_value=24),
                "ward": words(random, boarded, DISTRICTS, nulls=0.01, odd="(unknown stop)"),
                "place": words(random, place, PLACES, nulls=0.015),
                "ticket": words(random, ticket, ["card", "child", "senior_pass"]),
                "fare": spoil(random, fare, nulls=0.01, odd=0.002, odd_value=9_999),
            }
        )


def bus_co(random: np.random.Generator, out: Path, people: People, residents: int) -> Customers:
    """Write the bus firm: a year of rides by card in the order in which they happened, and a month's outings.

    A card may have no ride: one in sixteen lies in a drawer.
    """
    joined = join(random, people, residents, np.array([0.35, 0.58, 0.48, 0.66, 0.58]))
    customers = number_customers(random, joined, "MK", 8)
    band = people.band[customers.person]
    a_month = random.gamma(1.3, 1 / 1.3, len(band)) * np.array([9, 16, 12, 9, 6])[band]
    a_month[random.random(len(band)) < 1 / 16] = 0
    rides = make_rides(random, customers, people, a_month / 26)
    (out / "bus_co").mkdir(parents=True, exist_ok=True)
    first = next(rides)
    with parquet.ParquetWriter(out / "bus_co" / "rides.parquet", first.schema, compression="zstd") as file:
        file.write_table(first)
        for week in rides:
            file.write_table(week)
    # One-day passes of the maple season, by the place where the party got off first.
    band, district = people.band[customers.person], people.district[customers.person]
    row = np.repeat(np.arange(len(band)), count_events(random, np.array([0.3, 0.5, 0.8, 1.3, 0.7])[band], 2.0))
    sight = draw(random, SIGHT_WEIGHT, band[row])
    party = 1 + random.binomial(5, np.array([0.45, 0.3, 0.3, 0.2, 0.15])[band[row]])
    yen = (party * np.array([300, 1_400, 450, 900, 350])[sight] * random.lognormal(0, 0.4, len(row))).astype(np.int64)
    columns = {
        "customer_no": customers.number.take(pa.array(row)),
        "day": words(random, draw(random, np.array([[1, 1, 1, 1, 1.5, 5, 5]]), row * 0), DAYS),
        "ward": words(random, district[row], DISTRICTS, nulls=0.01),
        "age_band": words(random, band[row], AGE_BANDS, nulls=0.02),
        "sight": words(random, sight, SIGHTS, nulls=0.01, odd="(charter)"),
        "party": spoil(random, party, nulls=0.005, odd=0.002, odd_value=45),
        "yen": spoil(random, yen // 10 * 10, nulls=0.06),
    }
    write(out, "bus_co", "outings", columns)
    return customers


def health_app(random: np.random.Generator, out: Path, people: People, residents: int) -> Customers:
    """Write the health-points app: a month's steps, visits to neighbourhood gatherings, and town points."""
    members = residents + (len(people.band) - residents) // 4
    joined = join(
        random, People(*(part[:members] for part in people)), residents, np.array([0.02, 0.36, 0.52, 0.64, 0.40])
    )
    customers = number_customers(random, joined, "HP-", 9)
    band, district = people.band[customers.person], people.district[customers.person]
    mean = np.array([7_200, 6_400, 6_700, 6_300, 3_900])[band] * np.array([0.94, 1.08, 1.02, 0.98, 0.95])[district]
    steps = (mean * random.lognormal(-0.08, 0.4, len(mean))).astype(np.int64)
    checkup = draw(random, np.array([[7, 1, 2], [3, 1, 6], [5, 1, 4], [6, 1, 3], [6, 1, 3]], dtype=float), band)
    write(
        out,
        "health_app",
        "steps",
        {
            "customer_no": customers.number,
            "ward": words(random, district, DISTRICTS, nulls=0.02),
            "age_band": words(random, band, AGE_BANDS, nulls=0.03),
            "steps": spoil(random, steps, nulls=0.05, odd=0.003, odd_value=250_000),
            "checkup": words(random, checkup, ["done", "booked", "not_yet"], nulls=0.04),
        },
    )
    row = np.repeat(np.arange(len(band)), count_events(random, np.array([0.5, 0.3, 0.8, 2.6, 2.4])[band], 0.8))
    kind = draw(
        random, np.array([[1, 1, 1, 1], [1, 2, 3, 2], [2, 2, 3, 2], [5, 3, 3, 2], [6, 5, 1, 2]], dtype=float), band[row]
    )
    minutes = 30 + 15 * random.binomial(8, np.array([0.25, 0.55, 0.4, 0.6])[kind])
    write(
        out,
        "health_app",
        "meetups",
        {
            "customer_no": customers.number.take(pa.array(row)),
            "ward": words(random, district[row], DISTRICTS, nulls=0.01),
            "age_band": words(random, band[row], AGE_BANDS, nulls=0.03),
            "kind": words(random, kind, ["exercise", "tea_salon", "walking", "cooking"]),
            "day": words(random, draw(random, np.array([[3, 4, 5, 4, 3, 2, 1.0]]), row * 0), DAYS),
            "minutes": spoil(random, minutes, nulls=0.02, odd=0.002, odd_value=-1),
        },
    )
    write(out, "health_app", "points", points(random, customers, people, np.array([80, 110, 180, 260, 170])))
    return customers


def food_app(random: np.random.Generator, out: Path, people: People, residents: int) -> Customers:
    """Write the food-loss app: food bought close to its date, and town points."""
    joined = join(random, people, residents, np.array([0.01, 0.46, 0.50, 0.36, 0.16]))
    customers = number_customers(random, joined, "T", 9)
    band, district = people.band[customers.person], people.district[customers.person]
    row = np.repeat(np.arange(len(band)), count_events(random, np.array([1, 4.5, 6, 5, 3.5])[band], 1.0))
    shop = draw(
        random, np.array([[6, 2, 2, 1], [7, 3, 1, 3], [6, 2, 2, 2], [6, 2, 2, 1], [3, 0.5, 4, 0.5]]), district[row]
    )
    item_weight = np.array(
        [[3, 3, 3, 3, 3, 0], [10, 0, 0, 0, 0, 1], [0, 0, 10, 1, 0, 0], [0, 10, 0, 0, 1, 0]], dtype=float
    )
    item = draw(random, item_weight, shop)
    grams = (np.array([260, 320, 600, 450, 300, 200])[item] * random.lognormal(-0.1, 0.5, len(row))).astype(np.int64)
    write(
        out,
        "food_app",
        "rescues",
        {
            "customer_no": customers.number.take(pa.array(row)),
            "shop": words(random, shop, ["supermarket", "bakery", "greengrocer", "delicatessen"]),
            "item": words(
                random, item, ["bread", "prepared", "vegetables", "dairy", "fish_meat", "sweets"], nulls=0.02
            ),
            "day": words(random, draw(random, np.array([[3, 3, 3, 3, 4, 5, 4.0]]), row * 0), DAYS),
            "hour": spoil(random, 10 + random.binomial(11, 0.72, len(row)), nulls=0.005),
            "grams": spoil(random, grams, nulls=0.03, odd=0.002, odd_value=0),
            "yen": spoil(random, (grams * 0.55).astype(np.int64) // 10 * 10 + 30, nulls=0.005),
        },
    )
    write(out, "food_app", "points", points(random, customers, people, np.array([30, 90, 120, 90, 60])))
    return customers


def points(random: np.random.Generator, customers: Customers, people: People, mean: np.ndarray) -> dict[str, pa.Array]:
    """Return the points that both apps give, a row per customer: earned in the month, and what they went on."""
    band, district = people.band[customers.person], people.district[customers.person]
    earned = count_events(random, mean[band] / 5.0, 1.5) * 5
    used = draw(random, np.array([[2, 4, 0.5, 4], [3, 5, 1, 5], [2, 5, 1, 3], [4, 4, 1.5, 3], [4, 3, 1.5, 5]]), band)
    return {
        "customer_no": customers.number,
        "ward": words(random, district, DISTRICTS, nulls=0.02),
        "age_band": words(random, band, AGE_BANDS, nulls=0.03),
        "used": words(random, used, ["bus", "shop", "donation", "saved"], nulls=0.01),
        "points": spoil(random, earned, nulls=0.01, odd=0.001, odd_value=99_999),
    }


def main() -> None:
    """Read the command line and write the town."""
    parser = argparse.ArgumentParser(description="Make the town of Momijidai.")
    parser.add_argument("out", type=Path)
    parser.add_argument("--residents", type=int, default=5_000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not 1 <= options.residents <= 1_000_000:
        parser.error("--residents is between 1 and 1000000")
    count = options.residents
    streams = [np.random.default_rng(seed) for seed in np.random.SeedSequence(options.seed).spawn(5)]
    people = make_people(streams[0], count + count // 16)  # the last sixteenth live out of town
    columns = {"person": pa.array(np.arange(count))}
    for random, holder in zip(streams[1:], (town_hall, bus_co, health_app, food_app), strict=True):
        customers = holder(random, options.out, people, count)
        place = np.full(len(people.band), -1)
        place[customers.person] = np.arange(len(customers.person))
        place = place[:count]
        columns[holder.__name__] = customers.number.take(pa.array(place, mask=place < 0))
    parquet.write_table(pa.table(columns), options.out / "residents.parquet", compression="zstd")


if __name__ == "__main__":
    main()

"""The arithmetic that keeps rows: no two of a resident's rows are alike to it, and it is as fair as a draw."""

import math
from collections import Counter
from collections.abc import Callable
from itertools import combinations
from pathlib import Path
from random import Random

import ibis
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.policy_document import Range, View
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.tree import Query, Spend
from tests.kit.node_tables import PRIME, SECRET, TITLE, policy_of, priority, take_in
from trust.node.data.bounding import _with_priority
from trust.node.data.views import ViewStore

POLICIES = ["00" * 32, "11" * 32, "22" * 32]
keys = st.tuples(st.integers(1, PRIME - 1), st.integers(0, PRIME - 1))


@given(numbers=st.sets(st.integers(0, PRIME - 1), min_size=2, max_size=50), key=keys)
def test_no_two_rows_have_the_same_priority(numbers: set[int], key: tuple[int, int]) -> None:
    assert len({priority(number, *key) for number in numbers}) == len(numbers)


@given(numbers=st.lists(st.integers(0, PRIME - 1), min_size=1, max_size=20), salt=st.integers(0, PRIME - 1), key=keys)
def test_the_engine_computes_the_priority_in_whole_numbers_as_python_does(
    numbers: list[int], salt: int, key: tuple[int, int]
) -> None:
    rows = ibis.memtable(
        pa.table({"number": pa.array(numbers, pa.int32()), "salt": pa.array([salt] * len(numbers), pa.int32())})
    )
    found = _with_priority(rows, key).to_pyarrow()["priority"].to_pylist()
    assert found == [priority(number, key[0], (key[0] * salt + key[1]) % PRIME) for number in numbers]


def _kept(rows: int, most: int, draws: int, seed: int) -> list[list[int]]:
    """Return which of a resident's rows are kept, over many residents of one view."""
    chance = Random(seed)
    multiplier, offset = chance.randrange(1, PRIME), chance.randrange(PRIME)
    kept = []
    for _ in range(draws):
        key = (multiplier * chance.randrange(PRIME) + offset) % PRIME
        kept.append(sorted(sorted(range(rows), key=lambda row: priority(row, multiplier, key))[:most]))
    return kept


@pytest.mark.parametrize(
    ("rows", "most"), [(2, 1), (3, 1), (7, 3), (12, 5), (40, 10), pytest.param(365, 13, marks=pytest.mark.long)]
)
def test_each_row_and_each_pair_of_rows_is_kept_as_often_as_in_a_draw(rows: int, most: int) -> None:
    """Over six keys of a view and 4,000 residents each: no count is further off than six standard deviations."""
    draws, seeds = 4_000, 6
    singles: Counter[int] = Counter()
    pairs: Counter[tuple[int, int]] = Counter()
    for seed in range(seeds):
        for kept in _kept(rows, most, draws, seed):
            assert len(kept) == most
            singles.update(kept)
            pairs.update(combinations(kept, 2))
    total = draws * seeds
    of_one, of_two = most / rows, most * (most - 1) / (rows * (rows - 1))
    for counts, share in (
        ([singles[row] for row in range(rows)], of_one),
        ([pairs[pair] for pair in combinations(range(rows), 2)], of_two),
    ):
        spread = math.sqrt(total * share * (1 - share))
        assert all(abs(count - total * share) <= 6 * spread for count in counts)


def _by_rhythm(tmp_path: Path, most: int, hour_of: Callable[[int], int], rows: int, policy: str) -> list[int]:
    """Return how many of 2,000 residents with the same rhythm count at each hour, each with ``most`` of their rows."""
    people = 2_000
    customers = np.repeat(np.arange(people), rows)
    hours = np.tile([hour_of(row) for row in range(rows)], people)
    path = tmp_path / "rides.parquet"
    pq.write_table(pa.table({"customer": customers, "hour": hours}), path)
    view = View(
        name="rides", title=TITLE, holders=["bus_co"], source="rides", resident="customer", rows_per_resident=most,
        holders_per_resident=1, columns=[Range(name="hour", title=TITLE, lo=0, hi=6)],
    )  # fmt: skip
    query = Query(
        policy="mobility", version=1, from_=["rides"], where=[], group_by=["hour"], spend=Spend(epsilon="1"),
        measures=[MeasureAsked(as_="riders", count="residents"), MeasureAsked(as_="rides", count="rows")],
    )  # fmt: skip
    store = ViewStore(tmp_path, {"rides": path}, SECRET)
    try:
        store.set_links((str(person), person) for person in range(people))
        take_in(store, policy, view)
        return store.vector(policy, make_plan(query, policy_of(view)), np.ones(people, dtype=bool))
    finally:
        store.close()


@pytest.mark.parametrize("policy", POLICIES)
def test_who_rides_out_and_home_in_turn_is_counted_in_both_directions(tmp_path: Path, policy: str) -> None:
    """400 rides each, 6 kept: a draw has both directions for all but 1 in 32; an even spread had one for everybody."""
    riders = sum(_by_rhythm(tmp_path, 6, lambda row: row % 2, 400, policy)[:7])
    assert 3_900 <= riders <= 4_000, riders


@pytest.mark.parametrize("policy", POLICIES)
def test_a_row_a_day_keeps_every_weekday_alike(tmp_path: Path, policy: str) -> None:
    """A year at 13 rows each: 26,000 kept rows, a seventh on each weekday, and nobody all on one."""
    vector = _by_rhythm(tmp_path, 13, lambda row: row % 7, 365, policy)
    riders, rides = vector[:7], vector[7:]
    assert sum(rides) == 26_000
    for day in range(7):
        expected = 26_000 * (53 if day == 0 else 52) / 365
        assert abs(rides[day] - expected) <= 6 * math.sqrt(expected), (day, rides)
    # A draw of 13 of 365 misses a given weekday for about one in eight.
    assert sum(riders) > 6 * 2_000, riders

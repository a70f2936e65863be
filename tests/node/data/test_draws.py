"""Rows that are drawn for each resident are those that the window over all rows keeps, to the last one."""

from random import Random
from typing import Any

import duckdb
import ibis
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from policies.policy_document import Category, Measure, Range, View
from tests.kit.machine.engines import Rows, given_to, in_order, on_duckdb
from tests.kit.node_tables import PRIME, TITLE, WARDS, priority, view_over
from trust.node.data.bounding import BITS, SALT, SLOT, bounded, drawn
from trust.node.data.draws import MOST_ROWS, counts_of, draws_of

ROWS = {
    "slot": pa.int32(), "salt": pa.int32(), "number": pa.int32(), "text_ward": pa.string(), "whole_hour": pa.int64(),
    "whole_fare": pa.int64(),
}  # fmt: skip
LINKS = {"slot": pa.int32(), "salt": pa.int64()}
keys = st.tuples(st.integers(1, PRIME - 1), st.integers(0, PRIME - 1))


def view_of(most: int) -> View:
    return view_over(
        "rides",
        Category(name="ward", title=TITLE, values=WARDS, other="south"),
        Range(name="hour", title=TITLE, lo=0, hi=23),
        Measure(name="fare", title=TITLE, lo=0, hi=400),
        rows=most,
        bounding_measures=True,
    )


def town_of(chance: Random, people: int, most_rows: int) -> dict[str, pa.Table]:
    """Rows of people in no order, some of them linked no more, some under another salt, and links without rows."""
    rows, links = [], []
    for slot in range(people):
        salt = chance.randrange(PRIME)
        if chance.random() < 0.9:
            links.append((slot, salt if chance.random() < 0.9 else chance.randrange(PRIME)))
        count = chance.choice([0, 1, 2, 5, most_rows, chance.randrange(most_rows + 1)])
        for number in range(count):
            rows.append(
                (
                    slot,
                    salt,
                    number,
                    chance.choice([*WARDS, "x", None]),
                    chance.choice([3, 24, None]),
                    chance.randrange(999),
                )
            )
    chance.shuffle(rows)
    found = {}
    for name, made, types in (("snapshot", rows, ROWS), ("links", links, LINKS)):
        columns = [pa.array([row[place] for row in made], type_) for place, type_ in enumerate(types.values())]
        found[name] = pa.table(columns, names=list(types))
    return found


def schema(table: pa.Table, name: str) -> Any:
    return ibis.table({field.name: str(field.type) for field in table.schema}, name=name)


def by_draws(tables: dict[str, pa.Table], view: View, key: tuple[int, int], people: int) -> tuple[Rows, np.ndarray]:
    """The bounded rows of those who are drawn for, and how many rows each slot has."""
    salts = np.full(people, -1, np.int64)
    salts[tables["links"][SLOT].to_numpy()] = tables["links"][SALT].to_numpy()
    counts = counts_of(tables["snapshot"].select([SLOT, SALT]).to_batches(max_chunksize=7), salts)
    draws = draws_of(counts, salts, view.rows_per_resident, key)
    asked = drawn(schema(tables["snapshot"], "snapshot"), schema(draws, "draws"), view)
    return on_duckdb(asked, given_to(asked, tables | {"draws": draws})), counts


@given(seed=st.integers(0, 2**32), most=st.integers(1, 70), most_rows=st.sampled_from([3, 12, 70]), key=keys)
def test_what_is_drawn_for_each_resident_is_what_the_window_over_all_rows_keeps(
    seed: int, most: int, most_rows: int, key: tuple[int, int]
) -> None:
    people = 12
    tables = town_of(Random(seed), people, most_rows)
    view = view_of(most)
    found, counts = by_draws(tables, view, key, people)
    asked = bounded(schema(tables["snapshot"], "snapshot"), schema(tables["links"], "links"), view, key)
    by_window = on_duckdb(asked, tables)
    assert found == in_order([row for row in by_window if counts[row[0]] <= MOST_ROWS])
    assert all(counts[row[0]] > MOST_ROWS for row in by_window if row not in found)


@given(
    salt=st.one_of(st.sampled_from([0, 1, PRIME - 1]), st.integers(0, PRIME - 1)),
    count=st.integers(1, MOST_ROWS),
    most=st.integers(1, MOST_ROWS),
    key=st.one_of(st.sampled_from([(1, 0), (PRIME - 1, PRIME - 1)]), keys),
)
def test_the_bits_are_of_the_rows_with_the_least_priorities_as_python_computes_them(
    salt: int, count: int, most: int, key: tuple[int, int]
) -> None:
    own = (key[0] * salt + key[1]) % PRIME
    least = sorted(range(count), key=lambda number: priority(number, key[0], own))[:most]
    draws = draws_of(np.array([0, count, 0]), np.array([5, salt, 6]), most, key).to_pylist()
    assert draws == [{"slot": 1, "salt": salt, BITS: sum(1 << number for number in least), "over_limit": count > most}]


@pytest.mark.parametrize("rows", [MOST_ROWS, MOST_ROWS + 1])
def test_a_resident_with_more_rows_than_bits_is_left_to_the_window(rows: int) -> None:
    assert draws_of(np.array([rows]), np.array([9]), 2, (3, 4)).num_rows == (rows <= MOST_ROWS)


def test_rows_of_a_slot_that_is_not_linked_any_more_are_nobodys() -> None:
    batch = pa.record_batch({SLOT: pa.array([0, 1, 5, 1], pa.int32()), SALT: pa.array([7, 8, 7, 9], pa.int32())})
    assert counts_of([batch], np.array([7, 8])).tolist() == [1, 1]
    assert duckdb.sql("SELECT (CAST(5 AS BIGINT) >> 70) & 1").fetchall() == [
        (0,)
    ]  # a number past all bits is kept by none

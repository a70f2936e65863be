"""A bounded view is the same on DuckDB, PostgreSQL and Spark, each a real one, to the last whole number."""

import asyncio
from collections.abc import Iterator
from importlib.util import find_spec
from random import Random
from typing import Any

import ibis
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.policy_document import Category, Measure, Range, View
from tests.kit.amounts import amount
from tests.kit.machine.databases import new_database, postgresql_server
from tests.kit.machine.engines import Rows, Spark, in_order, on_duckdb, on_postgresql
from tests.kit.node_tables import PRIME, TITLE, WARDS, priority, view_over
from trust.node.data.bounding import bounded

ROWS = {
    "slot": pa.int32(), "salt": pa.int32(), "number": pa.int32(), "text_ward": pa.string(), "whole_hour": pa.int64(),
    "whole_fare": pa.int64(), "whole_far": pa.int64(),
}  # fmt: skip
LINKS = {"customer": pa.string(), "slot": pa.int32(), "salt": pa.int64()}
LEAST, MOST = -(2**63), 2**63 - 1
ODD_NUMBERS = [None, 0, 1, -1, 7, 23, 24, 400, 401, -128, 32768, 2**31, -(2**31) - 1, MOST, LEAST]
ODD_WARDS = [
    *WARDS,
    *WARDS,
    None,
    "",
    "elsewhere",
    "North",
    "é",
    "e\u0301",
    " north",
    "north ",
    "１",
    "🌸",
    "'",
    '"',
    "\\",
    "%",
]
Tables = dict[str, pa.Table]


def view_of(rows_per_resident: int, other: str = "") -> View:
    return view_over(
        "rides",
        Category(name="ward", title=TITLE, values=WARDS, other=other),
        Range(name="hour", title=TITLE, lo=0, hi=23),
        Measure(name="fare", title=TITLE, lo=0, hi=400),
        Measure(name="far", title=TITLE, lo=-(2**40), hi=2**40),
        rows=rows_per_resident,
    )


def town_of(chance: Random, people: int, most_rows: int) -> Tables:
    """Return typed rows of people, of whom some are linked no more, and some under another salt."""
    rows: list[tuple[Any, ...]] = []
    links: list[tuple[Any, ...]] = []
    for slot in range(people):
        salt = chance.randrange(PRIME)
        if chance.random() < 0.9:
            links.append((f"c{slot}", slot, salt if chance.random() < 0.9 else chance.randrange(PRIME)))
        rows += [
            (
                slot,
                salt,
                number,
                chance.choice(ODD_WARDS),
                chance.choice([*range(24), *ODD_NUMBERS]),
                chance.choice([*range(0, 500, 7), *ODD_NUMBERS]),
                chance.choice(ODD_NUMBERS),
            )
            for number in range(chance.randrange(most_rows + 1))
        ]
    chance.shuffle(rows)
    return {"snapshot": _table(rows, ROWS), "links": _table(links, LINKS)}


def _table(rows: list[tuple[Any, ...]], types: dict[str, Any]) -> pa.Table:
    columns = [[row[number] for row in rows] for number in range(len(types))]
    return pa.table([pa.array(c, t) for c, t in zip(columns, types.values(), strict=True)], names=list(types))


def expression(view: View, key: tuple[int, int]) -> Any:
    rows = ibis.table({name: str(type_) for name, type_ in ROWS.items()}, name="snapshot")
    return bounded(rows, ibis.table({name: str(type_) for name, type_ in LINKS.items()}, name="links"), view, key)


def naive(tables: Tables, view: View, key: tuple[int, int]) -> Rows:
    """The same by a plain loop."""
    salts = {row["slot"]: row["salt"] for row in tables["links"].to_pylist()}
    ranked: dict[int, list[tuple[int, tuple[int | None, ...]]]] = {}
    for row in tables["snapshot"].to_pylist():
        if salts.get(row["slot"]) == row["salt"]:
            place = priority(row["number"], key[0], (key[0] * row["salt"] + key[1]) % PRIME)
            ranked.setdefault(row["slot"], []).append((place, _coded(row, view)))
    return in_order([row for rows in ranked.values() for _, row in sorted(rows)[: view.rows_per_resident]])


def _coded(row: dict[str, Any], view: View) -> tuple[int | None, ...]:
    coded: list[int | None] = [row["slot"]]
    for column in view.columns:
        if isinstance(column, Category):
            otherwise = column.values.index(column.other) if column.other else -1
            value = row[f"text_{column.name}"]
            coded.append(column.values.index(value) if value in column.values else otherwise)
        elif (number := row[f"whole_{column.name}"]) is None:
            coded.append(None)
        elif isinstance(column, Measure):
            coded.append(min(max(number, column.lo), column.hi))
        else:
            coded.append(number if column.lo <= number <= column.hi else None)
    return tuple(coded)


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    with postgresql_server() as host:
        yield new_database(host).replace("+asyncpg", "")


@pytest.fixture(scope="module")
def spark() -> Iterator[Spark]:
    if find_spec("pyspark") is None:
        pytest.skip("Spark is not here: install it with `uv pip install 'musubi[spark]'`, and a Java")
    session = Spark()
    yield session
    session.close()


keys = st.tuples(st.integers(1, PRIME - 1), st.integers(0, PRIME - 1))
some = settings(
    max_examples=amount(5, 200),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.mark.slow
@some
@given(seed=st.integers(0, 2**32), kept=st.integers(1, 6), other=st.sampled_from(["", "south"]), key=keys)
def test_a_bounded_view_is_the_same_on_duckdb_and_postgresql_and_as_a_plain_loop_has_it(
    server: str, seed: int, kept: int, other: str, key: tuple[int, int]
) -> None:
    tables, view = town_of(Random(seed), 12, 9), view_of(kept, other)
    asked = expression(view, key)
    found = on_duckdb(asked, tables)
    assert found == naive(tables, view, key)
    assert asyncio.run(on_postgresql(server, asked, tables)) == found


@pytest.mark.long
@pytest.mark.parametrize("kept", [1, 3, 20])
def test_a_bounded_view_of_many_is_the_same_on_duckdb_postgresql_and_spark(
    server: str, spark: Spark, kept: int
) -> None:
    tables, view = town_of(Random(kept), 4_000, 20), view_of(kept, "south")
    asked = expression(view, (PRIME - 1 - kept, PRIME - 1))
    found = on_duckdb(asked, tables)
    assert len(found) > 3_000
    assert found == naive(tables, view, (PRIME - 1 - kept, PRIME - 1))
    assert asyncio.run(on_postgresql(server, asked, tables)) == found
    assert spark.run(asked, tables) == found

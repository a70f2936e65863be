"""Every type that a file can have is read by the stated rule, and .5 is rounded alike in all of them."""

import itertools
import math
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.kit.amounts import LONG, amount
from tests.kit.odd_columns import COLUMNS
from trust.node.sources.kinds import CARRIED, IN_UTC, KINDS, UUID, carry, rule_of_type

ENGINE = duckdb.connect()
REFERENCE = Path(__file__).parents[3] / "docs" / "reference" / "source-files.md"


def read(column: Any) -> list[tuple[str | None, int | None]]:
    """Return each value of an Arrow column as text and as a whole number."""
    carried = CARRIED[rule_of_type(column.type).carried]
    engine = duckdb.connect()
    engine.register("given", pa.table({"v": carry(column)}))
    found = engine.execute(
        f"SELECT {carried.as_text.format('v')}, {carried.as_whole.format('v')} FROM given"
    ).fetchall()
    engine.close()
    return found


def test_every_arrow_type_has_its_rule_and_each_is_in_the_reference() -> None:
    ids = {getattr(pa.lib, name): name[5:].lower() for name in dir(pa.lib) if name.startswith("Type_")}
    assert {ids[each] for each in ids.keys() - KINDS.keys()} == {"dictionary", "run_end_encoded"}
    rows = [line.split("|") for line in REFERENCE.read_text().splitlines() if line.startswith("| `")]
    table = [(row[1].split(","), tuple(cell.strip() for cell in row[2:5])) for row in rows if len(row) == 6]
    said = {name.strip(" `"): words for names, words in table for name in names}
    for id_, kind in KINDS.items():
        assert said[ids[id_]] == (kind.text, kind.whole, kind.time), ids[id_]
    assert said["uuid"] == (UUID.text, UUID.whole, UUID.time)
    assert said["timestamp` with a zone"] == (IN_UTC.text, IN_UTC.whole, IN_UTC.time)
    assert said.keys() == set(ids.values()) | {"uuid", "timestamp` with a zone"}


ROUNDED = {
    "0.5": 1, "-0.5": -1, "1.5": 2, "2.5": 3, "-2.5": -3, "3.5": 4, "2.25": 2, "-7.75": -8, "1000000.5": 1000001,
    "0.25": 0, "-0.25": 0, "7": 7, "4503599627370495.5": 4503599627370496, "-4503599627370495.5": -4503599627370496,
}  # fmt: skip
TYPES = {
    "double": pa.float64(), "decimal": pa.decimal128(38, 4), "decimal256": pa.decimal256(60, 4), "text": pa.string(),
    "float": pa.float32(), "half": pa.float16(), "binary": pa.binary(),
}  # fmt: skip


def as_(type_: Any, text: str) -> Any:
    """Return the number in ``text`` as a value of a type."""
    if pa.types.is_decimal(type_):
        return Decimal(text)
    if pa.types.is_floating(type_):
        return float(text)
    return text.encode() if pa.types.is_binary(type_) else text


@pytest.mark.parametrize("name", TYPES)
def test_half_is_rounded_away_from_zero_alike_in_every_type(name: str) -> None:
    most = {"float": 10**7, "half": 10**3}.get(name, 10**18)
    texts = [text for text in ROUNDED if abs(float(text)) < most]
    column = pa.array([as_(TYPES[name], text) for text in texts], TYPES[name])
    assert [whole for _, whole in read(column)] == [ROUNDED[text] for text in texts]


@settings(max_examples=amount(25, 1_000), deadline=None)
@given(st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20))
def test_a_double_is_rounded_as_the_very_number_that_it_is(values: list[float]) -> None:
    expected = []
    for value in values:
        whole = int(Decimal(value).to_integral_value(ROUND_HALF_UP)) if math.isfinite(value) else None
        expected.append(whole if whole is not None and -(2**63) <= whole < 2**63 else None)
    assert [whole for _, whole in read(pa.array(values, pa.float64()))] == expected


@settings(max_examples=amount(25, 1_000), deadline=None)
@given(st.lists(st.decimals(-(10**17), 10**17, places=4), min_size=1, max_size=20))
def test_a_decimal_and_its_text_are_rounded_alike(values: list[Decimal]) -> None:
    expected = [int(value.to_integral_value(ROUND_HALF_UP)) for value in values]
    for column in (pa.array(values, pa.decimal128(38, 4)), pa.array([format(value, "f") for value in values])):
        assert [whole for _, whole in read(column)] == expected


def test_a_number_is_the_same_customer_or_category_in_every_type_that_can_hold_it() -> None:
    """One missing value makes a program write whole numbers as doubles: 13.0 is 13 all the same."""
    thirteen = [
        pa.array([13], pa.int64()), pa.array([13.0]), pa.array([13], pa.float32()), pa.array(["13"]), pa.array([b"13"]),
        pa.array([Decimal("13.00")], pa.decimal128(9, 2)), pa.array([13], pa.uint64()), pa.array([13], pa.int8()),
        pa.array(["13"]).dictionary_encode(), pa.array([13.0], pa.float64()).dictionary_encode(),
        pa.array([Decimal("13.000")], pa.decimal256(60, 3)),
    ]  # fmt: skip
    assert {read(column)[0] for column in thirteen} == {("13", 13)}


NOT_WRITTEN = {"timestamp s", "date64", "decimal128 past its digits"}
"""Parquet has no such type or value: the writer makes another one of it."""


@pytest.mark.many(4)
@pytest.mark.parametrize("name", COLUMNS)
def test_each_value_is_read_by_itself_whatever_stands_beside_it(tmp_path: Path, name: str) -> None:
    """Also through a Parquet file, where the format has the type."""
    make = COLUMNS[name]
    numbers = range(48) if LONG else (0, 1, 6, *range(36, 48))
    alone = {number: read(make([number]))[0] for number in numbers}
    together = make(numbers)
    assert read(together) == list(alone.values())
    for order in itertools.islice(itertools.permutations((0, 6, 37, 38, 39)), amount(2, 12)):
        assert read(make(order)) == [alone[number] for number in order]
    path = tmp_path / "odd.parquet"
    if name in NOT_WRITTEN:
        return
    pq.write_table(pa.table({"v": together}), path)
    assert read(pq.read_table(path)["v"].combine_chunks()) == list(alone.values())


DUCKDB = {
    "7::TINYINT": "7", "7::HUGEINT": "7", "7::UHUGEINT": "7", "7::BIGNUM": "7", "7.50::DECIMAL(5,2)": "7.5", "true": "true",
    "'7'::BLOB": "7", "'a'::ENUM('a', 'b')": "a", "'x'::JSON": None, "'2026-11-30'::DATE": "2026-11-30", "'101'::BIT": "101",
    "'07:00:00'::TIME": "07:00:00", "'07:00:00+02'::TIMETZ": "05:00:00", "'07:00:00'::TIME_NS": "07:00:00",
    "'2026-11-30 07:00:00'::TIMESTAMP_NS": "2026-11-30 07:00:00", "'2026-11-30 07:00:00'::TIMESTAMP_S": "2026-11-30 07:00:00",
    "'2026-11-30 07:00:00+09'::TIMESTAMPTZ": "2026-11-29 22:00:00", "[7]": None, "[7, 8]::INT[2]": None, "{'a': 7}": None,
    "MAP{'a': 7}": None, "union_value(k := 7)": None, "7::VARIANT": None, "row(7, 8)": None,
    "'00000000-0000-0000-0000-000000000007'::UUID": "00000000-0000-0000-0000-000000000007", "INTERVAL 3 DAY": "\x00\x00\x00\x00\x03\x00\x00\x00\x00\x00\x00\x00",
}  # fmt: skip
"""A value of each of DuckDB's types, and what it is read as once DuckDB has written it as Parquet."""


@pytest.mark.parametrize("value", DUCKDB)
def test_what_duckdb_writes_is_read_whatever_its_type(tmp_path: Path, value: str) -> None:
    path = tmp_path / "odd.parquet"
    if value == "'x'::JSON":
        value = "'[7]'::JSON"
    duckdb.execute(f"COPY (SELECT {value} AS v) TO '{path}'")
    ((text, _),) = read(pq.read_table(path)["v"].combine_chunks())
    assert text == ("[7]" if "JSON" in value else DUCKDB[value])

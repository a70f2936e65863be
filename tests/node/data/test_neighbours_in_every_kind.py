"""Whatever one resident's values are, in a file of whichever kind, everybody else's rows are what they are without."""

import datetime as dt
import sqlite3
from contextlib import closing
from pathlib import Path
from random import Random
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.kit.amounts import amount
from tests.kit.source_kinds import NAMES, RIDES, taken_in

OTHERS: list[tuple[Any, ...]] = [ride for ride in RIDES if ride[0] != "000"]
ODD: dict[str, list[Any]] = {
    "sqlite": [None, "", "'", '"', "x" * 200_000, b"\xff", b"", 2**63 - 1, -(2**63), 1e300, float("inf"), "0", 7, 2.5],
    "xlsx": [
        None, "", "'", "=1/0", "=A1", "#N/A", "x" * 32_000, 1e300, 1e-300, 2.5, 7, True, dt.date(2024, 4, 1),
        dt.timedelta(hours=99), dt.time(8, 5), "２１０", "\n",
    ],
}  # fmt: skip


def write_any(path: Path, rows: list[tuple[Any, ...]]) -> None:
    if path.suffix == ".xlsx":
        book = openpyxl.Workbook()
        sheet = book.active
        assert sheet is not None
        for row in [tuple(NAMES), *rows]:
            sheet.append(row)
        book.save(path)
    else:
        with closing(sqlite3.connect(path)) as engine:
            engine.execute("CREATE TABLE rides (customer, ward, hour, fare)")
            engine.executemany("INSERT INTO rides VALUES (?, ?, ?, ?)", rows)
            engine.commit()


def of_others(rows: list[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    return [row for row in rows if row[0] != 0]


@pytest.mark.parametrize("kind", ODD)
def test_odd_values_of_one_resident_change_nobody_elses_rows(tmp_path: Path, kind: str) -> None:
    chance = Random(7)
    for turn in range(amount(3, 60)):
        folder = tmp_path / str(turn)
        folder.mkdir()
        rows = [*OTHERS]
        for _ in range(chance.randrange(1, 12)):
            odd = [chance.choice(ODD[kind]) for _ in range(3)]
            rows.insert(chance.randrange(len(rows) + 1), (chance.choice(["000", odd[0]]), *odd))
        write_any(folder / f"with.{kind}", rows)
        write_any(folder / f"without.{kind}", OTHERS)
        table = 'table = "rides"' if kind == "sqlite" else ""
        found = taken_in(folder, f'file = "with.{kind}"\n{table}')
        (folder / "node").rename(folder / "first")
        assert of_others(found) == taken_in(folder, f'file = "without.{kind}"\n{table}'), turn


TYPES = [pa.int64(), pa.int16(), pa.float64(), pa.float32(), pa.decimal128(9, 2), pa.string(), pa.large_string()]


@pytest.mark.parametrize("type_", TYPES, ids=str)
def test_a_column_that_one_residents_value_gave_another_type_is_the_same_to_everybody_else(
    tmp_path: Path, type_: Any
) -> None:
    """Programs choose a column's type by what is in it: whole numbers are doubles, or texts, where one has none."""
    rows = [row for row in OTHERS if row[3] != 90_000]
    for name, first, last in (("without", pa.int64(), pa.int64()), ("with", pa.int64(), type_)):
        (tmp_path / name).mkdir()
        for day, kind, some in (("1", first, rows[:20]), ("2", last, rows[20:])):
            given = [*some, ("000", "east", 7, None)] if (name, day) == ("with", "2") else some
            numbers = pa.array([row[3] for row in given], pa.int64())
            wide = numbers.cast(pa.decimal128(38, 2)) if pa.types.is_decimal(kind) else numbers
            columns = [pa.array([row[place] for row in given]) for place in range(3)]
            pq.write_table(pa.table([*columns, wide.cast(kind)], names=NAMES), tmp_path / name / f"{day}.parquet")
    found = taken_in(tmp_path, 'folder = "with"\nkind = "parquet"')
    (tmp_path / "node").rename(tmp_path / "first")
    assert of_others(found) == taken_in(tmp_path, 'folder = "without"\nkind = "parquet"')

"""No value in a Parquet file, and no column that nobody asked for, decides whether there is an answer."""

from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from ledger.errors import Unavailable
from tests.kit.node_tables import SECRET, hourly_plan
from trust.node.data.parquet_file import read_values
from trust.node.data.views import ViewStore

POLICY = "ab" * 32
ALL = np.ones(8, dtype=bool)
CUSTOMERS = ["0001", "0002", "0003"]


def broken_text(values: list[bytes]) -> Any:
    """Return an array of texts that holds these bytes, UTF-8 or not."""
    binary = pa.array(values, pa.binary())
    return pa.StringArray.from_buffers(len(values), *binary.buffers()[1:])


ODD: dict[str, dict[str, Any]] = {
    "a customer number that is not UTF-8": {"customer": broken_text([b"0001", b"0002", b"\xff\xfe"])},
    "an hour that is not UTF-8": {"hour": broken_text([b"7", b"7", b"\xff"])},
    "a note that is not UTF-8": {"note": broken_text([b"x", b"\xff", b"y"])},
    "a column named as the reader's own": {"file_row_number": pa.array([5, 5, 5])},
    "a moment that no calendar has, as the hour": {"hour": pa.array([-(2**63), None, 7], pa.timestamp("us"))},
    "a moment that no calendar has, unused": {"when": pa.array([-(2**63), None, 7], pa.timestamp("us"))},
    "lists and pairs": {"many": pa.array([[1], None, []]), "pair": pa.array([{"a": 1}, None, {"a": None}])},
    "two names that differ in case": {"HOUR": pa.array([1, 1, 1]), "Customer": pa.array(["a", "b", "c"])},
}
HOURS = {
    "a customer number that is not UTF-8": [7, 7],
    "an hour that is not UTF-8": [7, 7],
    "a moment that no calendar has, as the hour": [],
}


@pytest.mark.parametrize("name", ODD)
def test_an_odd_value_or_column_takes_out_no_more_than_itself(tmp_path: Path, name: str) -> None:
    columns = {"customer": pa.array(CUSTOMERS), "hour": pa.array([7, 7, 7]), "note": pa.array(["x", "y", "z"])}
    path = tmp_path / "rides.parquet"
    pq.write_table(pa.table(columns | ODD[name]), path)
    store, plan = ViewStore(tmp_path / "views.tmp", {"rides": path}, SECRET), hourly_plan()
    for last in (False, True):
        store.set_links(zip(CUSTOMERS, range(3), strict=True))
        with suppress(*([] if last else [Unavailable])):  # a killed engine is replaced, and filled by the next task
            store.materialise(POLICY, plan.view)
    vector = store.vector(POLICY, plan, ALL)[: plan.cells]
    expected = HOURS.get(name, [7, 7, 7])
    assert [hour for hour, count in enumerate(vector) for _ in range(count)] == expected
    store.close()


def test_what_is_read_a_value_at_a_time_is_what_it_was_and_a_bad_one_null_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "odd.parquet"
    columns = {
        "text": broken_text([b"a", b"\xff"]),
        "coded": pa.array(["b", None]).dictionary_encode(),
        "whole": pa.array([1, 2**63 - 1]),
        "when": pa.array([-(2**63), 0], pa.timestamp("us")),
        "raw": pa.array([b"x", b"y"]),
        "many": pa.array([[1], []]),
    }
    pq.write_table(pa.table(columns), path)
    (part,) = read_values(path, ["whole", "text", "coded", "raw", "many", "when", "whole"])
    rows = [list(row.values()) for row in part.to_pylist()]
    moment = pa.scalar(0, pa.timestamp("us")).as_py()
    assert rows == [
        [1, "a", "b", b"x", [1], None, 1, 0],
        [2**63 - 1, None, None, b"y", [], moment, 2**63 - 1, 1],
    ]
    pq.write_table(pa.table({"whole": pa.array([], pa.int64())}), path)
    (empty,) = read_values(path, ["whole"])
    assert (empty.num_rows, empty.column_names) == (0, ["c0", "position"])

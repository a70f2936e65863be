"""No value in a Parquet file, and no column that nobody asked for, decides whether there is an answer."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.kit.node_tables import SECRET, hourly_plan, take_in
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
    store, plan = ViewStore(tmp_path, {"rides": path}, SECRET), hourly_plan()
    store.set_links(zip(CUSTOMERS, range(3), strict=True))
    take_in(store, POLICY, plan.view)
    vector = store.vector(POLICY, plan, ALL)[: plan.cells]
    expected = HOURS.get(name, [7, 7, 7])
    assert [hour for hour, count in enumerate(vector) for _ in range(count)] == expected
    store.close()

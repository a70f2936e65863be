"""A file's rows get the slot of their customer and the next number of that resident, in the file's order."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.node.data.linked_rows import LinkedRows

CUSTOMERS = ["1", "2", "03", "3", "é", "", "x" * 40]
LINKED = {"1": 0, "2": 4, "3": 1, "é": 2, "x" * 40: 3}
LINKS = pa.table(
    {
        "customer": pa.array(LINKED, pa.string()),
        "slot": pa.array(LINKED.values(), pa.int32()),
        "salt": pa.array([10 * slot for slot in LINKED.values()], pa.int64()),
    }
)


def rows_of(customers: Sequence[Any], cuts: Sequence[int], type_: Any) -> pa.RecordBatchReader:
    """The rows in parts, with their positions and a column that says which row it is."""
    places = list(range(len(customers)))
    table = pa.table(
        {
            "c0": pa.array(customers, type_),
            "c1": pa.array([f"row {place}" for place in places], pa.string()),
            "position": pa.array([3 * place for place in places], pa.int64()),
        }
    )
    ends = [0, *sorted(min(cut, len(places)) for cut in cuts), len(places)]
    batches = [
        batch
        for begin, end in zip(ends, ends[1:], strict=False)
        for batch in table.slice(begin, end - begin).combine_chunks().to_batches()
    ]
    return pa.RecordBatchReader.from_batches(table.schema, batches)


def linked(rows: pa.RecordBatchReader, kind: str, numbers: np.ndarray) -> list[tuple[int, int, int, str]]:
    with duckdb.connect() as engine:
        found = LinkedRows(engine, rows, ["c1"], kind, LINKS, numbers).reader().read_all()
    return [tuple(row.values()) for row in found.to_pylist()]  # type: ignore[misc]


def naive(customers: Sequence[Any], before: Sequence[int]) -> list[tuple[int, int, int, str]]:
    numbers = defaultdict(int, enumerate(before))
    found = []
    for place, customer in enumerate(customers):
        slot = LINKED.get(str(customer)) if customer is not None else None
        if slot is not None:
            found.append((slot, 10 * slot, numbers[slot], f"row {place}"))
            numbers[slot] += 1
    return found


befores = st.lists(st.integers(0, 9), min_size=5, max_size=5)
cuts = st.lists(st.integers(0, 40), max_size=4)


@given(st.lists(st.sampled_from([*CUSTOMERS, None]), max_size=40), cuts, befores)
def test_each_row_has_its_customers_slot_and_the_next_number_of_that_resident(
    customers: list[str | None], cuts: list[int], before: list[int]
) -> None:
    assert linked(rows_of(customers, cuts, pa.string()), "text", np.array(before)) == naive(customers, before)


@given(st.lists(st.sampled_from([1, 2, 3, 77, None]), max_size=40), cuts, befores)
def test_a_customer_that_is_a_whole_number_is_the_one_whose_digits_it_has(
    customers: list[int | None], cuts: list[int], before: list[int]
) -> None:
    assert linked(rows_of(customers, cuts, pa.int64()), "whole number", np.array(before)) == naive(customers, before)


def test_many_rows_come_back_in_the_order_of_the_file() -> None:
    customers = [CUSTOMERS[place * place % len(CUSTOMERS)] for place in range(300_000)]
    rows = rows_of(customers, range(0, 300_000, 7_919), pa.string())
    assert linked(rows, "text", np.zeros(5, np.int64)) == naive(customers, [0] * 5)


def test_rows_that_come_back_in_another_order_are_nobodys() -> None:
    class Turned(LinkedRows):
        def _found(self) -> Any:
            found = super()._found().read_all()
            return found.take(list(range(found.num_rows))[::-1]).to_batches()

    with duckdb.connect() as engine:
        rows = Turned(engine, rows_of(["1", "2"], [], pa.string()), ["c1"], "text", LINKS, np.zeros(5, np.int64))
        with pytest.raises(RuntimeError, match="order"):
            rows.reader().read_all()
    assert rows.has_failed

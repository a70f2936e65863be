"""The node's vector is what the documents say, moves with one resident by no more than declared, and never raises."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from queries.question.plan import Plan
from tests.kit.amounts import amount
from tests.kit.node_tables import (
    LINKED,
    ODD_TEXTS,
    SECRET,
    hourly_plan,
    naive_vector,
    plans,
    tables,
    take_in,
    views,
    write_rows,
)
from trust.node.data.views import ViewStore

POLICY = "ab" * 32
FILE = "rides.parquet"
counted_strategy = st.lists(st.sampled_from([True, True, False]), min_size=3, max_size=7)
steady = settings(
    max_examples=amount(15, 400),
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[ViewStore]:
    opened = ViewStore(tmp_path, {"rides": tmp_path / FILE}, SECRET)
    opened.set_links(LINKED.items())
    yield opened
    opened.close()


def blocks(plan: Plan, vector: list[int]) -> Iterator[tuple[Any, np.ndarray]]:
    start = 0
    for primitive in plan.primitives:
        end = start + plan.cells * primitive.width
        yield primitive, np.array(vector[start:end], dtype=object)
        start = end
    assert start == len(vector) == plan.length


def computed(store: ViewStore, plan: Plan, counted: list[bool]) -> list[int]:
    take_in(store, POLICY, plan.view)
    return store.vector(POLICY, plan, np.array(counted, dtype=bool))


@steady
@given(data=st.data(), rows=tables(), view=views(), counted=counted_strategy, text=st.booleans())
def test_the_vector_equals_the_documents_read_a_row_at_a_time(
    store: ViewStore, tmp_path: Path, data: st.DataObject, rows: list[Any], view: Any, counted: list[bool], text: bool
) -> None:
    """Nulls, odd texts, NaN, infinities, repeated rows, values outside domains, text or whole customer numbers."""
    write_rows(tmp_path / FILE, rows, text_customers=text)
    plan = data.draw(plans(view))
    assert computed(store, plan, counted) == naive_vector(rows, LINKED, counted, POLICY, plan)


@steady
@given(data=st.data(), rows=tables(), view=views(), slot=st.sampled_from(list(LINKED.values())))
def test_one_resident_moves_each_block_by_at_most_its_sensitivity(
    store: ViewStore, tmp_path: Path, data: st.DataObject, rows: list[Any], view: Any, slot: int
) -> None:
    """With and without all their rows in the file, and with and without their consent."""
    plan = data.draw(plans(view))
    others = data.draw(st.lists(st.booleans(), min_size=len(LINKED), max_size=len(LINKED)))
    with_them = [place == slot or flag for place, flag in enumerate(others)]
    without_them = [place != slot and flag for place, flag in enumerate(others)]
    customer = next(int(customer) for customer, place in LINKED.items() if place == slot)

    write_rows(tmp_path / FILE, rows)
    present = computed(store, plan, with_them)
    unconsented = computed(store, plan, without_them)
    write_rows(tmp_path / FILE, [row for row in rows if row["customer"] != customer])
    absent = computed(store, plan, with_them)

    assert absent == unconsented
    for (primitive, one), (_, other) in zip(blocks(plan, present), blocks(plan, absent), strict=True):
        assert ((one - other) ** 2).sum() <= primitive.squared_sensitivity


@settings(max_examples=amount(8, 150), deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), rows=tables(), view=views(), cut=st.integers(0, len(LINKED)))
def test_links_that_come_after_the_view_was_made_count_as_if_they_had_been_there(
    store: ViewStore, tmp_path: Path, data: st.DataObject, rows: list[Any], view: Any, cut: int
) -> None:
    write_rows(tmp_path / FILE, rows)
    plan = data.draw(plans(view))
    everyone = [True] * len(LINKED)
    at_once = computed(store, plan, everyone)

    late = ViewStore(tmp_path / "late.tmp", {"rides": tmp_path / FILE}, SECRET)
    try:
        pairs = list(LINKED.items())
        for part in (pairs[:cut], pairs[cut:]):
            late.set_links(part)
            late.set_links(part)
            take_in(late, POLICY, view)
        assert computed(late, plan, everyone) == at_once
    finally:
        late.close()


def test_a_view_made_anew_after_a_restart_keeps_the_same_rows(tmp_path: Path) -> None:
    rows = [
        {"customer": n % 5, "ward": "north", "hour": float(n % 7), "fare": text}
        for n, text in enumerate([*ODD_TEXTS] * 9)
    ]
    write_rows(tmp_path / FILE, rows)
    plan = hourly_plan()
    found = []
    for _ in range(2):
        store = ViewStore(tmp_path, {"rides": tmp_path / FILE}, SECRET)
        store.set_links([("1", 0), ("2", 1), ("3", 2)])
        found.append((computed(store, plan, [True] * 3), store.linked))
        store.close()
    assert found[0] == found[1]
    assert sum(found[0][0][:10]) == 9


def test_another_policy_keeps_other_rows(store: ViewStore, tmp_path: Path) -> None:
    rows = [{"customer": 1 + n % 4, "ward": "north", "hour": float(n % 8), "fare": "1"} for n in range(160)]
    write_rows(tmp_path / FILE, rows)
    plan = hourly_plan()
    vectors = set()
    for policy in ("00" * 32, "11" * 32, "22" * 32):
        take_in(store, policy, plan.view)
        vectors.add(tuple(store.vector(policy, plan, np.ones(5, dtype=bool))))
    assert len(vectors) > 1

"""The arithmetic that keeps rows: as many as allowed, each with equal chance, and the same in both orders of work."""

from collections import Counter
from pathlib import Path

import ibis
import pyarrow as pa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from policies.policy_document import View
from tests.kit.amounts import amount
from tests.kit.node_tables import LINKED, tables, views, write_rows
from trust.node.data.bounding import bounded
from trust.node.data.sources import SourceFile


@given(count=st.integers(1, 3_000), bound=st.integers(1, 1_000), key=st.integers(0, 2**31 - 2))
def test_exactly_the_bound_or_all_rows_are_kept(count: int, bound: int, key: int) -> None:
    assert sum((rank * bound + key) % count < bound for rank in range(count)) == min(count, bound)


@given(count=st.integers(1, 60), bound=st.integers(1, 60))
def test_each_row_is_kept_by_the_same_share_of_keys(count: int, bound: int) -> None:
    kept = Counter(rank for key in range(count) for rank in range(count) if (rank * bound + key) % count < bound)
    assert set(kept.values()) == {min(count, bound)}


@settings(max_examples=500)
@given(count=st.integers(1, 2**49), data=st.data())
def test_a_count_comes_back_exactly_from_its_cume_dist(count: int, data: st.DataObject) -> None:
    rank = data.draw(st.integers(0, count - 1))
    assert round((rank + 1) / ((rank + 1) / count)) == count


@settings(max_examples=amount(8, 150), deadline=None, suppress_health_check=list(HealthCheck))
@given(rows=tables(), view=views(), key=st.tuples(st.integers(1, 2**31 - 2), st.integers(0, 2**31 - 2)))
def test_it_is_all_the_same_whether_links_are_joined_before_or_after_ranking(
    tmp_path: Path, rows: list[dict[str, object]], view: View, key: tuple[int, int]
) -> None:
    path = tmp_path / "rides.parquet"
    write_rows(path, rows)
    engine = ibis.duckdb.connect()
    links = ibis.memtable(
        pa.table(
            {
                "customer": pa.array(LINKED, pa.string()),
                "slot": pa.array(LINKED.values(), pa.int32()),
                "salt": pa.array([slot * 99_999_999 for slot in LINKED.values()], pa.int64()),
            }
        )
    )
    kept = [
        Counter(
            tuple(row.values())
            for row in engine.to_pyarrow(
                bounded(SourceFile(path).read(engine, view), links, view, key, few_links=few)
            ).to_pylist()
        )
        for few in (True, False)
    ]
    engine.disconnect()
    assert kept[0] == kept[1]
    own = Counter(row["customer"] for row in rows)
    expected = {slot: min(own[int(customer)], view.rows_per_resident) for customer, slot in LINKED.items()}
    found = Counter(dict.fromkeys(LINKED.values(), 0))
    for row, times in kept[0].items():
        found[row[0]] += times
    assert found == expected

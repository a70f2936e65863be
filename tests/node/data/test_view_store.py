"""Links are for ever, erasure reaches the views, odd files are refused in words, and none shows a value."""

import datetime as dt
from collections import Counter
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog

import trust.node.data.views as views_module
from ledger.errors import ConsentMismatch, NotReady, Unavailable
from policies.policy_document import Category, Measure, View
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.plan import Plan
from queries.question.tree import Query, Spend
from tests.kit.node_tables import SECRET, TITLE, hourly_plan, policy_of, take_in, write_rows
from trust.node.data.load import FileLoader
from trust.node.data.views import ViewStore

POLICY = "ab" * 32
ALL = np.ones(8, dtype=bool)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = [{"customer": n % 4, "ward": None, "hour": float(n % 10), "fare": None} for n in range(40)]
    write_rows(tmp_path / "rides.parquet", rows)
    return tmp_path


@pytest.fixture
def store(folder: Path) -> Iterator[ViewStore]:
    opened = ViewStore(folder, {"rides": folder / "rides.parquet"}, SECRET)
    yield opened
    opened.close()


def trips(store: ViewStore, counted: Any = ALL, plan: Plan | None = None) -> int:
    plan = plan or hourly_plan()
    take_in(store, POLICY, plan.view)
    return sum(store.vector(POLICY, plan, np.asarray(counted, dtype=bool))[:10])


def test_nobody_counts_where_nobody_is_linked(store: ViewStore) -> None:
    store.set_links([])
    assert trips(store) == 0


def test_who_counts_is_each_questions_own_also_where_it_is_the_same_array_changed(store: ViewStore) -> None:
    store.set_links([("0", 0), ("1", 1)])
    both, first = trips(store, [True, True]), trips(store, [True, False])
    counted = np.array([True, True])
    plan = hourly_plan()
    found = []
    for number in (1, 1, 0, 0, 1):
        counted[1] = bool(number)
        found.append(sum(store.vector(POLICY, plan, counted)[:10]))
    assert found == [both, both, first, first, both]
    assert 0 < first < both


def test_nothing_is_answered_or_loaded_before_the_links_are_set(store: ViewStore) -> None:
    plan = hourly_plan()
    for act in (
        lambda: store.load([plan.view]),
        lambda: store.vector(POLICY, plan, ALL),
    ):
        with pytest.raises(Unavailable):
            act()
    assert not store.is_ready(plan.view)


@pytest.mark.parametrize("error", [duckdb.FatalException, duckdb.InternalException])
def test_after_the_engine_died_nothing_is_answered_until_the_links_are_set_again(
    store: ViewStore, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    links = [("0", 0), ("1", 1), ("2", 2)]
    plan = hourly_plan()
    store.set_links(links)
    assert trips(store) == 9

    def dies(*_: Any) -> None:
        raise error("the disk")

    with monkeypatch.context() as patched:
        patched.setattr(views_module, "exact_vector", dies)
        with pytest.raises(Unavailable):
            store.vector(POLICY, plan, ALL)
    with pytest.raises(Unavailable):
        store.materialise(POLICY, plan.view)
    with pytest.raises(Unavailable):
        store.vector(POLICY, plan, ALL)
    with pytest.raises(Unavailable):
        store.load([plan.view])
    assert store.linked == 0  # all of them are to come again
    store.set_links(links)
    assert trips(store) == 9


def test_only_linked_and_counted_residents_count(store: ViewStore) -> None:
    store.set_links([("0", 0), ("1", 1), ("nobody", 2)])
    assert [trips(store, counted) for counted in ([1, 1, 1], [0, 1, 0], [0, 0, 1], [0, 0, 0], [])] == [6, 3, 0, 0, 0]


def test_an_erased_resident_no_longer_counts_and_leaves_no_customer_number(store: ViewStore, folder: Path) -> None:
    store.set_links([("0", 0), ("1", 1), ("2", 2)])
    assert trips(store) == 9
    store.erase_rows([1])
    store.erase_rows([1, 7])
    store.erase_rows([])
    counted = [0, 1, 0]
    plan = hourly_plan()
    assert not any(store.vector(POLICY, plan, np.array(counted, dtype=bool)))  # at once, before anything is made anew
    assert (trips(store), trips(store, counted), store.linked) == (6, 0, 3)
    left = store._engine.con.execute("SELECT customer, slot, salt FROM links ORDER BY slot").fetchall()
    assert [row[:2] for row in left] == [("0", 0), (None, 1), ("2", 2)]
    assert left[1][2] == 0


def test_an_erased_slot_is_never_used_again_but_the_customer_may_link_anew(store: ViewStore) -> None:
    store.set_links([("0", 0), ("1", 1)])
    store.erase_rows([1])
    with pytest.raises(ConsentMismatch):
        store.set_links([("1", 1)])
    store.set_links([("1", 2)])
    assert trips(store, [0, 1, 1]) == 3


def test_a_snapshot_has_the_rows_of_linked_customers_alone_without_their_numbers(tmp_path: Path) -> None:
    rows = pa.table({"customer": ["nr-4711", "nr-4712", "nr-4711"], "hour": [3, 4, 5], "name": ["Aoi", "Ren", "Aoi"]})
    pq.write_table(rows, tmp_path / "rides.parquet")
    store = ViewStore(tmp_path / "node", {"rides": tmp_path / "rides.parquet"}, SECRET)
    store.set_links([("nr-4711", 7)])
    trips(store)
    store.close()
    files = sorted(path for path in (tmp_path / "node").rglob("*") if path.is_file())
    assert [path.name for path in files] == ["rides.customer.1.0.parquet", "rides.customer.loaded.json"]
    assert {path.stat().st_mode & 0o777 for path in files} == {0o600}
    assert files[0].parent.stat().st_mode & 0o777 == 0o700
    kept = pq.read_table(files[0])
    assert kept.column_names == ["slot", "salt", "number", "whole_hour"]
    assert [kept[name].to_pylist() for name in ("slot", "number", "whole_hour")] == [[7, 7], [0, 1], [3, 5]]
    assert not any(text in path.read_bytes() for path in files for text in (b"4711", b"4712", b"Aoi", b"Ren"))


def test_what_a_killed_node_had_spilled_is_removed_at_the_next_start(folder: Path) -> None:
    """DuckDB puts what does not fit into memory into this folder, and removes it only where it ends in order."""
    (folder / "views.tmp").mkdir()
    (folder / "views.tmp" / "duckdb_temp_storage-0.tmp").write_bytes(b"customer 0")
    store = ViewStore(folder, {"rides": folder / "rides.parquet"}, SECRET)
    setting = "SELECT value FROM duckdb_settings() WHERE name = 'temp_directory'"
    assert store._engine.con.execute(setting).fetchone() == (str(folder / "views.tmp"),)
    assert not (folder / "views.tmp").exists()
    store.close()


@pytest.mark.parametrize(
    "pairs",
    [
        [("0", 1)],
        [("9", 0)],
        [("5", 5), ("0", 1)],
        [("5", 5), ("5", 6)],
        [("5", 5), ("6", 5)],
        [("5", -1)],
        [("5", 2**31)],
    ],
    ids=["second slot", "slot in use", "one bad pair", "customer twice", "slot twice", "below zero", "too large"],
)
def test_a_link_that_contradicts_another_is_refused_and_changes_nothing(
    store: ViewStore, pairs: list[tuple[str, int]]
) -> None:
    store.set_links([("0", 0), ("1", 1)])
    with pytest.raises(ConsentMismatch):
        store.set_links(pairs)
    assert store.linked == 2
    assert trips(store) == 6


def test_only_the_very_text_of_a_whole_customer_number_is_that_customer(store: ViewStore) -> None:
    store.set_links([("00", 0), ("+1", 1), (" 2", 2), ("3.0", 3), ("x", 4), ("9" * 30, 5)])
    assert trips(store) == 0


def test_a_new_snapshot_is_seen_and_an_unchanged_one_is_not_read_again(
    store: ViewStore, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.set_links([("0", 0), ("1", 1)])
    assert trips(store) == 6
    with monkeypatch.context() as patched:
        patched.setattr(ViewStore, "_new_table", None)  # would raise if it was made again
        patched.setattr(FileLoader, "_load", None)
        assert trips(store) == 6
    rows = [{"customer": 1, "ward": None, "hour": 5.0, "fare": None}]
    write_rows(folder / "rides.parquet", rows)
    assert trips(store) == 1


def test_a_changed_view_of_the_same_name_is_made_anew(store: ViewStore) -> None:
    store.set_links([("0", 0)])
    assert trips(store) == 3
    wider = hourly_plan(5)
    with pytest.raises(Unavailable):
        store.vector(POLICY, wider, ALL)
    assert trips(store, plan=wider) == 5


def test_a_view_must_be_materialised_first(store: ViewStore) -> None:
    with pytest.raises(Unavailable):
        store.vector(POLICY, hourly_plan(), ALL)


def _broken(folder: Path, kind: str) -> None:
    path = folder / "rides.parquet"
    if kind == "gone":
        path.unlink()
    elif kind == "garbage":
        path.write_bytes(b"secret-value-4711" * 10)
    elif kind == "cut off":
        path.write_bytes(path.read_bytes()[:-20])
    else:
        pq.write_table(pa.table({"customer": pa.array([4711])}), path)


@pytest.mark.parametrize("kind", ["gone", "garbage", "cut off", "a column short"])
def test_a_view_of_a_source_that_was_never_good_is_not_ready_and_nothing_said_shows_a_value(
    store: ViewStore, folder: Path, kind: str
) -> None:
    store.set_links([("1", 0)])
    _broken(folder, kind)
    with structlog.testing.capture_logs() as logs, pytest.raises(NotReady) as caught:
        trips(store)
    assert "4711" not in caught.value.message
    assert not store.is_ready(hourly_plan().view)
    see = {"see": "snapshots/rides.customer.refused.json"}
    if kind == "a column short":
        # As far as it goes, for other views may be ready; the names are the policy's.
        assert [line["event"] for line in logs] == ["file-looked-odd", "source-loaded"]  # nobody who is linked is in it
        assert logs[-1]["lacking"] == ["hour"]
    else:
        said = {"event": "source-unreadable"} if kind == "gone" else {"event": "source-refused", **see}
        (line,) = logs
        assert line.pop("why").endswith(".")
        assert line == said | {"source": "rides", "log_level": "info"}


def test_an_unknown_source_is_not_ready(store: ViewStore) -> None:
    with pytest.raises(NotReady):
        take_in(store, POLICY, msgspec.structs.replace(hourly_plan().view, source="trains"))


def test_a_histograms_last_bin_is_closed_and_what_is_outside_or_null_is_in_none(tmp_path: Path) -> None:
    scores = [0, 4, 5, 9, 10, 11, -3, None]
    pq.write_table(pa.table({"customer": pa.array([1] * 8), "score": pa.array(scores)}), tmp_path / "scores.parquet")
    view = View(
        name="scores", title=TITLE, holders=["bus_co"], source="scores", resident="customer", rows_per_resident=8,
        holders_per_resident=1, columns=[Measure(name="score", title=TITLE, lo=0, hi=10)],
    )  # fmt: skip
    query = Query(
        policy="mobility", version=1, from_=["scores"], where=[], group_by=[], spend=Spend(epsilon="1"),
        measures=[
            MeasureAsked(as_="all", histogram="score", edges=[0, 5, 10]),
            MeasureAsked(as_="some", histogram="score", edges=[4, 9]),
        ],
    )  # fmt: skip
    store = ViewStore(tmp_path, {"scores": tmp_path / "scores.parquet"}, SECRET)
    store.set_links([("1", 0)])
    take_in(store, POLICY, view)
    assert store.vector(POLICY, make_plan(query, policy_of(view)), ALL) == [3, 4, 3]
    store.close()


ODD_CSV = {
    "quotes, short and long lines": b'customer,hour,more\n007,1,"a, ""b"""\n7,2\n007,3,y,z,1\n,3,\n007,1,"two\nlines"\n',
    "not UTF-8": b"customer,hour\n007,1\n\xff\xfe,2\n007,3\n007,1\n",
    "Windows line ends and a byte order mark": b"\xef\xbb\xbfcustomer,hour\r\n007,1\r\n007,1\r\n007,3\r\n",
    "repeated and empty names": b"customer,hour,hour,,\n007,1,2,2,2\n007,1,2,,\n007,3,2,,\n",
}


@pytest.mark.parametrize("name", ODD_CSV)
@pytest.mark.parametrize("ending", [".csv", ".CSV"])
def test_csv_customers_keep_their_leading_zeros_and_odd_lines_raise_nothing(
    tmp_path: Path, name: str, ending: str
) -> None:
    path = tmp_path / f"rides{ending}"
    path.write_bytes(ODD_CSV[name])
    store = ViewStore(tmp_path, {"rides": path}, SECRET)
    store.set_links([("007", 0)])
    plan = hourly_plan()
    take_in(store, POLICY, plan.view)
    assert store.vector(POLICY, plan, ALL)[:10] == [0, 2, 0, 1, 0, 0, 0, 0, 0, 0]
    store.close()


@pytest.mark.parametrize("content", [b"", b"\xff\xfe\n1,2\n", b"customer\n1\n"], ids=["empty", "not text", "short"])
def test_a_csv_file_without_its_header_is_unavailable(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "rides.csv"
    path.write_bytes(content)
    store = ViewStore(tmp_path, {"rides": path}, SECRET)
    store.set_links([])
    with pytest.raises(NotReady):
        take_in(store, POLICY, hourly_plan().view)
    store.close()


ODD_COLUMNS = {
    "flag": pa.array([True, False, None]),
    "day": pa.array([dt.date(2020, 1, 1), None, dt.date(9999, 12, 31)]),
    "moment": pa.array([dt.datetime(2020, 1, 1, tzinfo=dt.UTC), None, None]),
    "clock": pa.array([dt.time(1, 2, 3), None, dt.time(0)]),
    "money": pa.array([Decimal("2.50"), None, Decimal("-9.99")]),
    "huge": pa.array([Decimal(10) ** 37, None, Decimal(1)], pa.decimal128(38, 0)),
    "large": pa.array([2**64 - 1, 5, None], pa.uint64()),
    "raw": pa.array([b"\xff\x00", None, b"7"]),
    "many": pa.array([[1, None], None, []]),
    "pair": pa.array([{"a": 1}, None, {"a": None}]),
    "while": pa.array([7, None, 2**40], pa.duration("us")),
    "half": pa.array([0.5, float("nan"), float("inf")], pa.float32()),
    "nothing": pa.nulls(3),
    "coded": pa.array(["7", None, "x"]).dictionary_encode(),
}


@pytest.mark.parametrize("name", ODD_COLUMNS)
def test_no_type_of_column_raises_as_a_category_a_measure_or_a_resident(tmp_path: Path, name: str) -> None:
    column = ODD_COLUMNS[name]
    pq.write_table(
        pa.table({"customer": pa.array([1, 2, 3]), "value": column, "copy": column}), tmp_path / "odd.parquet"
    )
    store = ViewStore(tmp_path, {"odd": tmp_path / "odd.parquet"}, SECRET)
    store.set_links([("1", 0), ("2", 1), ("3", 2), ("7", 3), ("5", 4)])
    for resident in ("customer", "value"):
        view = View(
            name=f"by_{resident}", title=TITLE, holders=["bus_co"], source="odd", resident=resident, rows_per_resident=1,
            holders_per_resident=1,
            columns=[
                Category(name="value", title=TITLE, values=["7", "true", "rest"], other="rest"),
                Measure(name="copy", title=TITLE, lo=-5, hi=2**30),
            ],
        )  # fmt: skip
        query = Query(
            policy="mobility", version=1, from_=[view.name], where=[], group_by=["value"],
            measures=[MeasureAsked(as_="n", count="rows"), MeasureAsked(as_="s", mean="copy")],
            spend=Spend(epsilon="1"),
        )  # fmt: skip
        plan = make_plan(query, policy_of(view))
        take_in(store, POLICY, view)
        vector = store.vector(POLICY, plan, ALL)
        if resident == "customer":
            assert sum(vector[:3]) == 3
    store.close()


def test_real_records_are_bounded_and_summed_as_plain_sql_does(shared_data: Path, tmp_path: Path) -> None:
    """28,785 people's 173,912 results: with a bound nobody reaches, and with one that most pass."""
    path = shared_data / "oulad" / "results.parquet"
    rows = duckdb.execute(f"SELECT id_student, is_banked, score FROM '{path}'").fetchall()
    students = sorted({row[0] for row in rows})
    counted = np.arange(len(students)) % 3 != 0
    chosen = {student for student, flag in zip(students, counted, strict=True) if flag}
    store = ViewStore(tmp_path, {"results": path}, SECRET)
    store.set_links((str(student), slot) for slot, student in enumerate(students))
    found = {}
    for bound in (1000, 4):
        view = View(
            name=f"results_{bound}", title=TITLE, holders=["bus_co"], source="results", resident="id_student",
            rows_per_resident=bound, holders_per_resident=1,
            columns=[
                Category(name="is_banked", title=TITLE, values=["0", "1"]),
                Measure(name="score", title=TITLE, lo=20, hi=100),
            ],
        )  # fmt: skip
        query = Query(
            policy="mobility", version=1, from_=[view.name], where=[], group_by=["is_banked"],
            measures=[
                MeasureAsked(as_="n", count="rows"),
                MeasureAsked(as_="people", count="residents"),
                MeasureAsked(as_="score", mean="score"),
            ],
            spend=Spend(epsilon="1"),
        )  # fmt: skip
        take_in(store, POLICY, view)
        found[bound] = store.vector(POLICY, make_plan(query, policy_of(view)), counted)
    store.close()
    plain = [row for row in rows if row[0] in chosen]
    expected = [
        *(sum(row[1] == banked for row in plain) for banked in (0, 1)),
        *(len({row[0] for row in plain if row[1] == banked}) for banked in (0, 1)),
        *(sum(max(20, row[2]) for row in plain if row[1] == banked and row[2] is not None) for banked in (0, 1)),
        *(sum(row[1] == banked and row[2] is not None for row in plain) for banked in (0, 1)),
    ]
    assert found[1000] == expected
    assert sum(found[4][:2]) == sum(min(4, count) for count in Counter(row[0] for row in plain).values())

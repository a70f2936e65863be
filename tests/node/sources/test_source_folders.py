"""Several files are one source, in a stated order; one that only grows is read as far as it is new, all the same."""

import os
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.kit.amounts import amount
from tests.kit.source_kinds import (
    CUSTOMERS,
    RIDES,
    VIEW,
    WRITERS,
    Ride,
    bounded_rows,
    expected,
    open_store,
    open_unlinked,
    said,
    taken,
    taken_in,
    write_csv,
    write_parquet,
)
from trust.node.check.file_check import check_source
from trust.node.data.load import MOST_PARTS
from trust.node.sources.mapping import SourceMapping
from trust.node.sources.source_file import SourceFile
from trust.node.sources.source_parts import SourceParts
from trust.node.sources.tables.one_table import FileRefused, OneTable
from trust.node.sources.tables.opening import open_table

GROWS = 'folder = "rides"\nkind = "csv"\nappend_only = true'


def write_days(folder: Path, days: dict[str, list[Ride]], kind: str = "csv") -> None:
    folder.mkdir(exist_ok=True)
    for day, rides in days.items():
        WRITERS[kind](folder / f"{day}.{kind}", rides)


DAYS = {f"2024-04-{number + 1:02}": RIDES[number * 20 : number * 20 + 20] for number in range(4)}


@pytest.mark.parametrize("kind", WRITERS)
def test_all_files_of_a_kind_in_a_folder_are_one_source_in_the_order_of_their_names(tmp_path: Path, kind: str) -> None:
    write_days(tmp_path / "rides", dict(reversed(DAYS.items())), kind)
    more = 'table = "rides"' if kind in {"sqlite", "duckdb"} else ""
    assert taken_in(tmp_path, f'folder = "rides"\nkind = "{kind}"\n{more}') == expected(RIDES)


def test_a_glob_names_the_files_that_fit_it_and_no_others(tmp_path: Path) -> None:
    write_days(tmp_path, {f"rides-{day}": rides for day, rides in DAYS.items()})
    write_days(tmp_path, {"refunds-2024-04-01": RIDES, "Rides-2024-04-09": RIDES, "xrides-1": RIDES})
    assert taken_in(tmp_path, 'glob = "rides-*.csv"') == expected(RIDES)
    assert taken_in(tmp_path, 'glob = "rides-2024-04-0[12].csv"') == expected(RIDES[:40])


def test_what_is_hidden_half_written_of_another_kind_or_no_file_is_no_part(tmp_path: Path) -> None:
    folder = tmp_path / "rides"
    write_days(folder, DAYS)
    write_csv(folder / ".2024-04-09.csv", RIDES)
    write_csv(folder / "2024-04-09.csv.part", RIDES)
    write_parquet(folder / "2024-04-09.parquet", RIDES)
    (folder / "below.csv").mkdir()
    write_csv(folder / "below.csv" / "2024-04-09.csv", RIDES)
    os.mkfifo(folder / "pipe.csv")
    assert taken_in(tmp_path, 'folder = "rides"\nkind = "csv"') == expected(RIDES)


def test_names_are_put_in_order_byte_by_byte(tmp_path: Path) -> None:
    for name in ("b.csv", "a.csv", "B.csv", "é.csv", "10.csv", "9.csv", "東.csv"):
        write_csv(tmp_path / name, RIDES)
    found = SourceParts(tmp_path, said(f'folder = "{tmp_path.name}"\nkind = "csv"')).paths()
    assert [path.name for path in found] == ["10.csv", "9.csv", "B.csv", "a.csv", "b.csv", "é.csv", "東.csv"]


def test_a_folder_without_a_file_leaves_what_was_taken_in(tmp_path: Path) -> None:
    write_days(tmp_path / "rides", DAYS)
    store = open_store(tmp_path, 'folder = "rides"\nkind = "csv"')
    store.load([VIEW])
    for path in (tmp_path / "rides").iterdir():
        path.unlink()
    store.load([VIEW])
    assert taken(store) == expected(RIDES)
    store.close()


def test_a_file_that_lacks_a_column_which_others_have_refuses_the_source_and_is_named_to_the_holder(
    tmp_path: Path,
) -> None:
    write_days(tmp_path / "rides", DAYS)
    mapping = 'folder = "rides"\nkind = "csv"'
    store = open_store(tmp_path, mapping)
    store.load([VIEW])
    (tmp_path / "rides" / "2024-04-09.csv").write_text("customer,ward,hour\n001,east,7\n")
    store.load([VIEW])
    assert taken(store) == expected(RIDES)
    refused = msgspec.json.decode((tmp_path / "node/snapshots/rides.customer.refused.json").read_bytes())
    assert (refused["reason"], refused["detail"]) == (
        "It lacks the columns: fare. Other files of the source have them.",
        "2024-04-09.csv",
    )
    found = check_source(
        "rides", SourceFile(tmp_path / "rides", said(mapping)), [("mobility", VIEW)], [], tmp_path / "spill"
    )
    assert found.refused == f"{refused['reason']} (2024-04-09.csv)"
    store.close()


def test_columns_may_stand_in_another_order_in_each_file(tmp_path: Path) -> None:
    write_days(tmp_path / "rides", DAYS)
    (tmp_path / "rides" / "2024-04-09.csv").write_text("fare,hour,more,ward,customer\n210,7,x,east,001\n")
    assert taken_in(tmp_path, 'folder = "rides"\nkind = "csv"') == expected([*RIDES, ("001", "east", 7, 210)])


TYPES = {
    "whole numbers of other widths": [pa.int64(), pa.int16(), pa.uint32()],
    "whole numbers, and doubles where one is missing": [pa.int64(), pa.float64(), pa.int64()],
    "decimals of other scales": [pa.decimal128(9, 2), pa.decimal128(12, 4), pa.int64()],
    "text and whole numbers": [pa.int64(), pa.string(), pa.large_string()],
    "a file of nothing": [pa.int64(), pa.null(), pa.int64()],
    "doubles and nothing": [pa.float64(), pa.null(), pa.float64()],
}


@pytest.mark.parametrize("name", TYPES)
def column_of(fares: list[int | None], type_: Any) -> Any:
    if pa.types.is_null(type_):
        return pa.nulls(len(fares))
    numbers = pa.array(fares, pa.int64())
    if pa.types.is_decimal(type_):
        return numbers.cast(pa.decimal128(19, 0)).cast(pa.decimal128(38, 4)).cast(type_)
    return numbers.cast(type_)


@pytest.mark.parametrize("name", TYPES)
def test_a_column_of_other_types_in_other_files_is_the_same_numbers(tmp_path: Path, name: str) -> None:
    (tmp_path / "rides").mkdir()
    rides: list[Ride] = []
    for number, type_ in enumerate(TYPES[name]):
        fares = [None] * 3 if pa.types.is_null(type_) else [None, 210, 420]
        rides += [("001", "east", 7, fare) for fare in fares]
        same = {"customer": ["001"] * 3, "ward": ["east"] * 3, "hour": [7] * 3}
        pq.write_table(pa.table({**same, "fare": column_of(fares, type_)}), tmp_path / "rides" / f"{number}.parquet")
    assert taken_in(tmp_path, 'folder = "rides"\nkind = "parquet"') == expected(rides)


def test_a_column_of_other_types_in_other_files_is_the_same_customers(tmp_path: Path) -> None:
    for number, type_ in enumerate((pa.int8(), pa.float64(), pa.decimal128(5, 2), pa.string(), pa.int64())):
        pq.write_table(pa.table({"customer": column_of([1, 20], type_)}), tmp_path / f"{number}.parquet")
    file = SourceFile(tmp_path, said(f'folder = "{tmp_path.name}"\nkind = "parquet"'))
    assert [part.column("c0").to_pylist() for part in file.read(["customer"])] == [["1", "20"]] * 5


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give the names of the files that were opened for their rows, as they are."""
    names: list[str] = []

    def noting(path: Path, mapping: SourceMapping) -> OneTable:
        names.append(path.name)
        return open_table(path, mapping)

    monkeypatch.setattr("trust.node.sources.source_file.open_table", noting)
    return names


def test_of_a_source_that_grows_only_the_new_files_are_read(tmp_path: Path, opened: list[str]) -> None:
    folder = tmp_path / "rides"
    write_days(folder, {day: DAYS[day] for day in list(DAYS)[:2]})
    store = open_store(tmp_path, GROWS)
    store.load([VIEW])
    opened.clear()
    store.load([VIEW])
    assert opened == []
    write_days(folder, {"2024-04-03": DAYS["2024-04-03"], "2024-04-04": DAYS["2024-04-04"]})
    store.load([VIEW])
    assert taken(store) == expected(RIDES)
    assert set(opened) == {"2024-04-03.csv", "2024-04-04.csv"}
    report = msgspec.json.decode((tmp_path / "node/snapshots/rides.customer.loaded.json").read_bytes())
    assert (report["rows"], report["left_out"]) == (len(RIDES), 2)
    store.close()


def test_a_file_that_is_touched_and_not_changed_is_no_news(tmp_path: Path, opened: list[str]) -> None:
    write_days(tmp_path / "rides", DAYS)
    store = open_store(tmp_path, GROWS)
    store.load([VIEW])
    opened.clear()
    for path in (tmp_path / "rides").iterdir():
        os.utime(path, (1, 1))
    store.load([VIEW])
    assert opened == []
    store.close()


@pytest.mark.parametrize("change", ["changed", "gone", "renamed"])
def test_a_file_that_was_taken_in_and_is_changed_or_gone_is_refused_and_told(tmp_path: Path, change: str) -> None:
    write_days(tmp_path / "rides", DAYS)
    store = open_store(tmp_path, GROWS)
    store.load([VIEW])
    path = tmp_path / "rides" / "2024-04-02.csv"
    before = path.read_bytes()
    if change == "changed":
        path.write_bytes(before.replace(b"210", b"211"))
    elif change == "gone":
        path.unlink()
    else:
        path.rename(path.with_name("2024-04-02b.csv"))
    store.load([VIEW])
    assert taken(store) == expected(RIDES)
    refused = msgspec.json.decode((tmp_path / "node/snapshots/rides.customer.refused.json").read_bytes())
    assert "append_only" in refused["reason"]
    assert refused["detail"] == "2024-04-02.csv"
    store.close()
    with_all = GROWS.replace("append_only = true", "")
    store = open_store(tmp_path, with_all)  # the holder says that all are to be read anew
    store.load([VIEW])
    assert (taken(store) == expected(RIDES)) == (change == "renamed")
    store.close()
    path.with_name("2024-04-02b.csv").unlink(missing_ok=True)
    path.write_bytes(before)
    assert taken_in(tmp_path, GROWS) == expected(RIDES)


def test_a_file_between_the_others_has_everything_loaded_in_its_order(tmp_path: Path) -> None:
    write_days(tmp_path / "rides", {day: DAYS[day] for day in ("2024-04-01", "2024-04-03", "2024-04-04")})
    store = open_store(tmp_path, GROWS)
    store.load([VIEW])
    write_days(tmp_path / "rides", {"2024-04-02": DAYS["2024-04-02"]})
    store.load([VIEW])
    assert taken(store) == expected(RIDES)
    store.close()


def test_a_new_file_that_cannot_be_read_leaves_the_others_in_use(tmp_path: Path) -> None:
    write_days(tmp_path / "rides", DAYS)
    store = open_store(tmp_path, GROWS)
    store.load([VIEW])
    (tmp_path / "rides" / "2024-04-09.csv").write_text('customer,ward,hour,fare\n001,"east,7,210\n')
    store.load([VIEW])
    assert taken(store) == expected(RIDES)
    (tmp_path / "rides" / "2024-04-09.csv").write_text("customer,ward,hour,fare\n001,east,7,210\n")
    store.load([VIEW])
    assert taken(store) == expected([*RIDES, ("001", "east", 7, 210)])
    store.close()


def test_after_many_new_files_the_snapshot_is_written_as_one_and_no_old_file_is_read(
    tmp_path: Path, opened: list[str]
) -> None:
    folder = tmp_path / "rides"
    store = open_store(tmp_path, GROWS)
    rides: list[Ride] = []
    for number in range(MOST_PARTS + 3):
        day: list[Ride] = [("001", "east", number % 24, 10), ("002", "west", 7, number)]
        write_days(folder, {f"{number:03}": day})
        rides += day
        opened.clear()
        store.load([VIEW])
        assert taken(store) == expected(rides)
        assert set(opened) == {f"{number:03}.csv"}
    assert len(list((tmp_path / "node" / "snapshots").glob("*.parquet"))) < MOST_PARTS
    store.close()


steps = st.lists(
    st.one_of(
        st.tuples(st.just("file"), st.integers(0, 30)),
        st.tuples(st.just("between"), st.integers(0, 9)),
        st.tuples(st.just("link"), st.integers(1, 4)),
        st.tuples(st.just("erase"), st.integers(0, 8)),
        st.tuples(st.just("restart"), st.just(0)),
    ),
    min_size=2,
    max_size=9,
)


@settings(
    max_examples=amount(6, 150),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=steps, kind=st.sampled_from(["csv", "parquet"]), seed=st.integers(0, 2**32))
def test_what_is_taken_in_bit_by_bit_gives_the_very_views_of_a_load_of_everything(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int]], kind: str, seed: int
) -> None:
    folder = tmp_path_factory.mktemp("grows")
    chance = Random(seed)
    mapping = f'folder = "rides"\nkind = "{kind}"\nappend_only = true'
    store = open_unlinked(folder, mapping)
    links = dict(list(CUSTOMERS.items())[:3])
    erased: set[int] = set()
    store.set_links(links.items())
    write_days(folder / "rides", {"500": RIDES[:7]}, kind)
    last = 500
    for what, number in steps:
        if what in {"file", "between"}:
            last += what == "file"
            name = f"{last:03}" if what == "file" else f"{chance.randrange(100, 500):03}"
            if not (folder / "rides" / f"{name}.{kind}").exists():
                write_days(folder / "rides", {name: [chance.choice(RIDES) for _ in range(number)]}, kind)
        elif what == "link":
            links = dict(list(CUSTOMERS.items())[: len(links) + number])
            store.set_links((customer, slot) for customer, slot in links.items() if slot not in erased)
        elif what == "erase" and number < len(links):
            erased.add(number)
            store.erase_rows([number])
        elif what == "restart":
            store.close()
            store = open_unlinked(folder, mapping)
            store.set_links((customer, slot) for customer, slot in links.items() if slot not in erased)
        store.load([VIEW])
        bounded_rows(store)
    fresh = open_unlinked(folder, mapping, "fresh")
    fresh.set_links((customer, slot) for customer, slot in links.items() if slot not in erased)
    fresh.load([VIEW])
    assert taken(store) == taken(fresh)
    assert bounded_rows(store) == bounded_rows(fresh)
    store.close()
    fresh.close()


def test_which_file_was_refused_is_in_no_log_line(tmp_path: Path) -> None:
    write_days(tmp_path / "rides", {**DAYS, "resident-0071234": []})
    (tmp_path / "rides" / "resident-0071234.csv").write_text("customer\n")
    store = open_store(tmp_path, 'folder = "rides"\nkind = "csv"')
    with structlog.testing.capture_logs() as logs:
        store.load([VIEW])
        store.close()
    assert "source-refused" in [line["event"] for line in logs]
    assert "0071234" not in str(logs)


def test_the_file_of_several_that_is_damaged_is_told_with_its_name(tmp_path: Path) -> None:
    write_days(tmp_path / "rides", DAYS, "parquet")
    path = tmp_path / "rides" / "2024-04-02.parquet"
    path.write_bytes(path.read_bytes()[:-20])
    file = SourceFile(tmp_path / "rides", said('folder = "rides"\nkind = "parquet"'))
    with pytest.raises(FileRefused, match="damaged") as refused:
        file.columns()
    assert refused.value.detail == "2024-04-02.parquet"

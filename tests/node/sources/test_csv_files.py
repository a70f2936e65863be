"""A CSV file is read as RFC 4180 has it, and nobody's text in it reaches another's row."""

import csv
import io
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from msgspec import structs

from ledger.errors import NotReady, Unavailable
from tests.kit.amounts import amount
from tests.kit.node_tables import SECRET, hourly_plan, take_in
from trust.node.data.views import ViewStore
from trust.node.sources.csv_file import QuotesDoNotFit, header_of, read_columns

POLICY = "ab" * 32
ALL = np.ones(2_000, dtype=bool)
HEADER = b"customer,hour,note\n"
texts = st.text(alphabet=st.sampled_from('ab",\n\r é'), max_size=6)
wild_lines = st.text(alphabet=st.sampled_from('ab",'), max_size=8).map(lambda text: f"{text}\n".encode())


def as_rfc_4180(record: list[str]) -> bytes:
    """Return a record as any sound program writes it."""
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n", quoting=csv.QUOTE_ALL).writerow(record)
    return out.getvalue().encode()


sound_records = st.lists(texts, min_size=1, max_size=3).map(as_rfc_4180)
records = st.one_of(sound_records, sound_records, wild_lines)


def read(path: Path, data: bytes) -> list[tuple[str | None, ...]]:
    """Return every row of a file's three columns; raise what reading raises."""
    path.write_bytes(HEADER + data)
    parts = list(read_columns(path, [0, 1, 2]))
    rows = [tuple(row[f"c{place}"] for place in range(3)) for part in parts for row in part.to_pylist()]
    assert [number for part in parts for number in part["position"].to_pylist()] == list(range(len(rows)))
    return rows


def read_or_none(path: Path, data: bytes) -> list[tuple[str | None, ...]] | None:
    try:
        return read(path, data)
    except QuotesDoNotFit:
        return None


once_more = settings(
    max_examples=amount(150, 20_000),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.filter_too_much],
)


@once_more
@given(before=st.lists(records, max_size=4), line=records, after=st.lists(records, max_size=4))
@example(before=[b"1,7,x\n"], line=b'2,8,"5 pipe\n', after=[b"3,9,y\n"])
@example(before=[b"1,7,x\n"], line=b'2,8,"\n', after=[b"3,9,y\n", b'4,9,5"\n'])
@example(before=[b"1,7,x\n"], line=b'2,8,"\n', after=[b"3,9,y\n", b'4,",",9\n'])
@example(before=[], line=b'5"x,"abc\n', after=[b'7,",",8\n'])
@example(before=[], line=b'a"b"c,"x\n', after=[b"3,9,y\n", b'"",""\n'])
@example(before=[], line=b'a","\n', after=[b'",a"\n'])
def test_one_persons_line_leaves_everybody_elses_rows_as_they_were_or_the_file_is_refused(
    tmp_path: Path, before: list[bytes], line: bytes, after: list[bytes]
) -> None:
    """Whatever the line is, and wherever it stands among lines that were fine without it."""
    path = tmp_path / "rides.csv"
    first, rest = b"".join(before), b"".join(after)
    without, front = read_or_none(path, first + rest), read_or_none(path, first)
    assume(without is not None and front is not None)
    assert without is not None
    assert front is not None
    back = without[len(front) :]
    found = read_or_none(path, first + line + rest)
    if found is not None:
        assert found[: len(front)] == front
        assert found[len(found) - len(back) :] == back
        assert len(found) >= len(without)


@once_more
@given(st.lists(st.lists(texts, min_size=3, max_size=3), max_size=5), st.sampled_from(["\n", "\r\n", "\r"]))
def test_what_a_sound_program_writes_is_read_as_it_was(tmp_path: Path, rows: list[list[str]], end: str) -> None:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator=end, quoting=csv.QUOTE_ALL).writerows(rows)
    assert read(tmp_path / "rides.csv", out.getvalue().encode()) == [
        tuple(text or None for text in row) for row in rows
    ]


def test_a_value_that_is_not_utf_8_is_null_by_itself_and_short_and_long_lines_are_filled_and_cut(
    tmp_path: Path,
) -> None:
    data = b"1,\xff7,x\n2\n3,9,y,z\n\n\xfe,8,\xc3\xa9\n"
    assert read(tmp_path / "rides.csv", data) == [
        ("1", None, "x"),
        ("2", None, None),
        ("3", "9", "y"),
        (None, "8", "é"),
    ]


@pytest.mark.parametrize("header", [b"", b"\n", b"\xff\n", b'"open\n'])
def test_a_header_that_is_none_is_said(tmp_path: Path, header: bytes) -> None:
    (tmp_path / "rides.csv").write_bytes(header)
    with pytest.raises(Unavailable, match="header"):
        header_of(tmp_path / "rides.csv")


# Through the node's views.


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Callable[..., ViewStore]]:
    stores: list[ViewStore] = []

    def open_(path: Path, **others: Path) -> ViewStore:
        store = ViewStore(tmp_path / f"views-{len(stores)}.tmp", {"rides": path, **others}, SECRET)
        store.set_links([(f"{number:04}", number) for number in range(1_000)])
        stores.append(store)
        return store

    yield open_
    for store in stores:
        store.close()


def people(*odd: str) -> bytes:
    """Return a file of 999 people with one ride each, and of person 0002 as it is told."""
    lines = [f"{number:04},7,x" for number in range(1_000) if number != 2]
    return HEADER + "\n".join([*lines[:2], *odd, *lines[2:], ""]).encode()


def counted(store: ViewStore) -> int:
    plan = hourly_plan()
    take_in(store, POLICY, plan.view)
    return sum(store.vector(POLICY, plan, ALL)[: plan.cells])


@pytest.mark.parametrize(
    "odd", ['0002,7,"5 pipe', '0002,"7,"Bob', '0002,7,"', '0002,7,"5" pipe"', '0002,7,5" pipe', '0002,7,a"b"c']
)
def test_a_quote_that_is_not_closed_counts_nobody_out_and_the_last_good_file_is_kept(
    tmp_path: Path, opened: Callable[..., ViewStore], odd: str
) -> None:
    path = tmp_path / "rides.csv"
    path.write_bytes(people(odd))
    with pytest.raises(NotReady):
        counted(opened(path))
    path.write_bytes(people())
    store = opened(path)
    assert counted(store) == 999
    path.write_bytes(people(odd))
    assert counted(store) == counted(store) == 999
    path.write_bytes(people('0002,7,"5"" pipe\nof steel"'))
    assert counted(store) == 1_000


def test_a_path_is_one_files_name(tmp_path: Path, opened: Callable[..., ViewStore]) -> None:
    folder = tmp_path / "hour=7"
    folder.mkdir()
    for ending in ("csv", "parquet"):
        for name, hour in (("rides[1]", 3), ("rides1", 7), ("rides*", 4)):
            table = pa.table({"customer": ["0001"], "hour": [hour], "note": ["x"]})
            if ending == "csv":
                (folder / f"{name}.csv").write_bytes(HEADER + f"0001,{hour},x\n".encode())
            else:
                pq.write_table(table, folder / f"{name}.parquet")
        for name, hour in (("rides[1]", 3), ("rides*", 4)):
            store, plan = opened(folder / f"{name}.{ending}"), hourly_plan()
            take_in(store, POLICY, plan.view)
            vector = store.vector(POLICY, plan, ALL)
            assert [place for place, number in enumerate(vector[: plan.cells]) if number] == [hour], (ending, name)


def test_questions_leave_nothing_behind_in_the_engine(tmp_path: Path, opened: Callable[..., ViewStore]) -> None:
    path = tmp_path / "rides.csv"
    path.write_bytes(people())
    store = opened(path)

    def names() -> int:
        return len(
            store._engine.con.execute(
                "SELECT table_name FROM duckdb_tables() UNION ALL SELECT view_name FROM duckdb_views() WHERE NOT internal"
            ).fetchall()
        )

    counted(store)
    before = names()
    for number in range(20):
        store.set_links([(f"new {number}", 1_000 + number)])
        counted(store)
    assert names() == before


def test_a_file_that_kills_engines_touches_no_other_source(tmp_path: Path, opened: Callable[..., ViewStore]) -> None:
    path, deadly = tmp_path / "rides.csv", tmp_path / "deadly.parquet"
    path.write_bytes(people())
    moments = pa.array([-(2**63), 7], pa.timestamp("us"))
    pq.write_table(pa.table({"customer": ["0001", "0002"], "hour": moments}), deadly)
    store = opened(path, deadly=deadly)
    plan = hourly_plan()
    take_in(store, POLICY, structs.replace(plan.view, name="deadly", source="deadly"))
    assert counted(store) == 999


def test_a_field_of_any_length_refuses_no_file_and_is_null_by_itself_past_the_longest(tmp_path: Path) -> None:
    path = tmp_path / "long.csv"
    path.write_text(f'a,b\n1,{"x" * 131_072}\n2,{"x" * 131_073}\n3,"{"y" * 999_999}"\n4,z\n')
    (part,) = read_columns(path, [0, 1])
    assert part["c0"].to_pylist() == ["1", "2", "3", "4"]
    assert [value and len(value) for value in part["c1"].to_pylist()] == [131_072, None, None, 1]

"""A holder is told true lines, copies, rows of other lengths and bytes that are no text, whatever the source is."""

import json
import sqlite3
from pathlib import Path

import duckdb
import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from policies.policy_document import Category, Measure
from tests.kit.node_tables import SECRET, TITLE, view_over
from trust.cli.operator.node_check import show_source
from trust.node.check.file_check import check_source
from trust.node.check.findings import Copies, SourceFindings, UnevenRows, ValueCount
from trust.node.check.own_record import OwnRecord
from trust.node.data.load_report import LoadReport, last_report
from trust.node.data.views import ViewStore
from trust.node.local.holder_page import HolderPage, render_holder_page
from trust.node.local.look import Looked
from trust.node.sources import csv_blocks
from trust.node.sources.csv_file import CsvForm, QuotesDoNotFit, lines_of, read_columns
from trust.node.sources.mapping import SourceMapping
from trust.node.sources.source_file import SourceFile
from trust.node.sources.tables.one_table import RowPlace

VIEW = view_over(
    "rides",
    Category(name="ward", title=TITLE, values=["east", "west"]),
    Measure(name="fare", title=TITLE, lo=0, hi=500),
)
LINKED = ["1", "2"]


def look(path: Path, mapping: SourceMapping) -> SourceFindings:
    return check_source("rides", SourceFile(path, mapping), [("mobility", VIEW)], LINKED, path.parent / "spill")


def loaded(path: Path, mapping: SourceMapping) -> tuple[LoadReport, list[dict[str, object]]]:
    """Have a node take a source in; return its report, and what it logs."""
    store = ViewStore(path.parent / "node", {"rides": path}, SECRET, {"rides": mapping})
    try:
        store.set_links([(customer, slot) for slot, customer in enumerate(LINKED)])
        with structlog.testing.capture_logs() as logs:
            store.load([VIEW])
    finally:
        store.close()
    (kept,) = (path.parent / "node" / "snapshots").glob("rides.*.loaded.json")
    report = last_report(kept)
    assert report is not None
    return report, [dict(line) for line in logs]


def shown(found: SourceFindings, capsys: pytest.CaptureFixture[str]) -> str:
    show_source(found)
    return " ".join(capsys.readouterr().out.split())


def page(found: SourceFindings, language: str) -> str:
    looked = Looked(at=0, found=[found])
    return render_holder_page(
        HolderPage(holder="bus_co", town="t", zone="UTC", looked=looked, since=None, record=OwnRecord()), language
    )


@pytest.fixture(params=["rides (1).csv", "rides - コピー.csv"])
def folder(tmp_path: Path, request: pytest.FixtureRequest) -> Path:
    """A folder of days in which one was copied, and two have no rows."""
    made = tmp_path / "rides"
    made.mkdir()
    day = "customer,ward,fare\n1,east,100\n2,west,200\n"
    for name, text in (("rides.csv", day), (request.param, day), ("x.csv", day + "1,west,3\n")):
        (made / name).write_text(text, "utf-8")
    for name in ("empty-1.csv", "empty-2.csv"):
        (made / name).write_text("customer,ward,fare\n")
    return made


@pytest.mark.parametrize("is_glob", [False, True])
def test_files_that_are_copies_are_told_at_load_by_the_check_and_on_the_page_and_counted_all_the_same(
    folder: Path, is_glob: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    mapping = SourceMapping(glob="rides/*.csv") if is_glob else SourceMapping(folder="rides", kind="csv")
    path = folder / "*.csv" if is_glob else folder
    found = look(path, mapping)
    (copies,) = found.copies  # the two without rows do no harm
    assert copies.of_bytes
    assert "rides.csv" in copies.files
    assert len(copies.files) == 2
    assert found.rows == 7
    said = shown(found, capsys)
    assert all(name in said for name in copies.files)
    for language, words in (("ja", "二重に数えられます"), ("en", "counts more than once")):
        assert words in page(found, language)
        assert copies.files[0] in page(found, language)
    report, logs = loaded(folder / "*.csv" if is_glob else folder, mapping)
    assert report.copies == [copies.files]
    (odd,) = [line for line in logs if line["event"] == "file-looked-odd"]
    assert "musubi node check" in str(odd["why"])
    assert not any(name in json.dumps(logs, ensure_ascii=False) for name in copies.files)


def test_a_file_saved_anew_with_the_same_rows_is_told_as_one_that_has_them(tmp_path: Path) -> None:
    folder = tmp_path / "rides"
    folder.mkdir()
    rows = [f"{number},east,{number}" for number in range(20)]
    (folder / "a.csv").write_text("\n".join(["customer,ward,fare", *rows]))
    (folder / "b.csv").write_bytes("\r\n".join(["\ufeffcustomer,ward,fare", *reversed(rows)]).encode())
    (folder / "c.csv").write_text("\n".join(["customer,ward,fare", *rows[1:], "20,east,20"]))
    found = look(folder, SourceMapping(folder="rides", kind="csv"))
    assert found.copies == [Copies(files=["a.csv", "b.csv"], of_bytes=False)]


LINES = b'customer,ward,fare\n\n1,"ea\nst",1\n\n\n,east,1\n2,"a\n\nb",1\n,west,3\n'


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
@pytest.mark.parametrize("encoding", ["utf-8", "cp932", "utf-16"])
def test_lines_are_those_of_a_text_editor_behind_blank_lines_and_values_of_several(
    tmp_path: Path, end: bytes, encoding: str
) -> None:
    path = tmp_path / "rides.csv"
    text = (b"title\n" + LINES).replace(b"\n", end).decode()
    path.write_bytes(text.encode(encoding))
    found = look(path, SourceMapping(file="rides.csv", encoding=encoding, skip=1))  # type: ignore[arg-type] # one of them
    assert [(each.why, each.places) for each in found.left_out] == [("no customer", [RowPlace(8), RowPlace(12)])]


FIELD = st.sampled_from(["", "1", '"a"', '"a\n"', '"\r\n\n"', '"x""\n"'])
END = st.sampled_from(["\n", "\r\n", "\r", "\n\n", "\r\r\n"])


@given(st.lists(st.tuples(FIELD, FIELD, END), max_size=30), st.integers(4, 60))
def test_every_row_begins_in_the_line_where_it_stands_in_whatever_bits_the_file_is_read(
    tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], bit: int
) -> None:
    path = tmp_path_factory.mktemp("lines") / "rides.csv"
    text, meant = "a,b\n", []
    for one, other, end in rows:
        meant.append(text.replace("\r\n", "\n").replace("\r", "\n").count("\n") + 1)
        text += f"{one},{other}{end}"
        if end == "\r" and len(meant) < len(rows):
            continue  # what follows is a field, never a line's other half
    path.write_bytes(text.encode())
    whole = csv_blocks.BLOCK_BYTES
    csv_blocks.BLOCK_BYTES = bit
    try:
        assert lines_of(path, range(len(meant))) == meant
    finally:
        csv_blocks.BLOCK_BYTES = whole
    assert sum(part.num_rows for part in read_columns(path, [0])) == len(meant)


def test_a_quote_that_does_not_fit_is_told_by_the_line_where_its_row_begins(tmp_path: Path) -> None:
    path = tmp_path / "rides.csv"
    path.write_text('customer,ward,fare\n\n1,"a\nb",1\n2,"east,1\n' + "1,west,1\n" * 50)
    with pytest.raises(QuotesDoNotFit) as refused:
        list(read_columns(path, [0]))
    assert refused.value.line == 5


def test_of_several_files_a_line_is_one_of_its_own_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "rides"
    folder.mkdir()
    (folder / "a.csv").write_text("customer,ward,fare\n\n1,east,1\n,east,1\n")
    (folder / "b.csv").write_text("customer,ward,fare\n,east,1\n1,east,1\n,east,2\n")
    found = look(folder, SourceMapping(folder="rides", kind="csv"))
    (left,) = found.left_out
    assert left.places == [RowPlace(4, "line", "a.csv"), RowPlace(2, "line", "b.csv"), RowPlace(4, "line", "b.csv")]
    assert "In a.csv: line 4; b.csv: lines 2, 4" in shown(found, capsys)
    assert "b.csv の 2, 4 行目" in page(found, "ja").replace("、", ", ")


TABLE = {"customer": ["1", None, "2"], "ward": ["east", "west", "west"], "fare": [1, 2, 3]}


def _parquet(path: Path) -> None:
    pq.write_table(pa.table(TABLE), path)


def _sqlite(path: Path) -> None:
    with sqlite3.connect(path) as engine:
        engine.execute("CREATE TABLE rides (customer, ward, fare)")
        engine.executemany("INSERT INTO rides VALUES (?, ?, ?)", zip(*TABLE.values(), strict=True))
    engine.close()


def _duckdb(path: Path) -> None:
    with duckdb.connect(str(path)) as engine:
        engine.register("given", pa.table(TABLE))
        engine.execute("CREATE TABLE rides AS FROM given")


def _xlsx(path: Path) -> None:
    book = openpyxl.Workbook()
    book.active.append(list(TABLE))
    book.active.append([])
    for row in zip(*TABLE.values(), strict=True):
        book.active.append(row)
    book.save(path)


@pytest.mark.parametrize(
    ("name", "write", "row"),
    [("r.parquet", _parquet, 2), ("r.sqlite", _sqlite, 2), ("r.duckdb", _duckdb, 2), ("r.xlsx", _xlsx, 4)],
)
def test_what_has_no_lines_is_told_by_its_row(
    tmp_path: Path, name: str, write: object, row: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert callable(write)
    write(tmp_path / name)
    table = "rides" if name.endswith(("sqlite", "duckdb")) else ""
    found = look(tmp_path / name, SourceMapping(file=name, table=table))
    assert [each.places for each in found.left_out] == [[RowPlace(row, "row")]]
    said = shown(found, capsys)
    assert f"In row {row}" in said
    assert "line" not in said


def test_bytes_that_are_not_of_the_encoding_are_shown_among_what_is_not_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "rides.csv"
    bad = "中央区".encode()[:-1]
    path.write_bytes(b"customer,ward,fare\n" + b"1," + bad + b",1\n" + b"1," + bad + b",2\n\xff,east,3\n1,,\xfe\n")
    found = look(path, SourceMapping(file="rides.csv"))
    ward, fare = found.views[0].columns
    assert (ward.null, ward.unread, ward.outside) == (1, 2, 0)
    assert ward.examples == [ValueCount(value="中央\ufffd", rows=2, not_in="UTF-8")]
    assert (fare.null, fare.unread, fare.examples) == (0, 1, [ValueCount(value="\ufffd", rows=1, not_in="UTF-8")])
    assert [(each.why, each.places) for each in found.left_out] == [("customer not read", [RowPlace(4)])]
    assert "not UTF-8: '中央\ufffd' 2 ×" in shown(found, capsys)
    assert "UTF-8 ではない" in page(found, "ja")


@pytest.mark.parametrize("is_careful", [False, True])
def test_bytes_that_are_not_cp932_are_shown_by_both_readers(tmp_path: Path, is_careful: bool) -> None:
    path = tmp_path / "rides.csv"
    more = b"2,west\n" if is_careful else b""  # rows of several lengths are for the careful reader
    path.write_bytes(b"customer,ward,fare\n1," + "駅".encode("cp932") + b"\x89,1\n" + more)
    found = look(path, SourceMapping(file="rides.csv", encoding="cp932"))
    assert found.views[0].columns[0].examples[0] == ValueCount(value="駅\ufffd", rows=1, not_in="CP932 (Shift_JIS)")


def test_what_has_a_type_and_is_not_read_is_not_taken_for_empty(tmp_path: Path) -> None:
    path = tmp_path / "rides.parquet"
    columns = {
        "customer": pa.array(["1", "1", "1", "2"]),
        "ward": pa.array([b"east", b"\xe4\xb8", None, b"west"], pa.binary()),
        "fare": pa.array([1.0, float("nan"), None, 2.0]),
    }
    pq.write_table(pa.table(columns), path)
    ward, fare = look(path, SourceMapping(file="rides.parquet")).views[0].columns
    assert (ward.null, ward.unread) == (1, 1)
    assert ward.examples == [ValueCount(value="\ufffd", rows=1, not_in="UTF-8")]
    assert (fare.null, fare.unread, fare.examples) == (1, 1, [ValueCount(value="nan", rows=1)])
    listed = pa.array([["a"], ["b"], None, ["c"]])
    pq.write_table(pa.table({**columns, "ward": listed}), path)
    ward, _ = look(path, SourceMapping(file="rides.parquet")).views[0].columns
    assert (ward.null, ward.unread) == (1, 3)
    assert ward.examples[0].value.startswith("(list<")


def test_an_error_of_a_spreadsheet_and_bytes_of_a_database_are_not_taken_for_empty(tmp_path: Path) -> None:
    book = openpyxl.Workbook()
    for row in (["customer", "ward", "fare"], ["1", "#N/A", 1], ["1", None, 2]):
        book.active.append(row)
    book.active["B2"].data_type = "e"
    book.save(tmp_path / "r.xlsx")
    (ward, _) = look(tmp_path / "r.xlsx", SourceMapping(file="r.xlsx")).views[0].columns
    assert (ward.null, ward.unread, ward.examples) == (1, 1, [ValueCount(value="#N/A", rows=1)])
    with sqlite3.connect(tmp_path / "r.sqlite") as engine:
        engine.execute("CREATE TABLE rides (customer, ward, fare)")
        engine.execute("INSERT INTO rides VALUES ('1', X'ff', 1)")
    engine.close()
    (ward, _) = look(tmp_path / "r.sqlite", SourceMapping(file="r.sqlite", table="rides")).views[0].columns
    assert ward.examples == [ValueCount(value="\ufffd", rows=1, not_in="UTF-8")]


UNEVEN = {
    "some longer": ("1,east,1\n\n1,east,1,200\n2,west,2\n1,east,1,300\n", [(True, 2, 4)]),
    "all longer": ("1,east,1,9\n2,west,2,9\n", [(True, 2, 2)]),
    "some shorter": ('1,"ea\nst",1\n1,east\n2,west,2\n', [(False, 1, 4)]),
    "all shorter": ("1,east\n2,west\n", [(False, 2, 2)]),
    "both": ("1,east,1\n1,east\n2,west,1,5\n", [(True, 1, 4), (False, 1, 3)]),
    "commas at the end": ("1,east,1,,\n2,west,2,,\n1,east,3\n", []),
    "none": ("1,east,1\n2,west,2\n", []),
}


@pytest.mark.parametrize("of", UNEVEN)
def test_rows_of_other_lengths_than_the_header_are_told_at_load_and_by_the_check(
    tmp_path: Path, of: str, capsys: pytest.CaptureFixture[str]
) -> None:
    text, meant = UNEVEN[of]
    path = tmp_path / "rides.csv"
    path.write_text("customer,ward,fare\n" + text)
    mapping = SourceMapping(file="rides.csv")
    found = look(path, mapping)
    assert found.uneven == [
        UnevenRows(are_longer=longer, rows=rows, first=RowPlace(line), delimiter=",") for longer, rows, line in meant
    ]
    said, japanese = shown(found, capsys), page(found, "ja")
    for longer, _, line in meant:
        assert ("more" if longer else "fewer") + f" fields than the header, the first of them in line {line}" in said
        assert "見出しより項目の" + ("多い" if longer else "少ない") in japanese
    report, logs = loaded(path, mapping)
    assert (report.long_rows, report.short_rows) == tuple(
        sum(rows for longer, rows, _ in meant if longer is of_long) for of_long in (True, False)
    )
    odd = [line for line in logs if line["event"] == "file-looked-odd"]
    assert len(odd) >= bool(meant)
    assert not any(character.isdigit() for line in odd for character in json.dumps(line))


def test_rows_of_other_lengths_in_files_that_came_later_are_counted_with_those_before(tmp_path: Path) -> None:
    folder = tmp_path / "rides"
    folder.mkdir()
    mapping = SourceMapping(folder="rides", kind="csv", append_only=True)
    (folder / "1.csv").write_text("customer,ward,fare\n1,east,1,2\n")
    assert loaded(folder, mapping)[0].long_rows == 1
    (folder / "2.csv").write_text("customer,ward,fare\n1,east,1,2\n1,east\n")
    report, _ = loaded(folder, mapping)
    assert (report.rows, report.long_rows, report.short_rows) == (3, 2, 1)


def test_whoever_waits_is_told_how_many_rows_were_read(tmp_path: Path) -> None:
    path = tmp_path / "rides.csv"
    path.write_text("customer,ward,fare\n" + "1,east,1\n" * 1_000)
    told: list[int] = []
    file = SourceFile(path, SourceMapping(file="rides.csv"))
    found = check_source("rides", file, [("mobility", VIEW)], LINKED, tmp_path / "spill", told.append)
    assert told[-1] == found.rows == 1_000
    assert structs.asdict(found)["rows"] == 1_000
    assert CsvForm() == file.mapping.csv

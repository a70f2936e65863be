"""A sheet is read cell by cell: each by its rule or null, whatever stands beside it."""

import datetime as dt
import re
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import openpyxl
import pytest

from tests.kit.source_kinds import said
from trust.node.check.file_check import check_source
from trust.node.sources.kinds import LONGEST
from trust.node.sources.source_file import SourceFile
from trust.node.sources.tables.one_table import FileRefused

CELLS: list[tuple[Any, str, str | None]] = [
    ("0012", "General", "0012"),
    (12, "General", "12"),
    (13.0, "General", "13"),
    (13.0, "0.00", "13"),
    (2.5, "General", "2.5"),
    (-0.0, "General", "0"),
    (1e20, "General", "1.0000000000000000E+20"),
    (1e-7, "General", "1e-07"),
    (2**53, "General", "9.00719925474099E+15"),
    (True, "General", "true"),
    ("TRUE", "General", "TRUE"),
    (dt.datetime(2024, 4, 1), "yyyy-mm-dd", "2024-04-01"),  # noqa: DTZ001 - a sheet has no zones
    (dt.datetime(2024, 4, 1), "yyyy-mm-dd hh:mm", "2024-04-01 00:00:00"),  # noqa: DTZ001
    (dt.datetime(2024, 4, 1, 7, 5), "yyyy-mm-dd", "2024-04-01 07:05:00"),  # noqa: DTZ001
    (dt.time(8, 5), "hh:mm", "08:05:00"),
    (dt.timedelta(hours=30, minutes=5), "[h]:mm", "30:05:00"),
    (45383, "General", "45383"),
    ("中央区　", "General", "中央区　"),
    ("a\nb", "General", "a\nb"),
    ("#N/A", "General", None),
    ("#DIV/0!", "General", None),
    ("=1/0", "General", None),
    ("", "General", None),
    (None, "General", None),
    (1e10, "yyyy-mm-dd", None),
    (1e300, "yyyy-mm-dd", None),
    (2_958_466, "yyyy", None),
    (1e12, "[h]:mm", None),
    ("x" * 32_767, "General", "x" * 32_767),
]
"""What a cell holds, the format that it is shown in, and what is read."""


def write(path: Path, rows: list[tuple[Any, str]], before: int = 0) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.title = "乗車"
    for line in range(before):
        sheet.append([f"title {line}"])
    sheet.append(["customer", "value", "last"])
    for number, (value, shown) in enumerate(rows):
        sheet.append([f"c{number}", value, number])
        sheet.cell(sheet.max_row, 2).number_format = shown
    book.save(path)


def read(path: Path, more: str = "", columns: tuple[str, ...] = ("customer", "value", "last")) -> list[tuple[Any, ...]]:
    file = SourceFile(path, said(f'file = "{path.name}"\n{more}'))
    rows = [row for part in file.read(columns) for row in part.to_pylist()]
    return [tuple(row[f"c{number}"] for number in range(len(columns))) for row in rows]


def with_cells(path: Path, cells: str) -> None:
    """Have a workbook whose second line is as it is written here."""
    write(path, [(1, "General")])
    with zipfile.ZipFile(path) as old:
        parts = {name: old.read(name) for name in old.namelist()}
    sheet = "xl/worksheets/sheet1.xml"
    line = r'<row r="2".*?</row>'
    parts[sheet] = re.sub(line, lambda _: cells, parts[sheet].decode(), flags=re.DOTALL).encode()
    with zipfile.ZipFile(path, "w") as made:
        for name, data in parts.items():
            made.writestr(name, data)


def test_each_cell_is_read_by_its_rule_and_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "rides.xlsx"
    write(path, [(value, shown) for value, shown, _ in CELLS])
    assert read(path) == [(f"c{number}", text, str(number)) for number, (*_, text) in enumerate(CELLS)]
    for value, shown, text in CELLS:
        write(path, [(value, shown)])
        assert read(path) == [("c0", text, "0")]


READ_IT = """
import sys
from pathlib import Path
from trust.node.sources.source_file import SourceFile
print(sum(part.num_rows for part in SourceFile(Path(sys.argv[1])).read(["value"])))
"""


def test_nothing_that_the_reader_prints_repeats_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "rides.xlsx"
    write(path, [(value, shown) for value, shown, _ in CELLS])
    done = subprocess.run([sys.executable, "-c", READ_IT, str(path)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == (f"{len(CELLS)}\n", "")


def test_a_cell_in_the_last_place_of_a_sheet_costs_no_more_than_itself(tmp_path: Path) -> None:
    path = tmp_path / "rides.xlsx"
    with_cells(
        path,
        '<row r="2"><c r="A2" t="inlineStr"><is><t>c0</t></is></c></row>'
        '<row r="1048576"><c r="XFD1048576"><v>1</v></c></row>',
    )
    assert read(path, columns=("customer",)) == [("c0",), (None,)]


@pytest.mark.parametrize("more", ['sheet = "乗車"', ""])
def test_titles_and_merged_cells_before_the_header_are_passed_over(tmp_path: Path, more: str) -> None:
    path = tmp_path / "rides.xlsx"
    write(path, [("a", "General"), ("b", "General")], before=3)
    book = openpyxl.load_workbook(path)
    book["乗車"].merge_cells("A1:C2")
    book.save(path)
    assert read(path, f"skip = 3\n{more}") == [("c0", "a", "0"), ("c1", "b", "1")]
    assert read(path, f'skip = 4\nnames = ["customer", "value", "last"]\n{more}') == [
        ("c0", "a", "0"),
        ("c1", "b", "1"),
    ]


def test_of_merged_cells_the_first_alone_has_the_value_and_an_empty_row_is_none(tmp_path: Path) -> None:
    path = tmp_path / "rides.xlsx"
    write(path, [("a", "General"), ("b", "General"), (None, "General")])
    book = openpyxl.load_workbook(path)
    sheet = book["乗車"]
    sheet.merge_cells("B2:B3")
    for column in "ABC":
        sheet[f"{column}4"] = None
    sheet.append(["c3", "d", 3])
    book.save(path)
    assert read(path) == [("c0", "a", "0"), ("c1", None, "1"), ("c3", "d", "3")]


def test_the_lines_that_a_holder_is_shown_are_those_of_the_sheet(tmp_path: Path) -> None:
    path = tmp_path / "rides.xlsx"
    write(path, [("a", "General")] * 3, before=2)
    book = openpyxl.load_workbook(path)
    book["乗車"]["A5"] = None
    book.save(path)
    file = SourceFile(path, said('file = "rides.xlsx"\nskip = 2\ncolumns = { ward = "value" }'))
    from tests.kit.source_kinds import VIEW

    found = check_source("rides", file, [("mobility", VIEW)], [], tmp_path / "spill")
    assert found.refused == ""
    assert [(each.why, [(place.unit, place.number) for place in each.places]) for each in found.left_out] == [
        ("no customer", [("row", 5)]),
        ("not linked", [("row", 4), ("row", 6)]),
    ]


def test_of_several_sheets_one_has_to_be_said(tmp_path: Path) -> None:
    path = tmp_path / "rides.xlsx"
    write(path, [("a", "General")])
    book = openpyxl.load_workbook(path)
    book.create_sheet("集計").append(["total"])
    book.save(path)
    with pytest.raises(FileRefused, match="several sheets") as refused:
        SourceFile(path).columns()
    assert refused.value.detail == "乗車, 集計"
    with pytest.raises(FileRefused, match="no sheet of that name"):
        read(path, 'sheet = "2024"')
    assert read(path, 'sheet = "乗車"') == [("c0", "a", "0")]


def test_readers_read_the_text_of_a_cell(tmp_path: Path) -> None:
    path = tmp_path / "rides.xlsx"
    write(path, [(dt.datetime(2024, 4, 1, 7, 5), "yyyy/m/d h:mm"), ("2024/4/1 23:10", "General"), (7, "General")])  # noqa: DTZ001
    more = 'columns = { hour = { from = "value", read = ["hour"] } }'
    assert [row[0] for row in read(path, more, ("hour",))] == ["7", "23", None]


DAMAGED = {
    "a text where a number is": '<row r="2"><c r="A2"><v>abc</v></c></row>',
    "a shared text that is not there": '<row r="2"><c r="A2" t="s"><v>99999</v></c></row>',
    "a day that is none": '<row r="2"><c r="A2" t="d"><v>2024-13-01</v></c></row>',
    "a number without end": f'<row r="2"><c r="A2"><v>{"9" * 5_000}</v></c></row>',
    "a place that is none": '<row r="2"><c r="ZZZZZ2"><v>1</v></c></row>',
    "an element that is not closed": '<row r="2"><c r="A2">',
}


@pytest.mark.parametrize("name", DAMAGED)
def test_a_workbook_that_no_program_writes_is_damaged_and_ends_no_process(tmp_path: Path, name: str) -> None:
    path = tmp_path / "rides.xlsx"
    with_cells(path, DAMAGED[name])
    with pytest.raises(FileRefused, match="damaged"):
        read(path)


def test_a_workbook_that_unpacks_to_more_than_two_gibibytes_is_refused_before_it_is(tmp_path: Path) -> None:
    path = tmp_path / "rides.xlsx"
    write(path, [("a", "General")])
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as made,
        made.open("xl/media/big", "w", force_zip64=True) as big,
    ):
        for _ in range(2**31 // 2**24 + 1):
            big.write(bytes(2**24))
    with pytest.raises(FileRefused, match="too large for a spreadsheet"):
        read(path)


def test_a_text_past_the_longest_is_null() -> None:
    from trust.node.sources.tables.values import text_of_value

    assert text_of_value("x" * LONGEST) == "x" * LONGEST
    assert text_of_value("x" * (LONGEST + 1)) is None

"""A holder is shown what became of each row and value of its file: counted here by hand."""

from pathlib import Path

import msgspec
import pytest
from msgspec import structs

from policies.policy_document import Category, Measure, Range, Time
from tests.kit.node_tables import view_over
from tests.kit.towns.toy_town import MOBILITY
from trust.node.check.file_check import check_source
from trust.node.check.findings import ColumnFindings, Kept, LeftOut, SourceFindings, ValueCount
from trust.node.sources.mapping import SourceMapping
from trust.node.sources.source_file import SourceFile
from trust.node.sources.tables.one_table import RowPlace

TEXT = MOBILITY.title
VIEW = view_over(
    "rides",
    Category(name="ward", title=TEXT, values=["east", "west"]),
    Range(name="hour", title=TEXT, lo=0, hi=23),
    Measure(name="fare", title=TEXT, lo=0, hi=500),
    Measure(name="tip", title=TEXT, lo=0, hi=9),
)
FILE = """customer,ward,hour,fare
007,east,7,210
007,east,8:05,210
007,east,9,
007,west,9,900
008,west　,24,-1
,east,7,210
009,west　,7,1e3
008,north,7,"1,200"
"""


def look(path: Path, mapping: str = "", linked: tuple[str, ...] = ("007", "010")) -> SourceFindings:
    said = msgspec.toml.decode(f'file = "{path.name}"\n{mapping}', type=SourceMapping)
    return check_source("rides", SourceFile(path, said), [("mobility", VIEW)], linked, path.parent / "spill")


def test_each_row_and_value_is_counted_where_it_went(tmp_path: Path) -> None:
    path = tmp_path / "rides.csv"
    path.write_text(FILE)
    found = look(path)
    (view,) = found.views
    assert (found.rows, found.customers, found.linked, found.linked_here) == (8, 3, 2, 1)
    assert found.left_out == [
        LeftOut(why="no customer", rows=1, places=[RowPlace(7)]),
        LeftOut(why="not linked", rows=3, places=[RowPlace(6), RowPlace(8), RowPlace(9)]),
    ]
    assert view.columns == [
        ColumnFindings(
            column="ward",
            in_file="ward",
            kind="category",
            outside=3,
            examples=[ValueCount(value="west　", rows=2), ValueCount(value="north", rows=1)],
        ),
        ColumnFindings(
            column="hour",
            in_file="hour",
            kind="range",
            unread=1,
            outside=1,
            examples=[ValueCount(value="24", rows=1), ValueCount(value="8:05", rows=1)],
        ),
        ColumnFindings(
            column="fare",
            in_file="fare",
            kind="measure",
            null=1,
            unread=1,
            clipped=3,
            examples=[ValueCount(value=value, rows=1) for value in ("-1", "1,200", "1e3", "900")],
        ),
        ColumnFindings(column="tip", in_file="tip", kind="measure", missing=True),
    ]
    assert view.keeps == [
        Kept(rows_per_resident=most, rows=rows) for most, rows in [(1, 3), (2, 5), (3, 6), (5, 7)]
    ] + [Kept(rows_per_resident=most, rows=7) for most in (10, 20)]


def test_a_time_that_is_none_of_its_unit_or_outside_the_bounds_is_shown_as_it_stands(tmp_path: Path) -> None:
    path = tmp_path / "rides.csv"
    path.write_text("customer,on\n1,2026-10-01\n1,2026-10-05 07:05\n1,2026/10/6\n1,2026-W42\n1,\n1,2027-10-01\n")
    days = Time(name="on", title=TEXT, unit="day", first="2026-10-01", last="2026-10-31")
    view = structs.replace(VIEW, columns=[days])
    (seen,) = check_source("rides", SourceFile(path), [("mobility", view)], ["1"], tmp_path / "spill").views
    assert seen.columns == [
        ColumnFindings(
            column="on",
            in_file="on",
            kind="time",
            null=1,
            unread=2,
            outside=1,
            examples=[ValueCount(value=value, rows=1) for value in ("2026-W42", "2026/10/6", "2027-10-01")],
        )
    ]


def test_what_a_mapping_reads_is_no_longer_unread(tmp_path: Path) -> None:
    path = tmp_path / "rides.csv"
    path.write_text(FILE)
    (view,) = look(
        path,
        'columns = { ward = { read = ["strip"] }, hour = { read = ["hour"] }, fare = { read = ["number"] } }',
    ).views
    ward, hour, fare, _ = view.columns
    assert (ward.outside, [each.value for each in ward.examples]) == (1, ["north"])
    assert hour.unread == 6  # a bare number is no time of a day
    assert (fare.unread, [each.value for each in fare.examples]) == (1, ["-1", "1,200", "1e3", "900"])


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "no header line"),
        (b"\xff\xfe\x00", "no header line"),
        (b'customer,ward\n007,"east\n', "quote"),
        (b"name,age\nx,1\n", "No column of this file"),
    ],
)
def test_a_file_that_is_refused_says_the_sentence_that_helps(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "rides.csv"
    path.write_bytes(data)
    assert said in look(path).refused

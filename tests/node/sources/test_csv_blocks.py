"""The quick reader of CSV gives the careful reader's rows, or its refusal, of any bytes: also where its blocks meet."""

import csv
import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.kit.amounts import amount
from trust.node.sources import csv_blocks, csv_file
from trust.node.sources.csv_blocks import NotVouchedFor
from trust.node.sources.csv_file import CsvForm, QuotesDoNotFit, read_carefully, read_columns

WANTED = [1, 0, 3, 1]
SIGNS = [*"""aé会",;'|\t""", "\n", "\r", "\r\n", "\x00", "\ufeff", "\ud800", "\x85", "\u2028", " ", "ab,c\n", '"a",']
ODD_BYTES = [
    b"\xff",
    b"\xe4",
    b"\xe3\x81",
    b"\xed\xa0\x80",
    b"\x81",
    b"\x81|",
    b"\x8a\x27",
    b"\x00",
    b"\xf0\x9f\x98",
    b"\xc0\x80",
]

forms = st.builds(
    CsvForm,
    encoding=st.sampled_from(["utf-8", "utf-8", "cp932", "utf-16"]),
    delimiter=st.sampled_from([",", ",", ";", "\t", "|"]),
    quote=st.sampled_from(['"', '"', "'"]),
    skip=st.sampled_from([0, 0, 0, 1, 2]),
    names=st.sampled_from([[], ["a", "b"]]),
)
pieces = st.one_of(st.sampled_from(SIGNS), st.sampled_from(ODD_BYTES))
sound_rows = st.lists(st.lists(st.text(alphabet="ab,\"'\n\r;会", max_size=4), min_size=1, max_size=4), max_size=6)


def encoded(form: CsvForm, said: list[str | bytes]) -> bytes:
    data = b"".join(
        each if isinstance(each, bytes) else each.encode(form.encoding.replace("16", "16-le"), "replace")
        for each in said
    )
    return (b"\xff\xfe" if form.encoding == "utf-16" else b"") + data


def written(form: CsvForm, rows: list[list[str]], how: Any) -> bytes:
    """Return records as any sound program writes them."""
    out = io.StringIO(newline="")
    quoting, end = how
    csv.writer(out, delimiter=form.delimiter, quotechar=form.quote, quoting=quoting, lineterminator=end).writerows(rows)
    return encoded(form, [out.getvalue()])


def outcome(parts: Any) -> Any:
    """Return all rows with their places, or the refusal: its kind and, of quotes that do not fit, the line."""
    try:
        tables = list(parts)
    except (QuotesDoNotFit, UnicodeError) as error:
        return type(error), getattr(error, "line", None)
    assert tables
    assert len({table.schema for table in tables}) == 1
    return [row for table in tables for row in table.to_pylist()]


def check(path: Path, data: bytes, form: CsvForm, block: int) -> None:
    path.write_bytes(data)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(csv_blocks, "BLOCK_BYTES", block)
        found = outcome(read_columns(path, WANTED, form))
    assert found == outcome(read_carefully(path, WANTED, form))


as_often_as_it_takes = settings(
    max_examples=amount(200, 20_000), deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
blocks = st.sampled_from([4, 5, 7, 16, 64, 2**22])


@as_often_as_it_takes
@given(form=forms, said=st.lists(pieces, max_size=24), block=blocks)
@example(form=CsvForm(), said=[b"\xef\xbb"], block=4)
@example(form=CsvForm(), said=[b"\xef\xbb\xbf", "a,b\n1,2\n"], block=4)
@example(form=CsvForm(), said=["\n\ufeffa"], block=4)
@example(form=CsvForm(names=["a"]), said=[b"\xef\xbb"], block=64)
@example(form=CsvForm(skip=1), said=["t\r", "\na,b\r\n1,2"], block=4)
@example(form=CsvForm(encoding="cp932", delimiter="|"), said=["a|b\n", b"\x81|x|1\n"], block=4)
@example(form=CsvForm(), said=['a\n"x"', "\n", "b"], block=4)
def test_of_any_bytes_the_quick_reader_makes_what_the_careful_one_makes(
    tmp_path: Path, form: CsvForm, said: list[str | bytes], block: int
) -> None:
    check(tmp_path / "rides.csv", encoded(form, said), form, block)


@as_often_as_it_takes
@given(
    form=forms,
    rows=sound_rows,
    how=st.tuples(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]), st.sampled_from(["\n", "\r\n", "\r"])),
    at=st.integers(0, 80),
    odd=st.sampled_from([b"", b"", b'"', b"'", b"\n", b",", b"\xff", b"\x00"]),
    block=blocks,
)
def test_of_a_sound_file_with_one_odd_byte_it_makes_the_same_too(
    tmp_path: Path, form: CsvForm, rows: list[list[str]], how: Any, at: int, odd: bytes, block: int
) -> None:
    data = written(form, rows, how)
    check(tmp_path / "rides.csv", data[:at] + odd + data[at:], form, block)


@pytest.mark.parametrize(
    "form", [CsvForm(), CsvForm(encoding="cp932", delimiter="|"), CsvForm(encoding="utf-16", skip=1)]
)
@pytest.mark.parametrize("how", [(csv.QUOTE_MINIMAL, "\r\n"), (csv.QUOTE_ALL, "\n")])
def test_a_sound_file_is_read_once_and_by_blocks_also_with_short_lines_and_damaged_characters(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: CsvForm, how: Any
) -> None:
    rows = [
        ["会員", "c", "d", "e"],
        *([str(number), '5" 管', "x,|\n", "z"] for number in range(500)),
        ["9"],
        ["1", "", "3"],
    ]
    path = tmp_path / "rides.csv"
    path.write_bytes(written(form, [["title"]] * form.skip + rows, how))
    careful = outcome(read_carefully(path, WANTED, form))
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 1_000)

    def not_needed(*_: object) -> None:
        raise AssertionError

    monkeypatch.setattr(csv_file, "read_carefully", not_needed)
    assert outcome(read_columns(path, WANTED, form)) == careful
    assert len(careful) == 502
    if form.encoding == "utf-8":
        path.write_bytes(path.read_bytes().replace("管".encode(), b"\xe7\xae"))
        assert {row["c0"] for row in outcome(read_columns(path, WANTED, form))} == {None}


def test_words_that_other_programs_write_for_nothing_are_text(tmp_path: Path) -> None:
    path = tmp_path / "rides.csv"
    path.write_text('a,b\nNA,"null"\n,""\nN/A,-\nNaN,NULL\n')
    (part,) = read_columns(path, [0, 1])
    assert part["c0"].to_pylist() == ["NA", None, "N/A", "NaN"]
    assert part["c1"].to_pylist() == ["null", None, "-", "NULL"]


def test_a_record_longer_than_arrows_own_blocks_is_read_with_its_neighbours() -> None:
    block = b'1,a,2\n2,"' + b"x,\n" * 500_000 + b'",3\n3,b,4\n'
    found = csv_blocks.columns_of(block, [0, 2], CsvForm().of_blocks)
    assert found is not None
    assert found.wanted == [pa.array(["1", "2", "3"]), pa.array(["2", "3", "4"])]
    found = csv_blocks.columns_of(block, [1], CsvForm().of_blocks)
    assert found is not None
    assert found.wanted == [pa.array(["a", None, "b"])]


def test_a_quote_that_nothing_closes_takes_no_more_memory_than_one_long_record(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(csv_blocks, "BLOCK_BYTES", 1_000)
    monkeypatch.setattr(csv_blocks, "LONGEST_RECORD", 5_000)
    path = tmp_path / "rides.csv"
    path.write_bytes(b'a,b\n1,"' + b"x\n" * 50_000)
    pieces_of, taken = csv_blocks._pieces, []

    def counted(*of: Any) -> Any:
        for piece in pieces_of(*of):
            taken.append(len(piece[0]))
            yield piece

    monkeypatch.setattr(csv_blocks, "_pieces", counted)
    with pytest.raises(NotVouchedFor):
        list(csv_blocks.blocks_of(path, CsvForm().of_blocks))
    assert sum(taken) < 8_000
    with pytest.raises(QuotesDoNotFit) as refused:
        list(read_columns(path, [0, 1]))
    assert refused.value.line == 2  # where the row begins whose quote it is

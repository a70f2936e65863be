"""What looks right and is not: found by somebody who tried, and told, or not taken for what it is not."""

from pathlib import Path
from typing import Any

import openpyxl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tomlkit

from policies.policy_document import Measure, Range, View
from tests.kit.node_tables import TITLE, view_over
from trust.node.check.file_check import check_source
from trust.node.check.findings import SourceFindings
from trust.node.check.suggestion import draft_mapping
from trust.node.sources.mapping import ColumnMapping, SourceMapping
from trust.node.sources.source_file import SourceFile

CARD = 12_345_678_901_234_560


def view(*columns: Any) -> View:
    return view_over("people", *(columns or [Range(name="age", title=TITLE, lo=0, hi=120)]), resident="card")


def look(path: Path, mapping: SourceMapping, *linked: str, by: View | None = None) -> SourceFindings:
    return check_source("people", SourceFile(path, mapping), [("p", by or view())], linked, path.parent / "spill")


@pytest.mark.parametrize("read", [[], ["whole"], ["strip"]], ids=str)
def test_two_cards_that_are_one_double_are_nobodys(tmp_path: Path, read: list[str]) -> None:
    path = tmp_path / "people.parquet"
    table = {"card": pa.array([float(CARD - 1), float(CARD + 1)]), "age": pa.array([1, 2])}
    pq.write_table(pa.table(table), path)
    mapping = SourceMapping(file=path.name, columns={"card": ColumnMapping(read=read)} if read else {})
    assert look(path, mapping, str(CARD)).linked_here == 0


def test_cards_of_more_digits_than_a_spreadsheet_keeps_are_nobodys(tmp_path: Path) -> None:
    path = tmp_path / "people.xlsx"
    book = openpyxl.Workbook()
    book.active.append(["card", "age"])
    for _ in range(3):
        book.active.append([1_234_567_890_123_450, 7])
    book.save(path)
    assert look(path, SourceMapping(file=path.name), "1234567890123450").linked_here == 0


def test_a_date_of_birth_is_no_age(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("card,生年月日\n" + "".join(f"{n},1950/4/{n}\n" for n in range(1, 29)))
    draft = draft_mapping("people", path, path.name, [("p", view())], ["1"], "Asia/Tokyo")
    assert "weekday" not in draft.toml
    assert any(sentence.startswith("age: no column") for sentence in draft.says)


def test_a_draft_names_the_columns_that_fit_as_well(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("card,割引額,支払額\n" + "".join(f"{n},{n},{n + 1}\n" for n in range(1, 29)))
    by = view(Measure(name="fare", title=TITLE, lo=0, hi=500))
    draft = draft_mapping("people", path, path.name, [("p", by)], ["1"], "Asia/Tokyo")
    (said,) = [sentence for sentence in draft.says if sentence.startswith("fare:")]
    assert "These fit as well: " in said
    assert "支払額" in said


def test_what_the_first_customer_is_called_decides_nothing(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    for name in ("ORC-1", "PAR1", "BZh1", "01234567DUCK", "{'a", "<html>"):
        path.write_text(f"{name},7\nx,8\n")
        found = look(path, SourceMapping(file=path.name, names=["card", "age"]), name)
        assert (found.refused, found.linked_here) == ("", 1), name


def test_a_name_that_no_view_has_is_told(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("card,age,年齢\n1,7,8\n")
    found = look(path, SourceMapping(file=path.name, columns={"agee": "年齢"}), "1")
    assert any("names agee" in sentence for sentence in found.advice)


def test_a_source_that_no_policy_has_is_said_so(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text("card,age\n1,7\n")
    found = check_source("people", SourceFile(path, SourceMapping(file=path.name)), [], ["1"], tmp_path / "spill")
    assert found.refused.startswith("No policy has a view over this source")


def test_what_excel_lays_beside_an_open_workbook_is_no_file_of_a_folder(tmp_path: Path) -> None:
    folder = tmp_path / "people"
    folder.mkdir()
    (folder / "2026-04.csv").write_text("card,age\n1,7\n")
    (folder / "~$2026-04.csv").write_bytes(b"\x00locked")
    mapping = SourceMapping(folder="people", kind="csv")
    assert check_source("people", SourceFile(folder, mapping), [("p", view())], ["1"], tmp_path / "spill").rows == 1


def test_what_is_advised_can_be_pasted_whatever_the_column_is_called(tmp_path: Path) -> None:
    path = tmp_path / "people.csv"
    path.write_text('card,"a ""b"" \\c"\n' + "".join(f"{n},{n}.0円\n" for n in range(1, 29)))
    said = SourceMapping(file=path.name, columns={"age": 'a "b" \\c'})
    by = view(Measure(name="age", title=TITLE, lo=0, hi=120))
    (sentence,) = [each for each in look(path, said, "1", by=by).advice if each.startswith("age:")]
    entry = tomlkit.parse(sentence.partition(" with ")[2].removesuffix("."))["age"]
    assert entry == {"from": 'a "b" \\c', "read": ["number"]}

"""The same rides in a file of each kind are taken in alike; what a file plainly is, it is called."""

import gzip
import io
import zipfile
from pathlib import Path

import msgspec
import pyarrow as pa
import pytest
from pyarrow import feather

from ledger.errors import Malformed, Unavailable
from tests.kit.node_tables import policy_of
from tests.kit.source_kinds import (
    CUSTOMERS,
    RIDES,
    VIEW,
    WRITERS,
    as_arrow,
    expected,
    open_store,
    said,
    taken,
    taken_in,
    write_csv,
    write_parquet,
)
from trust.node.check.file_check import check_source
from trust.node.check.node_check import check_files
from trust.node.settings import load_node_settings
from trust.node.sources.mapping import ENDINGS, SourceMapping, mapping_of
from trust.node.sources.source_file import SourceFile
from trust.node.sources.tables.one_table import FileRefused, OneTable
from trust.node.sources.tables.opening import open_table


def table_of(kind: str) -> str:
    return 'table = "rides"\n' if kind in {"sqlite", "duckdb"} else ""


@pytest.mark.parametrize("ending", ENDINGS)
def test_the_same_rides_are_taken_in_alike_from_a_file_of_each_kind(tmp_path: Path, ending: str) -> None:
    kind = ENDINGS[ending]
    WRITERS[kind](tmp_path / f"rides{ending}", RIDES)
    assert taken_in(tmp_path, f'file = "rides{ending}"\n{table_of(kind)}') == expected(RIDES)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_kind_that_is_said_counts_whatever_the_file_is_called(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / "rides.dat", RIDES)
    assert taken_in(tmp_path, f'file = "rides.dat"\nkind = "{kind}"\n{table_of(kind)}') == expected(RIDES)


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_of_each_kind_is_checked_before_its_holder(tmp_path: Path, kind: str) -> None:
    WRITERS[kind](tmp_path / "rides.dat", RIDES)
    file = SourceFile(tmp_path / "rides.dat", said(f'file = "rides.dat"\nkind = "{kind}"\n{table_of(kind)}'))
    found = check_source("rides", file, [("mobility", VIEW)], list(CUSTOMERS), tmp_path / "spill")
    assert (found.refused, found.rows, found.linked_here) == ("", len(RIDES), len(CUSTOMERS))
    assert [column.unread for column in found.views[0].columns] == [0, 0, 0]


@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_cut_anywhere_is_refused_and_the_last_good_one_stays(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "rides.dat"
    WRITERS[kind](path, RIDES)
    store = open_store(tmp_path, f'file = "rides.dat"\nkind = "{kind}"\n{table_of(kind)}')
    store.load([VIEW])
    whole = path.read_bytes()
    for share in (0, 1, 10, 50, 90, 99):
        cut = whole[: len(whole) * share // 100]
        if kind == "csv":
            cut = cut.rpartition(b"\n")[0] + b'\n"'  # a line that is cut is a line; a quote left open is none
        path.write_bytes(cut)
        store.load([VIEW])
        assert taken(store) == expected(RIDES), share
    path.write_bytes(whole)
    store.load([VIEW])
    assert taken(store) == expected(RIDES)
    store.close()


def packed(data: bytes) -> bytes:
    return gzip.compress(data)


def zipped(data: bytes) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as file:
        file.writestr("rides.csv", data)
    return made.getvalue()


def feathered() -> bytes:
    made = io.BytesIO()
    feather.write_feather(as_arrow(RIDES), made)
    return made.getvalue()


OTHERS = {
    "gzip": (packed(b"customer,ward,hour,fare\n001,east,7,210\n"), "gzip: unpack it first"),
    "zip": (zipped(b"customer\n001\n"), "XLSX or ZIP"),
    "bzip2": (b"BZh91AY&SY", "bzip2: unpack it first"),
    "xz": (b"\xfd7zXZ\x00\x00\x04", "xz: unpack it first"),
    "Zstandard": (b"\x28\xb5\x2f\xfd\x04\x00", "Zstandard: unpack it first"),
    "7-Zip": (b"7z\xbc\xaf\x27\x1c\x00\x04", "7-Zip: unpack it first"),
    "an old Excel file": (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600), "save it as .xlsx"),
    "Feather": (feathered(), "Feather: write it as Parquet"),
    "ORC": (b"ORC\x11\x00\x00", "ORC: write it as Parquet"),
    "Avro": (b"Obj\x01\x04\x14avro.codec", "Avro: write it as Parquet"),
    "JSON lines": (b'{"customer": "001", "ward": "east"}\n{"customer": "002"}\n', "JSON: write it as CSV or Parquet"),
    "a JSON list": (b'[\n  {"customer": "001"}\n]', "JSON: write it as CSV or Parquet"),
    "HTML that is called XLS": (b"<html><table><tr><td>001</td></tr></table></html>", "HTML or XML"),
}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("name", OTHERS)
def test_a_file_of_no_kind_that_is_read_is_refused_by_its_name(tmp_path: Path, name: str, kind: str) -> None:
    data, reason = OTHERS[name]
    (tmp_path / "rides.dat").write_bytes(data)
    file = SourceFile(tmp_path / "rides.dat", said(f'file = "rides.dat"\nkind = "{kind}"\n{table_of(kind)}'))
    with pytest.raises(FileRefused) as refused:
        list(file.read(file.columns()[:1]))
    assert reason in refused.value.reason or (name, kind) == ("zip", "xlsx")
    found = check_source("rides", file, [("mobility", VIEW)], [], tmp_path / "spill")
    assert found.refused == refused.value.in_full


@pytest.mark.parametrize("told", WRITERS)
@pytest.mark.parametrize("kind", WRITERS)
def test_a_file_that_is_called_another_kind_says_which_it_is(tmp_path: Path, kind: str, told: str) -> None:
    if kind == told:
        return
    WRITERS[kind](tmp_path / "rides.dat", RIDES)
    file = SourceFile(tmp_path / "rides.dat", said(f'file = "rides.dat"\nkind = "{told}"\n{table_of(told)}'))
    with pytest.raises(FileRefused, match=f'kind = "{kind}"'):
        file.columns()


def test_an_empty_file_is_refused_in_every_kind(tmp_path: Path) -> None:
    (tmp_path / "rides.dat").touch()
    for kind in WRITERS:
        file = SourceFile(tmp_path / "rides.dat", said(f'file = "rides.dat"\nkind = "{kind}"\n{table_of(kind)}'))
        with pytest.raises(FileRefused, match="is empty" if kind != "csv" else "no header line"):
            file.columns()


def test_a_pattern_in_a_plain_file_name_is_a_name(tmp_path: Path) -> None:
    write_csv(tmp_path / "rides[1].csv", RIDES[:9])
    write_csv(tmp_path / "rides1.csv", RIDES)
    assert taken_in(tmp_path, 'file = "rides[1].csv"') == expected(RIDES[:9])


def test_a_column_of_no_type_in_one_kind_is_null_and_takes_nothing_with_it(tmp_path: Path) -> None:
    table = as_arrow(RIDES).append_column("list", pa.array([[1]] * len(RIDES)))
    pa.parquet.write_table(table, tmp_path / "rides.parquet")
    file = SourceFile(tmp_path / "rides.parquet", said('file = "rides.parquet"'))
    (part,) = file.read(["customer", "list"])
    assert part.column("c1").null_count == len(RIDES)
    assert part.column("c0").to_pylist() == [ride[0] for ride in RIDES]


WRONG = {
    "nothing that says where": "",
    "two that do": 'file = "a.csv"\nfolder = "a"',
    "a folder of no kind": 'folder = "a"',
    "append_only of one file": 'file = "a.csv"\nappend_only = true',
    "a database without a table": 'file = "a.sqlite"',
    "a pattern in a folder's name": 'glob = "a*/b.csv"',
    "a server with a file": 'kind = "postgresql"\nfile = "a"\ntable = "rides"',
    "a server without an address": 'kind = "postgresql"\ntable = "rides"',
    "a server with two addresses": 'kind = "postgresql"\ntable = "rides"\ndsn = "postgresql://a"\ndsn_env = "DSN"',
    "a password in node.toml": 'kind = "postgresql"\ntable = "rides"\ndsn = "postgresql://a:secret@host/b"',
    "a password behind the address": 'kind = "postgresql"\ntable = "rides"\ndsn = "postgresql://a@host/b?password=secret"',
}


@pytest.mark.parametrize("name", WRONG)
def test_a_source_that_does_not_say_where_it_is_is_malformed_and_no_secret_is_repeated(name: str) -> None:
    with pytest.raises(Malformed) as refused:
        mapping_of(said(WRONG[name]))
    assert "secret" not in refused.value.message


def test_parquet_of_another_type_is_the_same_customer(tmp_path: Path) -> None:
    write_parquet(tmp_path / "rides.parquet", RIDES)
    assert taken_in(tmp_path, 'file = "rides.parquet"') == expected(RIDES)


def test_a_file_that_goes_while_it_is_looked_at_is_no_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_csv(tmp_path / "rides.csv", RIDES)
    store = open_store(tmp_path, 'file = "rides.csv"')
    store.load([VIEW])
    write_csv(tmp_path / "rides.csv", RIDES[:9])
    whole = (tmp_path / "rides.csv").read_bytes()

    def gone(path: Path, mapping: SourceMapping) -> OneTable:
        path.unlink()
        return open_table(path, mapping)

    with monkeypatch.context() as patch:
        patch.setattr("trust.node.sources.source_file.open_table", gone)
        with pytest.raises(Unavailable):
            store.load([VIEW])
    assert taken(store) == expected(RIDES)
    (tmp_path / "rides.csv").write_bytes(whole)
    store.load([VIEW])
    assert taken(store) == expected(RIDES[:9])
    store.close()


NODE = """
alias = "bus_co"
service = "http://127.0.0.1:8700"

[sources]
a = "a.csv"
b = "b.parquet"
c = "c.xlsx"

[sources.d]
file = "d.sqlite"
table = "rides"

[sources.e]
file = "e.duckdb"
table = "rides"

[sources.f]
folder = "days"
kind = "csv"
append_only = true

[sources.g]
glob = "days/2024-*.csv"

[sources.h]
kind = "postgresql"
dsn = "postgresql://nobody@127.0.0.1:1/none"
table = "rides"

[sources.i]
file = "i.csv.gz"
"""


def test_a_node_checks_its_sources_of_every_kind_and_says_what_stands_in_the_way(tmp_path: Path) -> None:
    for name, kind in zip("abcde", WRITERS, strict=True):
        WRITERS[kind](tmp_path / f"{name}.{kind}", RIDES)
    (tmp_path / "days").mkdir()
    write_csv(tmp_path / "days" / "2024-04-01.csv", RIDES[:30])
    write_csv(tmp_path / "days" / "2024-04-02.csv", RIDES[30:])
    (tmp_path / "i.csv.gz").write_bytes(packed(b"customer\n001\n"))
    (tmp_path / "node.toml").write_text(NODE)
    policy = policy_of(msgspec.structs.replace(VIEW, name="view_a", source="a"))
    views = [msgspec.structs.replace(VIEW, name=f"view_{name}", source=name) for name in "abcdefghi"]
    found = check_files(tmp_path, load_node_settings(tmp_path), [msgspec.structs.replace(policy, views=views)])
    assert {each.source: (each.rows, each.refused) for each in found} == {
        **dict.fromkeys("abcdefg", (len(RIDES), "")),
        "h": (0, "A source's database cannot be asked; look at its address, its user and whether it runs."),
        "i": (0, "This is gzip: unpack it first."),
    }

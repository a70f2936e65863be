"""Tables of SQLite and DuckDB files: read-only, value by value, refused where they are not what their program has."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import pytest

from tests.kit.source_kinds import RIDES, VIEW, expected, open_store, said, taken, write_duckdb, write_sqlite
from trust.node.sources.kinds import LONGEST
from trust.node.sources.source_file import SourceFile
from trust.node.sources.tables.one_table import FileRefused

TABLE = 'table = "rides"\n'


def source(path: Path, table: str = "rides") -> SourceFile:
    return SourceFile(path, said(f'file = "{path.name}"\ntable = "{table}"'))


def read(path: Path, *columns: str, table: str = "rides") -> list[tuple[Any, ...]]:
    rows = [row for part in source(path, table).read(columns) for row in part.to_pylist()]
    return [tuple(row[f"c{number}"] for number in range(len(columns))) for row in rows]


def run_sqlite(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path)) as engine:
        for statement in statements:
            engine.execute(statement)
        engine.commit()


VALUES: list[tuple[Any, str | None]] = [
    (7, "7"),
    (2**63 - 1, str(2**63 - 1)),
    (-(2**63), str(-(2**63))),
    (13.0, "13"),
    (2.5, "2.5"),
    (1e300, "1.0000000000000001E+300"),
    (float("inf"), None),
    ("0012", "0012"),
    ("１２", "１２"),
    ("", None),
    (None, None),
    (b"east", "east"),
    (b"\xff\xfe", None),
    ("x" * LONGEST, "x" * LONGEST),
    ("x" * (LONGEST + 1), None),
]


def test_each_value_of_sqlite_is_read_by_its_own_kind_whatever_its_column_declares(tmp_path: Path) -> None:
    for declared in ("", "INTEGER", "TEXT", "REAL", "BLOB"):
        path = tmp_path / f"of_{declared}.db"
        run_sqlite(
            path, f"CREATE TABLE rides (customer INTEGER PRIMARY KEY, value {declared if declared != 'TEXT' else ''})"
        )
        with closing(sqlite3.connect(path)) as engine:
            engine.executemany("INSERT INTO rides VALUES (?, ?)", [(n, value) for n, (value, _) in enumerate(VALUES)])
            engine.commit()
            kinds = [kind for (kind,) in engine.execute("SELECT typeof(value) FROM rides")]
        found = read(path, "customer", "value")
        assert [customer for customer, _ in found] == [str(number) for number in range(len(VALUES))]
        for (_, text), (value, meant), kind in zip(found, VALUES, kinds, strict=True):
            if kind == {int: "integer", float: "real", str: "text", bytes: "blob", type(None): "null"}[type(value)]:
                assert text == meant, (declared, value)


def test_text_that_is_not_utf_8_is_null_by_itself(tmp_path: Path) -> None:
    path = tmp_path / "rides.db"
    run_sqlite(
        path,
        "CREATE TABLE rides (customer, ward)",
        "INSERT INTO rides VALUES ('001', CAST(x'92868bcb' AS TEXT)), ('002', 'east'), (CAST(x'ff' AS TEXT), 'west')",
    )
    assert read(path, "customer", "ward") == [("001", None), ("002", "east"), (None, "west")]


def test_rows_come_in_the_order_of_their_rowid_whatever_index_there_is(tmp_path: Path) -> None:
    path = tmp_path / "rides.db"
    run_sqlite(
        path,
        "CREATE TABLE rides (customer, hour)",
        *(f"INSERT INTO rides VALUES ('001', {hour})" for hour in (9, 3, 7)),
        "CREATE INDEX hours ON rides (hour, customer)",
    )
    assert [hour for _, hour in read(path, "customer", "hour")] == ["9", "3", "7"]
    assert [hour for (hour,) in read(path, "hour")] == ["9", "3", "7"]


def test_a_table_without_rowids_is_read_in_the_order_of_its_key(tmp_path: Path) -> None:
    path = tmp_path / "rides.db"
    run_sqlite(
        path,
        "CREATE TABLE rides (customer, hour, PRIMARY KEY (hour, customer)) WITHOUT ROWID",
        *(f"INSERT INTO rides VALUES ('001', {hour})" for hour in (9, 3, 7)),
    )
    assert [hour for (hour,) in read(path, "hour")] == ["3", "7", "9"]


def test_a_view_a_virtual_table_and_a_computed_column_are_not_there(tmp_path: Path) -> None:
    path = tmp_path / "rides.db"
    run_sqlite(
        path,
        "CREATE TABLE rides (customer, hour, boom AS (abs(hour)), kept AS (hour + 1) STORED)",
        "INSERT INTO rides (customer, hour) VALUES ('001', 7)",
        "CREATE VIEW rides_view AS SELECT * FROM rides",
        "CREATE VIRTUAL TABLE words USING fts5 (word)",
    )
    assert source(path).columns() == ["customer", "hour", "kept"]
    for table in ("rides_view", "words", "sqlite_master", "nothing", 'rides" --'):
        with pytest.raises(FileRefused, match="no table of that name"):
            SourceFile(path, said(f"file = 'rides.db'\ntable = '{table}'")).columns()


def test_names_that_are_no_sql_are_names(tmp_path: Path) -> None:
    path = tmp_path / "rides.db"
    name = 'a "b"; DROP TABLE rides; --'
    quoted = name.replace('"', '""')
    run_sqlite(path, f'CREATE TABLE "{quoted}" ("{quoted}", "会員番号")', f"INSERT INTO \"{quoted}\" VALUES ('1', '2')")
    file = SourceFile(path, said(f"file = 'rides.db'\ntable = '{name}'"))
    assert file.columns() == [name, "会員番号"]
    assert [part.to_pylist() for part in file.read([name, "会員番号"])] == [[{"c0": "1", "c1": "2", "position": 0}]]
    path = tmp_path / "rides.duckdb"
    with duckdb.connect(str(path)) as engine:
        engine.execute(f'CREATE TABLE "{quoted}" AS SELECT \'1\' AS "{quoted}"')
    file = SourceFile(path, said(f"file = 'rides.duckdb'\ntable = '{name}'"))
    assert [part.to_pylist() for part in file.read([name])] == [[{"c0": "1", "position": 0}]]


def test_a_sqlite_file_whose_program_has_changes_beside_it_is_refused_until_they_are_in_it(tmp_path: Path) -> None:
    path = tmp_path / "rides.db"
    write_sqlite(path, RIDES)
    store = open_store(tmp_path, 'file = "rides.db"\n' + TABLE)
    store.load([VIEW])
    with closing(sqlite3.connect(path)) as engine:
        engine.execute("PRAGMA journal_mode = WAL")
        engine.execute("DELETE FROM rides")
        engine.commit()
        assert path.with_name("rides.db-wal").stat().st_size > 0
        with pytest.raises(FileRefused, match="VACUUM INTO"):
            source(path).columns()
        store.load([VIEW])
        assert taken(store) == expected(RIDES)
    store.load([VIEW])
    assert taken(store) == []
    store.close()


def test_a_sqlite_file_in_the_midst_of_a_change_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "rides.db"
    write_sqlite(path, RIDES)
    with closing(sqlite3.connect(path, isolation_level=None)) as engine:
        engine.execute("PRAGMA cache_spill = 1")
        engine.execute("BEGIN EXCLUSIVE")
        engine.execute("DELETE FROM rides")
        assert path.with_name("rides.db-journal").exists()
        with pytest.raises(FileRefused, match="VACUUM INTO"):
            source(path).columns()


def test_reading_leaves_a_database_file_and_its_folder_as_they_were(tmp_path: Path) -> None:
    for name, write in (("rides.db", write_sqlite), ("rides.duckdb", write_duckdb)):
        path = tmp_path / name
        write(path, RIDES)
        before = path.read_bytes()
        path.chmod(0o400)
        tmp_path.chmod(0o500)
        try:
            assert len(read(path, "customer")) == len(RIDES)
        finally:
            tmp_path.chmod(0o700)
        assert path.read_bytes() == before
        assert [each.name for each in tmp_path.iterdir()] == [name]
        path.unlink()


def test_a_sqlite_file_with_damage_within_is_refused_or_read_and_ends_no_process(tmp_path: Path) -> None:
    path = tmp_path / "rides.db"
    write_sqlite(path, [*RIDES] * 200)
    whole = bytearray(path.read_bytes())
    refused = 0
    for place in range(100, len(whole), len(whole) // 60):
        hurt = whole[:]
        hurt[place : place + 40] = bytes(40)
        path.write_bytes(hurt)
        try:
            read(path, "customer", "ward")
        except FileRefused:
            refused += 1
    assert refused


HELD = "import duckdb, sys; engine = duckdb.connect(sys.argv[1]); print('held', flush=True); sys.stdin.read()"


def test_a_duckdb_file_that_another_program_has_open_is_refused_until_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "rides.duckdb"
    write_duckdb(path, RIDES)
    store = open_store(tmp_path, 'file = "rides.duckdb"\n' + TABLE)
    store.load([VIEW])
    with subprocess.Popen(
        [sys.executable, "-c", HELD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with pytest.raises(FileRefused, match="Another program has it open"):
            source(path).columns()
        store.load([VIEW])
        assert taken(store) == expected(RIDES)
        assert other.stdin is not None
        other.stdin.close()
        other.wait()
    assert len(read(path, "customer")) == len(RIDES)
    path.with_name("rides.duckdb.wal").write_bytes(b"half a change")
    with pytest.raises(FileRefused, match=r"\.wal"):
        source(path).columns()
    store.close()


DUCKDB_VALUES = {
    "TINYINT": ("7", 7), "UBIGINT": ("18446744073709551615", 2**64 - 1), "DOUBLE": ("2.5", 2.5), "BOOLEAN": ("true", True),
    "HUGEINT": ("170141183460469231731687303715884105727", "170141183460469231731687303715884105727"),
    "UHUGEINT": ("340282366920938463463374607431768211455", "340282366920938463463374607431768211455"),
    "VARCHAR": ("'0012'", "0012"), "ENUM('a', 'b')": ("'a'", "a"), "BLOB": ("'\\xff'::BLOB", None),
    "UUID": ("'3f333df6-90a4-4fda-8dd3-9485d27cee36'", "3f333df6-90a4-4fda-8dd3-9485d27cee36"),
    "DATE": ("'infinity'", None), "TIMESTAMP": ("'-infinity'", None), "INTERVAL": ("INTERVAL 300 YEARS", None),
    "INTEGER[]": ("[1]", None), "STRUCT(a INTEGER)": ("{'a': 1}", None), "BIT": ("'101'", None),
    "TIME WITH TIME ZONE": ("'07:00:00+09'", None), "MAP(INTEGER, INTEGER)": ("MAP {1: 1}", None),
}  # fmt: skip


@pytest.mark.parametrize("type_", DUCKDB_VALUES)
def test_each_type_of_duckdb_is_read_by_its_rule_or_is_null_and_takes_nothing_with_it(
    tmp_path: Path, type_: str
) -> None:
    path = tmp_path / "rides.duckdb"
    value, meant = DUCKDB_VALUES[type_]
    with duckdb.connect(str(path)) as engine:
        engine.execute(f"CREATE TABLE rides (customer VARCHAR, value {type_})")
        engine.execute(f"INSERT INTO rides VALUES ('001', {value}), ('002', NULL)")
    assert read(path, "customer", "value") == [("001", meant), ("002", None)]


def test_a_view_of_duckdb_and_a_computed_column_are_not_there_and_no_file_is_read(tmp_path: Path) -> None:
    path = tmp_path / "rides.duckdb"
    (tmp_path / "secret.csv").write_text("customer\n001\n")
    with duckdb.connect(str(path)) as engine:
        engine.execute("CREATE TABLE rides (customer VARCHAR, made INTEGER AS (length(customer)))")
        engine.execute("CREATE SCHEMA more")
        engine.execute("CREATE TABLE more.rides AS SELECT '007' AS customer")
        engine.execute(f"CREATE VIEW other AS FROM read_csv('{tmp_path / 'secret.csv'}')")
    assert source(path).columns() == ["customer"]
    with pytest.raises(FileRefused, match="no table of that name"):
        source(path, "other").columns()
    file = SourceFile(path, said('file = "rides.duckdb"\nschema = "more"\ntable = "rides"'))
    assert [part.column("c0").to_pylist() for part in file.read(["customer"])] == [["007"]]

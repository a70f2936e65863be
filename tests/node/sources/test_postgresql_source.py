"""A table of a real PostgreSQL is a source: typed by its rules, in an order of its own rows, of one moment."""

import asyncio
import datetime as dt
import socket
from collections.abc import Sequence
from pathlib import Path
from random import Random
from typing import Any

import asyncpg
import pytest

from ledger.errors import Unavailable
from tests.kit.machine.databases import new_database, postgresql_server
from tests.kit.source_kinds import (
    CUSTOMERS,
    RIDES,
    VIEW,
    Ride,
    bounded_rows,
    expected,
    open_store,
    said,
    taken,
    taken_in,
    write_csv,
)
from trust.node.check.file_check import check_source
from trust.node.sources import postgresql_session
from trust.node.sources.source_file import Passage, SourceFile
from trust.node.sources.tables.one_table import FileRefused

pytestmark = pytest.mark.slow


def run(address: str, *statements: str) -> None:
    async def work() -> None:
        connection = await asyncpg.connect(address)
        for statement in statements:
            await connection.execute(statement)
        await connection.close()

    asyncio.run(work())


def fill(address: str, rides: Sequence[Ride], make: str = "") -> None:
    async def work() -> None:
        connection = await asyncpg.connect(address)
        await connection.execute(
            make or "CREATE TABLE rides (id serial PRIMARY KEY, customer text, ward text, hour int, fare numeric(9, 2))"
        )
        await connection.executemany("INSERT INTO rides (customer, ward, hour, fare) VALUES ($1, $2, $3, $4)", rides)
        await connection.close()

    asyncio.run(work())


def mapping(address: str, more: str = "") -> str:
    return f'kind = "postgresql"\ndsn = "{address}"\ntable = "rides"\nevery = 0\n{more}'


def source(address: str, more: str = "") -> SourceFile:
    return SourceFile(Path("nothing"), said(mapping(address, more)))


def read(file: SourceFile, *columns: str) -> list[tuple[Any, ...]]:
    rows = [row for part in file.read(columns) for row in part.to_pylist()]
    return [tuple(row[f"c{number}"] for number in range(len(columns))) for row in rows]


def test_the_same_rides_are_taken_in_and_bounded_as_from_a_file(tmp_path: Path, address: str) -> None:
    fill(address, RIDES)
    assert taken_in(tmp_path / "one", mapping(address)) == expected(RIDES)
    (tmp_path / "two").mkdir()
    write_csv(tmp_path / "two" / "rides.csv", RIDES)
    stores = [open_store(tmp_path / "one", mapping(address)), open_store(tmp_path / "two", 'file = "rides.csv"')]
    for store in stores:
        store.load([VIEW])
    assert bounded_rows(stores[0]) == bounded_rows(stores[1])
    for store in stores:
        store.close()


def test_a_table_is_checked_before_its_holder(tmp_path: Path, address: str) -> None:
    fill(address, RIDES)
    found = check_source("rides", source(address), [("mobility", VIEW)], list(CUSTOMERS), tmp_path / "spill")
    assert (found.refused, found.file, found.rows, found.linked_here) == ("", "rides", len(RIDES), len(CUSTOMERS))
    assert [column.unread for column in found.views[0].columns] == [0, 0, 0]


VALUES = {
    "smallint": ("7", 7), "bigint": ("-9223372036854775808", -(2**63)), "boolean": ("true", True),
    "real": ("2.5", 2.5), "double precision": ("'NaN'", float("nan")), "numeric": ("13.00", "13"),
    "numeric(40, 3)": ("1234567890123456789012345678901234567.500", "1234567890123456789012345678901234567.5"),
    "text": ("'0012'", "0012"), "varchar(9)": ("'a'", "a"), "char(5)": ("'a'", "a"),
    "uuid": ("'3f333df6-90a4-4fda-8dd3-9485d27cee36'", "3f333df6-90a4-4fda-8dd3-9485d27cee36"),
    "date": ("'2024-04-01'", dt.date(2024, 4, 1)), "timestamp": ("'2024-04-01 07:05'", dt.datetime.fromisoformat("2024-04-01 07:05")),
    "timestamptz": ("'2024-04-01 07:05+09'", dt.datetime.fromisoformat("2024-03-31 22:05")), "time": ("'08:05'", dt.time(8, 5)),
    "mood": ("'good'", "good"), "code": ("'00 7'", "00 7"),
    "bytea": ("'\\xff'", None), "json": ("'{\"a\": 1}'", None), "int[]": ("'{1}'", None), "inet": ("'10.0.0.1'", None),
    "interval": ("'300 years'", None), "timetz": ("'07:00+09'", None), "money": ("'1.00'", None),
    "int4range": ("'[1,2)'", None), "pair": ("ROW(1, 'a')", None), "bit(3)": ("B'101'", None), "name": ("'a'", "a"),
}  # fmt: skip
ODD = {
    "numeric": ["'NaN'", "'Infinity'"], "time": ["'24:00:00'"], "date": ["'infinity'", "'0044-03-15 BC'", "'10001-01-01'"],
    "timestamp": ["'-infinity'", "'294276-12-31'"], "timestamptz": ["'infinity'", "'294276-12-31 UTC'"],
    "double precision": ["'Infinity'", "1e300"], "text": ["''", "repeat('x', 131073)"],
}  # fmt: skip
KINDS = """
CREATE TYPE mood AS ENUM ('good', 'bad');
CREATE DOMAIN code AS text CHECK (length(VALUE) > 1);
CREATE TYPE pair AS (a int, b text);
"""


def test_each_type_is_read_by_its_rule_or_is_null_and_takes_nothing_with_it(address: str) -> None:
    columns = ", ".join(f"v{number} {type_}" for number, type_ in enumerate(VALUES))
    values = ", ".join(value for value, _ in VALUES.values())
    run(address, KINDS, f"CREATE TABLE rides (customer text, {columns})", f"INSERT INTO rides VALUES ('001', {values})")
    file = source(address)
    (found,) = read(file, *(f"v{number}" for number in range(len(VALUES))))
    for got, (type_, (_, meant)) in zip(found, VALUES.items(), strict=True):
        assert got == meant or (got != got and meant != meant), type_  # noqa: PLR0124 - NaN
    (raw,) = [row for part in file.read_beside(["v13"], Passage()) for row in part.to_pylist()]
    assert raw["r0"] == "2024-03-31 22:05:00Z"  # for readers, which know a zone


def test_no_value_raises_and_an_odd_one_is_null_or_a_double_by_itself(address: str) -> None:
    for type_, values in ODD.items():
        run(
            address,
            "DROP TABLE IF EXISTS rides",
            f"CREATE TABLE rides (id int PRIMARY KEY, v {type_})",
            *(f"INSERT INTO rides VALUES ({number}, {value})" for number, value in enumerate([*values, "NULL"])),
        )
        found = read(source(address), "id", "v")
        assert [number for number, _ in found] == list(range(len(values) + 1))
        assert all(value is None or isinstance(value, float) for _, value in found), type_


def test_rows_are_in_the_order_of_the_primary_key_whatever_was_written_again(address: str) -> None:
    fill(address, RIDES)
    run(address, "UPDATE rides SET fare = fare WHERE id % 3 = 0", "UPDATE rides SET hour = hour WHERE id < 9")
    assert read(source(address), "customer", "hour") == [(ride[0], ride[2]) for ride in RIDES]


def test_rows_without_a_key_are_in_the_order_of_what_is_in_them(tmp_path: Path, address: str) -> None:
    make = "CREATE TABLE rides (customer text, ward text, hour int, fare int)"
    fill(address, RIDES, make)
    before = read(source(address), "customer", "ward", "hour", "fare")
    shuffled = [*RIDES]
    Random(1).shuffle(shuffled)
    run(address, "DROP TABLE rides")
    fill(address, shuffled, make)
    assert read(source(address), "customer", "ward", "hour", "fare") == before
    assert len(taken_in(tmp_path, mapping(address))) == len(expected(RIDES))


def test_rows_are_in_the_order_that_the_holder_says(address: str) -> None:
    fill(address, RIDES)
    hours = [hour for (hour,) in read(source(address, 'order = ["hour"]'), "hour")]
    assert hours == sorted(ride[2] or 0 for ride in RIDES)
    with pytest.raises(FileRefused, match=r"its order in node\.toml names") as refused:
        read(source(address, 'order = ["when"]'), "hour")
    assert refused.value.detail == "when"


def test_a_table_is_read_again_only_when_it_changed(tmp_path: Path, address: str) -> None:
    fill(address, RIDES)
    store = open_store(tmp_path, mapping(address))
    store.load([VIEW])
    made = [part.contents.make for parts in store._kept._parts.values() for part in parts]
    store.load([VIEW])
    assert [part.contents.make for parts in store._kept._parts.values() for part in parts] == made
    run(address, "INSERT INTO rides (customer, ward, hour, fare) VALUES ('001', 'east', 7, 210)", FLUSH)
    store.load([VIEW])
    assert taken(store) == expected([*RIDES, ("001", "east", 7, 210)])
    run(address, "ALTER TABLE rides DROP COLUMN fare")
    store.load([VIEW])  # a view would lose what it has
    assert taken(store) == expected([*RIDES, ("001", "east", 7, 210)])
    store.close()


FLUSH = "SELECT pg_stat_force_next_flush()"


def test_a_server_that_ends_leaves_what_was_taken_in(tmp_path: Path) -> None:
    with postgresql_server() as host:
        address = new_database(host).replace("+asyncpg", "")
        fill(address, RIDES)
        store = open_store(tmp_path, mapping(address))
        store.load([VIEW])
    store.load([VIEW])
    assert taken(store) == expected(RIDES)
    store.close()


def test_what_is_read_is_of_one_moment_and_nothing_can_be_written(address: str) -> None:
    fill(address, RIDES * 900)
    file = source(address)
    parts = file.read(["customer"])
    first = next(parts)
    run(address, "DELETE FROM rides")
    assert first.num_rows + sum(part.num_rows for part in parts) == len(RIDES) * 900
    assert file._server is not None
    with pytest.raises(Unavailable), file._server._session() as session:
        session.run(session.connection.execute("INSERT INTO rides (customer) VALUES ('x')"))


def test_a_partitioned_and_a_materialised_table_are_read_and_a_view_is_not(address: str) -> None:
    run(
        address,
        "CREATE TABLE rides (customer text, hour int) PARTITION BY RANGE (hour)",
        "CREATE TABLE early PARTITION OF rides FOR VALUES FROM (0) TO (12)",
        "CREATE TABLE late PARTITION OF rides FOR VALUES FROM (12) TO (24)",
        "INSERT INTO rides VALUES ('001', 7), ('002', 20)",
        "CREATE MATERIALIZED VIEW made AS SELECT * FROM rides",
        "CREATE VIEW seen AS SELECT * FROM rides",
        FLUSH,
    )
    assert read(source(address), "customer") == [("001",), ("002",)]
    before = source(address).sha256()
    run(address, "INSERT INTO rides VALUES ('003', 21)", FLUSH)
    assert source(address).sha256() != before
    for table, there in (("made", 2), ("seen", None)):
        file = SourceFile(Path("nothing"), said(mapping(address).replace('"rides"', f'"{table}"')))
        if there is None:
            with pytest.raises(FileRefused, match="a view is none"):
                file.columns()
        else:
            assert len(read(file, "customer")) == there


def test_rows_that_are_hidden_from_the_nodes_user_refuse_the_table(address: str) -> None:
    fill(address, RIDES)
    user = "postgresql://reader@" + address.partition("@")[2]
    run(
        address,
        "DROP ROLE IF EXISTS reader",
        "CREATE ROLE reader LOGIN",
        "GRANT USAGE ON SCHEMA public TO reader",
    )
    with pytest.raises(FileRefused, match="GRANT SELECT"):
        read(source(user), "customer")
    run(address, "GRANT SELECT ON rides TO reader")
    assert len(read(source(user), "customer")) == len(RIDES)
    run(address, "CREATE POLICY early ON rides USING (hour < 9)", "ALTER TABLE rides ENABLE ROW LEVEL SECURITY")
    with pytest.raises(FileRefused, match="may not read all rows"):
        read(source(user), "customer")
    run(address, "DROP OWNED BY reader", "DROP ROLE reader")


def test_a_name_that_is_sql_is_a_name(address: str) -> None:
    run(address, 'CREATE TABLE rides (customer text, "a"" FROM rides; --" text)', "INSERT INTO rides VALUES ('1', '2')")
    assert read(source(address), 'a" FROM rides; --') == [("2",)]
    file = SourceFile(Path("nothing"), said(mapping(address).replace('"rides"', "'rides\"; DROP TABLE rides; --'")))
    with pytest.raises(FileRefused, match="no table of that name"):
        file.columns()


def test_an_address_comes_from_a_file_of_0600_or_the_environment_and_is_never_told(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(address, RIDES)
    place = tmp_path / "rides.dsn"
    place.write_text(address + "\n")
    place.chmod(0o640)
    file = SourceFile(place, said('kind = "postgresql"\ndsn_file = "rides.dsn"\ntable = "rides"\nevery = 0'))
    with pytest.raises(Unavailable, match="chmod 600"):
        file.marks()
    place.chmod(0o600)
    assert len(read(file, "customer")) == len(RIDES)
    file = SourceFile(tmp_path, said('kind = "postgresql"\ndsn_env = "RIDES_DSN"\ntable = "rides"\nevery = 0'))
    with pytest.raises(Unavailable, match="environment"):
        file.marks()
    monkeypatch.setenv("RIDES_DSN", address)
    assert len(read(file, "customer")) == len(RIDES)
    for wrong in (
        "postgresql://u:hunter2@localhost:1/x",
        "mysql://u:hunter2@localhost/x",
        "hunter2",
        "postgresql://[hunter2/x",
    ):
        monkeypatch.setenv("RIDES_DSN", wrong)
        with pytest.raises(Unavailable) as refused:
            file.marks()
        assert "hunter2" not in refused.value.message


def test_a_server_on_another_machine_needs_its_certificate_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    for host in ("db.example", "10.0.0.7"):
        file = source(f"postgresql://node@{host}/town")
        with pytest.raises(Unavailable, match="sslmode=verify-full"):
            file.marks()


def test_a_server_is_asked_no_more_often_than_is_said(address: str) -> None:
    fill(address, RIDES)
    file = SourceFile(Path("nothing"), said(mapping(address).replace("every = 0", "every = 100000")))
    before = file.sha256()
    run(address, "INSERT INTO rides (customer) VALUES ('x')", FLUSH)
    assert file.sha256() == before
    assert source(address).sha256() != before


def test_a_server_that_never_answers_is_not_waited_for_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgresql_session, "CONNECT_SECONDS", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        file = source(f"postgresql://node@127.0.0.1:{silent.getsockname()[1]}/town")
        with pytest.raises(Unavailable, match="cannot be asked"):
            file.marks()


def test_a_database_that_is_not_in_utf_8_or_counts_no_changes_is_refused(server: str, address: str) -> None:
    run(address, "CREATE DATABASE bytes TEMPLATE template0 ENCODING 'SQL_ASCII' LC_COLLATE 'C' LC_CTYPE 'C'")
    other = f"postgresql://postgres@/bytes?host={server}"
    fill(other, RIDES)
    with pytest.raises(FileRefused, match="not in UTF-8"):
        source(other).columns()
    fill(address, RIDES)
    run(address, f"ALTER DATABASE {address.partition('@/')[2].partition('?')[0]} SET track_counts = off")
    with pytest.raises(FileRefused, match="track_counts"):
        source(address).columns()

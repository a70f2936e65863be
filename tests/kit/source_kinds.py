"""The same rides as a file of each kind, and what a node takes in of a source."""

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import openpyxl
import pyarrow as pa
import pyarrow.csv as pc
import pyarrow.parquet as pq

from policies.policy_document import Category, Measure, Range
from tests.kit.node_tables import SECRET, TITLE, view_over
from trust.node.data.snapshots import PartKey
from trust.node.data.views import ViewStore
from trust.node.sources.mapping import SourceMapping

Ride = tuple[str | None, str | None, int | None, int | None]
RIDES: list[Ride] = [
    (f"{number % 9:03}", ["east", "west", "north", None][number % 4], number % 25, [210, 420, None, 90_000][number % 4])
    for number in range(60)
] + [(None, "east", 7, 210), ("unlinked", "west", 8, 420)]
NAMES = ["customer", "ward", "hour", "fare"]
CUSTOMERS = {f"{number:03}": number for number in range(9)}
VIEW = view_over(
    "rides",
    Category(name="ward", title=TITLE, values=["east", "west"]),
    Range(name="hour", title=TITLE, lo=0, hi=23),
    Measure(name="fare", title=TITLE, lo=0, hi=500),
)


def write_csv(path: Path, rides: Sequence[Ride]) -> None:
    pc.write_csv(as_arrow(rides), path)


def write_parquet(path: Path, rides: Sequence[Ride]) -> None:
    pq.write_table(as_arrow(rides), path)


def write_xlsx(path: Path, rides: Sequence[Ride]) -> None:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(NAMES)
    for ride in rides:
        sheet.append(ride)
    book.save(path)


def write_sqlite(path: Path, rides: Sequence[Ride]) -> None:
    with closing(sqlite3.connect(path)) as engine:
        engine.execute("CREATE TABLE rides (customer, ward, hour, fare)")
        engine.executemany("INSERT INTO rides VALUES (?, ?, ?, ?)", rides)
        engine.commit()


def write_duckdb(path: Path, rides: Sequence[Ride]) -> None:
    with duckdb.connect(str(path)) as engine:
        engine.register("given", as_arrow(rides))
        engine.execute("CREATE TABLE rides AS FROM given")


WRITERS: dict[str, Callable[[Path, Sequence[Ride]], None]] = {
    "csv": write_csv,
    "parquet": write_parquet,
    "xlsx": write_xlsx,
    "sqlite": write_sqlite,
    "duckdb": write_duckdb,
}


def as_arrow(rides: Sequence[Ride]) -> pa.Table:
    types = [pa.string(), pa.string(), pa.int64(), pa.int64()]
    columns = [pa.array([ride[number] for ride in rides], type_) for number, type_ in enumerate(types)]
    return pa.table(columns, names=NAMES)


def said(mapping: str) -> SourceMapping:
    """Return what node.toml says of a source."""
    return msgspec.toml.decode(mapping, type=SourceMapping)


def open_unlinked(folder: Path, mapping: str, node: str = "node") -> ViewStore:
    """Open a node's data side over one source below a folder."""
    found = said(mapping)
    return ViewStore(folder / node, {"rides": folder / found.place}, SECRET, {"rides": found})


def open_store(folder: Path, mapping: str) -> ViewStore:
    """Open a node's data side over one source below a folder, with the customers linked."""
    store = open_unlinked(folder, mapping)
    store.set_links(CUSTOMERS.items())
    return store


def taken(store: ViewStore) -> list[tuple[Any, ...]]:
    """Return the rows of the snapshot in use: slot, place among the resident's own, and the columns of the view."""
    parts = store._kept.parts(PartKey("rides", "customer"))
    columns = ["slot", "number", "text_ward", "whole_hour", "whole_fare"]
    rows = [row for part in parts for row in pq.read_table(part.path, columns=columns).to_pylist()]
    return sorted((tuple(row[name] for name in columns) for row in rows), key=lambda row: row[:2])


def taken_in(folder: Path, mapping: str) -> list[tuple[Any, ...]]:
    """Return what a node takes in of a source that it has never seen."""
    store = open_store(folder, mapping)
    try:
        store.load([VIEW])
        return taken(store)
    finally:
        store.close()


def bounded_rows(store: ViewStore, policy: str = "ab" * 32) -> list[tuple[Any, ...]]:
    """Return the bounded view, as it is made of the snapshot in use."""
    store.materialise(policy, VIEW)
    table = store._made[policy, VIEW.name].table
    return sorted(map(tuple, store._engine.con.execute(f"FROM {table}").fetchall()), key=repr)


def expected(rides: Sequence[Ride]) -> list[tuple[Any, ...]]:
    """Return by a plain loop what is to be taken in."""
    return sorted(_numbered(rides), key=lambda row: row[:2])


def _numbered(rides: Sequence[Ride]) -> Iterator[tuple[Any, ...]]:
    counts: dict[int, int] = {}
    for customer, ward, hour, fare in rides:
        if customer in CUSTOMERS:
            slot = CUSTOMERS[customer]
            yield slot, counts.setdefault(slot, 0), ward, hour, fare
            counts[slot] += 1

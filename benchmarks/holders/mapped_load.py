"""Loading a CSV file by a mapping, beside DuckDB's own ``read_csv`` of that file: 5,000,000 rides of 1,000,000 people.

The file is as a bus firm writes it, with Japanese column names: customer numbers, a date and time, a ward, yen texts
(``210円``) and a bus that no view names. It is read by its mapping: customers zero-padded, hour and weekday out of the
time, yen as a number. The same file is measured with every field in quotes, and in CP932.

The yardstick is DuckDB making a table of all of the file, in memory, with the names and types that it finds. Loading is
everything from the file's hash to the snapshot on the disk and the holder's report. Both are done ``ROUNDS`` times by
turns, and the medians compared: by the processor's time, which hangs less on who else is at work, and by the clock.
Beside it stands the share of each stage: reading (``records`` alone, then with ``readers``), and what is left, to join
ready rows to customers, number and write them; and a floor, DuckDB alone doing the same by SQL, with no promise kept.
"""

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb

from policies.policy_document import Category, Measure, Range, View
from trust.node.data.views import ViewStore
from trust.node.sources.mapping import ColumnMapping, SourceMapping
from trust.node.sources.source_file import SourceFile

ROWS = 5_000_000
PEOPLE = 1_000_000
ROUNDS = 3
TARGET = "<= 2"
WARDS = [f"ward {number}" for number in range(20)]
TITLE = {"ja": "乗車", "en": "rides", "ja-easy": "のりもの"}
COLUMNS: dict[str, str | ColumnMapping] = {
    "customer": ColumnMapping(from_="会員番号", read=["excel", "strip", "zero-pad 7"]),
    "ward": ColumnMapping(from_="地区", read=["nfkc", "strip"]),
    "hour": ColumnMapping(from_="乗車日時", read=["hour"]),
    "weekday": ColumnMapping(from_="乗車日時", read=["weekday"]),
    "fare": ColumnMapping(from_="運賃", read=["number"]),
}


def run(rows: int = ROWS, people: int = PEOPLE) -> list[dict[str, Any]]:
    """Return a row for each way of writing the file: load ÷ DuckDB's own reading of the plain one."""
    found = []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as root:
        folder = Path(root)
        plain, quoted, cp932 = (folder / name for name in ("plain.csv", "quoted.csv", "cp932.csv"))
        _write(plain, rows, people, "HEADER")
        _write(quoted, rows, people, "HEADER, FORCE_QUOTE *")
        with plain.open(encoding="utf-8", newline="") as file, cp932.open("w", encoding="cp932", newline="") as out:
            while text := file.read(2**22):
                out.write(text)
        for name, mapping in (
            ("", SourceMapping(file=str(plain), columns=COLUMNS)),
            (", each field in quotes", SourceMapping(file=str(quoted), columns=COLUMNS)),
            (", in CP932", SourceMapping(file=str(cp932), columns=COLUMNS, encoding="cp932")),
        ):
            yardstick, loads = [], []
            read = quoted if "quotes" in name else plain  # DuckDB reads no CP932
            for number in range(ROUNDS):
                yardstick.append(_seconds(lambda read=read: _read_csv(read)))  # type: ignore[misc]
                loads.append(_load(folder / f"node {name} {number}", mapping, people))
            wall, used = (statistics.median(each[place] for each in loads) for place in (0, 1))
            own_wall, own_used = (statistics.median(each[place] for each in yardstick) for place in (0, 1))
            detail = (
                f"{rows:,} rows, {read.stat().st_size / 2**20:.0f} MiB, {people:,} customers: by the processor's time "
                f"{used:.1f} s, DuckDB {own_used:.1f} s; by the clock {wall / own_wall:.2f}: {wall:.1f} s and {own_wall:.1f} s"
            )
            if not name:
                detail += f"; {_stages(mapping)}, the rest joining, numbering and writing; {_floor(read, folder, people, own_used)}"
            row = {"name": f"load of a CSV file with a mapping{name} ÷ DuckDB's own read_csv", "ratio": used / own_used}
            found.append(row | {"target": TARGET, "detail": detail})
    return found


def _write(path: Path, rows: int, people: int, how: str) -> None:
    with duckdb.connect() as engine:
        engine.execute(
            f"COPY (SELECT printf('%07d', hash(i) % {people}) AS \"会員番号\","
            f" strftime(TIMESTAMP '2025-01-01' + INTERVAL (hash(i * 7) % 525600) MINUTE, '%Y/%m/%d %H:%M') AS \"乗車日時\","
            f" 'ward ' || hash(i * 3) % {len(WARDS)} AS \"地区\", printf('%d円', 100 + 10 * (hash(i * 5) % 60)) AS \"運賃\","
            f" 'bus ' || hash(i * 11) % 300 AS \"車両\" FROM range({rows}) AS t(i)) TO '{path}' ({how})"
        )


def _read_csv(path: Path) -> None:
    with duckdb.connect() as engine:
        engine.execute(f"CREATE TABLE rides AS FROM read_csv('{path}')")


def _load(folder: Path, mapping: SourceMapping, people: int) -> tuple[float, float]:
    folder.mkdir()
    store = ViewStore(folder, {"rides": Path(mapping.file)}, bytes(32), {"rides": mapping})
    store.set_links((f"{number:07}", number) for number in range(people))
    taken = _seconds(lambda: store.load([_view()]))
    if not store.is_ready(_view()):
        raise RuntimeError("The file was not taken in.")
    store.close()
    return taken


def _stages(mapping: SourceMapping) -> str:
    """Return what reading takes, without readers and with them."""
    names = list(mapping.columns)
    bare = SourceFile(
        Path(mapping.file),
        SourceMapping(file=mapping.file, columns={name: mapping.name_in_file(name) for name in names}),
    )
    mapped = SourceFile(Path(mapping.file), mapping)
    records = _seconds(lambda: sum(part.num_rows for part in bare.read_encoded(names)))[1]
    read = _seconds(lambda: sum(part.num_rows for part in mapped.read_encoded(names)))[1]
    return f"of it records {records:.1f} s, readers {read - records:.1f} s"


def _floor(path: Path, folder: Path, people: int, own: float) -> str:
    """Return what DuckDB alone takes for the same end, with no promise kept: read, type, join, number, write."""
    clock = "strptime(\"乗車日時\", '%Y/%m/%d %H:%M')"

    def load() -> None:
        with duckdb.connect() as engine:
            engine.execute(
                f"CREATE TABLE known AS SELECT printf('%07d', i) AS customer, i AS slot FROM range({people}) t(i)"
            )
            engine.execute(
                f"COPY (SELECT slot, row_number() OVER (PARTITION BY slot ORDER BY position) - 1 AS number, ward, hour_of, weekday,"
                f' fare FROM (SELECT row_number() OVER () AS position, "会員番号" AS customer, "地区" AS ward, hour({clock}) AS hour_of,'
                f" isodow({clock}) AS weekday, CAST(replace(\"運賃\", '円', '') AS BIGINT) AS fare"
                f" FROM read_csv('{path}', all_varchar = true)) JOIN known USING (customer)) TO '{folder / 'floor.parquet'}'"
            )

    used = _seconds(load)[1]
    return f"DuckDB alone, with SQL for all of that and no promise kept, {used:.1f} s ({used / own:.2f})"


def _seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Return seconds by the clock, and of all processors."""
    began, used = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - began, time.process_time() - used


def _view() -> View:
    return View(
        name="rides",
        title=TITLE,
        holders=["bus_co"],
        source="rides",
        resident="customer",
        rows_per_resident=5,
        holders_per_resident=1,
        columns=[
            Category(name="ward", title=TITLE, values=WARDS),
            Range(name="hour", title=TITLE, lo=0, hi=23),
            Range(name="weekday", title=TITLE, lo=1, hi=7),
            Measure(name="fare", title=TITLE, lo=0, hi=500, unit="JPY"),
        ],
    )

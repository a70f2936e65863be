"""The engines that a bounded view is computed by, each real: one Ibis expression, compiled for each and run there."""

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

import asyncpg
import duckdb
import ibis
import ibis.expr.operations as ops
import pyarrow as pa

Rows = list[tuple[int | None, ...]]
TYPES = {"int8": "SMALLINT", "int16": "SMALLINT", "int32": "INTEGER", "int64": "BIGINT", "string": "TEXT"}
"""PostgreSQL's types; it has no whole number of 8 bits."""


def given_to(expression: Any, tables: Mapping[str, pa.Table]) -> dict[str, pa.Table]:
    """Return all tables that an expression reads by name: those given, and those that it brings with it."""
    brought = expression.op().find(ops.InMemoryTable)
    return {**tables, **{each.name: each.data.to_pyarrow(each.schema) for each in brought}}


def in_order(rows: Sequence[Sequence[Any]]) -> Rows:
    return sorted((tuple(row) for row in rows), key=lambda row: [(value is None, value or 0) for value in row])


def on_duckdb(expression: Any, tables: Mapping[str, pa.Table]) -> Rows:
    with duckdb.connect() as engine:
        for name, table in given_to(expression, tables).items():
            engine.register(name, table)
        return in_order(engine.execute(str(ibis.to_sql(expression, dialect="duckdb"))).fetchall())


async def on_postgresql(address: str, expression: Any, tables: Mapping[str, pa.Table]) -> Rows:
    connection = await asyncpg.connect(address)
    try:
        for name, table in given_to(expression, tables).items():
            columns = ", ".join(f'"{field.name}" {TYPES[str(field.type)]}' for field in table.schema)
            await connection.execute(f'CREATE TEMP TABLE "{name}" ({columns})')
            rows = zip(*(column.to_pylist() for column in table.columns), strict=True)
            await connection.copy_records_to_table(name, records=rows)
        return in_order(await connection.fetch(str(ibis.to_sql(expression, dialect="postgres"))))
    finally:
        await connection.close()


class Spark:
    """A Spark in this process's own Java, with one worker thread; it calls nobody."""

    def __init__(self) -> None:
        from pyspark.sql import SparkSession

        os.environ["SPARK_LOCAL_IP"] = "127.0.0.1"
        with suppress(KeyError):
            del os.environ["SPARK_HOME"]
        self._session = (
            SparkSession.builder.master("local[1]")
            .config("spark.ui.enabled", "false")
            .config("spark.driver.bindAddress", "127.0.0.1")
            .config("spark.driver.host", "127.0.0.1")
            .config("spark.sql.shuffle.partitions", "1")
            .getOrCreate()
        )

    def run(self, expression: Any, tables: Mapping[str, pa.Table]) -> Rows:
        """Return what it comes to over these tables."""
        from pyspark.sql.types import ByteType, IntegerType, LongType, ShortType, StringType, StructField, StructType

        types = {"int8": ByteType, "int16": ShortType, "int32": IntegerType, "int64": LongType, "string": StringType}
        for name, table in given_to(expression, tables).items():
            schema = StructType([StructField(field.name, types[str(field.type)]()) for field in table.schema])
            rows = list(zip(*(column.to_pylist() for column in table.columns), strict=True))
            self._session.createDataFrame(rows, schema).createOrReplaceTempView(name)
        return in_order(self._session.sql(str(ibis.to_sql(expression, dialect="pyspark"))).collect())

    def close(self) -> None:
        """End it, and its Java."""
        self._session.stop()

"""The process that Spark runs in: it reads one job from a folder, writes what comes of it there, and ends.

It ends as well when its input does, so that it outlives nobody who waits for it. Spark serves no page, keeps no record
of what it did, and writes in that folder alone.
"""

import os
import sys
import threading
from pathlib import Path

import msgspec
from msgspec import Struct

JOB = "job.json"
RESULT = "bounded"


class SparkJob(Struct, frozen=True, kw_only=True):
    """A statement of Spark's SQL over tables, each a Parquet file beside it."""

    master: str
    memory: str
    sql: str
    tables: dict[str, str]


def bound_by_spark(folder: Path) -> None:
    """Do the job that lies in a folder; raise whatever Spark raises."""
    from pyspark.sql import SparkSession  # noqa: PLC0415 - only here is Spark needed

    job = msgspec.json.decode((folder / JOB).read_bytes(), type=SparkJob)
    settings = {
        "spark.ui.enabled": "false",
        "spark.eventLog.enabled": "false",
        "spark.driver.memory": job.memory,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.sql.catalogImplementation": "in-memory",
        "spark.sql.warehouse.dir": str(folder / "warehouse"),
    }
    builder = SparkSession.builder.master(job.master)
    for name, value in settings.items():
        builder = builder.config(name, value)
    session = builder.getOrCreate()
    for name, file in job.tables.items():
        session.read.parquet(str(folder / file)).createOrReplaceTempView(name)
    session.sql(job.sql).write.parquet(str(folder / RESULT))
    session.stop()


def _end_with_input() -> None:
    while os.read(0, 1):  # of sys.stdin it would hold a lock that this process's own end waits for
        pass
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with_input, daemon=True).start()
    bound_by_spark(Path(sys.argv[1]))

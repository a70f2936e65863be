"""Bounded views computed by Spark on this machine, in a process of its own (``trust.node.engines.spark_process``).

Rows go there and come back as Parquet files in one folder of the node's, mode 0700, which Spark has for all else that
it writes too. The folder goes when the block ends, and whatever a crash left at the next start; its name is used once,
so nothing that is left is ever read. The process ends when its input does: with this one, whatever that dies of.
"""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import ibis
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from ledger.errors import Unavailable
from trust.node.engines.bounding_engine import BoundingJob
from trust.node.engines.spark_process import JOB, RESULT, SparkJob

FAILED = (
    "The Spark that bounds this node's views did not finish; look whether a Java that it takes is installed, at the room "
    "in memory and in the node's folder, and at seconds under [engine]."
)
OUTSIDE = {
    "JDK_JAVA_OPTIONS",
    "PYSPARK_SUBMIT_ARGS",
    "SPARK_CONF_DIR",
    "SPARK_CONNECT_MODE_ENABLED",
    "SPARK_HOME",
    "SPARK_REMOTE",
}
"""What would have another Spark run, or one that keeps or sends what it is not told to."""


class SparkBounding:
    """Spark as ``BoundingEngine``. ``master`` is how many of this machine's processors it takes: ``local[2]``.

    ``memory`` is how much its Java takes, in Spark's words (``8g``).
    """

    def __init__(self, folder: Path, master: str, memory: str, seconds: int) -> None:
        self._folder, self._master, self._memory, self._seconds = folder, master, memory, seconds
        if folder.exists():
            shutil.rmtree(folder)

    @contextmanager
    def bounding(self, job: BoundingJob) -> Iterator[Iterator[pa.RecordBatch]]:
        """Write the tables, have Spark run, and give the rows that it wrote."""
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        try:
            with _in_words():
                self._write(folder, job)
                self._run(folder)
            yield self._found(folder, job)
        finally:
            shutil.rmtree(self._folder)

    def _write(self, folder: Path, job: BoundingJob) -> None:
        files = {}
        for number, (name, rows) in enumerate(job.tables.items()):
            files[name] = f"given-{number}.parquet"
            reader = rows()
            with pq.ParquetWriter(folder / files[name], reader.schema) as file:
                for batch in reader:
                    file.write_batch(batch)
        asked = str(ibis.to_sql(job.expression, dialect="pyspark"))
        said = SparkJob(master=self._master, memory=self._memory, sql=asked, tables=files)
        (folder / JOB).write_bytes(msgspec.json.encode(said))

    def _run(self, folder: Path) -> None:
        environment = {name: value for name, value in os.environ.items() if name not in OUTSIDE}
        environment |= {"TMPDIR": str(folder), "SPARK_LOCAL_DIRS": str(folder), "SPARK_LOCAL_IP": "127.0.0.1"}
        environment["JAVA_TOOL_OPTIONS"] = (
            f'-Djava.io.tmpdir="{folder}" -XX:-UsePerfData -XX:ErrorFile="{folder}/java.log"'
        )
        read, line = os.pipe()
        process = subprocess.Popen(  # noqa: S603 - this very Python, with a path of our own
            [sys.executable, "-m", "trust.node.engines.spark_process", str(folder)],
            stdin=read,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,  # what Spark says may repeat rows
            env=environment,
            start_new_session=True,
        )
        os.close(read)
        try:
            # Until its output is closed, which its Java has too: then nobody is left who could write.
            process.communicate(timeout=self._seconds)
        finally:
            if process.returncode is None:
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)  # its Java too
            os.close(line)
            process.communicate()
        if process.returncode != 0:
            raise Unavailable(FAILED)

    def _found(self, folder: Path, job: BoundingJob) -> Iterator[pa.RecordBatch]:
        with _in_words():
            for path in sorted((folder / RESULT).glob("*.parquet")):
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches():
                        yield batch.cast(job.schema)


@contextmanager
def _in_words() -> Iterator[None]:
    try:
        yield
    except Unavailable:
        raise
    except (OSError, subprocess.SubprocessError, ValueError, pa.ArrowException):
        raise Unavailable(FAILED) from None

"""Bounded views computed by a PostgreSQL of the holder's own.

All of it is one transaction that is never committed. Its tables are temporary: they are in no other session's sight, in
no write-ahead log, replica or backup, and go with the transaction, the session or the server, whichever ends first.
Values go by COPY and come by a cursor, so none is in a statement that the server may log; nor are the numbers that
choose rows, which are a table as well. Nothing is ANALYZEd: that would leave values in the server's statistics, whose
pages and log outlive the table.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import asyncpg
import ibis
import pyarrow as pa

from ledger.errors import Unavailable
from trust.node.engines.bounding_engine import BoundingJob
from trust.node.sources.postgresql_session import PostgresqlSession, address_of

AT_ONCE = 65_536
TYPES = {"int8": "smallint", "int16": "smallint", "int32": "integer", "int64": "bigint", "string": "text"}
"""By Arrow's names; PostgreSQL has no whole number of 8 bits."""
LOOK_WHO_IS_THERE = "SET client_connection_check_interval TO 1000"
"""Else a server that works looks whether anybody waits for it only when it has done so."""
FAILED = (
    "The PostgreSQL that bounds this node's views cannot be asked, or did not finish; look at its address, its user, "
    "whether it runs and has room, and at seconds under [engine]."
)


class PostgresqlBounding:
    """A PostgreSQL as ``BoundingEngine``; its address is one of the three, read anew each time.

    A step that takes longer than ``seconds`` is given up, here and by the server.
    """

    def __init__(self, dsn: str, dsn_env: str, dsn_file: Path | None, seconds: int) -> None:
        self._dsn, self._dsn_env, self._dsn_file, self._seconds = dsn, dsn_env, dsn_file, seconds

    @contextmanager
    def bounding(self, job: BoundingJob) -> Iterator[Iterator[pa.RecordBatch]]:
        """Send the tables, and give the rows as the server finds them."""
        session = PostgresqlSession()
        try:
            with _said_plainly():
                session.run(session.open(self._address(), self._settings()))
                with suppress(asyncpg.PostgresError):  # servers before 14, and on some systems, have no such setting
                    session.run(session.connection.execute(LOOK_WHO_IS_THERE))
                self._run(session, session.connection.execute("BEGIN"))
                for name, rows in job.tables.items():
                    self._send(session, name, rows())
            yield self._found(session, job)
        finally:
            session.close()  # the transaction ends with the session, and its tables with it

    def _address(self) -> str:
        return address_of("The engine", self._dsn, self._dsn_env, self._dsn_file)

    def _settings(self) -> dict[str, str]:
        # What this machine leaves behind when it vanishes, the server ends by itself.
        milliseconds = str(self._seconds * 1_000)
        return {
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            "tcp_keepalives_idle": "60",
        }

    def _send(self, session: PostgresqlSession, name: str, rows: pa.RecordBatchReader) -> None:
        columns = ", ".join(f'"{field.name}" {TYPES[str(field.type)]}' for field in rows.schema)
        self._run(session, session.connection.execute(f'CREATE TEMP TABLE "{name}" ({columns}) ON COMMIT DROP'))
        for batch in rows:
            for first in range(0, batch.num_rows, AT_ONCE):
                records = zip(*(column.to_pylist() for column in batch.slice(first, AT_ONCE).columns), strict=True)
                self._run(session, session.connection.copy_records_to_table(name, records=list(records)))

    def _found(self, session: PostgresqlSession, job: BoundingJob) -> Iterator[pa.RecordBatch]:
        with _said_plainly():
            asked = str(ibis.to_sql(job.expression, dialect="postgres"))
            cursor = self._run(session, session.connection.cursor(asked))
            while records := self._run(session, cursor.fetch(AT_ONCE)):
                columns = zip(*map(tuple, records), strict=True)
                arrays = [pa.array(column, field.type) for column, field in zip(columns, job.schema, strict=True)]
                yield pa.record_batch(arrays, schema=job.schema)

    def _run(self, session: PostgresqlSession, work: Any) -> Any:
        return session.run(work, self._seconds)


@contextmanager
def _said_plainly() -> Iterator[None]:
    try:
        yield
    except Unavailable:
        raise
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError, TimeoutError, ValueError, pa.ArrowException):
        raise Unavailable(FAILED) from None  # what a driver or server says may repeat a password or a row

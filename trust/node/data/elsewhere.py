"""A bounded view made in an engine outside the node (``trust.node.engines``), and taken into the node's own.

**What goes there** is no more than bounding needs: of each linked customer's rows the slot, the salt, the number and
the view's columns; (slot, salt) of the links; and the two numbers that choose rows. A text goes only where it is in the
policy's list of values, and is null else, which bounding gives the same code. So no customer number and no free text
leaves the node, and no text that one engine cannot hold or compares otherwise decides anything.

**What comes back** is whole numbers, in a table that nobody asks before all of it is there. Noise is measured by what
bounding promises, so that is not believed but looked at: at most R rows of a resident, each of somebody whose rows were
sent, each number inside its column's bounds.

The caller holds the store's lock for all of it: an erasure comes before, and its rows are not sent, or after, and takes
them from the view that came. An engine that failed is left alone for a while, as each view would wait for it again.
"""

from collections.abc import Callable
from typing import Any

import ibis
import pyarrow as pa
import structlog

from ledger.errors import Unavailable
from policies.policy_document import Category, Measure, Time, View
from trust.node.data.bounding import NO_CODE, NUMBER, OVER_LIMIT, SALT, SLOT, bounded, clipped, stored
from trust.node.data.snapshots import typed
from trust.node.engines.bounding_engine import BoundingEngine, BoundingJob
from trust.node.sources.duckdb_engine import quoted
from trust.node.sources.tables.one_table import identifier
from trust.runtime.clock import Ticks, system_ticks
from trust.runtime.json_lines import reason_of

LEAVE_ALONE_SECONDS = 60
"""For how long an engine that failed is not asked again."""
NOT_BOUNDED = "The engine that bounds this node's views gave what bounding cannot give; nothing of it is used."
AT_ONCE = 65_536
_SENT, _PEOPLE, _KEY, _CAME = "sent", "people", "row_key", "came"
logger = structlog.get_logger()


class ElsewhereBounding:
    """Makes bounded views in one engine. Used by one thread at a time."""

    def __init__(self, engine: BoundingEngine, ticks: Ticks = system_ticks) -> None:
        self._engine = engine
        self._ticks = ticks
        self._failed: tuple[float, Unavailable] | None = None

    def make(self, duck: Any, table: str, snapshot: str, links: str, view: View, key: tuple[int, int]) -> None:
        """Make the bounded view as a temporary table of ``duck``, the node's own DuckDB, all or nothing.

        ``snapshot`` and ``links`` name what it has of typed rows and (slot, salt). Raises Unavailable where the engine
        fails, or gave what is no bounded view of these; duckdb.Error where the node's own does.
        """
        if self._failed is not None and self._ticks() < self._failed[0]:
            raise self._failed[1]
        # Read here, so that a damaged snapshot is known for what it is, and the engine gets no row of it.
        duck.execute(f"CREATE OR REPLACE TEMP TABLE {_SENT} AS {_rows(snapshot, links, view)}")
        try:
            job = _job(duck, links, view, key)
            with self._engine.bounding(job) as batches:
                duck.register(_CAME, job.schema.empty_table())
                duck.execute(f"CREATE TEMP TABLE {table} AS FROM {_CAME}")
                for batch in batches:
                    duck.register(_CAME, pa.Table.from_batches([batch]))
                    duck.execute(f"INSERT INTO {table} FROM {_CAME}")
            _check(duck, table, view)
            self._failed = None
        except BaseException as error:
            duck.execute(f"DROP TABLE IF EXISTS {table}")
            if isinstance(error, Unavailable):
                logger.error("engine-failed", **reason_of(error))  # noqa: TRY400 - a trace could hold rows
                self._failed = self._ticks() + LEAVE_ALONE_SECONDS, error
            raise
        finally:
            duck.execute(f"DROP TABLE {_SENT}")
            duck.unregister(_CAME)


def _rows(snapshot: str, links: str, view: View) -> str:
    """Return SQL for what is sent of a snapshot."""
    columns = [
        f"CASE WHEN {identifier(typed(column).stored)} IN ({', '.join(map(quoted, column.values))}) "
        f"THEN {identifier(typed(column).stored)} END AS {identifier(typed(column).stored)}"
        if isinstance(column, Category)
        else f"CAST({identifier(typed(column).stored)} AS BIGINT) AS {identifier(typed(column).stored)}"
        for column in view.columns
    ]
    whose = ", ".join(f"CAST({name} AS INTEGER) AS {name}" for name in (SLOT, SALT, NUMBER))
    return f"SELECT {whose}, {', '.join(columns)} FROM {snapshot} SEMI JOIN {links} USING ({SLOT}, {SALT})"


def _job(duck: Any, links: str, view: View, key: tuple[int, int]) -> BoundingJob:
    def reader(sql: str) -> Callable[[], pa.RecordBatchReader]:
        return lambda: duck.sql(sql).to_arrow_reader(AT_ONCE)

    rows = {SLOT: "int32", SALT: "int32", NUMBER: "int32"}
    rows |= {typed(column).stored: "string" if isinstance(column, Category) else "int64" for column in view.columns}
    chosen = ibis.table({"multiplier": "int64", "offset": "int64"}, name=_KEY)
    expression = bounded(
        ibis.table(rows, name=_SENT),
        ibis.table({SLOT: "int32", SALT: "int32"}, name=_PEOPLE),
        view,
        # A table, and no number in the statement: an engine's log may show statements.
        (chosen["multiplier"].as_scalar(), chosen["offset"].as_scalar()),
    )
    numbers = {"multiplier": pa.array([key[0]], pa.int64()), "offset": pa.array([key[1]], pa.int64())}
    return BoundingJob(
        expression=expression,
        given={
            _SENT: reader(f"FROM {_SENT}"),
            _PEOPLE: reader(
                f"SELECT {SLOT}, CAST({SALT} AS INTEGER) AS {SALT} FROM {links} SEMI JOIN {_SENT} USING ({SLOT})"
            ),
            _KEY: pa.table(numbers).to_reader,
        },
    )


def _check(duck: Any, table: str, view: View) -> None:
    for found in _what_cannot_be(table, view):
        if duck.execute(f"{found} LIMIT 1").fetchone() is not None:
            raise Unavailable(NOT_BOUNDED)


def _what_cannot_be(table: str, view: View) -> list[str]:
    """Return queries that find a row only where a table is no bounded view of the rows that were sent."""
    inside = [f"{SLOT} IS NOT NULL"]
    for column in view.columns:
        name = identifier(stored(column.name))
        if isinstance(column, Category):
            inside.append(f"({name} IS NOT NULL AND {name} BETWEEN {NO_CODE} AND {len(column.values) - 1})")
        else:
            lo, hi = (0, column.hi - column.lo) if isinstance(column, Time) else (column.lo, column.hi)
            inside.append(f"({name} IS NULL OR {name} BETWEEN {lo} AND {hi})")
    if view.bounding_measures is True:
        inside.append(f"{OVER_LIMIT} IS NOT NULL")
        names = [identifier(clipped(column.name)) for column in view.columns if isinstance(column, Measure)]
        inside += [f"({name} IS NOT NULL AND {name} BETWEEN 0 AND 1)" for name in names]
    return [
        f"SELECT 1 FROM {table} WHERE NOT ({' AND '.join(inside)})",
        f"SELECT 1 FROM {table} GROUP BY {SLOT} HAVING count(*) > {view.rows_per_resident}",
        f"SELECT 1 FROM {table} ANTI JOIN {_SENT} USING ({SLOT})",
    ]

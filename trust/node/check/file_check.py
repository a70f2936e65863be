"""Looking through a holder's own file as it is loaded, and counting what became of each row and value.

The file goes through the same readers as at load (``trust.node.sources.source_file``), beside the text that stands in
it; what is counted is all rows, whoever has linked, so that a holder can look before anybody has.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from ledger.errors import Unavailable
from policies.policy_document import Category, Column, Measure, View
from trust.node.check.findings import (
    ColumnFindings,
    Kept,
    LeftOut,
    SourceFindings,
    ValueCount,
    ViewFindings,
    Why,
)
from trust.node.sources.csv_file import QuotesDoNotFit
from trust.node.sources.duckdb_engine import engine_settings, shut_in
from trust.node.sources.kinds import CARRIED
from trust.node.sources.source_file import SourceFile
from trust.node.sources.tables.one_table import POSITION, FileRefused

BOUNDS = (1, 2, 5, 10, 20)
"""The rows of a person that a view might keep."""
MOST_EXAMPLES = 5
MOST_LINES = 5
LONGEST = 60
"""Characters of a value that are shown."""
_CUSTOMERS = "linked_customers"


def check_source(
    name: str,
    file: SourceFile,
    views: Sequence[tuple[str, View]],
    linked: Sequence[str],
    spill: Path,
) -> SourceFindings:
    """Look through one source's file for the views (each with its policy's name) that are over it.

    ``linked`` are the customers who have linked; ``spill`` is a folder of this check's own.
    """
    found = SourceFindings(source=name, file=file.title, linked=len(linked))
    try:
        there = file.columns()
        wanted = _wanted(views, there)
        if not wanted:
            return _refused(found, FileRefused("No view of the policies names a column of this file."))
        with duckdb.connect(config=engine_settings(spill)) as engine:
            shut_in(engine, spill)
            kinds = _take(engine, file, wanted, linked)
            return _count(engine, found, views, wanted, kinds, file)
    except (FileRefused, QuotesDoNotFit) as error:
        return _refused(found, error)
    except Unavailable as error:
        return _refused(found, FileRefused(error.message))


def _refused(found: SourceFindings, error: FileRefused | QuotesDoNotFit) -> SourceFindings:
    reason = error.message if isinstance(error, QuotesDoNotFit) else error.in_full
    return SourceFindings(source=found.source, file=found.file, linked=found.linked, refused=reason, line=error.line)


def _wanted(views: Sequence[tuple[str, View]], there: Sequence[str]) -> list[str]:
    names = [name for _, view in views for name in (view.resident, *(column.name for column in view.columns))]
    return [name for name in dict.fromkeys(names) if name in there]


def _take(engine: Any, file: SourceFile, wanted: list[str], linked: Sequence[str]) -> dict[str, str]:
    """Have each row in the engine: ``c0`` … as read, ``r0`` … as it stands in the file, and its position."""
    kinds = file.kinds(wanted)
    made = False
    for part in file.read_beside(wanted):
        engine.register("part", part)
        engine.execute("INSERT INTO held SELECT * FROM part" if made else "CREATE TABLE held AS SELECT * FROM part")
        engine.unregister("part")
        made = True
    engine.register("given", pa.table({"customer": pa.array(linked, pa.string())}))
    engine.execute(f"CREATE TABLE {_CUSTOMERS} AS SELECT DISTINCT customer FROM given")
    return kinds


def _count(
    engine: Any,
    found: SourceFindings,
    views: Sequence[tuple[str, View]],
    wanted: list[str],
    kinds: Mapping[str, str],
    file: SourceFile,
) -> SourceFindings:
    def as_text(name: str) -> str:
        return CARRIED[kinds[name]].as_text.format(f"c{wanted.index(name)}")

    def as_whole(name: str) -> str:
        return CARRIED[kinds[name]].as_whole.format(f"c{wanted.index(name)}")

    has_lines = file.mapping.kind_of_file in {"csv", "xlsx"} and not file.mapping.is_many
    first_line = file.mapping.skip + (1 if file.mapping.names else 2) if has_lines else 1
    resident = views[0][1].resident
    who = as_text(resident) if resident in wanted else "NULL"
    engine.execute(f"ALTER TABLE held ADD COLUMN who VARCHAR; UPDATE held SET who = {who}")
    rows, customers, here = _row(
        engine,
        f"SELECT count(*), count(DISTINCT who), count(DISTINCT who) FILTER (WHERE who IN (FROM {_CUSTOMERS})) FROM held",
    )
    left_out = [
        _left_out(engine, "no customer", "who IS NULL", first_line),
        _left_out(engine, "not linked", f"who IS NOT NULL AND who NOT IN (FROM {_CUSTOMERS})", first_line),
    ]
    seen = [
        ViewFindings(
            policy=policy,
            view=view.name,
            rows_per_resident=view.rows_per_resident,
            columns=[
                _column(engine, column, file, column.name in wanted, as_text, as_whole, wanted)
                for column in view.columns
            ],
            keeps=[_kept(engine, most) for most in sorted({*BOUNDS, view.rows_per_resident})],
        )
        for policy, view in views
    ]
    return SourceFindings(
        source=found.source,
        file=found.file,
        rows=rows,
        left_out=[each for each in left_out if each.rows],
        customers=customers,
        linked=found.linked,
        linked_here=here,
        views=seen,
    )


def _row(engine: Any, sql: str) -> list[int]:
    return [int(value or 0) for value in engine.execute(sql).fetchone()]


def _left_out(engine: Any, why: Why, condition: str, first_line: int) -> LeftOut:
    (rows,) = _row(engine, f"SELECT count(*) FROM held WHERE {condition}")
    places = engine.execute(
        f"SELECT {POSITION} FROM held WHERE {condition} ORDER BY {POSITION} LIMIT {MOST_LINES}"
    ).fetchall()
    return LeftOut(why=why, rows=rows, lines=[place + first_line for (place,) in places])


def _kept(engine: Any, most: int) -> Kept:
    (rows,) = _row(
        engine,
        f"SELECT sum(least(n, {most})) FROM (SELECT count(*) AS n FROM held WHERE who IS NOT NULL GROUP BY who)",
    )
    return Kept(rows_per_resident=most, rows=rows)


def _column(
    engine: Any, column: Column, file: SourceFile, is_there: bool, as_text: Any, as_whole: Any, wanted: list[str]
) -> ColumnFindings:
    kind = type(column).__name__.lower()
    in_file = file.mapping.name_in_file(column.name)
    if not is_there:
        return ColumnFindings(column=column.name, in_file=in_file, kind=kind, missing=True)
    raw = f"r{wanted.index(column.name)}"
    value = as_text(column.name) if isinstance(column, Category) else as_whole(column.name)
    outside = clipped = "FALSE"
    if isinstance(column, Category):
        values = ", ".join("'" + each.replace("'", "''") + "'" for each in column.values)
        outside = f"({value}) NOT IN ({values})"
    elif isinstance(column, Measure):
        clipped = f"({value}) NOT BETWEEN {column.lo} AND {column.hi}"
    else:
        outside = f"({value}) NOT BETWEEN {column.lo} AND {column.hi}"
    unread = f"({raw} IS NOT NULL AND ({value}) IS NULL)"
    null, unreadable, out, clip = _row(
        engine,
        f"SELECT count_if({raw} IS NULL), count_if({unread}), count_if({outside}), count_if({clipped})"
        " FROM held WHERE who IS NOT NULL",
    )
    commonest = engine.execute(
        f"SELECT {raw}, count(*) AS n FROM held WHERE who IS NOT NULL AND ({unread} OR {outside} OR {clipped})"
        f" GROUP BY {raw} ORDER BY n DESC, {raw} LIMIT {MOST_EXAMPLES}"
    ).fetchall()
    return ColumnFindings(
        column=column.name,
        in_file=in_file,
        kind=kind,
        null=null,
        unread=unreadable,
        outside=out,
        clipped=clip,
        examples=[ValueCount(value=(text or "")[:LONGEST], rows=count) for text, count in commonest],
    )

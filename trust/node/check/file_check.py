"""Looking through a holder's own file as it is loaded, and counting what became of each row and value.

The file goes through the same readers as at load (``trust.node.sources.source_file``), beside the text that stands in
it; what is counted is all rows, whoever has linked, so that a holder can look before anybody has.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
from msgspec import structs

from ledger.errors import Unavailable
from policies.policy_document import Category, Column, Measure, View
from policies.time_zones import time_zone_of
from trust.node.check.advice import (
    advise_on_decimals,
    advise_on_form_of,
    advise_on_header,
    advise_on_missing,
    advise_on_readers,
)
from trust.node.check.findings import (
    ColumnFindings,
    Kept,
    LeftOut,
    SourceFindings,
    ValueCount,
    ViewFindings,
    Why,
)
from trust.node.check.fitting import columns_read
from trust.node.data.snapshots import typed, unfit
from trust.node.sources.csv_file import QuotesDoNotFit
from trust.node.sources.duckdb_engine import engine_settings, shut_in
from trust.node.sources.kinds import CARRIED
from trust.node.sources.source_file import SourceFile
from trust.node.sources.tables.one_table import DAMAGED, POSITION, FileRefused

BOUNDS = (1, 2, 5, 10, 20)
"""The rows of a person that a view might keep."""
MOST_EXAMPLES = 5
MOST_LINES = 5
MOST_DISTINCT = 20_000
"""Different values of a column that readers are tried on, the commonest."""
LONGEST = 60
"""Characters of a value that are shown."""
NO_VIEWS = "No policy has a view over this source at this holder: give the policy that is meant with --policy."
NO_ROWS = "There are no rows in it."
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
    advice = advise_on_form_of(file)
    try:
        there = file.columns()
        if not views:
            return structs.replace(found, refused=NO_VIEWS, advice=advice)
        named = columns_read(views)
        wanted = [name for name in named if name in there]
        said = [each for each in file.mapping.columns if each not in named]
        advice += advise_on_header(name, file.header(), [file.mapping.name_in_file(each) for each in wanted], said)
        if not wanted:
            missing = [advise_on_missing(name, each, file.mapping.name_in_file(each), file.header()) for each in named]
            reason = "No column of this file is one that a view of the policies names."
            return structs.replace(found, refused=reason, advice=[*advice, *missing])
        with duckdb.connect(config=engine_settings(spill)) as engine:
            shut_in(engine, spill)
            kinds = _take(engine, file, wanted, linked)
            counted = _count(engine, found, views, wanted, kinds, file)
            more = _advise(engine, file, views, wanted, counted, linked) if counted.rows else [NO_ROWS]
            return structs.replace(counted, advice=[*advice, *more])
    except (FileRefused, QuotesDoNotFit) as error:
        reason = error.message if isinstance(error, QuotesDoNotFit) else error.in_full
        return structs.replace(found, refused=reason, line=error.line, advice=advice)
    except Unavailable as error:
        return structs.replace(found, refused=error.message, advice=advice)
    except (pa.ArrowException, OSError):
        return structs.replace(found, refused=DAMAGED, advice=advice)


def _advise(
    engine: Any,
    file: SourceFile,
    views: Sequence[tuple[str, View]],
    wanted: list[str],
    counted: SourceFindings,
    linked: Sequence[str],
) -> list[str]:
    """Return what to write for columns that are not there, or are read otherwise than their values say."""
    found = []
    zone = time_zone_of(file.mapping.zone) if file.mapping.zone else None
    fitting = {
        each.column: counted.rows - each.null - each.unread - each.outside
        for view in counted.views
        for each in view.columns
    }
    for name, column in columns_read(views).items():
        in_file = file.mapping.name_in_file(name)
        if name not in wanted:
            found.append(advise_on_missing(counted.source, name, in_file, file.header()))
            continue
        if column is None and not linked:
            continue
        raw = f"r{wanted.index(name)}"
        rows = dict(
            engine.execute(
                f"SELECT {raw}, count(*) AS n FROM held WHERE {raw} IS NOT NULL GROUP BY {raw} ORDER BY n DESC, {raw} "
                f"LIMIT {MOST_DISTINCT}"
            ).fetchall()
        )
        if column is None:
            (now,) = _row(engine, f"SELECT count(*) FROM held WHERE who IN (FROM {_CUSTOMERS})")
        else:
            now = fitting[name]
        sentence = advise_on_readers(name, in_file, column, rows, now, linked, zone)
        if sentence is not None:
            found.append(sentence)
        elif column is not None and not isinstance(column, Category) and not file.mapping.readers(name):
            found += advise_on_decimals(name, in_file, rows)
    return found


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
    def as_read(name: str, read_as: str) -> str:
        return CARRIED[kinds[name]].sql(read_as, f"c{wanted.index(name)}")

    def read(column: Column) -> str:
        return as_read(column.name, typed(column).read_as)

    has_lines = file.mapping.kind_of_file in {"csv", "xlsx"} and not file.mapping.is_many
    first_line = file.mapping.skip + (1 if file.mapping.names else 2) if has_lines else 1
    resident = views[0][1].resident
    who = as_read(resident, "text") if resident in wanted else "NULL"
    engine.execute(f"ALTER TABLE held ADD COLUMN who VARCHAR; UPDATE held SET who = {who}")
    rows, with_customer, customers, here = _row(
        engine,
        f"SELECT count(*), count(who), count(DISTINCT who), count(DISTINCT who) FILTER (WHERE who IN (FROM {_CUSTOMERS})) FROM held",
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
            rows=with_customer,
            columns=[_column(engine, column, file, column.name in wanted, read, wanted) for column in view.columns],
            keeps=[_kept(engine, most) for most in sorted({*BOUNDS, view.rows_per_resident})],
        )
        for policy, view in views
    ]
    there = [each for each in left_out if each.rows]
    return structs.replace(found, rows=rows, left_out=there, customers=customers, linked_here=here, views=seen)


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
    engine: Any, column: Column, file: SourceFile, is_there: bool, read: Callable[[Column], str], wanted: list[str]
) -> ColumnFindings:
    kind = type(column).__name__.lower()
    in_file = file.mapping.name_in_file(column.name)
    if not is_there:
        return ColumnFindings(column=column.name, in_file=in_file, kind=kind, missing=True)
    raw = f"r{wanted.index(column.name)}"
    value = read(column)
    beyond = unfit(column, value)
    outside, clipped = ("FALSE", beyond) if isinstance(column, Measure) else (beyond, "FALSE")
    unread = f"({raw} IS NOT NULL AND ({value}) IS NULL)"
    null, unreadable, out, clip = _row(
        engine,
        f"SELECT count_if({raw} IS NULL), count_if({unread}), count_if({outside}), count_if({clipped})"
        " FROM held WHERE who IS NOT NULL",
    )
    commonest = engine.execute(
        f"SELECT {raw}, count(*) AS n FROM held WHERE who IS NOT NULL AND ({unread} OR {beyond})"
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

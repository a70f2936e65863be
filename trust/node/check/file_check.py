"""Looking through a holder's own file as it is loaded, and counting what became of each row and value.

The file goes through the same readers as at load (``trust.node.sources.source_file``), beside the text that stands in
it; what is counted is all rows, whoever has linked, so that a holder can look before anybody has. Of each column every
different text is looked at once, with its number of rows: the engine groups them.
"""

from collections.abc import Callable, Sequence
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
    Copies,
    Kept,
    LeftOut,
    SourceFindings,
    UnevenRows,
    ValueCount,
    ViewFindings,
    Why,
)
from trust.node.check.fitting import columns_read
from trust.node.check.written_form import SHOWN_ENCODINGS
from trust.node.data.snapshots import typed, unfit
from trust.node.sources.csv_file import QuotesDoNotFit
from trust.node.sources.duckdb_engine import engine_settings, shut_in
from trust.node.sources.kinds import CARRIED
from trust.node.sources.source_file import Passage, SourceFile
from trust.node.sources.tables.one_table import DAMAGED, POSITION, FileRefused

BOUNDS = (1, 2, 5, 10, 20)
"""The rows of a person that a view might keep."""
MOST_EXAMPLES = 5
MOST_LINES = 5
MOST_DISTINCT = 20_000
"""Different values of a column that readers are tried on, the commonest."""
LONGEST = 60
"""Characters of a value that are shown."""
MANY_ALIKE = 10
"""Rows from which on it is no chance that two files have the same ones, in the columns that are read."""
NO_VIEWS = "No policy has a view over this source at this holder: give the policy that is meant with --policy."
NO_ROWS = "There are no rows in it."
NO_BYTE = "\ufffd"
"""Stands in the place of a byte that is no text."""
_CUSTOMERS = "linked_customers"
Told = Callable[[int], None]
"""Is called with how many rows of a source have been read so far."""


def check_source(
    name: str,
    file: SourceFile,
    views: Sequence[tuple[str, View]],
    linked: Sequence[str],
    spill: Path,
    told: Told = lambda _: None,
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
            taken = _Taken(engine, file, wanted, views[0][1].resident, linked, told)
            counted = taken.count(found, views)
            more = _advise(taken, views, counted, linked) if counted.rows else [NO_ROWS]
            return structs.replace(counted, advice=[*advice, *more])
    except (FileRefused, QuotesDoNotFit) as error:
        reason = error.message if isinstance(error, QuotesDoNotFit) else error.in_full
        return structs.replace(found, refused=reason, line=error.line, advice=advice)
    except Unavailable as error:
        return structs.replace(found, refused=error.message, advice=advice)
    except (pa.ArrowException, OSError):
        return structs.replace(found, refused=DAMAGED, advice=advice)


def _advise(
    taken: "_Taken", views: Sequence[tuple[str, View]], counted: SourceFindings, linked: Sequence[str]
) -> list[str]:
    """Return what to write for columns that are not there, or are read otherwise than their values say."""
    found = []
    mapping = taken.file.mapping
    zone = time_zone_of(mapping.zone) if mapping.zone else None
    fitting = {
        each.column: view.rows - each.null - each.unread - each.outside
        for view in counted.views
        for each in view.columns
    }
    for name, column in columns_read(views).items():
        in_file = mapping.name_in_file(name)
        if name not in taken.wanted:
            found.append(advise_on_missing(counted.source, name, in_file, taken.file.header()))
            continue
        if column is None and not linked:
            continue
        rows = taken.texts(name, of_all=column is None)
        now = taken.rows_linked() if column is None else fitting[name]
        sentence = advise_on_readers(name, in_file, column, rows, now, linked, zone)
        if sentence is not None:
            found.append(sentence)
        elif column is not None and not isinstance(column, Category) and not mapping.readers(name):
            found += advise_on_decimals(name, in_file, rows)
    return found


class _Taken:
    """A source in an engine: whose each row is (``held``), each column's texts, and people with their rows."""

    def __init__(
        self, engine: Any, file: SourceFile, wanted: list[str], resident: str, linked: Sequence[str], told: Told
    ) -> None:
        self._engine = engine
        self.file = file
        self.wanted = wanted
        self._resident = resident
        self._kinds = file.kinds(wanted)
        self._passage = Passage()
        self._grouped: set[str] = set()
        self._together: dict[int, list[int]] = {}
        """Columns that are one in the file, by the first of them: their texts are the same."""
        by_name: dict[str, int] = {}
        for number, name in enumerate(wanted):
            leader = by_name.setdefault(file.mapping.name_in_file(name), number)
            self._together.setdefault(leader, []).append(number)
        # One transaction, never committed: else the engine puts its tables in order again after each statement.
        engine.begin()
        engine.register("given", pa.table({"customer": pa.array(linked, pa.string())}))
        engine.execute(f"CREATE TABLE {_CUSTOMERS} AS SELECT DISTINCT customer FROM given")
        self._take(told)
        engine.execute(
            "CREATE TABLE people AS SELECT who, count(*) AS n, "
            f"bool_or(who IN (FROM {_CUSTOMERS})) AS linked FROM held WHERE who IS NOT NULL GROUP BY who"
        )

    def _take(self, told: Told) -> None:
        rows = 0
        for part in self.file.read_beside(self.wanted, self._passage):
            self._engine.register("part", part)
            for table, sql in self._tables_of(part).items():
                self._engine.execute(
                    f"INSERT INTO {table} {sql}" if rows else f"CREATE OR REPLACE TABLE {table} AS {sql}"
                )
            self._engine.unregister("part")
            rows += part.num_rows
            told(rows)

    def _tables_of(self, part: pa.Table) -> dict[str, str]:
        """Return what is made of each part: its rows without their values, and each column's texts with their rows."""
        there = part.column_names
        has_unread = {n for n in self._together if part.column(f"u{n}").null_count < part.num_rows}
        who, has_text = "NULL::VARCHAR", "FALSE"
        if self._resident in self.wanted:
            place = self.wanted.index(self._resident)
            who = self._as_read(self._resident, "text", f"c{place}" if f"c{place}" in there else f"r{place}")
            has_text = f"r{place} IS NOT NULL OR u{place} IS NOT NULL"
        shown = ", ".join(f"{sign}{number}" for number in range(len(self.wanted)) for sign in "ru")
        file = len(self._passage.begins) - 1
        tables = {"held": f"SELECT {POSITION}, {who} AS who, {has_text} AS has_text FROM part"}
        if self.file.mapping.is_many:
            tables["prints"] = f"SELECT {file} AS file, count(*) AS n, sum(hash({shown})::HUGEINT) AS print FROM part"
        for leader, numbers in self._together.items():
            read = [f"first(c{number})" if f"c{number}" in there else f"r{leader}" for number in numbers]
            made = "".join(f", {sql} AS c{number}" for number, sql in zip(numbers, read, strict=True))
            unread = f"u{leader}" if leader in has_unread else "NULL::VARCHAR"
            tables[f"d{leader}"] = (
                f"SELECT r{leader} AS r, {unread} AS u{made}, count(*) AS n, count({who}) AS m FROM part "
                f"GROUP BY r{leader}{f', {unread}' if leader in has_unread else ''}"
            )
        return tables

    def _as_read(self, name: str, read_as: str, column: str) -> str:
        return CARRIED[self._kinds[name]].sql(read_as, column)

    def _row(self, sql: str) -> list[int]:
        return [int(value or 0) for value in self._engine.execute(sql).fetchone()]

    def rows_linked(self) -> int:
        """Return how many rows are of customers who have linked."""
        return self._row("SELECT sum(n) FROM people WHERE linked")[0]

    def texts(self, name: str, *, of_all: bool) -> dict[str, int]:
        """Return the commonest texts of a column with their rows: all, or those that have a customer."""
        many = "n" if of_all else "m"
        return dict(
            self._engine.execute(
                f"SELECT r, {many} FROM {self._group(name)} WHERE r IS NOT NULL AND {many} > 0 "
                f"ORDER BY {many} DESC, r LIMIT {MOST_DISTINCT}"
            ).fetchall()
        )

    def _group(self, name: str) -> str:
        """Return a column's texts: ``r``, ``u`` (not read), ``c…`` (as read), rows ``n``, ``m`` of people."""
        leader, numbers = next(each for each in self._together.items() if self.wanted.index(name) in each[1])
        table = f"d{leader}"
        if table not in self._grouped:  # of each part there are its own
            read = "".join(f", first(c{number}) AS c{number}" for number in numbers)
            self._engine.execute(
                f"CREATE OR REPLACE TABLE {table} AS SELECT r, u{read}, sum(n)::BIGINT AS n, sum(m)::BIGINT AS m "
                f"FROM {table} GROUP BY r, u"
            )
            self._grouped.add(table)
        return table

    def count(self, found: SourceFindings, views: Sequence[tuple[str, View]]) -> SourceFindings:
        """Return the findings with all that is counted."""
        (rows,) = self._row("SELECT count(*) FROM held")
        customers, here, with_customer = self._row("SELECT count(*), count_if(linked), sum(n) FROM people")
        seen = [
            ViewFindings(
                policy=policy,
                view=view.name,
                rows_per_resident=view.rows_per_resident,
                rows=with_customer,
                columns=[self._column(column) for column in view.columns],
                keeps=[self._kept(most) for most in sorted({*BOUNDS, view.rows_per_resident})],
            )
            for policy, view in views
        ]
        return structs.replace(
            found,
            rows=rows,
            left_out=self._left_out(),
            customers=customers,
            linked_here=here,
            copies=self._copies(),
            uneven=self._uneven(),
            views=seen,
        )

    def _left_out(self) -> list[LeftOut]:
        conditions: dict[Why, str] = {
            "no customer": "who IS NULL AND NOT has_text",
            "customer not read": "who IS NULL AND has_text",
            "not linked": f"who IS NOT NULL AND who NOT IN (FROM {_CUSTOMERS})",
        }
        found = []
        for why, condition in conditions.items():
            (rows,) = self._row(f"SELECT count(*) FROM held WHERE {condition}")
            if rows:
                places = self._engine.execute(
                    f"SELECT {POSITION} FROM held WHERE {condition} ORDER BY {POSITION} LIMIT {MOST_LINES}"
                ).fetchall()
                places = self.file.places([place for (place,) in places], self._passage)
                found.append(LeftOut(why=why, rows=rows, places=places))
        return found

    def _uneven(self) -> list[UnevenRows]:
        found = []
        for are_longer in (True, False):
            rows, first = 0, None
            for begin, each in zip(self._passage.begins, self._passage.uneven, strict=True):
                rows += each.longer if are_longer else each.shorter
                here = each.first_longer if are_longer else each.first_shorter
                first = begin + here if first is None and here is not None else first
            if first is not None:
                (place,) = self.file.places([first], self._passage)
                sign = self.file.mapping.delimiter
                found.append(UnevenRows(are_longer=are_longer, rows=rows, first=place, delimiter=sign))
        return found

    def _copies(self) -> list[Copies]:
        """Return which files hold the same, so that their rows count twice; two without rows do no harm."""
        found = [Copies(files=each, of_bytes=True) for each in self.file.copies()]
        if len(self._passage.begins) > 1:
            alike = self._engine.execute(
                "SELECT list(file ORDER BY file) FROM (SELECT file, sum(n) AS n, sum(print) AS print FROM prints GROUP BY file "
                f"HAVING sum(n) >= {MANY_ALIKE}) GROUP BY n, print HAVING count(*) > 1 ORDER BY 1"
            ).fetchall()
            paths = [path.name.encode("utf-8", "replace").decode() for path in self.file.paths()]
            told = {frozenset(each.files) for each in found}
            for (numbers,) in alike:
                files = [paths[number] for number in numbers]
                if frozenset(files) not in told:
                    found.append(Copies(files=files, of_bytes=False))
        return found

    def _kept(self, most: int) -> Kept:
        (rows,) = self._row(f"SELECT sum(least(n, {most})) FROM people")
        return Kept(rows_per_resident=most, rows=rows)

    def _column(self, column: Column) -> ColumnFindings:
        kind = type(column).__name__.lower()
        in_file = self.file.mapping.name_in_file(column.name)
        if column.name not in self.wanted:
            return ColumnFindings(column=column.name, in_file=in_file, kind=kind, missing=True)
        value = self._as_read(column.name, typed(column).read_as, f"c{self.wanted.index(column.name)}")
        beyond = unfit(column, value)
        outside, clipped = ("FALSE", beyond) if isinstance(column, Measure) else (beyond, "FALSE")
        there, unread = "(r IS NOT NULL OR u IS NOT NULL)", f"({value}) IS NULL"
        table = f"FROM {self._group(column.name)} WHERE m > 0"
        null, unreadable, out, clip = self._row(
            f"SELECT sum(m) FILTER (NOT {there}), sum(m) FILTER ({there} AND {unread}), "
            f"sum(m) FILTER ({outside}), sum(m) FILTER ({clipped}) {table}"
        )
        commonest = self._engine.execute(
            f"SELECT coalesce(r, u), r IS NULL, m::BIGINT {table} AND {there} AND ({unread} OR {beyond})"
            f" ORDER BY m DESC, coalesce(r, u) LIMIT {MOST_EXAMPLES}"
        ).fetchall()
        return ColumnFindings(
            column=column.name,
            in_file=in_file,
            kind=kind,
            null=null,
            unread=unreadable,
            outside=out,
            clipped=clip,
            examples=[
                ValueCount(
                    value=text[:LONGEST], rows=rows, not_in=self._encoding() if is_unread and NO_BYTE in text else ""
                )
                for text, is_unread, rows in commonest
            ],
        )

    def _encoding(self) -> str:
        return SHOWN_ENCODINGS[self.file.mapping.encoding] if self.file.mapping.is_csv else SHOWN_ENCODINGS["utf-8"]

"""Loading a holder's file: the one stage in which it is accepted or refused, and never when a question is asked.

    file, as it is now  →  typed rows of linked customers  →  a snapshot on the disk, and a report

The file is read as ``trust.node.sources.kinds`` says, the columns that a view names and no others. A file that is
refused leaves the snapshot in use that the last good one made, also across a restart. Refused are a CSV file whose
quotes do not fit, a Parquet file that is damaged, and a file that lacks a column which the snapshot in use has for a
view. No value does more than be read, or be null by itself. A file that is still being written, or cannot be opened, is
no refusal: it is looked at again.

It is done in an engine of its own, so that whatever a file brings about there ends with it. Nothing about what is in a
file is logged: the report is for the holder alone (``trust.node.data.load_report``).
"""

import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import duckdb
import pyarrow as pa
import structlog
from msgspec import Struct

from ledger.errors import Unavailable
from policies.policy_document import Category, Measure, Range, View
from trust.node.data.load_report import (
    ColumnReport,
    FitReport,
    LoadReport,
    RefusedReport,
    write_report,
)
from trust.node.data.snapshots import (
    Contents,
    Part,
    PartKey,
    SnapshotFolder,
    TypedColumn,
    loading_engine,
    scan,
    typed,
)
from trust.node.sources.csv_file import QuotesDoNotFit
from trust.node.sources.kinds import CARRIED
from trust.node.sources.source_file import DAMAGED, POSITION, FileRefused, SourceFile

MOST_PARTS = 16
"""A snapshot of more parts is loaded as a whole again."""
_OUR_OWN = (duckdb.IOException, duckdb.OutOfMemoryException)
"""What an engine raises that is no fault of a file."""
_RAW = "raw_rows"
_KNOWN = "known_links"
logger = structlog.get_logger()


class Links(Struct, frozen=True, kw_only=True):
    """The links there are, all of slots below ``below``; ``from_slot`` gives (customer, slot, salt) from a slot on.

    ``digest`` tells those below a slot from any others (``trust.node.data.link_table``).
    """

    from_slot: Callable[[int], pa.Table]
    digest: Callable[[int], str]
    below: int


class FileLoader:
    """Keeps the snapshot of one source and resident column as new as its file allows."""

    def __init__(self, key: PartKey, file: SourceFile, kept: SnapshotFolder) -> None:
        self.key = key
        self._file = file
        self._kept = kept
        self._refused = ""
        """The bytes that were refused last: they are not read again before the next start."""
        self._said: tuple[str, ...] = ()
        """What was last logged: once is enough."""

    def refresh(self, views: Sequence[View], links: Links) -> None:
        """Load the file where it, the views' columns or the links are not those that were loaded.

        Raises nothing that follows from what is in the file. Raises Unavailable or OSError where the node's own disk or
        memory does not do its part; what was in use still is.
        """
        try:
            sha256 = self._file.sha256()
        except Unavailable as error:
            self._say("source-unreadable", error.message, why=error.message)
            return
        parts = self._kept.parts(self.key)
        wanted = sorted({typed(column) for view in views for column in view.columns})
        if sha256 == self._refused:
            return
        there = wanted
        try:
            if not self._is_loaded(parts, sha256, wanted, links):
                names = self._file.columns()
                there = [column for column in wanted if column.name in names]
                if not self._is_loaded(parts, sha256, there, links):
                    self._check(parts, wanted, names)
                    self._load(sha256, there, _next_slot(parts, sha256, there, links), links, views)
        except (FileRefused, QuotesDoNotFit) as error:
            self._refuse(sha256, error)
        else:
            lacking = sorted({column.name for column in wanted} - {column.name for column in there})
            if self._say("source-loaded", sha256, *lacking, **({"lacking": lacking} if lacking else {})):
                self._kept.report_path(self.key, refused=True).unlink(missing_ok=True)

    @staticmethod
    def _is_loaded(parts: list[Part], sha256: str, columns: list[TypedColumn], links: Links) -> bool:
        if not parts or not _is_of(parts, sha256, columns):
            return False
        return parts[-1].contents.below == links.below == _next_slot(parts, sha256, columns, links)

    def _check(self, parts: list[Part], wanted: list[TypedColumn], names: list[str]) -> None:
        """Raise FileRefused for a file that would take data away from a view that has it."""
        in_use = set(parts[0].contents.columns) if parts else set()
        lacking = sorted({column.name for column in wanted if column.stored in in_use and column.name not in names})
        if self.key.resident not in names:
            lacking = [self.key.resident, *lacking]
        if lacking:
            raise FileRefused(f"It lacks the columns: {', '.join(lacking)}.")

    def _load(self, sha256: str, columns: list[TypedColumn], first: int, links: Links, views: Sequence[View]) -> None:
        contents = Contents(
            file_sha256=sha256,
            columns=[column.stored for column in columns],
            first=first,
            below=links.below,
            links=links.digest(links.below),
            make=secrets.token_hex(8),
        )
        names = [self.key.resident, *dict.fromkeys(column.name for column in columns)]
        with loading_engine(self._kept.folder) as engine:
            engine.execute("SET preserve_insertion_order = false")
            reading = _FileReading(self._file, names)
            try:
                sql = _taken(engine, reading, columns, names, links.from_slot(first))
                with self._kept.adding(self.key, contents, engine, sql) as part:
                    if self._file.sha256() != sha256:
                        raise Unavailable("A source's file changed while it was read; it is read again.")
                    before = self._kept.parts(self.key) if first else []
                    report = _report(engine, self.key, [*before, part], reading.rows, columns, views)
            except duckdb.Error as error:
                reading.check()
                if isinstance(error, _OUR_OWN):
                    raise Unavailable("The node's disk or memory did not take a source's rows.") from None
                raise FileRefused(DAMAGED) from None  # nothing that we know of; but no file is tried for ever
        write_report(self._kept.report_path(self.key), report)

    def _refuse(self, sha256: str, error: FileRefused | QuotesDoNotFit) -> None:
        """Keep why, for the holder alone: the log names the reason and where to look, and no number from rows."""
        is_for_good = isinstance(error, QuotesDoNotFit) or error.reason == DAMAGED
        self._refused = (
            sha256 if is_for_good else ""
        )  # which columns are wanted may change; what the bytes are does not
        path = self._kept.report_path(self.key, refused=True)
        report = RefusedReport(
            source=self.key.source,
            resident=self.key.resident,
            file_sha256=sha256,
            reason=error.message if isinstance(error, QuotesDoNotFit) else error.reason,
            line=error.line,
        )
        if self._say("source-refused", sha256, report.reason, why=report.reason, see=f"{path.parent.name}/{path.name}"):
            write_report(path, report)

    def _say(self, event: str, *of: str, **more: str | list[str]) -> bool:
        """Log an event, once for what it is of; return whether that was news."""
        is_news = self._said != (event, *of)
        if is_news:
            logger.info(event, source=self.key.source, **more)
        self._said = (event, *of)
        return is_news


class _FileReading:
    """A file on its way into an engine, and what became of it."""

    def __init__(self, file: SourceFile, names: list[str]) -> None:
        self._parts = file.read(names)
        self._error: Exception | None = None
        self.rows = 0
        try:
            self.kinds = file.kinds(names)
            self._first = next(self._parts)
        except QuotesDoNotFit:
            raise
        except Exception:  # noqa: BLE001 - no library promises what it raises for a file that it was given
            raise FileRefused(DAMAGED) from None

    def reader(self) -> Any:
        """Return it as a reader of batches."""
        return pa.RecordBatchReader.from_batches(self._first.schema, self._batches())

    def _batches(self) -> Iterator[Any]:
        part: Any = self._first
        try:
            while part is not None:
                self.rows += part.num_rows
                yield from part.to_batches()
                part = next(self._parts, None)
        except Exception as error:
            self._error = error
            raise

    def check(self) -> None:
        """Raise why reading ended, where it did not end well."""
        if isinstance(self._error, QuotesDoNotFit):
            raise self._error
        if self._error is not None:
            raise FileRefused(DAMAGED) from None


def _is_of(parts: list[Part], sha256: str, columns: list[TypedColumn]) -> bool:
    stored = {column.stored for column in columns}
    return all(part.contents.file_sha256 == sha256 and stored <= set(part.contents.columns) for part in parts)


def _next_slot(parts: list[Part], sha256: str, columns: list[TypedColumn], links: Links) -> int:
    """Return from which slot on rows are to be loaded; 0 where everything is."""
    if not parts or not _is_of(parts, sha256, columns):
        return 0
    last = parts[-1].contents
    if last.below > links.below or last.links != links.digest(last.below):  # the books are others, or lost some
        return 0
    return last.below if last.below == links.below or len(parts) < MOST_PARTS else 0


def _taken(engine: Any, reading: _FileReading, columns: list[TypedColumn], names: list[str], links: pa.Table) -> str:
    """Return SQL for the typed rows of these links' customers, numbered from 0 in the file's order, each by itself.

    Customers are the same if their text is. A whole number has one text only ("7", never "07"), so for a column of
    whole numbers the few customers are turned into numbers rather than the many rows into text.
    """
    engine.register("given_links", links)
    number = "TRY_CAST(customer AS BIGINT)"
    engine.execute(
        f"CREATE TEMP TABLE {_KNOWN} AS SELECT customer, slot, salt,"
        f" CASE WHEN CAST({number} AS VARCHAR) = customer THEN {number} END AS number FROM given_links"
    )
    engine.register(_RAW, reading.reader())
    kind = reading.kinds[names[0]]
    if kind == "whole number":
        same = f"{_RAW}.c0 = {_KNOWN}.number"
    else:
        same = f"{CARRIED[kind].as_text.format(f'{_RAW}.c0')} = {_KNOWN}.customer"
    values = []
    for column in columns:
        carried = CARRIED[reading.kinds[column.name]]
        sql = carried.as_text if column.read_as == "text" else carried.as_whole
        values.append(f", {sql.format(f'c{names.index(column.name)}')} AS {column.stored}")
    return (
        f"SELECT {_KNOWN}.slot, CAST({_KNOWN}.salt AS INTEGER) AS salt,"
        f" CAST(row_number() OVER (PARTITION BY {_KNOWN}.slot ORDER BY {POSITION}) - 1 AS INTEGER) AS number"
        f"{''.join(values)} FROM {_RAW} JOIN {_KNOWN} ON {same}"
    )


def _report(
    engine: Any, key: PartKey, parts: list[Part], rows: int, columns: list[TypedColumn], views: Sequence[View]
) -> LoadReport:
    fits = [(view, column) for view in views for column in view.columns if typed(column) in columns]
    asked = [
        "count(*)",
        "count_if(number = 0)",  # of each person's rows one is the first
        *(f"count(*) - count({column.stored})" for column in columns),
        *(f"count_if({_unfit(column)})" for _, column in fits),
    ]
    found = engine.execute(f"SELECT {', '.join(asked)} FROM {scan(parts)}").fetchone()
    taken, people, *rest = (int(number or 0) for number in found)
    lacking = {column.name for view in views for column in view.columns if typed(column) not in columns}
    return LoadReport(
        source=key.source,
        resident=key.resident,
        file_sha256=parts[0].contents.file_sha256,
        rows=rows,
        left_out=rows - taken,
        people=people,
        lacking=sorted(lacking),
        columns=[
            ColumnReport(column=column.name, read_as=column.read_as, nulls=nulls)
            for column, nulls in zip(columns, rest, strict=False)
        ],
        views=[
            FitReport(view=view.name, column=column.name, unfit=unfit)
            for (view, column), unfit in zip(fits, rest[len(columns) :], strict=True)
        ],
    )


def _unfit(column: Category | Range | Measure) -> str:
    stored = typed(column).stored
    if isinstance(column, Category):
        values = ", ".join("'" + value.replace("'", "''") + "'" for value in column.values)
        return f"{stored} NOT IN ({values})"
    return f"{stored} < {column.lo} OR {stored} > {column.hi}"

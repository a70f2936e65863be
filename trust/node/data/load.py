"""Loading a holder's file: the one stage in which it is accepted or refused, and never when a question is asked.

    file, as it is now  →  typed rows of linked customers  →  a snapshot on the disk, and a report

The file is read as ``trust.node.sources.kinds`` says, the columns that a view names and no others. A file that is
refused leaves the snapshot in use that the last good one made, also across a restart. Refused are a CSV file whose
quotes do not fit, a file that is damaged, and one that lacks a column which the snapshot in use has for a view. No
value does more than be read, or be null by itself. A file that is still being written, or cannot be opened, is no
refusal: it is looked at again.

**A source that only grows** (``append_only``, a folder or a glob) is read as far as it is new: files behind those that
were taken in. Their rows are numbered on from those of the same resident, so that the snapshot, and each view bounded
from it, is that of a load of everything. A file that came between the others, or whose columns are of other types, has
everything loaded again. One that was taken in and is changed, or gone, is a refusal: what is counted would change
behind what its holder said.

It is done in an engine of its own, so that whatever a file brings about there ends with it. Nothing about what is in a
file is logged: the report is for the holder alone (``trust.node.data.load_report``).
"""

import secrets
from collections.abc import Iterator, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import structlog
from msgspec.structs import replace

from ledger.errors import Unavailable
from policies.policy_document import View
from trust.node.data.bounding import NUMBER, SALT, SLOT
from trust.node.data.linked_rows import LinkedRows
from trust.node.data.load_report import (
    ColumnReport,
    FitReport,
    LoadReport,
    RefusedReport,
    keep_report,
    last_report,
    write_report,
)
from trust.node.data.load_steps import Links, LoadStep, fitting, said_kinds, steps_to_load
from trust.node.data.snapshots import (
    Contents,
    Part,
    PartKey,
    SnapshotFolder,
    TypedColumn,
    loading_engine,
    scan,
    typed,
    unfit,
)
from trust.node.sources.csv_file import QuotesDoNotFit
from trust.node.sources.kinds import CARRIED
from trust.node.sources.source_file import Passage, SourceFile
from trust.node.sources.source_parts import FileMark, version_of
from trust.node.sources.tables.one_table import DAMAGED, FileRefused

MOST_PARTS = 16
"""Parts of a snapshot; with the next one they are written as one again."""
_OUR_OWN = (duckdb.IOException, duckdb.OutOfMemoryException)
"""What an engine raises that is no fault of a file."""
_LINKED = "linked_rows"
logger = structlog.get_logger()


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
        self._odd = ""
        """The bytes that were last said to look odd."""

    def refresh(self, views: Sequence[View], links: Links) -> None:
        """Load the file where it, the views' columns or the links are not those that were loaded.

        Raises nothing that follows from what is in the file. Raises Unavailable or OSError where the node's own disk or
        memory does not do its part, or a server ends while it is read; what was in use still is.
        """
        try:
            marks = self._file.marks()
        except Unavailable as error:
            self._say("source-unreadable", error.message, why=error.message)
            return
        sha256 = version_of(marks, self._file.mapping)
        wanted = sorted({typed(column) for view in views for column in view.columns})
        if sha256 == self._refused:
            return
        there, parts = wanted, self._kept.parts(self.key)
        try:
            if self._steps(marks, wanted, links):
                names = self._file.columns()
                there = [column for column in wanted if column.name in names]
                steps = self._steps(marks, there, links)
                if steps:
                    self._check(wanted, names)
                    for step in fitting(steps, parts, self._names(there), self._file):
                        self._load(marks, there, step, links, views)
        except (FileRefused, QuotesDoNotFit) as error:
            self._refuse(sha256, error)
        else:
            lacking = sorted({column.name for column in wanted} - {column.name for column in there})
            if self._say("source-loaded", sha256, *lacking, **({"lacking": lacking} if lacking else {})):
                self._kept.report_path(self.key, refused=True).unlink(missing_ok=True)

    def _steps(self, marks: list[FileMark], columns: list[TypedColumn], links: Links) -> list[LoadStep]:
        return steps_to_load(self._kept.parts(self.key), marks, self._file.mapping, columns, links)

    def _names(self, columns: list[TypedColumn]) -> list[str]:
        return [self.key.resident, *dict.fromkeys(column.name for column in columns)]

    def _check(self, wanted: list[TypedColumn], names: list[str]) -> None:
        """Raise FileRefused for a file that would take data away from a view that has it."""
        parts = self._kept.parts(self.key)
        in_use = set(parts[0].contents.columns) if parts else set()
        lacking = sorted({column.name for column in wanted if column.stored in in_use and column.name not in names})
        if self.key.resident not in names:
            lacking = [self.key.resident, *lacking]
        if lacking:
            raise FileRefused(f"It lacks the columns: {', '.join(lacking)}.")

    def _load(
        self, marks: list[FileMark], columns: list[TypedColumn], step: LoadStep, links: Links, views: Sequence[View]
    ) -> None:
        """Take one step: its rows become a new part, or one part with all that there were."""
        before = [] if step.is_whole else self._kept.parts(self.key)
        is_merged = len(before) >= MOST_PARTS
        names = self._names(columns)
        reading = _FileReading(self._file, names, step)
        contents = Contents(
            file_sha256=version_of(marks[: step.after_file], self._file.mapping),
            files=marks[: step.after_file],
            from_file=0 if is_merged else step.first_file,
            mapping=self._file.mapping.sha256(),
            kinds=reading.said_kinds,
            columns=[column.stored for column in columns],
            first=0 if is_merged else step.first_slot,
            below=links.below,
            links=links.digest(links.below),
            make=secrets.token_hex(8),
        )
        known = last_report(self._kept.report_path(self.key)) if step.first_file else None
        with loading_engine(self._kept.folder) as engine, loading_engine(self._kept.folder, "links") as looking_up:
            engine.execute("SET preserve_insertion_order = false")  # rows are numbered before; it takes less memory
            numbers = _next_numbers(engine, before if step.first_file else [], links.below)
            kind = reading.kinds[self.key.resident]
            used = sorted({f"c{names.index(column.name)}" for column in columns})
            linked = LinkedRows(looking_up, reading.reader(), used, kind, links.from_slot(step.first_slot), numbers)
            engine.register(_LINKED, linked.reader())
            try:
                sql = _typed(reading, columns, names)
                if is_merged:
                    stored = "".join(f", {column.stored}" for column in columns)
                    sql = f"SELECT slot, salt, number{stored} FROM {scan(before)} UNION ALL ({sql})"
                with self._kept.adding(self.key, contents, engine, sql) as part:
                    if not self._file.is_still(marks):
                        raise Unavailable("A source's file changed while it was read; it is read again.")
                    parts = [part] if is_merged else [*before, part]
                    report = reading.report(known, _report(engine, self.key, parts, columns, views))
            except duckdb.Error as error:
                reading.check()
                if linked.has_failed or isinstance(error, _OUR_OWN):
                    raise Unavailable("The node's disk or memory did not take a source's rows.") from None
                raise FileRefused(DAMAGED) from None  # nothing that we know of; but no file is tried for ever
        self._report(report, links)

    def _report(self, report: LoadReport, links: Links) -> None:
        """Keep the report for the holder; the log says that there is something to look at, and no number of it."""
        report = keep_report(self._kept.report_path(self.key), report)
        why = report.oddness(links.below)
        if why and self._odd != report.file_sha256:
            self._odd = report.file_sha256
            logger.warning("file-looked-odd", source=self.key.source, why=why)

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
            detail="" if isinstance(error, QuotesDoNotFit) else error.detail,
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

    def __init__(self, file: SourceFile, names: list[str], step: LoadStep) -> None:
        self._passage = Passage()
        self._copies = file.copies
        self._parts = file.read_encoded(names, step.first_file, step.after_file, self._passage)
        self._error: Exception | None = None
        self.rows = 0
        try:
            kinds = file.column_kinds(names, step.first_file, step.after_file)
            self._first = next(self._parts)
        except (FileRefused, QuotesDoNotFit, Unavailable):
            raise
        except Exception:  # noqa: BLE001 - no library promises what it raises for a file that it was given
            raise FileRefused(DAMAGED) from None
        self.kinds = {name: kind.carried for name, kind in kinds.items()}
        self.said_kinds = said_kinds(kinds)

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

    def report(self, known: LoadReport | None, counted: LoadReport) -> LoadReport:
        """Return the report with what was read, beside what the last one says of the files that were taken in."""
        rows = self.rows + (known.rows if known else 0)
        return replace(
            counted,
            rows=rows,
            left_out=rows - counted.rows,
            long_rows=sum(each.longer for each in self._passage.uneven) + (known.long_rows if known else 0),
            short_rows=sum(each.shorter for each in self._passage.uneven) + (known.short_rows if known else 0),
            copies=self._copies(),
        )

    def check(self) -> None:
        """Raise why reading ended, where it did not end well."""
        if isinstance(self._error, FileRefused | QuotesDoNotFit | Unavailable):
            raise self._error
        if self._error is not None:
            raise FileRefused(DAMAGED) from None


def _typed(reading: _FileReading, columns: list[TypedColumn], names: list[str]) -> str:
    """Return SQL for the typed columns of the rows of linked customers."""
    values = []
    for column in columns:
        carried = CARRIED[reading.kinds[column.name]]
        values.append(f", {carried.sql(column.read_as, f'c{names.index(column.name)}')} AS {column.stored}")
    return f"SELECT {SLOT}, {SALT}, {NUMBER}{''.join(values)} FROM {_LINKED}"


def _next_numbers(engine: Any, before: list[Part], slots: int) -> np.ndarray:
    """Return for each slot the number that its resident's next row gets, behind the rows in some parts."""
    numbers = np.zeros(slots, np.int64)
    if before:
        sql = f"SELECT {SLOT}, max({NUMBER}) + 1 AS next FROM {scan(before)} WHERE {SLOT} < {slots} GROUP BY {SLOT}"
        found = engine.sql(sql).to_arrow_table()
        numbers[found[SLOT].to_numpy()] = found["next"].to_numpy()
    return numbers


def _report(
    engine: Any, key: PartKey, parts: list[Part], columns: list[TypedColumn], views: Sequence[View]
) -> LoadReport:
    """Count what was taken in; ``rows`` are those, and none is left out of them."""
    fits = [(view, column) for view in views for column in view.columns if typed(column) in columns]
    asked = [
        "count(*)",
        "count_if(number = 0)",  # of each person's rows one is the first
        *(f"count(*) - count({column.stored})" for column in columns),
        # As filters: where an engine counts inside an aggregate, it compares each row with each value of a list.
        *(f"(SELECT count(*) FROM {scan(parts)} WHERE {unfit(column, typed(column).stored)})" for _, column in fits),
    ]
    found = engine.execute(f"SELECT {', '.join(asked)} FROM {scan(parts)}").fetchone()
    taken, people, *rest = (int(number or 0) for number in found)
    lacking = {column.name for view in views for column in view.columns if typed(column) not in columns}
    return LoadReport(
        source=key.source,
        resident=key.resident,
        file_sha256=parts[-1].contents.file_sha256,
        rows=taken,
        left_out=0,
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

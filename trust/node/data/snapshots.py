"""The last good snapshot of each source, on the disk, so that a restart needs no file that was good.

A snapshot is what one load made of a file (``trust.node.data.load``): the rows of linked customers alone, under their
slots and never their customer numbers, with the columns that a view names, each typed text or whole number. Beside the
slot stands the customer's salt, which only this node's secret gives: books that were put back from a copy may give a
slot to another customer, and then the row is nobody's. One snapshot is of one source and one column of residents. It is
a list of **parts**, Parquet files in one folder:

    <source>.<resident>.<generation>.<part>.parquet

Part 0 is a load of everything; each later part has the rows of customers who were linked after, out of the same bytes,
or the rows of files that came after, where a source only grows (``append_only``).
A new load writes part 0 of the next generation, and its name is the moment from which it counts: a crash before leaves
the old generation, one after it leaves both, and the older goes at the next start. What is half written begins with
``.new-`` and goes then too.

**Erasure.** ``drop`` takes slots out of every part, and ``keep_only`` whatever is of no link any more (also what a
crash left): each part with such a row is written anew without it, and replaced. Both return when that is durable. Files
are mode 0600 and no backup takes them.
"""

import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from glob import escape
from pathlib import Path
from typing import Any

import duckdb
import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
from msgspec import Struct

from policies.policy_document import Category, Column, Time
from trust.files.durable import HALF_WRITTEN, take_place
from trust.node.sources.duckdb_engine import engine_settings, quoted, shut_in
from trust.node.sources.source_parts import FileMark

_KEY = "musubi"
_GIVEN = "given_slots"


class PartKey(Struct, frozen=True, order=True):
    """What a snapshot is of: a source, and the column that names its residents."""

    source: str
    resident: str


class TypedColumn(Struct, frozen=True, order=True):
    """A column of a file, and what it is read as: ``text`` for a category, ``whole`` for a range or measure.

    A column of time is read as its unit (``hour``, ``day``, ``week``, ``month``): a whole number
    (``policies.calendar.calendar_units``), whatever the bounds of the views are that name it.
    """

    name: str
    read_as: str

    @property
    def stored(self) -> str:
        """Its name in a snapshot."""
        return f"{self.read_as}_{self.name}"


def typed(column: Column) -> TypedColumn:
    """Return what a view's column needs of a snapshot."""
    if isinstance(column, Time):
        return TypedColumn(column.name, column.unit)
    return TypedColumn(column.name, "text" if isinstance(column, Category) else "whole")


def unfit(column: Column, value: str) -> str:
    """Return SQL for whether a value (SQL, as read for the column) is there and outside its list or bounds.

    Of a measure such a value counts as the bound; in other columns it is in no group and meets no filter.
    """
    if isinstance(column, Category):
        return f"({value}) NOT IN ({', '.join(map(quoted, column.values))})"
    return f"({value}) NOT BETWEEN {column.lo} AND {column.hi}"


class Contents(Struct, frozen=True, kw_only=True):
    """What a part is made of: a file's bytes, the columns (as stored), the slots from ``first`` to below ``below``.

    ``links`` tells the links below ``below`` from any others: where they change, all is loaded again.
    ``files`` are all files that the parts up to this one are made of, read by the mapping of this hash, and
    ``from_file`` those of them that the parts before have already; ``kinds`` is what their columns were handed on as.
    ``make`` is random: a view that was made of this part knows it by that.
    """

    file_sha256: str
    files: list[FileMark] = []
    from_file: int = 0
    mapping: str = ""
    kinds: dict[str, str] = {}
    columns: list[str]
    first: int
    below: int
    links: str = ""
    make: str

    @property
    def is_whole(self) -> bool:
        """Whether this part takes the place of all that there were."""
        return self.first == 0 and self.from_file == 0


class Part(Struct, frozen=True, kw_only=True):
    """One file of a snapshot."""

    path: Path
    generation: int
    contents: Contents


def scan(parts: Sequence[Part]) -> str:
    """Return SQL for the rows of parts; their paths are names, and not patterns."""
    paths = ", ".join(quoted(escape(str(part.path))) for part in parts)
    return f"read_parquet([{paths}], hive_partitioning=false)"


class SnapshotFolder:
    """The snapshots of one node. Not to be used by two threads at once. Raises OSError where the disk refuses."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        folder.chmod(0o700)
        for left in folder.glob(f"{HALF_WRITTEN}*"):
            shutil.rmtree(left) if left.is_dir() else left.unlink()
        self._parts = {key: _whole(parts) for key, parts in self._found().items()}
        self._remove_others()

    def _found(self) -> dict[PartKey, dict[tuple[int, int], Part]]:
        found: dict[PartKey, dict[tuple[int, int], Part]] = {}
        for path in self.folder.glob("*.parquet"):
            with suppress(Exception):  # what is damaged is missing, whatever reading it raises
                source, resident, generation, number, _ = path.name.split(".")
                made = msgspec.json.decode(pq.read_metadata(path).metadata[_KEY.encode()], type=Contents)
                part = Part(path=path, generation=int(generation), contents=made)
                found.setdefault(PartKey(source, resident), {})[part.generation, int(number)] = part
        return found

    def _remove_others(self) -> None:
        known = {part.path for parts in self._parts.values() for part in parts}
        for path in self.folder.glob("*.parquet"):
            if path not in known:
                path.unlink()

    def parts(self, key: PartKey) -> list[Part]:
        """Return the parts of the snapshot in use; none where there was no good load yet."""
        return self._parts.get(key, [])

    def report_path(self, key: PartKey, *, refused: bool = False) -> Path:
        """Return where the report of the last load is, or of the last refusal."""
        return self.folder / f"{key.source}.{key.resident}.{'refused' if refused else 'loaded'}.json"

    @contextmanager
    def adding(self, key: PartKey, contents: Contents, engine: Any, sql: str) -> Iterator[Part]:
        """Write what a query gives as a new part, yield it, and put it in use where the block raises nothing.

        A part of all files, from slot 0 on, takes the place of all that there were.
        """
        before = self.parts(key)
        generation = before[-1].generation if before else 0
        if contents.is_whole:
            before, generation = [], generation + 1
        name = f"{key.source}.{key.resident}.{generation}.{len(before)}.parquet"
        written = self._write(name, contents, engine, sql)
        try:
            yield Part(path=written, generation=generation, contents=contents)
            take_place(written, self.folder / name)  # a crash in this keeps the new part, one before it the old ones
        finally:
            written.unlink(missing_ok=True)
        self._parts[key] = [*before, Part(path=self.folder / name, generation=generation, contents=contents)]
        self._remove_others()

    def check(self, key: PartKey) -> None:
        """Read a snapshot to its end; one that is damaged is removed, for it is as good as missing."""
        try:
            for part in self.parts(key):
                with pq.ParquetFile(part.path) as file:
                    for _ in file.iter_batches():
                        pass
        except Exception:  # noqa: BLE001 - what is damaged is missing, whatever reading it raises
            self._remove(key)

    def drop(self, slots: Iterable[int]) -> None:
        """Take the rows of some slots out of every part."""
        self._rewrite(pa.table({"slot": pa.array(slots, pa.int32())}), f"slot IN (SELECT slot FROM {_GIVEN})")

    def keep_only(self, links: pa.Table) -> None:
        """Take out of every part the rows of all (slot, salt) but these: a slot alone may be another customer's now."""
        self._rewrite(links, f"(slot, salt) NOT IN (SELECT (slot, CAST(salt AS INTEGER)) FROM {_GIVEN})")

    def _rewrite(self, given: pa.Table, goes: str) -> None:
        """Write each part anew that has such a row. One that cannot be read is removed, with its snapshot.

        What fails for one snapshot holds up no other; it is raised at the end.
        """
        failed: Exception | None = None
        for key in list(self._parts):
            try:
                with loading_engine(self.folder) as engine:
                    engine.register(_GIVEN, given)
                    for part in self.parts(key):
                        self._rewrite_part(engine, part, goes)
            except (duckdb.IOException, duckdb.OutOfMemoryException, OSError) as error:
                self.check(key)  # a damaged file may look like a disk that fails
                failed = error if self.parts(key) else failed
            except duckdb.Error:
                self._remove(key)
        if failed is not None:
            raise failed

    def _rewrite_part(self, engine: Any, part: Part, goes: str) -> None:
        rows = scan([part])
        if engine.execute(f"SELECT 1 FROM {rows} WHERE {goes} LIMIT 1").fetchone() is not None:
            written = self._write(part.path.name, part.contents, engine, f"SELECT * FROM {rows} WHERE NOT ({goes})")
            take_place(written, part.path)

    def _remove(self, key: PartKey) -> None:
        self._parts.pop(key, None)
        self._remove_others()

    def _write(self, name: str, contents: Contents, engine: Any, sql: str) -> Path:
        """Write a query's rows into a file that nobody reads yet, mode 0600."""
        path = self.folder / f"{HALF_WRITTEN}{name}"
        path.touch(mode=0o600)
        made = quoted(msgspec.json.encode(contents).decode())
        try:
            engine.execute(
                f"COPY ({sql}) TO {quoted(str(path))}"
                f" (FORMAT parquet, USE_TMP_FILE false, KV_METADATA {{{_KEY}: {made}}})"
            )
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path


def _whole(parts: dict[tuple[int, int], Part]) -> list[Part]:
    """Return the newest generation that has its part 0, as far as no part is lacking."""
    newest = max((generation for generation, number in parts if number == 0), default=0)
    whole: list[Part] = []
    while (newest, len(whole)) in parts:
        whole.append(parts[newest, len(whole)])
    return whole


@contextmanager
def loading_engine(folder: Path, name: str = "rows") -> Iterator[Any]:
    """Give an engine that ends with the block, and spills into a snapshots' folder; two at once have two names."""
    engine = duckdb.connect(config=engine_settings(folder / f"{HALF_WRITTEN}spill-{name}"))
    shut_in(engine, folder)
    try:
        yield engine
    finally:
        engine.close()

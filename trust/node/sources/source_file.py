"""A holder's raw data: one table per source, read in place and never written.

Which column of it is which of the policies', and by which readers it is read, its mapping says
(``trust.node.sources.mapping``); names here are the policies'. What forms a table can have is in
``trust.node.sources.tables``, and which files it is made of in ``trust.node.sources.source_parts``.

A table is read in one way only, whatever is in it: in parts, the wanted columns alone, each value by
``trust.node.sources.kinds``. A row's ``position`` is its place in its file, behind those of the files before it; it
only ever orders the rows of *one* resident among themselves, so that other people's rows, coming or going, change
nothing about which of a resident's rows are kept.

**Several files** have the columns that are wanted in each of them; a source in which some files have one and others do
not is refused. Where a column's type differs between them, it is read as text in all: digits are the same customer, or
number, as text.
"""

import sys
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import chain, pairwise
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct, structs

from ledger.errors import Unavailable
from trust.node.sources.csv_blocks import Uneven
from trust.node.sources.csv_file import QuotesDoNotFit
from trust.node.sources.kinds import as_one, carry, rule_of_type
from trust.node.sources.mapping import SourceMapping, mapping_of
from trust.node.sources.readers import ColumnReader, ColumnReadings
from trust.node.sources.source_parts import FileMark, SourceParts, version_of
from trust.node.sources.tables.one_table import DAMAGED, POSITION, FileRefused, OneTable, RowPlace
from trust.node.sources.tables.opening import open_table
from trust.node.sources.tables.postgresql_table import PostgresqlTable

_AT_ONCE = 2
"""Parts that readers read while another is taken in."""


class ColumnKind(Struct, frozen=True):
    """What one column is handed on as: a kind of ``kinds.CARRIED``, and its Arrow type.

    ``is_text`` is set where it has to be turned into text first.
    """

    carried: str
    type_: Any
    is_text: bool = False


class Passage(Struct):
    """What was noticed while a source was read: where each file's positions begin, and its rows of other lengths."""

    begins: list[int] = []
    uneven: list[Uneven] = []


class SourceFile:
    """One source with its mapping, and which version of it is there. Raises Malformed for a mapping that is none."""

    def __init__(self, path: Path, mapping: SourceMapping | None = None) -> None:
        self.path = path
        self.mapping = mapping_of(path.name if mapping is None else mapping)
        self._parts = SourceParts(path, self.mapping)
        self._server = PostgresqlTable(path, self.mapping) if self.mapping.is_database else None
        self._names_of: dict[FileMark, list[str]] = {}

    @property
    def title(self) -> str:
        """What it is called before its holder."""
        return self.mapping.table if self._server is not None else self.path.name

    def paths(self) -> list[Path]:
        """Return the files that it is made of; none for a table of a server, and where they are not there."""
        try:
            return [] if self._server is not None else self._parts.paths()
        except Unavailable:
            return []

    def marks(self) -> list[FileMark]:
        """Return the files that it is made of, each as it is. A table of a server is one, by its version.

        Raises Unavailable when one cannot be read, or changes meanwhile, or the server cannot be asked.
        """
        if self._server is not None:
            return [FileMark("", self._server.version())]
        return self._parts.marks()

    def sha256(self) -> str:
        """Return a SHA-256 (hex) of all its files and its mapping. Raises Unavailable as ``marks`` does."""
        return version_of(self.marks(), self.mapping)

    def copies(self) -> list[list[str]]:
        """Return the names of files that are the same, byte by byte, and have rows. Raises Unavailable as ``marks``."""
        if self._server is not None or not self.mapping.is_many:
            return []
        return [[self._told(place) for place in each] for each in self._parts.alike() if self._has_rows(each[0])]

    def _told(self, place: int) -> str:
        name = self._parts.paths()[place].name
        return name.encode("utf-8", "replace").decode()

    def _has_rows(self, place: int) -> bool:
        """Whether a file has rows; what cannot be read, or has rows of nothing, may have some."""
        try:
            (table,) = self._tables(place, place + 1)
            return any(part.num_rows for part in table.read(table.names()[:1], [True]))
        except (FileRefused, QuotesDoNotFit):
            return True

    def places(self, positions: Sequence[int], passage: Passage) -> list[RowPlace]:
        """Return where rows are, for their holder, by their positions, which ascend. Raises as ``read``."""
        found: list[RowPlace] = []
        for number, (begin, end) in enumerate(pairwise([*passage.begins, sys.maxsize])):
            here = [each - begin for each in positions if begin <= each < end]
            if here:
                (table,) = self._tables(number, number + 1)
                with _refusing(table.told):
                    found += [structs.replace(place, file=table.told) for place in table.places(here)]
        return found

    def is_still(self, marks: Sequence[FileMark]) -> bool:
        """Tell whether it is still what was read. A server gives one moment's rows, whatever has come since."""
        return self._server is not None or self.marks() == list(marks)

    def columns(self) -> list[str]:
        """Return which columns there are, each by its name in a policy.

        Raises FileRefused where none can be read, Unavailable as ``marks`` does.
        """
        there = dict.fromkeys(name for names in self._names() for name in names)
        mapped = [name for name in self.mapping.columns if self.mapping.name_in_file(name) in there]
        return [*mapped, *(name for name in there if name and name not in self.mapping.columns)]

    def header(self) -> list[str]:
        """Return the names of the first file's columns as they stand in it. Raises as ``columns``."""
        return self._names()[0]

    def _names(self) -> list[list[str]]:
        """Return the names of each file's columns; of a file that is as it was they are known."""
        marks = self.marks()
        known = {mark: self._names_of[mark] for mark in marks if mark in self._names_of}
        for place, mark in enumerate(marks):
            if mark not in known:
                known[mark] = self._tables(place, place + 1)[0].names()
        self._names_of = known
        return [known[mark] for mark in marks]

    def _tables(self, first: int = 0, after: int | None = None) -> list["_NamedTable"]:
        """Open the files of a stretch, in their order."""
        if self._server is not None:
            return [_NamedTable("", self._server)]
        tables = []
        for path in self._parts.paths()[first:after]:
            told = path.name.encode("utf-8", "replace").decode() if self.mapping.is_many else ""
            with _refusing(told):
                tables.append(_NamedTable(told, open_table(path, self.mapping)))
        return tables

    def kinds(self, wanted: Sequence[str], first: int = 0, after: int | None = None) -> dict[str, str]:
        """Return what each wanted column is carried as (see ``kinds``): what is read by readers as text."""
        return {name: kind.carried for name, kind in self.column_kinds(wanted, first, after).items()}

    def column_kinds(self, wanted: Sequence[str], first: int = 0, after: int | None = None) -> dict[str, ColumnKind]:
        """Return what each wanted column is handed on as, from a stretch of the files.

        Raises FileRefused where a file lacks one of them.
        """
        return _kinds_in(self._tables(first, after), wanted, self.mapping)

    def read(self, wanted: Sequence[str], first: int = 0, after: int | None = None) -> Iterator[pa.Table]:
        """Yield the wanted columns in parts under the names ``c0``, ``c1`` …, and the row's ``position``, from 0.

        ``first`` and ``after`` are a stretch of the files. There is at least one part. A name that repeats in a file
        counts where it stands first. Raises QuotesDoNotFit for a CSV file that is not to be trusted, FileRefused for
        one that is damaged or lacks a column.
        """
        for part in self.read_encoded(wanted, first, after):
            yield _encoded_as(part, [False] * len(wanted))

    def read_encoded(
        self, wanted: Sequence[str], first: int = 0, after: int | None = None, passage: Passage | None = None
    ) -> Iterator[pa.Table]:
        """Yield the same parts, with a column that has few values as a dictionary, in all parts or in none.

        Several parts are read at once, by threads, and come in their order. Raises as ``read``. ``passage`` takes in
        what is noticed of each file.
        """
        readers = [self.mapping.readers(name) for name in wanted]
        in_file = [self.mapping.name_in_file(name) for name in wanted]
        encoded: list[bool] | None = None
        with ThreadPoolExecutor(_AT_ONCE, "readers") as threads:
            ahead: deque[Future[pa.Table]] = deque()
            parts = self._read(wanted, list(map(bool, readers)), first, after, passage)
            for part in chain(parts, [None] * _AT_ONCE):
                if part is not None:
                    ahead.append(threads.submit(_as_read, part, readers, in_file))
                if ahead and (part is None or len(ahead) > _AT_ONCE):
                    found = ahead.popleft().result()
                    encoded = encoded or [pa.types.is_dictionary(column.type) for column in found.columns]
                    yield _encoded_as(found, encoded)

    def read_as_it_stands(self, wanted: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the same parts as ``read``, each value as text, as it stands in the file: for the holder's own eyes."""
        yield from self._read(wanted, [True] * len(wanted), 0, None)

    def read_beside(self, wanted: Sequence[str], passage: Passage) -> Iterator[pa.Table]:
        """Yield each value as it stands in the file, and as it is read: for the holder's own eyes.

        ``r0`` … are the wanted columns as text, ``u0`` … what stands there where that is null, ``c0`` … what is read,
        where that is another column than the text (``is_read_otherwise``).
        """
        merged = _kinds_in(self._tables(), wanted, self.mapping)
        readers = [self.mapping.readers(name) for name in wanted]
        in_file = [self.mapping.name_in_file(name) for name in wanted]
        typed = [
            number for number, name in enumerate(wanted) if is_read_otherwise(merged[name]) and not readers[number]
        ]
        asked, count = [*wanted, *(wanted[number] for number in typed)], len(wanted)
        as_text = [*[True] * count, *[False] * len(typed)]
        for part in self._read(asked, as_text, 0, None, passage, with_unread=True):
            plain = part.select(range(count))
            read = _encoded_as(_as_read(plain, readers, in_file), [False] * count)
            made = {f"c{number}": read.column(number) for number in range(count) if readers[number]}
            made |= {f"c{number}": part.column(count + place) for place, number in enumerate(typed)}
            unread = {f"u{number}": part.column(f"u{number}") for number in range(count)}
            shown = {f"r{number}": plain.column(number) for number in range(count)}
            yield pa.table({**shown, **unread, **made, POSITION: part.column(POSITION)})

    def _read(
        self,
        wanted: Sequence[str],
        as_text: Sequence[bool],
        first: int,
        after: int | None,
        passage: Passage | None = None,
        *,
        with_unread: bool = False,
    ) -> Iterator[pa.Table]:
        tables = self._tables(first, after)
        in_file = [self.mapping.name_in_file(name) for name in wanted]
        merged = _kinds_in(tables, wanted, self.mapping)
        kinds = [
            ColumnKind("text", None, is_text=True) if is_text else merged[name]
            for name, is_text in zip(wanted, as_text, strict=True)
        ]
        begin = 0
        for table in tables:
            last = begin - 1
            if passage is not None:
                passage.begins.append(begin)
            with _refusing(table.told):
                for part in table.read(in_file, [kind.is_text for kind in kinds], with_unread=with_unread):
                    placed = _placed(part, kinds, begin)
                    if placed.num_rows:
                        last = placed.column(POSITION)[-1].as_py()
                    yield placed
            if passage is not None:
                passage.uneven.append(table.uneven())
            begin = last + 1


def is_read_otherwise(kind: ColumnKind) -> bool:
    """Whether a column without readers is read as something else than its text."""
    return not kind.is_text and kind.carried != "text"


class _NamedTable:
    """A table, and what its file is called where there are several."""

    def __init__(self, told: str, table: OneTable) -> None:
        self.told = told
        self.read = table.read
        self.uneven, self.places = table.uneven, table.places
        self._table = table

    def names(self) -> list[str]:
        with _refusing(self.told):
            return self._table.names()

    def types(self, columns: Sequence[str]) -> list[Any]:
        with _refusing(self.told):
            there = self._table.names()
            lacking = [name for name in columns if name not in there]
            if lacking:
                raise FileRefused(f"It lacks the columns: {', '.join(lacking)}. Other files of the source have them.")
            return self._table.types(columns)


class _refusing:  # noqa: N801 - a context manager, called like a function
    """Turn what a library raises for a file into a refusal, and say which file of several it was."""

    def __init__(self, told: str) -> None:
        self._told = told

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if error is None or isinstance(error, QuotesDoNotFit | Unavailable | GeneratorExit | KeyboardInterrupt):
            return
        if isinstance(error, FileRefused):
            detail = "; ".join(each for each in (self._told, error.detail) if each)
            raise FileRefused(error.reason, error.line, detail) from None
        if isinstance(error, FileNotFoundError | PermissionError):
            raise Unavailable("A source's file cannot be read; look at its path and permissions.") from None
        if isinstance(error, Exception):  # no library promises what it raises for a file that it was given
            raise FileRefused(DAMAGED, detail=self._told) from None


def _kinds_in(tables: Sequence[_NamedTable], wanted: Sequence[str], mapping: SourceMapping) -> dict[str, ColumnKind]:
    names = list(dict.fromkeys(wanted))
    in_file = [mapping.name_in_file(name) for name in names]
    types = [table.types(in_file) for table in tables]
    kinds = {}
    for number, name in enumerate(names):
        if mapping.readers(name):
            kinds[name] = ColumnKind("text", None, is_text=True)
        else:
            kinds[name] = _common([row[number] for row in types])
    return kinds


def _common(types: Sequence[Any]) -> ColumnKind:
    """Return what columns of these types are all handed on as."""
    found = {}
    for type_ in types:
        carried = rule_of_type(type_).carried
        if carried != "nothing":
            found[str(type_)] = (carried, carry(pa.schema([pa.field("v", type_)]).empty_table().column(0)).type)
    if not found:
        return ColumnKind("nothing", pa.string())
    kinds = {carried for carried, _ in found.values()}
    made = [type_ for _, type_ in found.values()]
    if kinds == {"text"}:
        return ColumnKind("text", pa.string() if all(type_ == pa.string() for type_ in made) else pa.large_string())
    if kinds == {"whole number"}:
        return ColumnKind("whole number", made[0] if len(set(map(str, made))) == 1 else pa.int64())
    if len(kinds) == 1 and len(set(map(str, made))) == 1:
        return ColumnKind(next(iter(kinds)), made[0])
    return ColumnKind("text", pa.large_string(), is_text=True)


def _placed(part: pa.Table, kinds: Sequence[ColumnKind], begin: int) -> pa.Table:
    """Return a part with its columns of the common types, and its rows behind those of the files before."""
    for number, kind in enumerate(kinds):
        column = part.column(number)
        if kind.type_ is not None and column.type != kind.type_:
            part = part.set_column(number, part.column_names[number], column.cast(kind.type_))
    if begin:
        place = part.schema.get_field_index(POSITION)
        part = part.set_column(place, POSITION, pc.add(part.column(place), begin))
    return part


def _as_read(part: pa.Table, readers: Sequence[Sequence[ColumnReader]], in_file: Sequence[str]) -> pa.Table:
    """Return a part as its readers read it. Columns of one name in the file are one, and read together."""
    together: dict[str, ColumnReadings] = {}
    for number, (each, name) in enumerate(zip(readers, in_file, strict=True)):
        if each:
            if name not in together:
                together[name] = ColumnReadings(as_one(part.column(number)))
            part = part.set_column(number, part.column_names[number], together[name].read(each))
    return part


def _encoded_as(part: pa.Table, encoded: Sequence[bool]) -> pa.Table:
    """Return a part with dictionaries where they are wanted, and nowhere else."""
    for number, is_wanted in enumerate(encoded):
        column = part.column(number)
        if pa.types.is_dictionary(column.type) != is_wanted:
            column = as_one(column)
            made = column.dictionary_encode() if is_wanted else column.dictionary_decode()
            part = part.set_column(number, part.column_names[number], made)
    return part

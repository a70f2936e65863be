"""A CSV file as RFC 4180 has it, read so that nobody's text reaches another's row.

How its program writes it is said by a ``CsvForm``: encoding, the sign between fields, the quote, lines before the
header. A line ends with LF, CRLF or CR.

A field in quotes may hold commas, quotes (doubled) and line ends. All values are text, and an empty one is null: a
customer number "007" stays what it is. A line that is too short is filled with nulls, one that is too long is cut; a
value that is not UTF-8, or longer than 131,072 characters, is null, by itself. None of that is an error.

**What is refused, as a whole and when it is read:** a file whose quotes do not fit. A quote that is opened and not
closed would swallow the lines after it: one person's text would take other people out, by any number, and no noise
covers that. Refused are a field that goes on behind its closing quote, a quote within a field that is not in quotes
(RFC 4180, section 2, rule 5), and a file that ends within quotes. That makes it safe: in what is accepted each quote
opens a field, closes it, or is one of the two that stand for one. So at the end of a line the reader is within quotes
exactly where the quotes up to there, from the record's beginning, are odd in number, and each record's are even. Let a
file be accepted without some line, so that its quotes are even in number, and let the line leave a quote open at its
end: it has an odd number of them, so has the file, so has one of its records, and the file is refused. And a line that
leaves none open leaves every other record as it was.

**Two readers, one reading.** The careful one goes through the file line by line with Python's ``csv``: what it makes of
a file is what this module promises. The quick one (``trust.node.sources.csv_blocks``) reads some megabytes at once and
gives the very same rows; of a block whose records differ in length the careful one reads that block, and where a quote
does not fit, or anything else is odd, it reads the whole file again, and says why and in which line.

**Encodings.** In UTF-8 and in CP932 no byte of a longer character is a quote or a line's end, so a damaged character is
damage to its own line. UTF-16 comes in pairs of bytes: a file that ends within one is refused.
"""

import csv
import io
import re
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from itertools import chain, islice
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import pyarrow as pa
from msgspec import Struct

from ledger.errors import Unavailable
from trust.node.sources.csv_blocks import (
    BlockForm,
    NotVouchedFor,
    Uneven,
    beginnings_of,
    blocks_of,
    columns_of,
    stretches_of,
    visible_text,
)
from trust.node.sources.kinds import LONGEST

AT_ONCE = 50_000
"""Rows in one part of what the careful reader reads."""
_AHEAD = 2
"""Blocks that are read while another is taken in."""
Record = Sequence[str | None]
Encoding = Literal["utf-8", "cp932", "utf-16"]
_CODECS = {
    "utf-8": ("utf-8-sig", "surrogateescape"),
    "cp932": ("cp932", "surrogateescape"),
    "utf-16": ("utf-16", "surrogatepass"),
}
csv.field_size_limit(2**26)  # past it the file is refused: a quote left open must not take all of the memory


class CsvForm(Struct, frozen=True, kw_only=True):
    """How a CSV file is written. ``names`` are its columns where it has no header; ``skip`` lines come before it."""

    encoding: Encoding = "utf-8"
    delimiter: Literal[",", ";", "\t", "|"] = ","
    quote: Literal['"', "'"] = '"'
    skip: int = 0
    names: list[str] = []

    @property
    def in_quotes(self) -> re.Pattern[str]:
        """A field in quotes, with its quotes. Found from the left on, none begins within another."""
        q, d = self.quote, re.escape(self.delimiter)
        return re.compile(rf"(?:^|(?<={d})){q}(?:[^{q}]++|{q}{q})*+{q}(?=[{d}\r\n]|$)")

    @property
    def of_blocks(self) -> BlockForm:
        """The same for ``trust.node.sources.csv_blocks``."""
        return BlockForm(
            codec=None if self.encoding == "utf-8" else _CODECS[self.encoding],
            delimiter=self.delimiter.encode(),
            quote=self.quote.encode(),
            skip=self.skip,
            has_header=not self.names,
        )


RFC_4180 = CsvForm()


class QuotesDoNotFit(Unavailable):
    """The file is refused. ``line`` is where the row begins in which it was noticed, as a text editor counts.

    It follows from rows, so it is for the holder alone. (A quote that nothing closes is noticed at the file's end.)
    """

    def __init__(self, line: int) -> None:
        super().__init__(
            "A source's CSV file was refused: in it a quote is opened and not closed, or stands where none may. Write a "
            "field that holds a quote in quotes, and each quote in it twice."
        )
        self.line = line


def header_of(path: Path, form: CsvForm = RFC_4180) -> list[str]:
    """Return the columns' names; raise Unavailable where the file has no header in its encoding, and form no names."""
    if form.names:
        return form.names
    names: list[str] = []
    with suppress(OSError, csv.Error, UnicodeError), _open(path, form) as file:
        names = next(
            csv.reader(islice(file, form.skip, None), strict=True, delimiter=form.delimiter, quotechar=form.quote), []
        )
    if not names or not all(map(is_unicode, names)):
        raise Unavailable(
            f"A source's CSV file has no header line that can be read as {form.encoding.upper()}; say its encoding, and how "
            "many lines come before the header, in node.toml."
        )
    return names


def read_columns(
    path: Path,
    wanted: Sequence[int],
    form: CsvForm = RFC_4180,
    uneven: Uneven | None = None,
    width: int | None = None,
    *,
    with_unread: bool = False,
) -> Iterator[pa.Table]:
    """Yield some columns, by their place in a line, as text under the names ``c0``, ``c1`` …, and the row's place.

    The place is the column ``position``, from 0. There is at least one part. ``uneven`` takes in which rows have other
    than ``width`` fields. ``with_unread`` has ``u0`` … behind them: the same columns where nothing is read and
    something stands, with a sign in the place of each byte that is no text. Raises QuotesDoNotFit and OSError, and
    UnicodeError for a file in UTF-16 that ends within a character.
    """
    reading = _CsvReading(path, list(wanted), form, Uneven() if uneven is None else uneven, width, with_unread)
    done = 0
    try:
        for columns in reading.quickly():
            yield reading.part(columns, done)
            done += len(columns[0])
    except NotVouchedFor:
        yield from read_carefully(path, wanted, form, done, uneven, width, with_unread=with_unread)
        return
    if not done:
        yield reading.part(reading.columns([]), 0)


def read_carefully(
    path: Path,
    wanted: Sequence[int],
    form: CsvForm = RFC_4180,
    first: int = 0,
    uneven: Uneven | None = None,
    width: int | None = None,
    *,
    with_unread: bool = False,
) -> Iterator[pa.Table]:
    """Yield what ``read_columns`` does, from a row on, line by line."""
    reading = _CsvReading(path, list(wanted), form, Uneven() if uneven is None else uneven, width, with_unread)
    yield from reading.carefully(first)


class _CsvReading:
    """One file on its way through; ``width`` None where nobody asks how many fields its rows have."""

    def __init__(
        self, path: Path, wanted: list[int], form: CsvForm, uneven: Uneven, width: int | None, with_unread: bool
    ) -> None:
        self._path = path
        self._wanted = wanted
        self._form = form
        self._uneven = uneven
        self._width = width
        self._with_unread = with_unread

    def quickly(self) -> Iterator[Sequence[Any]]:
        """Yield the columns of each block, while the next ones are read by threads. Raises NotVouchedFor, OSError."""
        done = 0
        with ThreadPoolExecutor(_AHEAD, "csv") as threads:
            ahead: deque[Future[tuple[Sequence[Any], Uneven]]] = deque()
            for block in chain(blocks_of(self._path, self._form.of_blocks), [None] * _AHEAD):
                if block is not None:
                    ahead.append(threads.submit(self._block, block))
                if ahead and (block is None or len(ahead) > _AHEAD):
                    columns, uneven = ahead.popleft().result()
                    self._uneven.add(uneven, done)
                    done += len(columns[0])
                    yield columns

    def carefully(self, first: int) -> Iterator[pa.Table]:
        """Yield parts from a row on, line by line."""
        records = islice(_records(self._path, self._form, is_raw=self._with_unread), first, None)
        while True:
            uneven = Uneven()
            columns = self.columns(self._watched(islice(records, AT_ONCE), uneven))
            self._uneven.add(uneven, first)
            yield self.part(columns, first)
            first += len(columns[0])
            if len(columns[0]) < AT_ONCE:
                return

    def _block(self, block: bytes) -> tuple[Sequence[Any], Uneven]:
        uneven = Uneven()
        found = columns_of(block, self._wanted, self._form.of_blocks, self._width, with_unread=self._with_unread)
        if found is None:
            records = _records_of(block, self._form, is_raw=self._with_unread)
            return self.columns(self._watched(records, uneven)), uneven
        rows = len(found.wanted[0])
        if self._width is not None and found.fields < self._width:
            uneven = Uneven(shorter=rows, first_shorter=0)
        elif found.behind:
            longer = np.zeros(rows, bool)
            for column in found.behind:
                longer |= column.is_valid().to_numpy(zero_copy_only=False)
            uneven = Uneven(longer=int(longer.sum()), first_longer=int(longer.argmax()) if longer.any() else None)
        return found.wanted + (found.unread if self._with_unread else []), uneven

    def _watched(self, records: Iterable[Record], uneven: Uneven) -> Iterator[Record]:
        for number, record in enumerate(records):
            if self._width is not None and len(record) != self._width:
                if len(record) < self._width:
                    uneven.add(Uneven(shorter=1, first_shorter=number))
                elif any(record[self._width :]):
                    uneven.add(Uneven(longer=1, first_longer=number))
            yield record

    def columns(self, records: Iterable[Record]) -> list[list[str | None]]:
        """Return the wanted columns of some records, and those of what is not read where that is asked."""
        columns: list[list[str | None]] = [[] for _ in self._wanted]
        unread: list[list[str | None]] = [[] for _ in self._wanted]
        for record in records:
            for place, column, beside in zip(self._wanted, columns, unread, strict=True):
                value = record[place] if place < len(record) else None
                kept = _kept(value)
                if self._with_unread:
                    kept = kept if kept is None or is_unicode(kept) else None
                    beside.append(visible_text(value) if value and kept is None else None)
                column.append(kept)
        return columns + (unread if self._with_unread else [])

    def part(self, columns: Sequence[Any], first: int) -> pa.Table:
        """Return a part of rows, the first of which is at ``first``."""
        signs = "cu" if self._with_unread else "c"
        fields = [(f"{sign}{number}", pa.string()) for sign in signs for number in range(len(self._wanted))]
        schema = pa.schema([*fields, ("position", pa.int64())])
        arrays = [column if isinstance(column, pa.Array) else pa.array(column, pa.string()) for column in columns]
        return pa.table([*arrays, pa.array(np.arange(first, first + len(columns[0])))], schema=schema)


def lines_of(path: Path, positions: Sequence[int], form: CsvForm = RFC_4180) -> list[int]:
    """Return in which line of the file, from 1, the rows at some positions begin; the positions ascend.

    Raises as ``read_columns``.
    """
    wanted = list(positions)
    found: list[int] = []
    rows, lines, ends_in_cr = 0, 0, False
    try:
        for stretch, are_rows in stretches_of(path, form.of_blocks):
            if len(found) == len(wanted):
                break
            is_cut = ends_in_cr and stretch.startswith(b"\n")  # a line's end that lies in two stretches
            if are_rows:
                begins = beginnings_of(stretch, form.of_blocks.quote)
                while len(found) < len(wanted) and wanted[len(found)] < rows + len(begins):
                    begin = int(begins[wanted[len(found)] - rows])
                    found.append(lines + _line_ends(stretch[:begin]) - is_cut + 1)
                rows += len(begins)
            lines += _line_ends(stretch) - is_cut
            ends_in_cr = stretch.endswith(b"\r") if stretch else ends_in_cr
    except NotVouchedFor:
        asked = set(wanted)
        reading = islice(_records_with_lines(path, form), wanted[-1] + 1 if wanted else 0)  # no further than is asked
        found = [line for number, (line, _) in enumerate(reading) if number in asked]
    return found


def _line_ends(data: bytes) -> int:
    return data.count(b"\n") + (data.count(b"\r") - data.count(b"\r\n") if b"\r" in data else 0)


def _records_of(block: bytes, form: CsvForm, *, is_raw: bool) -> Iterator[Record]:
    """Yield the records of a block, as ``_records`` would."""
    errors = "surrogateescape" if form.of_blocks.codec is None else "surrogatepass"
    lines = io.StringIO(block.decode("utf-8", errors if is_raw else "surrogateescape"), newline="")
    try:
        for record in csv.reader(lines, strict=True, delimiter=form.delimiter, quotechar=form.quote):
            if record:
                yield record if is_raw else [value if is_unicode(value) else None for value in record]
    except csv.Error:
        raise NotVouchedFor from None


def _kept(value: str | None) -> str | None:
    return value if value and len(value) <= LONGEST else None


def _records(path: Path, form: CsvForm, *, is_raw: bool) -> Iterator[Record]:
    """Yield the records after the header; blank lines are none. ``is_raw`` keeps what is no text."""
    return (record for _, record in _records_with_lines(path, form, is_raw=is_raw))


def _records_with_lines(path: Path, form: CsvForm, *, is_raw: bool = False) -> Iterator[tuple[int, Record]]:
    """Yield them, each with the line in which it begins, from 1."""
    with _open(path, form) as file:
        lines = _Lines(file, form)
        lines.skip(form.skip)
        reader = csv.reader(lines, strict=True, delimiter=form.delimiter, quotechar=form.quote)
        is_header = not form.names
        while True:
            lines.record, lines.is_text = [], True
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error:
                raise QuotesDoNotFit(lines.first) from None
            if lines.has_stray_quote():
                raise QuotesDoNotFit(lines.first)
            if not is_header and record:
                is_kept = lines.is_text or is_raw
                yield (
                    lines.first,
                    record if is_kept else [value if value and is_unicode(value) else None for value in record],
                )
            is_header = False


def _open(path: Path, form: CsvForm) -> TextIO:
    name, errors = _CODECS[form.encoding]
    return path.open(encoding=name, errors=errors, newline="")


class _Lines:
    """A file's lines, and what was noticed in those of the record in hand."""

    def __init__(self, file: TextIO, form: CsvForm) -> None:
        self._file = file
        self._quote = form.quote
        self._in_quotes = form.in_quotes
        self.number = 0
        self.record: list[str] = []
        self.is_text = True

    @property
    def first(self) -> int:
        """The line in which the record in hand begins, from 1."""
        return self.number - len(self.record) + 1

    def skip(self, count: int) -> None:
        """Pass over so many lines, whatever is in them."""
        for _ in islice(self._file, count):
            self.number += 1

    def __iter__(self) -> "_Lines":
        return self

    def __next__(self) -> str:
        line = next(self._file)
        self.number += 1
        self.record.append(line)
        self.is_text = self.is_text and is_unicode(line)
        return line

    def has_stray_quote(self) -> bool:
        """Whether the record has a quote outside the fields in quotes."""
        text = "".join(self.record)
        return self._quote in text and self._quote in self._in_quotes.sub("", text)


def is_unicode(value: str) -> bool:
    """Whether it has no byte that was not UTF-8 (Python keeps such a byte as half of a surrogate pair)."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

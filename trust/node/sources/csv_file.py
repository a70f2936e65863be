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
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TextIO

import numpy as np
import pyarrow as pa
from msgspec import Struct

from ledger.errors import Unavailable
from trust.node.sources.csv_blocks import BlockForm, NotVouchedFor, blocks_of, columns_of
from trust.node.sources.kinds import LONGEST

AT_ONCE = 50_000
"""Rows in one part of what the careful reader reads."""
_AHEAD = 2
"""Blocks that are read while another is taken in."""
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
    """The file is refused. ``line`` is where it was noticed; it follows from rows, so it is for the holder alone."""

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


def read_columns(path: Path, wanted: Sequence[int], form: CsvForm = RFC_4180) -> Iterator[pa.Table]:
    """Yield some columns, by their place in a line, as text under the names ``c0``, ``c1`` …, and the row's place.

    The place is the column ``position``, from 0. There is at least one part. Raises QuotesDoNotFit and OSError, and
    UnicodeError for a file in UTF-16 that ends within a character.
    """
    done = 0
    try:
        for columns in _read_quickly(path, wanted, form):
            yield _part(columns, done, len(columns[0]))
            done += len(columns[0])
    except NotVouchedFor:
        yield from read_carefully(path, wanted, form, done)
        return
    if not done:
        yield _part([[] for _ in wanted], 0, 0)


def _read_quickly(path: Path, wanted: Sequence[int], form: CsvForm) -> Iterator[Sequence[Any]]:
    """Yield the columns of each block, while the next ones are read by threads. Raises NotVouchedFor and OSError."""
    places, of_blocks = list(wanted), form.of_blocks

    def read(block: bytes) -> Sequence[Any]:
        found = columns_of(block, places, of_blocks)
        return found if found is not None else _columns(_records_of(block, form), places)

    with ThreadPoolExecutor(_AHEAD, "csv") as threads:
        ahead: deque[Future[Sequence[Any]]] = deque()
        for block in blocks_of(path, of_blocks):
            ahead.append(threads.submit(read, block))
            if len(ahead) > _AHEAD:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()


def _records_of(block: bytes, form: CsvForm) -> Iterator[Sequence[str | None]]:
    """Yield the records of a block, as ``_records`` would."""
    lines = io.StringIO(block.decode("utf-8", "surrogateescape"), newline="")
    try:
        for record in csv.reader(lines, strict=True, delimiter=form.delimiter, quotechar=form.quote):
            if record:
                yield [value if is_unicode(value) else None for value in record]
    except csv.Error:
        raise NotVouchedFor from None


def read_carefully(path: Path, wanted: Sequence[int], form: CsvForm = RFC_4180, first: int = 0) -> Iterator[pa.Table]:
    """Yield what ``read_columns`` does, from a row on, line by line."""
    records = islice(_records(path, form), first, None)
    while True:
        columns = _columns(islice(records, AT_ONCE), wanted)
        yield _part(columns, first, len(columns[0]))
        first += len(columns[0])
        if len(columns[0]) < AT_ONCE:
            return


def _columns(records: Iterable[Sequence[str | None]], wanted: Sequence[int]) -> list[list[str | None]]:
    columns: list[list[str | None]] = [[] for _ in wanted]
    for record in records:
        for place, column in zip(wanted, columns, strict=True):
            column.append(_kept(record[place]) if place < len(record) else None)
    return columns


def count_long(path: Path, form: CsvForm = RFC_4180) -> tuple[int, int]:
    """Return how many records have something behind the last column of their header, and which is the first, from 1.

    What is there is cut off: a comma within an amount that is not in quotes makes two fields of it. (0, 0) for none.
    Raises as ``header_of`` and ``read_columns``.
    """
    width = len(header_of(path, form))
    count = first = 0
    for number, record in enumerate(_records(path, form), 1):
        if any(record[width:]):
            count, first = count + 1, first or number
    return count, first


def _kept(value: str | None) -> str | None:
    return value if value and len(value) <= LONGEST else None


def _part(columns: Sequence[Any], first: int, count: int) -> pa.Table:
    """Return a part of ``count`` rows, the first of which is at ``first``."""
    fields = [(f"c{number}", pa.string()) for number in range(len(columns))]
    schema = pa.schema([*fields, ("position", pa.int64())])
    arrays = [column if isinstance(column, pa.Array) else pa.array(column, pa.string()) for column in columns]
    return pa.table([*arrays, pa.array(np.arange(first, first + count))], schema=schema)


def _records(path: Path, form: CsvForm) -> Iterator[Sequence[str | None]]:
    """Yield the records after the header; blank lines are none."""
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
                raise QuotesDoNotFit(lines.number) from None
            if lines.has_stray_quote():
                raise QuotesDoNotFit(lines.number)
            if not is_header and record:
                yield record if lines.is_text else [value if value and is_unicode(value) else None for value in record]
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

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

**Encodings.** In UTF-8 and in CP932 no byte of a longer character is a quote or a line's end, so a damaged character is
damage to its own line. UTF-16 comes in pairs of bytes: a file that ends within one is refused.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Literal, TextIO

import pyarrow as pa
from msgspec import Struct

from ledger.errors import Unavailable

AT_ONCE = 50_000
"""Rows in one part."""
LONGEST = 131_072
"""Characters of a value; a longer one is null."""
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
    if not names or not all(map(_is_text, names)):
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
    fields = [(f"c{number}", pa.string()) for number in range(len(wanted))]
    schema = pa.schema([*fields, ("position", pa.int64())])
    first = 0
    columns: list[list[str | None]] = [[] for _ in wanted]
    for record in _records(path, form):
        for place, column in zip(wanted, columns, strict=True):
            column.append(_kept(record[place]) if place < len(record) else None)
        if len(columns[0]) == AT_ONCE:
            yield _part(columns, first, schema)
            first += AT_ONCE
            columns = [[] for _ in wanted]
    yield _part(columns, first, schema)


def _kept(value: str | None) -> str | None:
    return value if value and len(value) <= LONGEST else None


def _part(columns: list[list[str | None]], first: int, schema: pa.Schema) -> pa.Table:
    count = len(columns[0])
    arrays = [pa.array(column, pa.string()) for column in columns]
    return pa.table([*arrays, pa.array(range(first, first + count), pa.int64())], schema=schema)


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
                yield record if lines.is_text else [value if value and _is_text(value) else None for value in record]
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
        self.is_text = self.is_text and _is_text(line)
        return line

    def has_stray_quote(self) -> bool:
        """Whether the record has a quote outside the fields in quotes."""
        text = "".join(self.record)
        return self._quote in text and self._quote in self._in_quotes.sub("", text)


def _is_text(value: str) -> bool:
    """Whether it has no byte that was not UTF-8 (Python keeps such a byte as half of a surrogate pair)."""
    if value.isascii():
        return True
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True

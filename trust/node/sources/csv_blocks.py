"""A CSV file in blocks of whole records, each read at once by Arrow: the quick way of ``trust.node.sources.csv_file``.

It vouches for nothing by itself. A block is given out only where each of its quotes fits, by the very rule there, and
ends at the end of a record. That is looked up in the bytes: quotes in turn open and close; one that opens stands where
a field begins, one that closes where a field ends, and two that meet, the one closing and the other opening, stand for
one. Where that holds, each quote is where a program that reads RFC 4180 expects it, and Arrow's reader and Python's
agree on every record. Where it does not, or anything else is odd, ``NotVouchedFor`` is raised, and the whole file is
read by the careful reader, which says why.

The bytes are UTF-8: of a file in another encoding they are made first, because in CP932 a byte of a longer character
can be a ``|``. What was no text there is none here either (half of a surrogate pair).
"""

import codecs
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pa_csv
from msgspec import Struct

from trust.node.sources.kinds import LONGEST, as_one, carry

BLOCK_BYTES = 2**22
"""Read at once."""
SHOWN = 60
"""Characters of a value that is shown and not read."""
_HALVES = re.compile("[\ud800-\udfff]")
LONGEST_RECORD = 2**26
"""Bytes of one record; a longer one is for the careful reader, as is what begins with a quote that nothing closes."""
_MARK = codecs.BOM_UTF8
_LF, _CR = b"\n\r"
_LINE_END = re.compile(rb"\r\n|\r|\n")


class NotVouchedFor(Exception):
    """The file is for the careful reader."""


class BlockForm(Struct, frozen=True, kw_only=True):
    """How the bytes are cut: the codec and its errors (none for UTF-8), the signs, and what comes before the rows."""

    codec: tuple[str, str] | None
    delimiter: bytes
    quote: bytes
    skip: int
    has_header: bool


def blocks_of(path: Path, form: BlockForm) -> Iterator[bytes]:
    """Yield a file's records after its header, some megabytes of them at a time. Raises NotVouchedFor and OSError."""
    yield from (block for block, are_rows in stretches_of(path, form) if are_rows)


def stretches_of(path: Path, form: BlockForm) -> Iterator[tuple[bytes, bool]]:
    """Yield all of a file, bit by bit, and whether a bit has records; lines before them and blank ones are none."""
    data, is_begun, has_header = b"", False, form.has_header
    with path.open("rb") as file:
        for piece, is_last in _pieces(file, form):
            data += piece
            if not is_begun:
                begin = _after_lines(data, form.skip)
                yield data[:begin], False
                data, is_begun = data[begin:], True
            quotes = _places(data, form.quote)
            end = len(data) if is_last else _last_end(data, quotes)
            _check_quotes(data, quotes[: np.searchsorted(quotes, end)], form)
            if len(data) - end > LONGEST_RECORD:
                raise NotVouchedFor
            begin = 0
            if has_header and end:
                begin, has_header = _first_end(data, quotes, end), False
            if begin:
                yield data[:begin], False
            block = data[begin:end]
            yield block, bool(block.lstrip(b"\r\n"))  # which copies nothing where nothing is taken off
            data = data[end:]


def beginnings_of(block: bytes, quote: bytes) -> Any:
    """Return where each record of a stretch begins. Between the two signs of a CRLF, as in a blank line, is none."""
    signs, quotes = np.frombuffer(block, np.uint8), _places(block, quote)
    ends = np.flatnonzero((signs == _LF) | (signs == _CR)) if b"\r" in block else np.flatnonzero(signs == _LF)
    if quotes.size:
        ends = ends[np.searchsorted(quotes, ends) % 2 == 0]
    begins = np.concatenate([np.zeros(1, np.int64), ends + 1])
    return begins[np.concatenate([ends, np.full(1, len(block))]) > begins]


def _pieces(file: BinaryIO, form: BlockForm) -> Iterator[tuple[bytes, bool]]:
    """Yield a file's bytes as UTF-8, and whether they were the last."""
    decoder = codecs.getincrementaldecoder(form.codec[0])(form.codec[1]) if form.codec else None
    is_last, is_first = False, True
    while not is_last:
        raw = file.read(BLOCK_BYTES)
        is_last = len(raw) < BLOCK_BYTES
        if decoder is not None:
            try:
                raw = decoder.decode(raw, is_last).encode("utf-8", "surrogatepass")
            except UnicodeError:
                raise NotVouchedFor from None
        elif is_first:
            if len(raw) < len(_MARK):  # Python does not say of a part of the mark what it makes of it
                raise NotVouchedFor
            raw = raw.removeprefix(_MARK)
        is_first = False
        yield raw, is_last


def _after_lines(data: bytes, count: int) -> int:
    """Return where the first lines end, whatever is in them."""
    end = 0
    for _ in range(count):
        found = _LINE_END.search(data, end)
        if found is None or found.end() == len(data):  # or half of a line's end
            raise NotVouchedFor
        end = found.end()
    return end


def _places(data: bytes, quote: bytes) -> Any:
    if quote not in data:
        return np.zeros(0, np.int64)
    return np.flatnonzero(np.frombuffer(data, np.uint8) == quote[0])


def _last_end(data: bytes, quotes: Any) -> int:
    """Return where the last whole record ends: behind the last line's end before which quotes are even in number."""
    end = len(data)
    while True:
        end = max(data.rfind(b"\n", 0, end), data.rfind(b"\r", 0, end)) + 1
        before = int(np.searchsorted(quotes, end))
        if before % 2 == 0:
            return end
        end = int(quotes[before - 1])


def _first_end(data: bytes, quotes: Any, most: int) -> int:
    """Return where the first record ends."""
    begin = 0
    while (found := _LINE_END.search(data, begin, most)) is not None:
        before = int(np.searchsorted(quotes, found.start()))
        if before % 2 == 0:
            return found.end()
        begin = int(quotes[before]) + 1
    return most


def _check_quotes(data: bytes, quotes: Any, form: BlockForm) -> None:
    if not quotes.size:
        return
    if quotes.size % 2:
        raise NotVouchedFor
    signs = np.frombuffer(data, np.uint8)
    ends = np.zeros(256, bool)
    ends[[form.delimiter[0], form.quote[0], *b"\r\n"]] = True
    opening, closing = quotes[0::2], quotes[1::2]
    opening = opening[1:] if opening[0] == 0 else opening
    closing = closing[:-1] if closing[-1] == len(data) - 1 else closing
    if not (ends[signs[opening - 1]].all() and ends[signs[closing + 1]].all()):
        raise NotVouchedFor


class Uneven(Struct):
    """Rows with a value behind the header's last column, or with fewer fields; the first of each by its position."""

    longer: int = 0
    shorter: int = 0
    first_longer: int | None = None
    first_shorter: int | None = None

    def add(self, more: "Uneven", position: int = 0) -> None:
        """Take in what was counted of the rows from a position on."""
        self.longer += more.longer
        self.shorter += more.shorter
        if self.first_longer is None and more.first_longer is not None:
            self.first_longer = more.first_longer + position
        if self.first_shorter is None and more.first_shorter is not None:
            self.first_shorter = more.first_shorter + position


class BlockColumns(Struct):
    """Some columns of a block as text, what stands in them where nothing is read, and its records' number of fields.

    ``behind`` are the columns behind the header's last one.
    """

    wanted: list[Any]
    unread: list[Any]
    behind: list[Any]
    fields: int


def columns_of(
    block: bytes, wanted: list[int], form: BlockForm, width: int | None = None, *, with_unread: bool = False
) -> BlockColumns | None:
    """Return some columns of a block, by their place in a record, as text; None where its records differ in length.

    ``width`` is how many fields its header has, where what is behind them is wanted too.
    """
    block = block.lstrip(b"\r\n")
    count = _fields_of_first(block, form)
    behind = [] if width is None else list(range(width, count))
    there = [place for place in dict.fromkeys([*wanted, *behind]) if place < count]
    if not there:
        return None
    for type_ in (pa.string(), pa.binary()):
        try:
            found = _read(block, there, count, type_, form)
        except pa.ArrowInvalid:  # records of several lengths; or, read as text, what is not UTF-8
            continue
        read = {place: as_one(found.column(str(place))) for place in there}
        kept = {place: _kept(column) for place, column in read.items()}
        nothing = pa.nulls(found.num_rows, pa.string())
        unread = {place: unread_of(read[place], kept[place], form.codec is not None) for place in there if with_unread}
        return BlockColumns(
            [kept.get(place, nothing) for place in wanted],
            [unread.get(place, nothing) for place in wanted],
            [kept[place] for place in behind],
            count,
        )
    return None


def unread_of(there: Any, kept: Any, has_surrogates: bool = False) -> Any:
    """Return what of a column of text or bytes is there and was not kept, made readable: null elsewhere."""
    lost = pc.and_(there.is_valid(), kept.is_null())
    if not pc.any(lost).as_py():
        return pa.nulls(len(there), pa.string())
    values = there.cast(pa.large_binary()).filter(lost).to_pylist()
    return pc.replace_with_mask(
        pa.nulls(len(there), pa.string()),
        lost,
        pa.array([shown_bytes(each, has_surrogates) for each in values], pa.string()),
    )


def shown_bytes(value: bytes, has_surrogates: bool = False) -> str:
    """Return the beginning of bytes as text, with a sign in the place of each that is none."""
    if has_surrogates:
        return visible_text(value.decode("utf-8", "surrogatepass"))
    return value[: 4 * SHOWN].decode("utf-8", "replace")[:SHOWN]


def visible_text(value: str) -> str:
    """Return the beginning of text, with a sign in the place of each byte that was none."""
    return _HALVES.sub("\ufffd", value[:SHOWN])


def _fields_of_first(block: bytes, form: BlockForm) -> int:
    first = block[: _first_end(block, _places(block, form.quote), len(block))]
    return 1 + sum(outside.count(form.delimiter) for outside in first.split(form.quote)[::2])


def _read(block: bytes, there: list[int], count: int, type_: Any, form: BlockForm) -> Any:
    has_quotes = form.quote in block
    block = _MARK + block if block.startswith(_MARK) else block  # it takes one off, which is a value's own here
    return pa_csv.read_csv(
        pa.BufferReader(block),
        pa_csv.ReadOptions(block_size=len(block) + 1, column_names=[str(place) for place in range(count)]),
        pa_csv.ParseOptions(
            delimiter=form.delimiter.decode(),
            quote_char=form.quote.decode() if has_quotes else False,
            newlines_in_values=has_quotes,
        ),
        pa_csv.ConvertOptions(
            include_columns=[str(place) for place in there],
            column_types={str(place): type_ for place in there},
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def _kept(column: Any) -> Any:
    """Return a column as text, with what is not UTF-8, or too long, null by itself."""
    if pa.types.is_binary(column.type):
        column = carry(column).cast(pa.string())
    longest = pc.max(pc.binary_length(column)).as_py()
    if longest is None or longest <= LONGEST:
        return column
    return pc.if_else(pc.less_equal(pc.utf8_length(column), LONGEST), column, pa.scalar(None, pa.string()))

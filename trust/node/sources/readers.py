"""The readers that a holder's ``node.toml`` can name for a column: a small fixed set, each total and value by value.

A reader takes a column of text and returns one of the same length: what is of its form in the one way that the
platform counts, everything else null. No value changes how another one is read, and none raises. Several are done in
their order.

========================  ==================================================================================
``nfkc``                  full-width and half-width forms as their plain ones: ``２１０`` is ``210`` (Unicode NFKC)
``strip``                 without blanks, tabs and ideographic spaces (U+3000) around it
``excel``                 ``="0012345"``, as a spreadsheet keeps zeros, is ``0012345``
``number``                ``1,200``, ``210円``, ``¥210``, ``▲100``, ``(100)`` and ``-100`` as digits with a sign
``whole``                 ``12345.0``, as software writes that took a number for a decimal, is ``12345``
``zero-pad N``            digits with zeros before them, up to N: ``7`` is ``007`` for N = 3
``times N``               a decimal times N, exactly: ``2.5`` is ``250`` for N = 100
``date``                  a day: ``2024-04-01``, ``2024/4/1``, ``20240401``, ``2024年4月1日``, ``令和6年4月1日``
``time``                  a day and time, or a time alone, in the zone: ``2024-04-01T07:05:00+09:00``, ``8:05``
``hour``                  of a time: 0 to 23
``day`` ``month``         of a day: ``2024-04-01``; ``2024-04``
``weekday``               of a day, from Monday, 1, to Sunday, 7 (ISO 8601)
``week``                  of a day: ``2024-W14`` (ISO 8601)
========================  ==================================================================================

``hour``, ``day``, ``month``, ``weekday`` and ``week`` read what ``date`` and ``time`` read.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Context, Decimal, InvalidOperation
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from msgspec import Struct

from ledger.errors import Malformed
from trust.node.sources.moments import Moments, day_of, moments_of, texts_of

BLANKS = " \t\u3000"
MOST_DIGITS = 64
_PAST_ASCII = 128
_SAMPLE = 4_096
"""Values that are looked at to tell whether a column has few."""
_MINUS = "[-−▲△]"
_NUMBER = rf"^(?P<a>\()?(?P<b>{_MINUS})?[¥\\]?(?P<c>{_MINUS})?(?P<n>[0-9]{{1,3}}(?:,[0-9]{{3}})+|[0-9]+)(?P<f>\.[0-9]+)?円?(?P<z>\))?$"
_EXCEL = r'^="(?P<n>[^"]*)"$'
_WHOLE = r"^(?P<n>[+-]?[0-9]+)(?:\.0*)?$"
_DECIMAL = re.compile(r"[+-]?[0-9]+(\.[0-9]+)?", re.ASCII)
_EXACT = Context(prec=200)

Read = Callable[[Any], Any]
Say = Callable[[Moments], Any]


class ColumnReader(Struct, frozen=True):
    """One reader as it was named, ready to read."""

    name: str
    read: Read


class TimeReader(ColumnReader, frozen=True):
    """A reader of days and times: it says something of the moments that stand there."""

    zone: ZoneInfo | None
    say: Say


def reader_of(words: str, zone: ZoneInfo | None) -> ColumnReader:
    """Return the reader that a few words name; raise Malformed where they name none."""
    name, _, number = words.partition(" ")
    if name in _PLAIN and not number:
        return ColumnReader(words, _PLAIN[name])
    if name in _OF_TIME and not number:
        say = _OF_TIME[name]
        return TimeReader(words, lambda column: say(moments_of(column, zone)), zone, say)
    if name in _OF_NUMBER and re.fullmatch("[1-9][0-9]{0,8}", number, re.ASCII):
        read = _OF_NUMBER[name]
        return ColumnReader(words, lambda column: read(column, int(number)))
    known = ", ".join([*_PLAIN, *(f"{each} N" for each in _OF_NUMBER), *_OF_TIME])
    raise Malformed(f"There is no reader '{words}'; there are: {known}.")


def reader_by_values(values: Mapping[str, str]) -> ColumnReader:
    """Return the reader that takes each of some texts for another one, and leaves all else as it is."""
    return ColumnReader(
        f"values {sorted(values.items())}",
        lambda column: pa.array([values.get(each, each) for each in column.to_pylist()], pa.large_string()),
    )


def read_in_order(column: Any, readers: Sequence[ColumnReader]) -> Any:
    """Return a column of text as the readers read it, one after another."""
    found = ColumnReadings(column).read(readers)
    return found.dictionary_decode() if pa.types.is_dictionary(found.type) else found


class ColumnReadings:
    """What readers make of one column of text; what several chains of them begin with is read once.

    Readers read value by value, so of a column with few values each is read once: the column is a dictionary then, and
    what comes of it is. A reader may also make a dictionary of a column that was none, as one that gives hours does.
    """

    def __init__(self, column: Any) -> None:
        sample = column.slice(0, _SAMPLE)
        text: Any
        if len(sample) and len(sample.unique()) * 4 <= len(sample) * 3:
            encoded = column.dictionary_encode()
            text = pa.DictionaryArray.from_arrays(encoded.indices, encoded.dictionary.cast(pa.large_string()))
        else:
            text = column.cast(pa.large_string())
        self._read: dict[tuple[str, ...], Any] = {(): text}
        self._moments: dict[tuple[tuple[str, ...], str], Moments] = {}

    def read(self, readers: Sequence[ColumnReader]) -> Any:
        """Return the column as these readers read it, in their order; of readers of one name there is one alone."""
        done: tuple[str, ...] = ()
        for reader in readers:
            before, done = done, (*done, reader.name)
            if done not in self._read:
                self._read[done] = self._next(before, reader)
        return self._read[done]

    def _next(self, before: tuple[str, ...], reader: ColumnReader) -> Any:
        column = self._read[before]
        indices = None
        if pa.types.is_dictionary(column.type):
            column, indices = column.dictionary, column.indices
        if isinstance(reader, TimeReader):
            key = (before, str(reader.zone))
            if key not in self._moments:
                self._moments[key] = moments_of(column, reader.zone)
            found = reader.say(self._moments[key])
        else:
            found = reader.read(column)
        if indices is None:
            return found
        if pa.types.is_dictionary(found.type):
            indices, found = found.indices.take(indices), found.dictionary
        if found.null_count:  # what is null is no entry of a dictionary: not every engine looks for it there
            indices = pc.if_else(found.is_valid().take(indices), indices, pa.scalar(None, indices.type))
        return pa.DictionaryArray.from_arrays(indices, found)


class _Bytes:
    """What the bytes of a column of text tell of all its values at once: from which to which they are, and lengths.

    Bytes of values that are null may be among them: so what follows holds of the others all the more.
    """

    def __init__(self, column: Any) -> None:
        wide = pa.types.is_large_string(column.type)
        buffers = column.buffers()
        self.least, self.most, self.shortest = 0, 255, 0
        """Where nothing is known, all is possible."""
        if len(column) and buffers[1] is not None and buffers[2] is not None:
            ends = np.frombuffer(buffers[1], np.int64 if wide else np.int32)[column.offset :][: len(column) + 1]
            data = np.frombuffer(buffers[2], np.uint8)[ends[0] : ends[-1]]
            if data.size:
                self.least, self.most = int(data.min()), int(data.max())
                self.shortest = int(np.diff(ends).min()) if not column.null_count else 0


def _nfkc(column: Any) -> Any:
    if _Bytes(column).most < _PAST_ASCII:
        return column
    return pc.utf8_normalize(column, form="NFKC")


def _strip(column: Any) -> Any:
    signs = _Bytes(column)
    if ord(" ") < signs.least and signs.most < _PAST_ASCII:
        return column
    return pc.utf8_trim(column, characters=BLANKS)


def _excel(column: Any) -> Any:
    if _Bytes(column).most < ord("=") or not pc.any(pc.starts_with(column, '="')).as_py():
        return column
    return pc.coalesce(pc.struct_field(pc.extract_regex(column, _EXCEL), "n"), column)


def _number(column: Any) -> Any:
    """Read an amount as people write it. A text of another form is null."""
    found = pc.extract_regex(_strip(_nfkc(column)), _NUMBER)
    a, b, c, n, f, z = (pc.fill_null(found.field(name), "") for name in "abcnfz")
    signs = [pc.not_equal(each, "") for each in (a, b, c)]
    is_one = pc.and_(found.is_valid(), pc.equal(pc.not_equal(a, ""), pc.not_equal(z, "")))
    how_many = pc.add(pc.add(signs[0].cast(pa.int8()), signs[1].cast(pa.int8())), signs[2].cast(pa.int8()))
    is_one = pc.and_(is_one, pc.less_equal(how_many, 1))
    nothing, minus = pa.scalar("", n.type), pa.scalar("-", n.type)
    digits = pc.binary_join_element_wise(pc.replace_substring(n, ",", ""), f, nothing)
    signed = pc.if_else(pc.equal(how_many, 1), pc.binary_join_element_wise(minus, digits, nothing), digits)
    return pc.if_else(is_one, signed, pa.scalar(None, signed.type))


def _whole(column: Any) -> Any:
    return pc.struct_field(pc.extract_regex(_strip(column), _WHOLE), "n")


def _zero_pad(column: Any, width: int) -> Any:
    signs = _Bytes(column)
    if ord("0") <= signs.least and signs.most <= ord("9") and signs.shortest >= min(width, MOST_DIGITS):
        return column
    is_one = pc.match_substring_regex(column, "^[0-9]+$")
    padded = pc.utf8_lpad(column, min(width, MOST_DIGITS), padding="0")
    return pc.if_else(is_one, padded, pa.scalar(None, padded.type))


def _times(column: Any, factor: int) -> Any:
    return pa.array([_product(value, factor) for value in column.to_pylist()], pa.large_string())


def _product(value: str | None, factor: int) -> str | None:
    if value is None or len(value) > MOST_DIGITS or not _DECIMAL.fullmatch(value):
        return None
    try:
        made = _EXACT.multiply(Decimal(value), Decimal(factor))
    except InvalidOperation:
        return None
    text = f"{made:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _of_day(say: Callable[[date], str]) -> Say:
    return lambda found: texts_of(found.days, found.has_day, lambda number: say(day_of(number)))


def _time(found: Moments) -> Any:
    clocks = texts_of(found.seconds, found.has_time, lambda at: f"{at // 3_600:02}:{at // 60 % 60:02}:{at % 60:02}")
    days = texts_of(found.days, found.has_day, lambda number: f"{day_of(number).isoformat()}T")
    nothing = pa.scalar("", clocks.type.value_type)
    return pc.binary_join_element_wise(
        pc.fill_null(days.dictionary_decode(), nothing), clocks.dictionary_decode(), nothing
    )


def _hour(found: Moments) -> Any:
    return texts_of(found.seconds // 3_600, found.has_time, str)


def _week(day: date) -> str:
    year, week, _ = day.isocalendar()
    return f"{year:04}-W{week:02}"


_PLAIN: dict[str, Read] = {"nfkc": _nfkc, "strip": _strip, "excel": _excel, "number": _number, "whole": _whole}
_OF_NUMBER: dict[str, Callable[[Any, int], Any]] = {"zero-pad": _zero_pad, "times": _times}
_OF_TIME: dict[str, Say] = {
    "date": _of_day(date.isoformat),
    "time": _time,
    "hour": _hour,
    "day": _of_day(date.isoformat),
    "month": _of_day(lambda day: day.isoformat()[:7]),
    "weekday": _of_day(lambda day: str(day.isoweekday())),
    "week": _of_day(_week),
}

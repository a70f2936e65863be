"""Days and times in a column of text, as software and people in Japan write them.

A day is ``2024-04-01``, ``2024/4/1``, ``2024.4.1``, ``20240401``, ``2024年4月1日``, ``令和6年4月1日`` or ``R6.4.1``,
with ``(月)``
behind it or not; 元年 is the first year. A time of a day is ``8:05``, ``08:05:30`` or ``8時5分``, behind a day with a
blank or ``T`` between, and may say its distance from UTC (ISO 8601). Full-width forms count as their plain ones
(Unicode NFKC). What is none of it, or is on no calendar or clock, or in no year from 1 to 9999, is nothing, by itself.

**How a column is read.** No form tells one digit from another. So texts that differ in nothing but their digits (of
one *shape*: ``2024/04/01 07:05`` is of ``0000/00/00 00:00``) are of one form, with each part at the same place. A
column has few shapes, and each is looked at once; then the digits of all its rows are read at once.
"""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from trust.node.sources.kinds import FIRST_DAY, LAST_DAY

_FIRST_YEARS = {"明治": 1868, "M": 1868, "大正": 1912, "T": 1912, "昭和": 1926, "S": 1926}
_FIRST_YEARS |= {"平成": 1989, "H": 1989, "令和": 2019, "R": 2019}
_ERA = "|".join(_FIRST_YEARS)
_CLOCK = r"(?P<h>[0-9]{1,2})(?::|時)(?P<i>[0-9]{1,2})(?:(?::|分)(?P<s>[0-9]{2})?(?:\.[0-9]{1,9})?秒?)?"
_DAY = (
    rf"(?:(?P<e>{_ERA}) ?(?P<n>元|[0-9]{{1,3}})|(?P<y>[0-9]{{4}}))[-/.年] ?(?P<m>[0-9]{{1,2}})[-/.月] ?(?P<d>[0-9]{{1,2}})日?"
    r"(?: ?\([月火水木金土日]\))?"
)
_FORMS = [
    re.compile(rf"{_DAY}(?:(?:T| +){_CLOCK} ?(?P<z>Z|[+-][0-9]{{2}}:?[0-9]{{2}})?)?"),
    re.compile(_CLOCK),
    re.compile(r"(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})"),
]
_EPOCH = date(1970, 1, 1).toordinal()
_MASK = bytes.maketrans(b"123456789", b"000000000")
_PAST_ASCII = 128
_QUARTER = 900
"""Seconds within which a zone's distance from UTC does not change."""
_DAY_SECONDS = 86_400


class Moments(NamedTuple):
    """What stands in each row: days since 1970 and seconds since midnight, in the zone; and which rows have them."""

    days: Any
    seconds: Any
    has_day: Any
    has_time: Any


def moments_of(column: Any, zone: ZoneInfo | None) -> Moments:
    """Read a column of text. A time with its distance from UTC is turned to ``zone``, and nothing without one."""
    count = len(column)
    days, seconds = np.zeros(count, np.int32), np.zeros(count, np.int32)
    has_day, has_time = np.zeros(count, bool), np.zeros(count, bool)
    for rows, named in _forms(_plain(column.cast(pa.large_string()))):
        clock, is_time = _seconds(named)
        if "d" in named:
            day, is_day = _days(named)
            good = is_day if "h" not in named else is_day & is_time
        else:
            day, is_day = np.zeros(named.count, np.int32), np.zeros(named.count, bool)
            good = is_time
        if "z" in named:
            moved, is_known = _in_zone(named, day.astype(np.int64) * _DAY_SECONDS + clock, zone)
            day, clock = moved // _DAY_SECONDS, moved % _DAY_SECONDS
            good &= is_known & (day >= FIRST_DAY) & (day <= LAST_DAY)
        days[rows], seconds[rows] = day, clock
        has_day[rows], has_time[rows] = is_day & good, is_time & good
    return Moments(days, seconds, has_day, has_time)


def _plain(texts: Any) -> Any:
    """Return texts in plain forms (NFKC) without blanks around them; themselves where they are so already."""
    begins, data = _begins_and_bytes(texts)
    is_there = data is not None and not texts.null_count and np.diff(begins).min() > 0
    if is_there and data[begins[0] : begins[-1]].max() < _PAST_ASCII:
        ends = data[begins[:-1]], data[begins[1:] - 1]
        if min(each.min() for each in ends) > ord(" "):
            return texts
    plain = pc.utf8_trim(pc.utf8_normalize(texts, form="NFKC"), characters=" \t\u3000")
    return plain.cast(pa.large_string())


def _begins_and_bytes(texts: Any) -> tuple[Any, Any]:
    """Return where each text begins and the last ends, and in which bytes; no bytes where there is no text."""
    if not len(texts) or texts.buffers()[1] is None or texts.buffers()[2] is None:
        return None, None
    begins = np.frombuffer(texts.buffers()[1], np.int64)[texts.offset : texts.offset + len(texts) + 1]
    if begins[0] == begins[-1]:
        return None, None
    return begins, np.frombuffer(texts.buffers()[2], np.uint8)


def _forms(texts: Any) -> Iterator[tuple[Any, "_Parts"]]:
    """Yield for each shape that is of a form: its rows, and their parts."""
    begins, data = _begins_and_bytes(texts)
    if data is None:
        return
    masked = texts.buffers()[2].to_pybytes().translate(_MASK)
    shape = _one_shape(texts, begins, masked)
    if shape is not None:
        match = _match(shape)
        if match is not None:
            yield slice(None), _Parts(match, data, begins[:-1])
        return
    buffers = [texts.buffers()[0], texts.buffers()[1], pa.py_buffer(masked)]
    shapes = pa.Array.from_buffers(texts.type, len(texts), buffers, -1, texts.offset).dictionary_encode()
    places = pc.fill_null(shapes.indices, -1).to_numpy()
    of_form = [(place, _match(shape)) for place, shape in enumerate(shapes.dictionary.to_pylist())]
    order = np.argsort(places, kind="stable")
    ends = np.searchsorted(places[order], np.arange(len(of_form) + 1))
    for place, match in of_form:
        if match is not None:
            rows = order[ends[place] : ends[place + 1]]
            yield rows, _Parts(match, data, begins[rows])


def _one_shape(texts: Any, begins: Any, masked: bytes) -> str | None:
    """Return the shape that all texts have, or None."""
    length = int(begins[1] - begins[0])
    if texts.null_count or not length or (np.diff(begins) != length).any():
        return None
    rows = np.frombuffer(masked, np.uint8)[begins[0] : begins[-1]].reshape(len(texts), length)
    return rows[0].tobytes().decode() if (rows == rows[0]).all() else None


def _match(shape: str) -> re.Match[str] | None:
    return next((found for form in _FORMS if (found := form.fullmatch(shape)) is not None), None)


class _Parts:
    """The parts of rows of one shape, by name: those that it has."""

    def __init__(self, match: re.Match[str], data: Any, begins: Any) -> None:
        self._match = match
        self._data = data
        self._begins = begins
        self.count = len(begins)
        apart = int(begins[-1] - begins[0]) // max(1, self.count - 1)
        self._apart = apart if apart and (np.diff(begins) == apart).all() else 0
        """How many bytes each row is behind the one before, where that is the same: no row has to be looked for."""

    def __contains__(self, name: str) -> bool:
        return bool(self.text(name))

    def text(self, name: str) -> str:
        """Return a part as its shape has it: what is no digit there is what every row has."""
        return self._match.groupdict().get(name) or ""

    def numbers(self, name: str, first: int = 0, last: int | None = None) -> Any:
        """Return the number that a part is, or some of its characters are; 0 where it is not there."""
        found = np.zeros(self.count, np.int32)  # no part has more than four digits
        if name in self:
            before = len(self._match.string[: self._match.start(name)].encode())
            for place in range(len(self.text(name)))[first:last]:
                found *= 10
                found += self._characters(before + place) - np.uint8(ord("0"))
        return found

    def _characters(self, place: int) -> Any:
        if self._apart:
            return self._data[self._begins[0] + place :: self._apart][: self.count]
        return self._data[self._begins + place]


def _days(named: _Parts) -> tuple[Any, Any]:
    """Return days since 1970, and whether a calendar has them."""
    if "e" in named:
        counted = np.ones(named.count, np.int32) if named.text("n") == "元" else named.numbers("n")
        years, is_year = _FIRST_YEARS[named.text("e")] + counted - 1, counted > 0
    else:
        years = named.numbers("y")
        is_year = years > 0
    months, days = named.numbers("m"), named.numbers("d")
    is_day = is_year & (months >= 1) & (months <= 12) & (days >= 1)
    since = np.where(is_day, (years - 1970) * 12 + months - 1, 0)
    first = since.min()
    starts = np.arange(first, since.max() + 2).astype("M8[M]").astype("M8[D]").astype(np.int32)  # of each month once
    since -= first
    start = starts[since]
    return start + days - 1, is_day & (days <= starts[since + 1] - start)


def _seconds(named: _Parts) -> tuple[Any, Any]:
    """Return seconds since midnight, and whether a clock shows them."""
    if "h" not in named:
        return np.zeros(named.count, np.int32), np.zeros(named.count, bool)
    hours, minutes, seconds = named.numbers("h"), named.numbers("i"), named.numbers("s")
    is_time = (hours < 24) & (minutes < 60) & (seconds < 60)
    return np.where(is_time, hours * 3_600 + minutes * 60 + seconds, 0), is_time


def _in_zone(named: _Parts, local: Any, zone: ZoneInfo | None) -> tuple[Any, Any]:
    """Return seconds since 1970 in the zone's local time, and whether that is known."""
    if zone is None:
        return local, np.zeros(named.count, bool)
    offsets = np.zeros(named.count, np.int32)
    if named.text("z") != "Z":
        offsets = named.numbers("z", 1, 3) * 3_600 + named.numbers("z", -2) * 60
    utc = local + (offsets if named.text("z")[0] == "-" else -offsets)
    quarters, places = np.unique(utc // _QUARTER, return_inverse=True)
    ahead = np.array([_ahead(int(quarter) * _QUARTER, zone) for quarter in quarters], np.int64)[places]
    return utc + ahead, offsets < _DAY_SECONDS


def _ahead(at: int, zone: ZoneInfo) -> int:
    try:
        offset = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    except (OverflowError, ValueError, OSError):
        return 0
    return 0 if offset is None else round(offset.total_seconds())


def texts_of(numbers: Any, is_there: Any, say: Callable[[int], str]) -> Any:
    """Return for each number the text that ``say`` gives of it, null where none is there; each number is said once.

    It is a dictionary of these texts.
    """
    there = numbers if is_there.all() else numbers[is_there]
    if not there.size:
        return pa.DictionaryArray.from_arrays(pa.nulls(len(numbers), pa.int32()), pa.array([""], pa.large_string()))
    first, last = int(there.min()), int(there.max())
    if last - first < len(numbers):  # then a table is quicker than an order
        used = np.zeros(last - first + 1, bool)
        used[there - first] = True
        shifted = numbers - first if there is numbers else np.where(is_there, numbers - first, 0)
        found, places = np.flatnonzero(used) + first, (np.cumsum(used, dtype=np.int32) - 1)[shifted]
    else:
        found, places = np.unique(np.where(is_there, numbers, first), return_inverse=True)
    texts = pa.array([say(int(number)) for number in found], pa.large_string())
    mask = None if there is numbers else ~is_there
    return pa.DictionaryArray.from_arrays(pa.array(places.astype(np.int32, copy=False), mask=mask), texts)


def day_of(number: int) -> date:
    """Return the day that is so many days after 1970-01-01."""
    return date.fromordinal(_EPOCH + number)

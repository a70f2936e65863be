"""Days and times in a column of text, as software and people in Japan write them.

A day is ``2024-04-01``, ``2024/4/1``, ``2024.4.1``, ``20240401``, ``2024年4月1日``, ``令和6年4月1日`` or ``R6.4.1``,
with ``(月)``
behind it or not; 元年 is the first year. A time of a day is ``8:05``, ``08:05:30`` or ``8時5分``, behind a day with a
blank or ``T`` between, and may say its distance from UTC (ISO 8601). Full-width forms count as their plain ones
(Unicode NFKC). What is none of it, or is on no calendar or clock, is nothing, by itself.
"""

from datetime import UTC, date, datetime
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_FIRST_YEARS = {"明治": 1868, "M": 1868, "大正": 1912, "T": 1912, "昭和": 1926, "S": 1926}
_FIRST_YEARS |= {"平成": 1989, "H": 1989, "令和": 2019, "R": 2019}
_ERA = "|".join(_FIRST_YEARS)
_CLOCK = r"(?P<h>[0-9]{1,2})(?::|時)(?P<i>[0-9]{1,2})(?:(?::|分)(?P<s>[0-9]{2})?(?:\.[0-9]{1,9})?秒?)?"
_DAY = (
    rf"(?:(?P<e>{_ERA}) ?(?P<n>元|[0-9]{{1,3}})|(?P<y>[0-9]{{4}}))[-/.年] ?(?P<m>[0-9]{{1,2}})[-/.月] ?(?P<d>[0-9]{{1,2}})日?"
    r"(?: ?\([月火水木金土日]\))?"
)
_WITH_DAY = rf"^{_DAY}(?:(?:T| +){_CLOCK} ?(?P<z>Z|[+-][0-9]{{2}}:?[0-9]{{2}})?)?$"
_ALONE = rf"^{_CLOCK}$"
_COMPACT = r"^(?P<y>[0-9]{4})(?P<m>[0-9]{2})(?P<d>[0-9]{2})$"
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
    days, seconds = np.zeros(count, np.int64), np.zeros(count, np.int64)
    has_day, has_time = np.zeros(count, bool), np.zeros(count, bool)
    plain = pc.utf8_trim(pc.utf8_normalize(column, form="NFKC"), characters=" \t\u3000")
    for pattern in (_WITH_DAY, _ALONE, _COMPACT):
        found = pc.extract_regex(plain, pattern)
        rows = np.flatnonzero(np.asarray(found.is_valid()))
        if not rows.size:
            continue
        named = _Parts(found.take(pa.array(rows)))
        if "d" in named:
            day, is_day = _days(named)
        else:
            day, is_day = np.zeros(rows.size, np.int64), np.zeros(rows.size, bool)
        clock, is_time = _seconds(named)
        moved, is_known = _in_zone(named, day, clock, zone)
        good = is_known & (is_day if "d" in named else is_time)
        good &= is_time | ~named.has("h")
        days[rows], seconds[rows] = moved // _DAY_SECONDS, moved % _DAY_SECONDS
        has_day[rows], has_time[rows] = is_day & good, is_time & good
    return Moments(days, seconds, has_day, has_time)


class _Parts:
    """The parts of rows that a pattern fits, by name; a part that is not there is empty."""

    def __init__(self, found: Any) -> None:
        self._found = found
        self._names = {field.name for field in found.type}

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def texts(self, name: str) -> Any:
        if name not in self:
            return pa.array([""] * len(self._found))
        return pc.fill_null(self._found.field(name), "")

    def has(self, name: str) -> Any:
        return np.asarray(pc.not_equal(self.texts(name), ""))

    def numbers(self, name: str) -> Any:
        texts = self.texts(name)
        return pc.if_else(pc.equal(texts, ""), "0", texts).cast(pa.int64()).to_numpy()


def _days(named: _Parts) -> tuple[Any, Any]:
    """Return days since 1970, and whether a calendar has them."""
    years = named.numbers("y")
    if "e" in named:
        eras = named.texts("e").to_pylist()
        numbers = [1 if text == "元" else int(text or 0) for text in named.texts("n").to_pylist()]
        first = np.array([_FIRST_YEARS.get(era, 0) for era in eras], np.int64)
        counted = np.array(numbers, np.int64)
        years = np.where(first > 0, first + counted - 1, years)
        is_year = np.where(first > 0, counted > 0, years > 0)
    else:
        is_year = years > 0
    months, days = named.numbers("m"), named.numbers("d")
    is_day = is_year & (months >= 1) & (months <= 12) & (days >= 1)
    since = np.where(is_day, (years - 1970) * 12 + months - 1, 0)
    start = since.astype("M8[M]").astype("M8[D]").astype(np.int64)
    after = (since + 1).astype("M8[M]").astype("M8[D]").astype(np.int64)
    return start + days - 1, is_day & (days <= after - start)


def _seconds(named: _Parts) -> tuple[Any, Any]:
    """Return seconds since midnight, and whether a clock shows them."""
    hours, minutes, seconds = named.numbers("h"), named.numbers("i"), named.numbers("s")
    is_time = named.has("h") & (hours < 24) & (minutes < 60) & (seconds < 60)
    return np.where(is_time, hours * 3_600 + minutes * 60 + seconds, 0), is_time


def _in_zone(named: _Parts, days: Any, seconds: Any, zone: ZoneInfo | None) -> tuple[Any, Any]:
    """Return seconds since 1970 in the zone's local time, and whether that is known."""
    local = days * _DAY_SECONDS + seconds
    says = named.has("z")
    if not says.any():
        return local, np.ones(len(local), bool)
    if zone is None:
        return local, ~says
    offsets = np.array([_offset(text) for text in named.texts("z").to_pylist()], np.int64)
    utc = local - offsets
    quarters, places = np.unique(utc // _QUARTER, return_inverse=True)
    ahead = np.array([_ahead(int(quarter) * _QUARTER, zone) for quarter in quarters], np.int64)[places]
    return np.where(says, utc + ahead, local), np.abs(offsets) < _DAY_SECONDS


def _offset(text: str) -> int:
    if text in {"", "Z"}:
        return 0
    seconds = int(text[1:3]) * 3_600 + int(text[-2:]) * 60
    return -seconds if text[0] == "-" else seconds


def _ahead(at: int, zone: ZoneInfo) -> int:
    try:
        offset = datetime.fromtimestamp(at, UTC).astimezone(zone).utcoffset()
    except (OverflowError, ValueError, OSError):
        return 0
    return 0 if offset is None else round(offset.total_seconds())


def texts_of_days(days: Any, say: Any) -> Any:
    """Return for each day (since 1970) the text that ``say`` gives of its ``date``, each date asked once."""
    found, places = np.unique(days, return_inverse=True)
    epoch = date(1970, 1, 1).toordinal()
    return np.array([say(date.fromordinal(epoch + int(day))) for day in found], object)[places]

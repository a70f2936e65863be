"""Hours, days, ISO weeks and months as texts and as whole numbers, one for one.

======  ===============  ==========================================
unit    one is written   and has the number of those since
======  ===============  ==========================================
hour    2026-10-01T07    1970-01-01T00
day     2026-10-01       1970-01-01
week    2026-W40         1970-W01, which begins on 1969-12-29
month   2026-10          1970-01
======  ===============  ==========================================

Texts are ISO 8601 in the one form of the table, years 0001 to 9999, weeks from Monday on. There is no zone here: an
hour is what the clock on the wall shows, so the hour that an autumn night has twice is one, and the one that a spring
night lacks is empty.
"""

import re
from datetime import date
from typing import Literal

from ledger.errors import Malformed

CalendarUnit = Literal["hour", "day", "week", "month"]

EXAMPLES: dict[CalendarUnit, str] = {
    "hour": "2026-10-01T07",
    "day": "2026-10-01",
    "week": "2026-W40",
    "month": "2026-10",
}
"""One of each unit, as a refusal shows its form."""
_FORMS: dict[CalendarUnit, re.Pattern[str]] = {
    "hour": re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})T([01][0-9]|2[0-3])", re.ASCII),
    "day": re.compile(r"([0-9]{4}-[0-9]{2}-[0-9]{2})", re.ASCII),
    "week": re.compile(r"([0-9]{4})-W([0-9]{2})", re.ASCII),
    "month": re.compile(r"([0-9]{4})-(0[1-9]|1[0-2])", re.ASCII),
}
_FIRST_DAY = date(1970, 1, 1).toordinal()
_FIRST_MONDAY = date(1969, 12, 29).toordinal()


def number_in_calendar(unit: CalendarUnit, text: str) -> int | None:
    """Return which hour, day, week or month a text says; None where it says none in the unit's form."""
    found = _FORMS[unit].fullmatch(text)
    if found is None:
        return None
    try:
        match unit:
            case "hour":
                return _day(found[1]) * 24 + int(found[2])
            case "day":
                return _day(found[1])
            case "week":
                return (date.fromisocalendar(int(found[1]), int(found[2]), 1).toordinal() - _FIRST_MONDAY) // 7
            case "month":
                first = date(int(found[1]), int(found[2]), 1)
                return (first.year - 1970) * 12 + first.month - 1
    except ValueError:  # no such day, week or year
        return None


def text_in_calendar(unit: CalendarUnit, number: int) -> str:
    """Return how a unit of that number is written; raise Malformed for one outside the years 0001 to 9999."""
    first = day_in_calendar(unit, number)
    match unit:
        case "hour":
            return f"{first.isoformat()}T{number % 24:02}"
        case "day":
            return first.isoformat()
        case "week":
            year, week, _ = first.isocalendar()
            return f"{year:04}-W{week:02}"
        case "month":
            return first.isoformat()[:7]


def day_in_calendar(unit: CalendarUnit, number: int) -> date:
    """Return the day with which a unit of that number begins; raise Malformed outside the years 0001 to 9999."""
    try:
        match unit:
            case "hour":
                return date.fromordinal(_FIRST_DAY + number // 24)
            case "day":
                return date.fromordinal(_FIRST_DAY + number)
            case "week":
                return date.fromordinal(_FIRST_MONDAY + number * 7)
            case "month":
                return date(1970 + number // 12, number % 12 + 1, 1)
    except (ValueError, OverflowError):
        raise Malformed("No calendar of four-digit years has that time.") from None


def _day(text: str) -> int:
    return date.fromisoformat(text).toordinal() - _FIRST_DAY

"""What a column of time is read from: SQL for the hour, day, ISO week or month that a value of a holder's file is in.

Each is the whole number of ``policies.calendar.calendar_units``, or null. A value is read where it says the unit itself
or something finer, in the local time that the file has: ``2026-10-01`` is a day and is in a week and a month, but in no
one hour. A text has the ISO form of a unit, or of a day and time with ``T`` or one blank between (seconds and their
decimals may follow); all else has a reader of ``node.toml`` that says it so (``trust.node.sources.readers``). What says
its distance from UTC is null: on which day that falls hangs on a zone, and only a mapping names one.
"""

from policies.calendar.calendar_units import CalendarUnit

_DAY = "[0-9]{4}-[0-9]{2}-[0-9]{2}"
_CLOCK = "([01][0-9]|2[0-3])(:[0-5][0-9](:[0-5][0-9]([.][0-9]+)?)?)?"
_SINCE = "(({}) - DATE '1970-01-01')"
_WEEKS_BEFORE = 200_000
"""So that what is divided is never negative: engines differ in how they round that."""


def _week(days: str) -> str:
    return f"(({days} + 3 + {7 * _WEEKS_BEFORE}) // 7 - {_WEEKS_BEFORE})"


def _month(day: str) -> str:
    return f"((year({day}) - 1970) * 12 + month({day}) - 1)"


def _of_day(day: str) -> dict[CalendarUnit, str]:
    """Return what is read from an expression for a day."""
    days = _SINCE.format(day)
    return {"day": days, "week": _week(days), "month": _month(f"({day})")}


def _as_bigint(sql: dict[CalendarUnit, str]) -> dict[CalendarUnit, str]:
    return {unit: f"CAST({expression} AS BIGINT)" for unit, expression in sql.items()}


OF_DATE = _as_bigint(_of_day("{0}"))
"""A day without a time."""

_DATE_OF_MOMENT = "CAST({0} AS DATE)"
OF_MOMENT = _as_bigint(
    {"hour": f"{_SINCE.format(_DATE_OF_MOMENT)} * 24 + hour({{0}})", **_of_day(_DATE_OF_MOMENT)},
)
"""A day and time of no zone."""


_DATE_OF_TEXT = "TRY_CAST({0}[1:10] AS DATE)"
_MONDAY_OF_TEXT = "CAST(TRY_STRPTIME({0} || '-1', '%G-W%V-%u') AS DATE)"
_FIRST_OF_TEXT = "TRY_CAST({0} || '-01' AS DATE)"
_WITH_DAY = f"{_DAY}([T ]{_CLOCK})?"
_BY_DAY = _of_day(_DATE_OF_TEXT)


def _read(*forms: tuple[str, str]) -> str:
    """Return what is read from the first form that a text has."""
    doubled = [(form.replace("{", "{{").replace("}", "}}"), then) for form, then in forms]  # for ``str.format``
    return f"CASE {' '.join(f'WHEN regexp_full_match({{0}}, {form!r}) THEN {then}' for form, then in doubled)} END"


OF_TEXT = _as_bigint(
    {
        "hour": _read((f"{_DAY}[T ]{_CLOCK}", _BY_DAY["day"] + " * 24 + TRY_CAST({0}[12:13] AS BIGINT)")),
        "day": _read((_WITH_DAY, _BY_DAY["day"])),
        "week": _read(("[0-9]{4}-W[0-9]{2}", _week(_SINCE.format(_MONDAY_OF_TEXT))), (_WITH_DAY, _BY_DAY["week"])),
        "month": _read(("[0-9]{4}-[0-9]{2}", _month(_FIRST_OF_TEXT)), (_WITH_DAY, _BY_DAY["month"])),
    }
)
"""A text."""

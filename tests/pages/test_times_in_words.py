"""Hours, days, weeks and months are said as a reader of the page says them, and a trend is drawn in order of time."""

import pytest
from msgspec import UNSET, UnsetType

from policies.calendar.calendar_units import CalendarUnit
from policies.policy_document import Time, View
from queries.question.measure_forms import MeasureAsked
from queries.question.tree import Filter, Query, Spend
from trust.pages.answers import make_answer
from trust.pages.cards import ShownCell
from trust.pages.translations import load_language
from trust.pages.wording import question

TITLE = {"ja": "乗った日時", "en": "Time of the ride"}
COLUMNS: dict[CalendarUnit, tuple[str, str]] = {
    "hour": ("2026-10-05T06", "2026-10-05T08"), "day": ("2026-10-04", "2026-10-06"),
    "week": ("2026-W40", "2026-W42"), "month": ("2026-09", "2026-11"),
}  # fmt: skip
SAID: dict[tuple[CalendarUnit, str, str], str] = {
    ("month", "ja", "2026-10"): "2026年10月", ("month", "en", "2026-10"): "October 2026",
    ("week", "ja", "2026-W41"): "10月5日の週", ("week", "en", "2026-W41"): "week of 5 Oct",
    ("day", "ja", "2026-10-05"): "10月5日(月)", ("day", "en", "2026-10-05"): "Mon 5 Oct",
    ("hour", "ja", "2026-10-05T07"): "10月5日(月) 07:00–07:59", ("hour", "en", "2026-10-05T07"): "Mon 5 Oct 07:00–07:59",
}  # fmt: skip


def view_of(unit: CalendarUnit, first: str, last: str) -> View:
    return View(
        name="rides", title=TITLE, holders=["bus_co"], source="rides", resident="who", rows_per_resident=1,
        holders_per_resident=1, columns=[Time(name="at", title=TITLE, unit=unit, first=first, last=last)],
    )  # fmt: skip


def asked(*where: Filter) -> Query:
    return Query(
        policy="mobility", version=1, from_=["rides"], where=list(where), group_by=["at"], spend=Spend(epsilon="1"),
        measures=[MeasureAsked(as_="n", count="rows")],
    )  # fmt: skip


@pytest.mark.parametrize(("unit", "tag", "text"), SAID, ids=map(" ".join, SAID))
def test_a_time_is_said_in_the_readers_words_as_a_key_and_in_a_condition(
    unit: CalendarUnit, tag: str, text: str
) -> None:
    language, view = load_language(tag), view_of(unit, *COLUMNS[unit])
    forms: list[tuple[tuple[str, str] | UnsetType, list[str | int] | UnsetType, str | UnsetType]] = [
        ((text, text), UNSET, UNSET), (UNSET, [text], UNSET), (UNSET, UNSET, text),
    ]  # fmt: skip
    for between, in_, equals in forms:
        words = question(language, asked(Filter(column="at", between=between, in_=in_, equals=equals)), [view])
        assert words.names[0][text] == SAID[unit, tag, text]
        (condition,) = words.conditions
        assert SAID[unit, tag, text] in condition
        assert text not in condition


def test_a_week_has_its_year_where_the_column_has_more_than_one() -> None:
    words = question(load_language("ja"), asked(), [view_of("week", "2025-W50", "2026-W41")])
    assert words.names[0]["2026-W41"] == "2026年10月5日の週"
    assert words.names[0]["2026-W01"] == "2025年12月29日の週"


@pytest.mark.parametrize("tag", ["ja", "en"])
def test_a_trend_is_drawn_and_listed_in_order_of_time_over_a_turn_of_the_year(tag: str) -> None:
    language, view = load_language(tag), view_of("month", "2025-11", "2026-10")
    (column,) = view.columns
    assert isinstance(column, Time)
    words = question(language, asked(), [view])
    cells = [
        ShownCell(key=(text,), measure="n", value=str(place * 7 % 12), half_width="3")
        for place, text in enumerate(column.texts())
    ]
    answer = make_answer(language, words, cells)
    (panel,), (table,) = answer.panels, answer.tables
    assert panel.chart is not None
    months = [words.names[0][text] for text in column.texts()]
    assert [mark.labels[0].words for mark in panel.chart.marks] == months
    assert [row.key for row in table.rows] == [(month,) for month in months]
    assert months[:2] == {"ja": ["2025年11月", "2025年12月"], "en": ["November 2025", "December 2025"]}[tag]

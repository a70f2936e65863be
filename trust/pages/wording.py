"""Fixed terms and whole questions in a reader's language: purposes, service groups, refusals, and the question tree.

Purposes are DPV 2.3 terms (https://w3id.org/dpv). A term without a label here is shown by its own English name.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from msgspec import UNSET

from policies.calendar.calendar_units import day_in_calendar
from policies.policy_document import Category, Column, Time, View
from policies.policy_document import Measure as MeasureColumn
from queries.answers.left_out import bounding_of, bounding_sentences
from queries.question.measure_forms import MeasureAsked
from queries.question.measures import measure_of
from queries.question.tree import Filter, Query
from trust.pages.translations import Language


@dataclass(frozen=True)
class MeasureWords:
    """One measure of an answer: the query's own name for it, what it is, and its unit ("" for none)."""

    name: str
    label: str
    unit: str
    is_average: bool = False


@dataclass(frozen=True)
class QuestionWords:
    """A question in words: the table read, conditions, what it is grouped by, and what is asked for.

    ``names`` has, for each of ``keys``, what people read in place of a value; a value without one stands for itself.
    """

    source: str
    conditions: tuple[str, ...]
    keys: tuple[str, ...]
    measures: tuple[MeasureWords, ...]
    names: tuple[Mapping[str, str], ...] = ()


def purpose(language: Language, iri: str) -> str:
    """Return a purpose's label."""
    term = iri.rpartition("#")[2]
    labels = {
        "ImprovePublicServices": language.gettext("To improve public services"),
        "PublicPolicyMaking": language.gettext("To shape the town's policies"),
        "ProvideOfficialStatistics": language.gettext("To make official statistics"),
        "ImproveHealthcare": language.gettext("To improve health care"),
        "ImproveTransportMobility": language.gettext("To make getting around easier"),
        "CombatClimateChange": language.gettext("To act against climate change"),
        "ServicePersonalisation": language.gettext("To fit services to people"),
    }
    return labels.get(term) or re.sub(r"(?<=[a-z])(?=[A-Z])", " ", term)


def service_group(language: Language, group: str) -> str:
    """Return a service group's label."""
    return {
        "living": language.gettext("Daily living"),
        "health": language.gettext("Health"),
        "community": language.gettext("Community"),
        "excursion": language.gettext("Going out"),
        "sdgs": language.gettext("Sustainable town (SDGs)"),
    }[group]


def refusal(language: Language, rule: str) -> str:
    """Say why a question was refused."""
    return {
        "budget-exceeded": language.gettext("It would have used more than the privacy budget that was left."),
        "query-invalid": language.gettext("It did not fit the ways of asking that the agreement allows."),
        "not-permitted": language.gettext("Whoever asked is not among those who may ask under this agreement."),
        "policy-not-current": language.gettext("The agreement it named is an old one, or has ended."),
    }[rule]


def question(language: Language, query: Query, views: Sequence[View]) -> QuestionWords:
    """Say a question in words."""
    return QuestionWords(
        source=language.gettext(" and ").join(language.plain(view.title) for view in views) or ", ".join(query.from_),
        conditions=tuple(_condition(language, item, views) for item in query.where),
        keys=tuple(_title(language, name, views) for name in query.group_by),
        measures=tuple(_measure(language, item, views) for item in query.measures),
        names=tuple(_names(language, name, views) for name in query.group_by),
    )


def left_out(language: Language, query: Query, view: View, words: QuestionWords) -> list[str]:
    """Say what the answer to a question leaves out besides the noise."""
    return bounding_sentences(
        bounding_of(query, view),
        view,
        {measure.name: measure.label for measure in words.measures},
        gettext=language.gettext,
        plain=language.plain,
        number=language.number,
    )


def _names(language: Language, name: str, views: Sequence[View]) -> dict[str, str]:
    column = _column(name, views)
    if isinstance(column, Time):
        return {text: _time(language, column, text) for text in column.texts()}
    if not isinstance(column, Category):
        return {}
    return {value: language.plain(label) for value, label in column.labels.items()}


def _value(language: Language, column: Column | None, value: str | int) -> str | int:
    if isinstance(column, Time):
        return _time(language, column, str(value))
    labels = column.labels if isinstance(column, Category) else {}
    return language.plain(labels[value]) if isinstance(value, str) and value in labels else value


def _time(language: Language, column: Time, text: str) -> str:
    """Say an hour, day, week or month; with its year only where the column's bounds have more than one, or a month."""
    place = column.place(text)
    if place is None:
        return text
    day = day_in_calendar(column.unit, column.lo + place)
    if column.unit == "month":
        return language.calendar(day, "y", "MMMM")
    years = {day_in_calendar(column.unit, end).year for end in (column.lo, column.hi)} | {day.year}
    year = "y" if len(years) > 1 else ""
    if column.unit == "week":
        return language.gettext("week of %(day)s") % {"day": language.calendar(day, year, "MMMd")}
    said = language.calendar(day, year, "MMMEd")
    return said if column.unit == "day" else f"{said} {text[-2:]}:00–{text[-2:]}:59"


def _column(name: str, views: Sequence[View]) -> Column | None:
    return next((column for view in views if (column := view.column(name)) is not None), None)


def _title(language: Language, name: str, views: Sequence[View]) -> str:
    column = _column(name, views)
    return language.plain(column.title) if column is not None else name


def _unit(name: str, views: Sequence[View]) -> str:
    column = _column(name, views)
    return column.unit if isinstance(column, MeasureColumn) else ""


def _condition(language: Language, item: Filter, views: Sequence[View]) -> str:
    title = _title(language, item.column, views)
    column = _column(item.column, views)
    if item.between is not UNSET:
        low, high = (_value(language, column, end) for end in item.between)
        return language.gettext("%(column)s from %(low)s to %(high)s") % {"column": title, "low": low, "high": high}
    if item.in_ is not UNSET:
        values = language.gettext(", ").join(str(_value(language, column, value)) for value in item.in_)
        return language.gettext("%(column)s is one of: %(values)s") % {"column": title, "values": values}
    value = _value(language, column, item.equals) if item.equals is not UNSET else ""
    return language.gettext("%(column)s is %(value)s") % {"column": title, "value": value}


def _measure(language: Language, item: MeasureAsked, views: Sequence[View]) -> MeasureWords:
    measure = measure_of(item)
    label, unit = measure.words(language.gettext, _title(language, measure.column, views), _unit(measure.column, views))
    return MeasureWords(item.as_, label, unit, is_average=measure.is_average)

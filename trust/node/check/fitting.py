"""Which readers would make a file's values fit a policy's column: tried on the values themselves.

What a chain of readers turns into a category's value, a number within bounds, or a customer who has linked, and was
none before, speaks for that chain. It is a guess, for the holder to judge.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from zoneinfo import ZoneInfo

import pyarrow as pa
from msgspec import Struct

from policies.calendar.calendar_units import CalendarUnit
from policies.languages import TITLE_LANGUAGES
from policies.policy_document import Category, Column, Measure, Time, View
from trust.node.sources.readers import read_in_order, reader_of

Fits = Callable[[str], bool]
Readers = tuple[str, ...]

_WHOLE = re.compile(r"\s*[+-]?[0-9]{1,18}(?:\.0*)?\s*", re.ASCII)
_DAY = len("2026-10-01")
_OF_UNIT: dict[CalendarUnit, Callable[[datetime], str]] = {
    "hour": lambda moment: moment.strftime("%Y-%m-%dT%H"),
    "day": lambda moment: moment.strftime("%Y-%m-%d"),
    "week": lambda moment: moment.strftime("%G-W%V"),
    "month": lambda moment: moment.strftime("%Y-%m"),
}
_TEXT_CHAINS: tuple[Readers, ...] = ((), ("strip",), ("nfkc", "strip"), ("excel",), ("excel", "strip"), ("whole",))
_NUMBER_CHAINS: tuple[Readers, ...] = ((), ("number",), ("whole",))
_WEEKDAY = ("weekday",)
_WEEK = "月火水木金土日"
_LAST_HOUR = 23
_TIME_CHAINS: tuple[Readers, ...] = (("hour",), ("weekday",), ("date",), ("month",), ("week",))


class Fit(Struct, frozen=True, kw_only=True):
    """A chain of readers, and how many of so many rows it makes fit."""

    read: Readers
    rows: int
    of: int
    values: dict[str, str] = {}
    """The labels of a category's values, as read, where the file has those in place of values."""

    @property
    def share(self) -> float:
        """The part of the rows that fits."""
        return self.rows / self.of if self.of else 0.0


def fits_column(column: Column) -> Fits:
    """Return what tells whether a text, as read, is a value of a column: within its bounds, where it has any."""
    if isinstance(column, Category):
        return set(column.values).__contains__
    if isinstance(column, Time):
        return lambda text: _fits_time(text, column)
    lo, hi = column.lo, column.hi
    return lambda text: _WHOLE.fullmatch(text) is not None and lo <= float(text) <= hi


def _fits_time(text: str, column: Time) -> bool:
    """Tell whether a text is within a column of time: one of its units, or a day and time in one of them."""
    place = column.place(text)
    if place is None:
        with suppress(ValueError):
            moment = datetime.fromisoformat(text)
            if moment.tzinfo is None and (column.unit != "hour" or len(text) > _DAY):
                place = column.place(_OF_UNIT[column.unit](moment))
    return place is not None and 0 <= place <= column.hi - column.lo


def chains_for(column: Column | None, widths: Sequence[int] = ()) -> list[Readers]:
    """Return what is tried for a column, the plainest first; None is the customer's.

    ``widths`` are lengths to which digits may have had zeros before them.
    """
    if isinstance(column, Measure):
        return list(_NUMBER_CHAINS)
    if isinstance(column, Time):
        return [(), ("time",) if column.unit == "hour" else (column.unit,)]
    padded = [(*chain, f"zero-pad {width}") for width in widths for chain in ((), ("nfkc", "strip"), ("whole",))]
    if column is None:
        return [*_TEXT_CHAINS, *padded]
    if isinstance(column, Category):
        return [*_TEXT_CHAINS, *padded, *_TIME_CHAINS]
    lo, hi = column.lo, column.hi
    parts = (
        [("hour",)] if lo >= 0 and hi <= _LAST_HOUR else []
    )  # any number's text may be read as a day: ages are no weekdays
    parts += [("weekday",)] if lo >= 1 and hi <= len(_WEEK) else []
    return [*_NUMBER_CHAINS, *parts]


def widths_of(values: Sequence[str]) -> list[int]:
    """Return the lengths of those values that are digits alone, the commonest first."""
    lengths = [len(value) for value in values if value.isascii() and value.isdigit()]
    return sorted(set(lengths), key=lambda each: -lengths.count(each))[:3]


def best_fit(
    rows: Mapping[str, int],
    is_good: Fits,
    chains: Sequence[Readers],
    zone: ZoneInfo | None = None,
    labels: Sequence[Mapping[str, str]] = (),
) -> Fit:
    """Return the plainest of the chains that makes most rows fit; ``rows`` has each distinct text with its rows.

    ``labels`` are what people read in place of values, as ``labels_of`` has them: such a text fits, too.
    """
    texts, of = pa.array(list(rows), pa.large_string()), sum(rows.values())
    best = Fit(read=(), rows=-1, of=of)
    for chain in chains:
        read = read_in_order(texts, [reader_of(words, zone) for words in chain]).to_pylist()
        for values in ({}, *(_by_weekday(each) if chain == _WEEKDAY else dict(each) for each in labels)):
            good = sum(
                many
                for text, many in zip(read, rows.values(), strict=True)
                if text is not None and is_good(values.get(text, text))
            )
            if good > best.rows:
                best = Fit(read=chain, rows=good, of=of, values=values)
    return best


def fitter(column: Column | None, linked: Sequence[str]) -> Callable[[Mapping[str, int], ZoneInfo | None], Fit]:
    """Return what gives the best fit of texts (each with its rows) for a column, None for the customer's."""
    is_good = set(linked).__contains__ if column is None else fits_column(column)
    values = linked if column is None else column.values if isinstance(column, Category) else ()
    chains, labels = chains_for(column, widths_of(values)), labels_of(column)
    return lambda rows, zone: best_fit(rows, is_good, chains, zone, labels)


def columns_read(views: Sequence[tuple[str, View]]) -> dict[str, Column | None]:
    """Return the columns that views (each with its policy's name) read, by name; the customer's is first, and None."""
    columns: dict[str, Column | None] = {view.resident: None for _, view in views}
    columns.update({column.name: column for _, view in views for column in view.columns})
    return columns


def _by_weekday(labels: Mapping[str, str]) -> dict[str, str]:
    """Return the labels that are a day of the week, each by its number, as the reader ``weekday`` gives it."""
    return {str(number): labels[day] for number, day in enumerate(_WEEK, 1) if day in labels}


def labels_of(column: Column | None) -> list[dict[str, str]]:
    """Return by language each label of a category's values with its value; a label of several values is of none."""
    if not isinstance(column, Category):
        return []
    found = []
    for language in TITLE_LANGUAGES:
        said = [(labels[language], value) for value, labels in column.labels.items() if language in labels]
        found.append({label: value for label, value in said if sum(each == label for each, _ in said) == 1})
    return [each for each in found if each]

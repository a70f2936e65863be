"""A released answer made ready to show: one chart for each measure, and the same numbers in tables."""

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from queries.answers.finish import Cell
from trust.pages import wording
from trust.pages.cards import QuestionCard, ShownCell
from trust.pages.charts import Chart, Number, make_chart
from trust.pages.translations import Language
from trust.pages.wording import MeasureWords, QuestionWords

MANY_CELLS = 24
"""Charts with more numbers than this start out folded."""


MOST_DRAWN = 200
"""Charts with more numbers than this are not drawn: the table has them, and the page stays light."""


@dataclass(frozen=True)
class Panel:
    """One measure's chart (None if it is not drawn), and in words which number is largest and smallest."""

    measure: MeasureWords
    chart: Chart | None
    count: int
    largest: str
    smallest: str


@dataclass(frozen=True)
class Row:
    """One row of a table: its key's labels, then each measure's value and half width, as written."""

    key: tuple[str, ...]
    numbers: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Table:
    """The numbers of the measures that share the same keys."""

    keys: tuple[str, ...]
    measures: tuple[MeasureWords, ...]
    rows: tuple[Row, ...]


@dataclass(frozen=True)
class Answer:
    """All of one answer."""

    panels: tuple[Panel, ...]
    tables: tuple[Table, ...]


def shown_cell(cell: Cell) -> ShownCell:
    """Return a cell for a page, where a histogram's bin is one more key instead of a part of the measure's name."""
    measure, bracket, bin_ = cell.measure.partition("[")
    key = (*cell.key, bracket + bin_) if bracket else cell.key
    return ShownCell(key=key, measure=measure, value=cell.value, half_width=cell.half_width)


def make_answer(language: Language, words: QuestionWords, cells: Sequence[ShownCell]) -> Answer:
    """Lay out an answer's cells, the measures in the question's order."""
    by_measure: dict[str, list[ShownCell]] = {measure.name: [] for measure in words.measures}
    for cell in cells:
        by_measure.setdefault(cell.measure, []).append(cell)
    known = {measure.name: measure for measure in words.measures}
    groups = [(known.get(name) or MeasureWords(name, name, ""), group) for name, group in by_measure.items() if group]
    return Answer(
        panels=tuple(_panel(language, words, measure, group) for measure, group in groups),
        tables=tuple(_tables(language, words, groups)),
    )


def make_question(language: Language, card: QuestionCard) -> dict[str, Any]:
    """Return what a page shows of one question: its words, its answer, and what that leaves out."""
    words = wording.question(language, card.query, card.views)
    return {
        "words": words,
        "answer": make_answer(language, words, card.cells),
        "left_out": wording.left_out(language, card.query, card.views[0], words),
    }


def _labels(language: Language, words: QuestionWords, key: tuple[str | int, ...]) -> tuple[str, ...]:
    """Return a key as people read it; a histogram's band stands behind the group keys and has no other name."""
    names = (*words.names, *({} for _ in key[len(words.names) :]))
    return tuple(
        language.number(part) if isinstance(part, int) else known.get(part, part)
        for part, known in zip(key, names, strict=False)
    )


def _reading(language: Language, cell: ShownCell) -> tuple[str, str]:
    if not cell.value:
        return "—", ""
    return language.decimal(cell.value), language.decimal(cell.half_width) if cell.half_width else "—"


def _panel(language: Language, words: QuestionWords, measure: MeasureWords, cells: Sequence[ShownCell]) -> Panel:
    numbers = [
        Number(
            labels=_labels(language, words, cell.key),
            value=Decimal(cell.value),
            half_width=Decimal(cell.half_width or 0),
            reading=" ± ".join(_reading(language, cell)),
        )
        for cell in cells
        if cell.value
    ]
    if not numbers:
        return Panel(measure, None, len(cells), "", "")
    largest = max(numbers, key=lambda number: number.value)
    smallest = min(numbers, key=lambda number: number.value)
    chart = make_chart(numbers, points_only=measure.is_average) if len(numbers) <= MOST_DRAWN else None
    return Panel(measure, chart, len(cells), _named(largest), _named(smallest))


def _named(number: Number) -> str:
    return " ".join((*number.labels, number.reading))


def _tables(
    language: Language, words: QuestionWords, groups: Sequence[tuple[MeasureWords, Sequence[ShownCell]]]
) -> list[Table]:
    by_keys: dict[tuple[tuple[str | int, ...], ...], list[tuple[MeasureWords, Sequence[ShownCell]]]] = {}
    for measure, cells in groups:
        by_keys.setdefault(tuple(cell.key for cell in cells), []).append((measure, cells))
    tables = []
    for keys, members in by_keys.items():
        labels = words.keys
        if len(keys[0]) > len(labels):
            labels = (*labels, *(language.gettext("band") for _ in keys[0][len(labels) :]))
        rows = tuple(
            Row(
                key=_labels(language, words, key),
                numbers=tuple(_reading(language, cells[n]) for _, cells in members),
            )
            for n, key in enumerate(keys)
        )
        tables.append(Table(labels, tuple(measure for measure, _ in members), rows))
    return tables

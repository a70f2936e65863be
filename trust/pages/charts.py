"""Geometry of the answers' charts: horizontal bars with interval whiskers, drawn by ``templates/parts/chart.html``.

A chart must be readable by an eighty-year-old on a tablet and at 320 px alike, without scripts. So nothing is scaled:
across, positions are percentages of the chart's width; down, they are em, so that they follow the reader's own type
size. Labels stand above their bars and are broken into lines here, because SVG text does not wrap. The axis always
holds zero, so that a bar's length is its value; an average is a point only. Whiskers run from value - half width to
value + half width, also below zero.
"""

import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, Decimal

LABEL_EMS = Decimal("13.6")
"""A line's greatest width: what a 320 px screen has room for beside the paddings."""
MOST_SPAN = Decimal("3.5")
"""The axis's whole length in ticks' steps: four ticks' labels fit beside each other at 320 px."""
LINE, BAR, GAP, HEADING_GAP, READING_GAP = (Decimal(ems) for ems in ("1.35", "0.9", "0.75", "0.5", "0.6"))
_STEPS = (Decimal(1), Decimal(2), Decimal("2.5"), Decimal(5))


@dataclass(frozen=True)
class Number:
    """One number to draw: its labels (outer key first), value and half width, and how both are written."""

    labels: tuple[str, ...]
    value: Decimal
    half_width: Decimal
    reading: str


@dataclass(frozen=True)
class Line:
    """One line of text; ``y`` is its baseline in em."""

    words: str
    y: Decimal


@dataclass(frozen=True)
class Mark:
    """One number's marks. ``x`` … are percentages of the width, ``top`` … are em."""

    labels: tuple[Line, ...]
    reading: tuple[Line, ...]
    top: Decimal
    middle: Decimal
    bottom: Decimal
    bar_x: Decimal
    bar_width: Decimal
    x: Decimal
    low_x: Decimal
    high_x: Decimal


@dataclass(frozen=True)
class Tick:
    """One gridline: its value, place, and which side of the place its label stands on."""

    value: Decimal
    x: Decimal
    anchor: str


@dataclass(frozen=True)
class Chart:
    """A whole chart; ``height`` and ``axis_y``, the ticks' baseline, are in em."""

    headings: tuple[Line, ...]
    marks: tuple[Mark, ...]
    ticks: tuple[Tick, ...]
    zero_x: Decimal
    points_only: bool
    axis_y: Decimal
    height: Decimal


def width_of(words: str) -> Decimal:
    """Return a generous estimate of a text's width in em: East Asian characters are 1, others 0.57."""
    wide = sum(unicodedata.east_asian_width(character) in "WFA" for character in words)
    return wide + (len(words) - wide) * Decimal("0.57")


def break_label(words: str, width: Decimal = LABEL_EMS) -> tuple[str, ...]:
    """Break a label into lines of at most ``width`` em, at spaces where there are any. Nothing but spaces is lost."""
    lines: list[str] = []
    line = ""
    for character in words:
        if line and width_of(line + character) > width:
            head, space, tail = line.rpartition(" ")
            lines.append(head if space and head else line)
            line = (tail if space and head else "") + character
        else:
            line += character
    return tuple(text for part in (*lines, line) if (text := part.strip())) or ("",)


def axis(lowest: Decimal, highest: Decimal) -> tuple[Decimal, Decimal, tuple[Decimal, ...]]:
    """Return the axis's low and high end and its ticks: round numbers, evenly spaced, zero always one of them.

    The high end is a tick. The low end is not rounded, so that one whisker just below zero takes no room.
    """
    low, high = min(Decimal(0), lowest), max(Decimal(0), highest)
    if low == high:
        high = Decimal(1)
    power = Decimal(1).scaleb(((high - low) / MOST_SPAN).adjusted())
    while True:
        for factor in _STEPS:
            step = power * factor
            first = (low / step).to_integral_value(ROUND_CEILING)
            last = (high / step).to_integral_value(ROUND_CEILING)
            if last * step - low <= MOST_SPAN * step:
                return low, last * step, tuple(step * n for n in range(int(first), int(last) + 1))
        power *= 10


def make_chart(numbers: Sequence[Number], *, points_only: bool = False) -> Chart:
    """Lay out a chart of at least one number. With two labels, rows are grouped under the first."""
    low, high, values = axis(min(n.value - n.half_width for n in numbers), max(n.value + n.half_width for n in numbers))
    span = high - low

    def place(value: Decimal) -> Decimal:
        return (2 + 96 * (value - low) / span).quantize(Decimal("0.01"))

    zero = place(Decimal(0))
    headings: list[Line] = []
    marks: list[Mark] = []
    y = Decimal(0)
    group: tuple[str, ...] = ()
    for number in numbers:
        if number.labels[:-1] != group:
            group = number.labels[:-1]
            y += HEADING_GAP if headings else 0
            for words in break_label(" · ".join(group)):
                y += LINE
                headings.append(Line(words, y - Decimal("0.35")))
        mark, y = _mark(number, y, place, zero)
        marks.append(mark)
    return Chart(
        headings=tuple(headings),
        marks=tuple(marks),
        ticks=tuple(Tick(value, place(value), _anchor(place(value))) for value in values),
        zero_x=zero,
        points_only=points_only,
        axis_y=y + Decimal("0.5"),
        height=y + 1,
    )


def _anchor(x: Decimal) -> str:
    """A tick's label stands beside a place near the edge, so that it is not cut off."""
    return "start" if x < 10 else "end" if x > 90 else "middle"


def _mark(number: Number, y: Decimal, place: Callable[[Decimal], Decimal], zero: Decimal) -> tuple[Mark, Decimal]:
    """Lay out one number from ``y`` down; return its marks and where the next begins."""
    labels: list[Line] = []
    lines = break_label(number.labels[-1]) if number.labels and number.labels[-1] else ()
    for words in lines:
        y += LINE
        labels.append(Line(words, y - Decimal("0.35")))
    reading: list[Line] = []
    for words in break_label(number.reading):
        beside = bool(lines) and not reading and width_of(lines[-1]) + READING_GAP + width_of(words) <= LABEL_EMS
        y += 0 if beside else LINE
        reading.append(Line(words, y - Decimal("0.35")))
    x = place(number.value)
    mark = Mark(
        labels=tuple(labels),
        reading=tuple(reading),
        top=y,
        middle=y + BAR / 2,
        bottom=y + BAR,
        bar_x=min(x, zero),
        bar_width=abs(x - zero),
        x=x,
        low_x=place(number.value - number.half_width),
        high_x=place(number.value + number.half_width),
    )
    return mark, y + BAR + GAP

"""Charts put every number where it belongs, whatever the numbers and labels are."""

from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trust.pages.charts import LABEL_EMS, Number, axis, break_label, make_chart, width_of

VALUES = st.decimals(min_value=-(10**9), max_value=10**9, places=2)
WIDTHS = st.decimals(min_value=0, max_value=10**9, places=2)
LABELS = st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), max_size=80)
NUMBERS = st.lists(
    st.builds(Number, labels=st.tuples(st.sampled_from("AB"), LABELS), value=VALUES, half_width=WIDTHS, reading=LABELS),
    min_size=1,
    max_size=100,
)


@given(low=VALUES, high=VALUES)
def test_an_axis_holds_both_ends_and_has_a_tick_at_zero_and_at_most_four(low: Decimal, high: Decimal) -> None:
    low, high = sorted((low, high))
    start, end, ticks = axis(low, high)
    assert start <= low
    assert high <= end
    assert 0 in ticks
    assert 2 <= len(ticks) <= 4
    assert all(start <= tick <= end for tick in ticks)
    assert len({right - left for left, right in pairwise(ticks)}) == 1


@given(numbers=NUMBERS)
def test_every_mark_lies_inside_the_chart_in_order_and_no_two_rows_overlap(numbers: list[Number]) -> None:
    chart = make_chart(numbers)
    assert len(chart.marks) == len(numbers)
    below = Decimal(0)
    for number, mark in zip(numbers, chart.marks, strict=True):
        assert 0 <= mark.low_x <= mark.x <= mark.high_x <= 100
        assert mark.bar_x + mark.bar_width == max(mark.x, chart.zero_x)
        assert (mark.x >= chart.zero_x) if number.value >= 0 else (mark.x <= chart.zero_x)
        lines = [line.y for line in (*mark.labels, *mark.reading)]
        assert all(below <= y <= mark.top for y in lines)
        below = mark.bottom
    assert below < chart.axis_y < chart.height


def test_a_bar_twice_as_high_is_twice_as_long_because_the_axis_starts_at_zero() -> None:
    chart = make_chart([Number(("a",), Decimal(50), Decimal(3), ""), Number(("b",), Decimal(100), Decimal(3), "")])
    short, long = (mark.bar_width for mark in chart.marks)
    assert long == pytest.approx(2 * short, abs=Decimal("0.02"))


def test_a_whisker_below_zero_is_drawn_to_the_left_of_zero() -> None:
    chart = make_chart([Number(("a",), Decimal(2), Decimal(9), ""), Number(("b",), Decimal(70), Decimal(9), "")])
    mark = chart.marks[0]
    assert mark.low_x < chart.zero_x < mark.x < mark.high_x


@given(words=LABELS)
def test_breaking_a_label_loses_nothing_but_spaces_and_every_line_fits(words: str) -> None:
    lines = break_label(words)
    assert "".join(lines).replace(" ", "") == words.replace(" ", "")
    assert all(width_of(line) <= LABEL_EMS or len(line) == 1 for line in lines)


def test_two_keys_make_one_heading_for_each_outer_key() -> None:
    numbers = [
        Number((ward, str(hour)), Decimal(5), Decimal(1), "5 ± 1") for ward in ("東", "西") for hour in (7, 8, 9)
    ]
    assert [line.words for line in make_chart(numbers).headings] == ["東", "西"]

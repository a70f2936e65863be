"""From the released vector to what a person reads: values with intervals. Post-processing only; nothing is charged.

All intervals of one answer hold at the same time with the stated confidence (the union bound over the numbers of the
vector; ``queries.price.cost.half_width`` says why each holds). They cover the noise. They do not cover what bounding
and clipping leave out, which the policy decided before any question.

Counts and sums are shown as they were released: unbiased, so a small count may come out negative. A mean is the
noised sum divided by the noised count of values, moved into the clip bounds.
"""

import math
from collections.abc import Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise

from msgspec import UNSET, Struct

from ledger.entries import Noise
from ledger.errors import ProofInvalid
from policies.document import Measure
from queries.price.cost import check_scales, half_width
from queries.price.pricing import check_confidence
from queries.question.check import measure_primitives
from queries.question.plan import Plan
from queries.question.tree import MeasureAsked


class Cell(Struct, frozen=True, kw_only=True):
    """One number of an answer: group key values, the measure's name, the value ± half_width, both decimal text."""

    key: tuple[str | int, ...]
    measure: str
    value: str
    half_width: str


class _Block(Struct, frozen=True):
    """One primitive's released numbers and the half width that they all share."""

    numbers: Sequence[int]
    half_width: int


def finish(plan: Plan, noise: Sequence[Noise], vector: Sequence[int], confidence: str = "0.95") -> list[Cell]:
    """Return the answer's cells: group by group in the plan's order, in each group the measures in the asked order.

    ``vector`` is the sum of all participants' noised vectors. A histogram gives one cell for each bin, named like
    ``fares[0,200)``, the last ``fares[200,400]``. Raises ProofInvalid when noise or vector do not fit the plan, and
    QueryInvalid for a confidence that is not a decimal from 0.5 to 0.9999.
    """
    check_scales(plan, noise)
    check_confidence(confidence)
    if len(vector) != plan.length:
        raise ProofInvalid("The released vector is not of the length that the question's plan says.")
    blocks: dict[str, _Block] = {}
    start = 0
    for primitive, part in zip(plan.primitives, noise, strict=True):
        end = start + plan.cells * primitive.width
        width = half_width(part.scale, len(plan.participants), plan.length, confidence)
        blocks[primitive.name] = _Block(vector[start:end], width)
        start = end
    cells: list[Cell] = []
    for index, key in enumerate(_group_keys(plan)):
        for asked in plan.measures:
            cells += _measure_cells(plan, blocks, asked, index, key)
    return cells


def _group_keys(plan: Plan) -> list[tuple[str | int, ...]]:
    keys: list[tuple[str | int, ...]] = [()]
    for key in plan.keys:
        keys = [(*before, value) for before in keys for value in key.values]
    return keys


def _measure_cells(
    plan: Plan, blocks: dict[str, _Block], asked: MeasureAsked, index: int, key: tuple[str | int, ...]
) -> list[Cell]:
    found = [blocks[name] for name in measure_primitives(asked)]
    if asked.mean is not UNSET:
        column = plan.view.column(asked.mean)
        if not isinstance(column, Measure):
            raise ProofInvalid("The plan asks for the mean of a column that is not a measure.")
        value, width = _mean(found[0], found[1], index, column)
        return [Cell(key=key, measure=asked.as_, value=value, half_width=width)]
    (block,) = found
    labels = [asked.as_]
    if asked.edges is not UNSET:
        last = len(asked.edges) - 2
        labels = [
            f"{asked.as_}[{low},{high}{']' if place == last else ')'}"
            for place, (low, high) in enumerate(pairwise(asked.edges))
        ]
    start = index * len(labels)
    return [
        Cell(key=key, measure=label, value=str(number), half_width=str(block.half_width))
        for label, number in zip(labels, block.numbers[start : start + len(labels)], strict=True)
    ]


def _mean(total: _Block, count: _Block, index: int, column: Measure) -> tuple[str, str]:
    """Return value and half width of one mean, both with 2 decimals.

    Where both intervals hold, the true sum is within S ± a and the true number of values within N ± b. A quotient
    with positive denominator is monotone in each of them, so its ends are reached at the ends of the intervals. A true
    mean always lies in the clip bounds, so the interval is cut to them; they are also what is left to say where N - b
    is not above 0. ``half_width`` is the distance to the farther end, rounded up.
    """
    lo, hi = Fraction(column.lo), Fraction(column.hi)
    summed, number = total.numbers[index], count.numbers[index]
    value = round(100 * _into(Fraction(summed, max(number, 1)), lo, hi))
    low, high = lo, hi
    fewest, most = number - count.half_width, number + count.half_width
    if fewest > 0:
        least, greatest = summed - total.half_width, summed + total.half_width
        low = _into(Fraction(least, most if least > 0 else fewest), lo, hi)
        high = _into(Fraction(greatest, fewest if greatest > 0 else most), lo, hi)
    return _hundredths(value), _hundredths(math.ceil(max(100 * high - value, value - 100 * low)))


def _into(number: Fraction, lo: Fraction, hi: Fraction) -> Fraction:
    return min(max(number, lo), hi)


def _hundredths(count: int) -> str:
    return f"{Decimal(count).scaleb(-2):.2f}"

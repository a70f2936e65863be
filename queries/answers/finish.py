"""From the released vector to what a person reads: values with intervals. Post-processing only; nothing is charged.

All intervals of one answer hold at the same time with the stated confidence (the union bound over the numbers of the
vector; ``queries.price.cost.half_width`` says why each holds). They cover the noise. They do not cover what bounding
and clipping leave out, which the policy decided before any question.

What each measure makes of its numbers, and with which interval, is in its class (``queries.question.measures``). What
is shown as released is unbiased, so a small count may come out negative.
"""

from collections.abc import Sequence

from msgspec import Struct

from ledger.entries import Noise
from ledger.errors import ProofInvalid
from queries.price.cost import check_scales, half_width
from queries.price.pricing import check_confidence
from queries.question.measure_forms import Block
from queries.question.measures import measure_of
from queries.question.plan import Plan


class Cell(Struct, frozen=True, kw_only=True):
    """One number of an answer: group key values, the measure's name, the value ± half_width, both decimal text."""

    key: tuple[str | int, ...]
    measure: str
    value: str
    half_width: str


def finish(plan: Plan, noise: Sequence[Noise], vector: Sequence[int], confidence: str = "0.95") -> list[Cell]:
    """Return the answer's cells: group by group in the plan's order, in each group the measures in the asked order.

    ``vector`` is the sum of all participants' noised vectors. Raises ProofInvalid when noise or vector do not fit the
    plan, and QueryInvalid for a confidence that is not a decimal from 0.5 to 0.9999.
    """
    check_scales(plan, noise)
    check_confidence(confidence)
    if len(vector) != plan.length:
        raise ProofInvalid("The released vector is not of the length that the question's plan says.")
    blocks: dict[str, Block] = {}
    start = 0
    for primitive, part in zip(plan.primitives, noise, strict=True):
        end = start + plan.cells * primitive.width
        width = half_width(part.scale, len(plan.participants), plan.length, confidence)
        blocks[primitive.name] = Block(vector[start:end], width)
        start = end
    asked = [
        (measure, [blocks[primitive.name] for primitive in measure.primitives(plan.view, plan.cells)])
        for measure in map(measure_of, plan.measures)
    ]
    return [
        Cell(key=key, measure=number.name, value=number.value, half_width=number.half_width)
        for place, key in enumerate(_group_keys(plan))
        for measure, its_blocks in asked
        for number in measure.finish(plan.view, its_blocks, place)
    ]


def _group_keys(plan: Plan) -> list[tuple[str | int, ...]]:
    keys: list[tuple[str | int, ...]] = [()]
    for key in plan.keys:
        keys = [(*before, value) for before in keys for value in key.values]
    return keys

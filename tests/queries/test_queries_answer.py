"""What people read: values, intervals, and how often the truth is inside."""

import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.entries import Noise
from ledger.errors import ProofInvalid, QueryInvalid
from queries.answers.finish import Cell, finish
from queries.price.cost import half_width
from queries.question.measure_forms import MeasureAsked
from queries.question.plan import Plan
from tests.kit.questions import ALL_MEASURES, make_policy, plan_of
from trust.node.rounds.noise import make_measurement

POLICY = make_policy()
MEAN = MeasureAsked(as_="mean_fare", mean="fare")


def noise_of(plan: Plan, scale: str = "1") -> list[Noise]:
    return [Noise(primitive=primitive.name, scale=scale) for primitive in plan.primitives]


def test_cells_stand_group_by_group_with_the_measures_in_the_asked_order() -> None:
    plan = plan_of(
        POLICY,
        MeasureAsked(as_="rides", count="rows"),
        MeasureAsked(as_="fares", histogram="fare", edges=[0, 200, 400]),
        group_by=["ward", "hour"],
    )
    vector = list(range(18)) + list(range(100, 136))
    cells = finish(plan, noise_of(plan), vector)
    assert [(cell.key, cell.measure, cell.value) for cell in cells[:6]] == [
        (("east", 0), "rides", "0"),
        (("east", 0), "fares[0,200)", "100"),
        (("east", 0), "fares[200,400]", "101"),
        (("east", 1), "rides", "1"),
        (("east", 1), "fares[0,200)", "102"),
        (("east", 1), "fares[200,400]", "103"),
    ]
    assert (cells[-1].key, cells[-1].value) == (("north", 5), "135")
    assert len(cells) == plan.length
    assert {cell.half_width for cell in cells} == {str(half_width("1", 1, plan.length, "0.95"))}


def test_a_small_count_may_come_out_negative_so_that_it_stays_unbiased() -> None:
    plan = plan_of(POLICY, MeasureAsked(as_="n", count="rows"))
    assert finish(plan, noise_of(plan), [-3])[0].value == "-3"


def test_a_mean_is_the_sum_by_the_count_with_two_decimals() -> None:
    plan = plan_of(POLICY, MEAN)
    half = half_width("1", 1, 2, "0.95")
    cell = finish(plan, noise_of(plan), [10_000, 300])[0]
    assert cell.value == "33.33"
    ends = [Fraction(10_000 + a * half, 300 + b * half) for a in (-1, 1) for b in (-1, 1)]
    widest = max(max(ends) - Fraction("33.33"), Fraction("33.33") - min(ends))
    assert widest <= Fraction(cell.half_width) < widest + Fraction(1, 100)


def test_a_mean_over_nobody_stays_within_the_clip_bounds_and_says_that_nothing_is_known() -> None:
    plan = plan_of(POLICY, MEAN)
    for vector in ([0, 0], [-50, -4], [900, 1], [5, 0], [-9, 3]):
        cell = finish(plan, noise_of(plan), vector)[0]
        assert 0 <= Fraction(cell.value) <= 400
        assert Fraction(cell.value) - Fraction(cell.half_width) <= 0
        assert Fraction(cell.value) + Fraction(cell.half_width) >= 400


@given(
    column=st.sampled_from(["fare", "change"]),
    total=st.integers(-(10**6), 10**6),
    count=st.integers(1, 10**4),
    wrong=st.tuples(st.floats(-1, 1), st.floats(-1, 1)),
    scale=st.integers(1, 10**4).map(str),
)
def test_wherever_sum_and_count_are_within_their_intervals_the_mean_is_within_its_own(
    column: str, total: int, count: int, wrong: tuple[float, float], scale: str
) -> None:
    plan = plan_of(POLICY, MeasureAsked(as_="m", mean=column))
    lo, hi = (0, 400) if column == "fare" else (-7, 5)
    total = min(max(total, lo * count), hi * count)
    half = half_width(scale, 1, 2, "0.95")
    cell = finish(plan, noise_of(plan, scale), [total + round(half * wrong[0]), count + round(half * wrong[1])])[0]
    assert abs(Fraction(cell.value) - Fraction(total, count)) <= Fraction(cell.half_width)
    assert lo <= Fraction(cell.value) <= hi


def covered_share(plan: Plan, exact: list[int], stated: str, drawn: str, trials: int) -> float:
    """Return in how many of the trials all cells of an answer covered the truth."""
    measure = make_measurement(plan, noise_of(plan, drawn))
    truth = finish(plan, noise_of(plan, stated), exact)
    covered = 0
    for _ in range(trials):
        shares = [measure([0] * plan.length) for _ in plan.participants]
        vector = [number + sum(column) for number, *column in zip(exact, *shares, strict=True)]
        cells = finish(plan, noise_of(plan, stated), vector)
        covered += all(
            abs(Fraction(cell.value) - Fraction(true.value)) <= Fraction(cell.half_width)
            for cell, true in zip(cells, truth, strict=True)
        )
    return covered / trials


def test_all_intervals_hold_at_once_as_often_as_stated_and_would_not_with_30_percent_more_noise() -> None:
    """1,500 answers of 3 holders: 95% ± 6 standard deviations (0.0056) of chance; the union bound adds a little."""
    plan = plan_of(make_policy(holders=3), MeasureAsked(as_="n", count="rows"), group_by=["hour"])
    exact = [0, 5, 100, 1000, 3, 0]
    spread = 6 * math.sqrt(0.95 * 0.05 / 1500)
    assert covered_share(plan, exact, "20", "20", 1500) > 0.95 - spread
    assert covered_share(plan, exact, "20", "20", 1500) < 0.97 + spread
    assert covered_share(plan, exact, "20", "26", 1500) < 0.95 - spread


def test_means_are_covered_too() -> None:
    plan = plan_of(make_policy(holders=2), *ALL_MEASURES[:4], group_by=["ward"])
    exact = [300, 250, 4, 200, 210, 2, 60_000, 40_000, 900, 290, 240, 4]
    assert covered_share(plan, exact, "15", "15", 400) > 0.95 - 6 * math.sqrt(0.95 * 0.05 / 400)


@pytest.mark.parametrize("vector", [[], [1, 2]])
def test_a_vector_of_another_length_is_refused(vector: list[int]) -> None:
    plan = plan_of(POLICY, MeasureAsked(as_="n", count="rows"))
    with pytest.raises(ProofInvalid):
        finish(plan, noise_of(plan), vector)


@pytest.mark.parametrize("confidence", ["0", "1", "0.4", "0.99999", "-1", "NaN", "1e-1", ""])
def test_a_confidence_that_is_not_a_decimal_from_a_half_up_is_refused(confidence: str) -> None:
    plan = plan_of(POLICY, MeasureAsked(as_="n", count="rows"))
    with pytest.raises(QueryInvalid):
        finish(plan, noise_of(plan), [1], confidence)


def test_more_confidence_means_wider_intervals() -> None:
    plan = plan_of(POLICY, MeasureAsked(as_="n", count="rows"))
    widths = [int(finish(plan, noise_of(plan, "50"), [1], level)[0].half_width) for level in ("0.5", "0.9", "0.99")]
    assert widths == sorted(widths)
    assert widths[0] < widths[2]
    assert isinstance(finish(plan, noise_of(plan), [1])[0], Cell)

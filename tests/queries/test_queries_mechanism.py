"""The noise is what the ledger says it is, its cost is not understated, and intervals are wide enough."""

import math
from fractions import Fraction

import opendp.prelude as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.entries import Noise
from ledger.errors import ProofInvalid, QueryInvalid
from queries.price import cost as mechanism
from queries.price.cost import epsilon_of, half_width, largest_cost, make_measurement, nano_rho, scale_within
from queries.question.measures import MeasureAsked
from tests.kit.questions import make_policy, plan_of

DELTA = "0.000001"
COUNT = MeasureAsked(as_="n", count="rows")
FARE = MeasureAsked(as_="f", sum="fare")
DRAWS = 20_000


def has_scale(draws: list[int], scale: float) -> bool:
    """Decide by the draws' second moment, about zero, whether they are discrete Gaussian of that scale.

    The sum of n squares over scale^2 is chi-square with n degrees (the discrete variance differs from scale^2 by less
    than 10^-50 at these scales): mean n, variance 2n. Six standard deviations: a false alarm in less than 10^-7.
    """
    n = len(draws)
    return abs(sum(draw**2 for draw in draws) / scale**2 - n) < 6 * math.sqrt(2 * n)


def draws_at(scale: str) -> list[int]:
    plan = plan_of(make_policy(cells=100), COUNT, group_by=["ward"])
    measure = make_measurement(plan, [Noise(primitive="rows", scale=scale)])
    drawn: list[int] = []
    while len(drawn) < DRAWS:
        drawn += measure([0] * plan.length)
    return drawn


def test_noise_has_the_stated_scale_and_is_told_from_noise_30_percent_off() -> None:
    drawn = draws_at("28.2843")
    assert has_scale(drawn, 28.2843)
    assert not has_scale(drawn, 28.2843 * 1.3)
    assert not has_scale(drawn, 28.2843 / 1.3)
    assert abs(sum(drawn)) < 6 * 28.2843 * math.sqrt(len(drawn))


def test_noise_drawn_30_percent_off_would_be_noticed() -> None:
    assert not has_scale(draws_at("36.7696"), 28.2843)
    assert not has_scale(draws_at("21.7572"), 28.2843)


def test_each_primitive_gets_noise_of_its_own_scale_around_its_own_numbers() -> None:
    plan = plan_of(make_policy(), COUNT, FARE, group_by=["ward"])
    measure = make_measurement(plan, [Noise(primitive="rows", scale="2"), Noise(primitive="sum:fare", scale="9000")])
    exact = [10, -20, 30, 10**6, -(10**6), 0]
    errors = [[drawn - true for drawn, true in zip(measure(exact), exact, strict=True)] for _ in range(2_000)]
    assert has_scale([error for row in errors for error in row[:3]], 2)
    assert has_scale([error for row in errors for error in row[3:]], 9000)


def test_noise_is_fresh_at_every_call() -> None:
    plan = plan_of(make_policy(), COUNT, group_by=["ward"])
    measure = make_measurement(plan, [Noise(primitive="rows", scale="1000000")])
    assert len({tuple(measure([0, 0, 0])) for _ in range(50)}) == 50


def test_numbers_at_the_edge_of_64_bits_do_not_raise() -> None:
    plan = plan_of(make_policy(), COUNT, group_by=["ward"])
    noised = make_measurement(plan, [Noise(primitive="rows", scale="1")])([2**70, -(2**70), 0])
    assert noised[0] > 2**62
    assert noised[1] < -(2**62)


@pytest.mark.parametrize(
    "noise",
    [
        [],
        [Noise(primitive="residents", scale="2")],
        [Noise(primitive="rows", scale="2"), Noise(primitive="rows", scale="2")],
        [Noise(primitive="rows", scale="0")],
        [Noise(primitive="rows", scale="0.999999")],
        [Noise(primitive="rows", scale="1000000000000.1")],
        [Noise(primitive="rows", scale="-3")],
        [Noise(primitive="rows", scale="NaN")],
        [Noise(primitive="rows", scale="1e3")],
        [Noise(primitive="rows", scale="")],
    ],
)
def test_noise_that_does_not_fit_the_plan_is_refused_before_anything_is_computed(noise: list[Noise]) -> None:
    with pytest.raises(ProofInvalid):
        make_measurement(plan_of(make_policy(), COUNT), noise)


def test_a_vector_of_another_length_is_refused() -> None:
    measure = make_measurement(plan_of(make_policy(), COUNT), [Noise(primitive="rows", scale="2")])
    for vector in ([], [1, 2]):
        with pytest.raises(ProofInvalid):
            measure(vector)


@given(squared=st.integers(1, 2**64), mantissa=st.integers(100_000, 999_999), places=st.integers(0, 5))
def test_the_cost_is_never_below_the_exact_one_and_at_most_a_part_in_a_million_above(
    squared: int, mantissa: int, places: int
) -> None:
    """The oracle is exact: d^2 / (2 sigma^2) in fractions, at the float scale that noise is really drawn with."""
    scale = str(mantissa / 10**places)
    exact = Fraction(squared) / (2 * Fraction(float(scale)) ** 2) * 10**9
    cost = nano_rho(squared, scale)
    assert exact <= cost <= exact * Fraction(1_000_001, 1_000_000) + 1


def test_a_primitive_that_cannot_move_costs_nothing() -> None:
    assert nano_rho(0, "1") == 0


@given(square=st.fractions(min_value=0, max_value=2**64))
def test_square_roots_are_rounded_up(square: Fraction) -> None:
    root = mechanism.root_up(square)
    assert Fraction(root) ** 2 >= square
    assert Fraction(root) ** 2 <= square * (1 + Fraction(1, 2**50)) or square < Fraction(1, 10**9)


@pytest.mark.parametrize(("nano", "epsilon"), [(10**7, 0.62), (5 * 10**7, 1.47), (10**8, 2.14), (5 * 10**8, 5.22)])
def test_epsilon_is_the_published_conversion_and_tighter_than_the_textbook(nano: int, epsilon: float) -> None:
    """Values measured with OpenDP 0.16 at delta 10^-6; the textbook is rho + 2 sqrt(rho ln(1/delta))."""
    shown = float(epsilon_of(nano, DELTA))
    assert epsilon <= shown < epsilon + 0.01
    rho = nano / 10**9
    assert shown < rho + 2 * math.sqrt(rho * math.log(1e6))


@given(st.integers(0, 2**53 - 1), st.integers(0, 2**53 - 1))
def test_epsilon_never_falls_when_the_cost_grows(left: int, right: int) -> None:
    less, more = (epsilon_of(nano, DELTA) for nano in sorted((left, right)))
    assert Fraction(less) <= Fraction(more)


@given(ten_thousandths=st.integers(1, 200_000), delta=st.sampled_from([DELTA, "0.000000001", "0.01"]))
def test_the_largest_cost_is_within_epsilon_and_hardly_more_would_not_be(ten_thousandths: int, delta: str) -> None:
    epsilon = f"{ten_thousandths // 10_000}.{ten_thousandths % 10_000:04d}"
    cost = largest_cost(epsilon, delta)
    assert Fraction(epsilon_of(cost, delta)) <= Fraction(epsilon)
    assert Fraction(epsilon_of(cost + 2 + (cost >> 24), delta)) > Fraction(epsilon)


@pytest.mark.parametrize("delta", ["0", "1", "2", "0.0", "-0.1", "NaN", "1e-6", ""])
def test_a_delta_that_is_not_between_0_and_1_gives_no_epsilon(delta: str) -> None:
    with pytest.raises(QueryInvalid):
        epsilon_of(1000, delta)
    with pytest.raises(QueryInvalid):
        largest_cost("1", delta)


def exact_tail(scale: float, holders: int, half: int) -> float:
    """P(|sum of holders' discrete Gaussians| > half), summed out from the definition."""
    reach = int(12 * scale) + 2
    weights = [math.exp(-(x**2) / (2 * scale**2)) for x in range(-reach, reach + 1)]
    one = [weight / math.fsum(weights) for weight in weights]
    total = [1.0]
    for _ in range(holders):
        added = [0.0] * (len(total) + len(one) - 1)
        for place, weight in enumerate(total):
            for offset, other in enumerate(one):
                added[place + offset] += weight * other
        total = added
    middle = len(total) // 2
    return math.fsum(weight for place, weight in enumerate(total) if abs(place - middle) > half)


@pytest.mark.parametrize("scale", ["1", "1.3", "2.5", "9.99999"])
@pytest.mark.parametrize("holders", [1, 2, 4])
@pytest.mark.parametrize("numbers", [1, 40])
@pytest.mark.parametrize("confidence", ["0.5", "0.95", "0.9999"])
def test_a_half_width_fails_no_more_often_than_stated_and_one_two_less_would(
    scale: str, holders: int, numbers: int, confidence: str
) -> None:
    allowed = float((1 - Fraction(confidence)) / numbers)
    half = half_width(scale, holders, numbers, confidence)
    assert exact_tail(float(scale), holders, half) <= allowed
    assert half < 2 or exact_tail(float(scale), holders, half - 2) > allowed


@given(scale=st.integers(1, 300), numbers=st.integers(1, 4096))
def test_half_widths_agree_with_opendps_own_discrete_accuracy(scale: int, numbers: int) -> None:
    accuracy = dp.discrete_gaussian_scale_to_accuracy(scale=float(scale), alpha=0.05 / numbers)
    assert accuracy - 1 <= half_width(str(scale), 1, numbers, "0.95") <= accuracy + 1


@given(
    plus_minus=st.integers(4, 2**40),
    holders=st.integers(1, 32),
    numbers=st.integers(1, 4096),
    confidence=st.sampled_from(["0.5", "0.9", "0.95", "0.9999"]),
)
def test_the_scale_within_an_interval_is_the_largest_that_keeps_it(
    plus_minus: int, holders: int, numbers: int, confidence: str
) -> None:
    scale = scale_within(plus_minus, holders, numbers, confidence)
    assert half_width(mechanism.decimal_text(scale), holders, numbers, confidence) <= plus_minus
    larger = mechanism.round_digits(scale * 2, up=True) if plus_minus < 10 else scale + scale / 50_000
    assert half_width(mechanism.decimal_text(larger), holders, numbers, confidence) > plus_minus

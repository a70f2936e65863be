"""The cost of noise is not understated, and intervals are wide enough."""

import math
from fractions import Fraction

import opendp.prelude as dp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import QueryInvalid
from queries.price import cost
from queries.price.cost import epsilon_of, half_width, largest_cost, nano_rho, scale_within

DELTA = "0.000001"


@given(squared=st.integers(1, 2**64), mantissa=st.integers(100_000, 999_999), places=st.integers(0, 5))
def test_the_cost_is_never_below_the_exact_one_and_at_most_a_part_in_a_million_above(
    squared: int, mantissa: int, places: int
) -> None:
    """The oracle is exact: d^2 / (2 sigma^2) in fractions, at the float scale that noise is really drawn with."""
    scale = str(mantissa / 10**places)
    exact = Fraction(squared) / (2 * Fraction(float(scale)) ** 2) * 10**9
    charged = nano_rho(squared, scale)
    assert exact <= charged <= exact * Fraction(1_000_001, 1_000_000) + 1


def test_a_primitive_that_cannot_move_costs_nothing() -> None:
    assert nano_rho(0, "1") == 0


@given(square=st.fractions(min_value=0, max_value=2**64))
def test_square_roots_are_rounded_up(square: Fraction) -> None:
    root = cost.root_up(square)
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
    largest = largest_cost(epsilon, delta)
    assert Fraction(epsilon_of(largest, delta)) <= Fraction(epsilon)
    assert Fraction(epsilon_of(largest + 2 + (largest >> 24), delta)) > Fraction(epsilon)


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
    assert half_width(cost.decimal_text(scale), holders, numbers, confidence) <= plus_minus
    larger = cost.round_digits(scale * 2, up=True) if plus_minus < 10 else scale + scale / 50_000
    assert half_width(cost.decimal_text(larger), holders, numbers, confidence) > plus_minus

"""The noise is what the ledger says it is, fresh each time, and drawn for what fits the plan alone."""

import math

import pytest

from ledger.entries import Noise
from ledger.errors import ProofInvalid
from queries.question.measure_forms import MeasureAsked
from tests.kit.questions import make_policy, plan_of
from trust.node.rounds.noise import make_measurement

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

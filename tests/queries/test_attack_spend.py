"""Whoever writes an ``admit`` may not spend more, nor answer more or less exactly, than the partner signed for."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.entries import Noise
from ledger.errors import ProofInvalid
from queries.price.cost import decimal_text
from queries.price.pricing import check_charge, check_spend, price
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.plan import Plan
from queries.question.tree import Query, Spend, Within
from tests.kit.questions import ALL_MEASURES, make_policy, plan_of, queries

POLICY = make_policy()
DELTA = POLICY.budget.delta
RIDES = MeasureAsked(as_="rides", count="rows")
WITHIN = Spend(within=Within(measure="rides", plus_minus=50, confidence="0.95"))
epsilons = st.integers(1_000, 200_000).map(lambda n: f"{n // 10_000}.{n % 10_000:04d}")


def scaled(noise: tuple[Noise, ...], factor: str, place: int | None = None) -> list[Noise]:
    """The noise with one scale, or all, changed by a factor."""
    return [
        Noise(
            primitive=part.primitive,
            scale=decimal_text(Decimal(part.scale) * Decimal(factor)) if place in {None, at} else part.scale,
        )
        for at, part in enumerate(noise)
    ]


def least_charge(plan: Plan, noise: list[Noise]) -> int:
    """The least charge that the checker takes for this noise."""
    low, high = 0, 2**53
    while high - low > 1:
        middle = (low + high) // 2
        try:
            check_charge(plan, noise, middle)
            high = middle
        except ProofInvalid:
            low = middle
    return high


@given(query=queries, epsilon=epsilons, holders=st.integers(1, 4))
def test_what_an_epsilon_is_priced_at_is_what_the_checker_takes(query: Query, epsilon: str, holders: int) -> None:
    plan = make_plan(query, make_policy(holders=holders))
    spend = Spend(epsilon=epsilon)
    cost = price(plan, spend, POLICY.budget)
    check_spend(plan, spend, DELTA, cost.noise, cost.charge)


@given(
    plus_minus=st.integers(20, 2**40),
    holders=st.integers(1, 4),
    rows=st.integers(1, 100),
    confidence=st.sampled_from(["0.5", "0.9", "0.95", "0.9999"]),
)
def test_what_an_interval_is_priced_at_is_what_the_checker_takes(
    plus_minus: int, holders: int, rows: int, confidence: str
) -> None:
    plan = plan_of(make_policy(holders=holders, rows=rows), RIDES, ALL_MEASURES[1], group_by=["ward"])
    spend = Spend(within=Within(measure="rides", plus_minus=plus_minus, confidence=confidence))
    cost = price(plan, spend, POLICY.budget)
    check_spend(plan, spend, DELTA, cost.noise, cost.charge)


@given(query=queries, epsilon=epsilons)
def test_a_charge_for_noise_that_is_not_worth_it_is_refused(query: Query, epsilon: str) -> None:
    """The service takes the whole price, and states noise that would cost a quarter."""
    plan = make_plan(query, POLICY)
    cost = price(plan, Spend(epsilon=epsilon), POLICY.budget)
    if cost.charge < 10_000:
        return
    lie = scaled(cost.noise, "2")
    check_charge(plan, lie, cost.charge)  # it is enough for the residents
    with pytest.raises(ProofInvalid, match="more than what the stated noise costs"):
        check_spend(plan, Spend(epsilon=epsilon), DELTA, lie, cost.charge)


@pytest.mark.parametrize(
    ("factor", "place", "says"),
    [
        ("0.95", None, "less than the interval needs"),
        ("0.1", None, "less than the interval needs"),
        ("0.1", 0, "less than the interval needs"),
        ("0.5", 1, "more exactly"),
        ("1.01", 0, "more than the interval allows"),
    ],
)
def test_an_answer_more_or_less_exact_than_the_asked_interval_is_refused(factor: str, place: int, says: str) -> None:
    """The service draws the budget down by answering ± 5 to whoever asked for ± 50, at the right price for ± 5."""
    plan = plan_of(POLICY, RIDES, ALL_MEASURES[2], group_by=["ward"])
    cost = price(plan, WITHIN, POLICY.budget)
    lie = scaled(cost.noise, factor, place)
    with pytest.raises(ProofInvalid, match=says):
        check_spend(plan, WITHIN, DELTA, lie, least_charge(plan, lie))

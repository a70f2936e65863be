"""What questions cost, and that the checker and the price agree without trusting each other."""

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.entries import Noise
from ledger.errors import ProofInvalid, QueryInvalid
from queries.price import cost as mechanism
from queries.price.cost import epsilon_of, half_width, nano_rho
from queries.price.pricing import Price, check_charge, price
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.plan import Plan
from queries.question.tree import Query, Spend, Within
from tests.kit.questions import ALL_MEASURES, make_policy, plan_of, queries

POLICY = make_policy()
COUNT = MeasureAsked(as_="rides", count="rows")
NOTHING = MeasureAsked(as_="zero", sum="nothing")
epsilons = st.integers(1_000, 200_000).map(lambda n: f"{n // 10_000}.{n % 10_000:04d}")


def price_of(plan: Plan, spend: Spend) -> Price:
    return price(plan, spend, POLICY.budget)


def within(measure: str = "rides", plus_minus: int = 50, confidence: str = "0.95") -> Spend:
    return Spend(within=Within(measure=measure, plus_minus=plus_minus, confidence=confidence))


@given(query=queries, epsilon=epsilons, rows=st.integers(1, 1000), holders=st.integers(1, 4))
def test_a_price_is_within_the_asked_epsilon_for_all_holders_together_and_spends_nearly_all_of_it(
    query: Query, epsilon: str, rows: int, holders: int
) -> None:
    plan = make_plan(query, make_policy(rows=rows, holders=holders))
    cost = price_of(plan, Spend(epsilon=epsilon))
    assert Fraction(epsilon_of(cost.charge, POLICY.budget.delta)) <= Fraction(epsilon)
    floor = any(part.scale == "1" for part in cost.noise)
    assert floor or Fraction(epsilon_of(cost.charge, POLICY.budget.delta)) > Fraction(epsilon) * Fraction(98, 100)


@given(query=queries, epsilon=epsilons, holders=st.integers(1, 4))
def test_the_checker_takes_the_price_and_not_one_nano_rho_less(query: Query, epsilon: str, holders: int) -> None:
    plan = make_plan(query, make_policy(holders=holders))
    cost = price_of(plan, Spend(epsilon=epsilon))
    check_charge(plan, cost.noise, cost.charge)
    check_charge(plan, cost.noise, cost.charge + 1)
    with pytest.raises(ProofInvalid):
        check_charge(plan, cost.noise, cost.charge - 1)


@given(epsilon=epsilons, factor=st.integers(2, 9), holders=st.integers(1, 4))
def test_less_noise_than_stated_in_the_charge_is_refused(epsilon: str, factor: int, holders: int) -> None:
    """A service that lies about one scale, at the same charge, is caught by everyone who runs the checker."""
    plan = plan_of(make_policy(holders=holders, rows=100), *ALL_MEASURES[:3])
    cost = price_of(plan, Spend(epsilon=epsilon))
    lie = [
        Noise(primitive=part.primitive, scale=f"{float(part.scale) / factor:.5f}" if place == 1 else part.scale)
        for place, part in enumerate(cost.noise)
    ]
    with pytest.raises(ProofInvalid):
        check_charge(plan, lie, cost.charge)


@given(query=queries, less=epsilons, more=epsilons)
def test_more_epsilon_costs_more_and_adds_less_noise(query: Query, less: str, more: str) -> None:
    less, more = sorted((less, more), key=Fraction)
    plan = make_plan(query, POLICY)
    cheap, dear = price_of(plan, Spend(epsilon=less)), price_of(plan, Spend(epsilon=more))
    assert cheap.charge <= dear.charge
    for small, large in zip(dear.noise, cheap.noise, strict=True):
        assert Fraction(small.scale) <= Fraction(large.scale)


@given(query=queries, epsilon=epsilons)
def test_every_primitive_that_can_move_gets_the_same_share(query: Query, epsilon: str) -> None:
    plan = make_plan(query, make_policy(rows=100))
    cost = price_of(plan, Spend(epsilon=epsilon))
    shares = [
        nano_rho(primitive.squared_sensitivity, part.scale)
        for primitive, part in zip(plan.primitives, cost.noise, strict=True)
        if part.scale != "1"
    ]
    assert max(shares, default=0) - min(shares, default=0) <= max(shares, default=0) // 10_000 + 1


def test_two_holders_cost_what_two_questions_at_one_holder_cost() -> None:
    one = plan_of(make_policy(holders=1), COUNT)
    two = plan_of(make_policy(holders=2), COUNT)
    noise = [Noise(primitive="rows", scale="100")]
    charge = nano_rho(100, "100")
    check_charge(one, noise, charge)
    check_charge(two, noise, 2 * charge)
    with pytest.raises(ProofInvalid):
        check_charge(two, noise, 2 * charge - 1)


def test_scales_are_plain_decimals_of_at_most_six_digits() -> None:
    for epsilon in ("0.0007", "0.05", "1", "3.3333", "20"):
        for part in price_of(plan_of(POLICY, *ALL_MEASURES), Spend(epsilon=epsilon)).noise:
            assert len(part.scale.replace(".", "").strip("0")) <= 6
            assert Fraction(part.scale) >= 1
            assert "e" not in part.scale.lower()


def test_a_sum_that_is_always_zero_costs_nothing_and_takes_no_share() -> None:
    alone = price_of(plan_of(POLICY, NOTHING), Spend(epsilon="1"))
    assert alone == Price(noise=(Noise(primitive="sum:nothing", scale="1"),), charge=0)
    both = price_of(plan_of(POLICY, COUNT, NOTHING), Spend(epsilon="1"))
    assert both.charge == price_of(plan_of(POLICY, COUNT), Spend(epsilon="1")).charge


@pytest.mark.parametrize(
    "epsilon",
    [
        "0",
        "0.0",
        "0.00009",
        "20.0001",
        "1000000",
        "-1",
        "-0.5",
        "NaN",
        "nan",
        "Infinity",
        "1e-3",
        "1e99",
        "",
        " 1",
        "1 ",
        "+1",
        "0x1",
        "１",
        "1,5",
        "one",
        "1." + "0" * 13,
        "9" * 19,
    ],
)
def test_an_epsilon_that_is_not_a_decimal_from_0_0001_to_20_is_refused(epsilon: str) -> None:
    with pytest.raises(QueryInvalid, match="epsilon"):
        price_of(plan_of(POLICY, COUNT), Spend(epsilon=epsilon))


def test_an_epsilon_too_small_to_share_out_is_refused() -> None:
    with pytest.raises(QueryInvalid, match="larger epsilon"):
        price_of(plan_of(make_policy(holders=4), *ALL_MEASURES), Spend(epsilon="0.0001"))


def test_noise_that_would_drown_the_answer_is_refused() -> None:
    with pytest.raises(QueryInvalid, match="drown"):
        price_of(
            plan_of(make_policy(walks_rows=2), MeasureAsked(as_="x", sum="far"), from_=["walks"]),
            Spend(epsilon="0.0001"),
        )


@given(
    plus_minus=st.integers(20, 2**30),
    holders=st.integers(1, 4),
    confidence=st.sampled_from(["0.5", "0.9", "0.95", "0.99"]),
)
def test_within_gives_its_measure_the_asked_interval_among_all_numbers_of_the_answer(
    plus_minus: int, holders: int, confidence: str
) -> None:
    plan = plan_of(make_policy(holders=holders), COUNT, ALL_MEASURES[2], group_by=["ward"])
    cost = price_of(plan, within("rides", plus_minus, confidence))
    check_charge(plan, cost.noise, cost.charge)
    assert half_width(cost.noise[0].scale, holders, plan.length, confidence) <= plus_minus


def test_a_wider_interval_costs_less() -> None:
    plan = plan_of(POLICY, COUNT, group_by=["ward"])
    charges = [price_of(plan, within("rides", width)).charge for width in (10, 20, 50, 1_000, 10**6, 2**40)]
    assert charges == sorted(charges, reverse=True)
    assert charges[0] > charges[3] > 0


@pytest.mark.parametrize(
    ("spend", "sentence"),
    [
        (within("riders"), "does not ask for"),
        (within("mean_fare"), "depends on the data"),
        (within("zero"), "always 0"),
        (within(plus_minus=0), "plus_minus"),
        (within(plus_minus=-5), "plus_minus"),
        (within(plus_minus=2**41), "plus_minus"),
        (within(plus_minus=1), "narrower"),
        (within(confidence="1"), "confidence"),
        (within(confidence="0"), "confidence"),
        (within(confidence="0.99999"), "confidence"),
        (within(confidence="-0.95"), "confidence"),
        (within(confidence="NaN"), "confidence"),
        (within(confidence="95%"), "confidence"),
        (Spend(), "exactly one"),
    ],
)
def test_an_interval_that_cannot_be_promised_is_refused(spend: Spend, sentence: str) -> None:
    with pytest.raises(QueryInvalid, match=sentence):
        price_of(plan_of(POLICY, COUNT, ALL_MEASURES[3], NOTHING), spend)


def test_a_price_does_not_depend_on_what_was_priced_before() -> None:
    """Caches hold answers, never state: cleared, the same question has the same price."""
    plan = plan_of(POLICY, *ALL_MEASURES, group_by=["ward"])
    first = price_of(plan, Spend(epsilon="0.7"))
    for cached in (mechanism.nano_rho, mechanism.epsilon_of, mechanism.largest_cost):
        cached.cache_clear()
    assert price_of(plan, Spend(epsilon="0.7")) == first

"""What is answered costs what was signed for, measure by measure: neither more noise nor less gets by the checker."""

from decimal import Decimal

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.entries import Noise
from ledger.errors import ProofInvalid, QueryInvalid
from queries.price import pricing, signed_spend
from queries.price.cost import MAX_SCALE, decimal_text, nano_rho, round_digits
from queries.price.pricing import Price, check_charge, check_spend, price
from queries.price.signed_spend import LESS, check_signed_spend
from queries.question.check import make_plan
from queries.question.measure_forms import MeasureAsked
from queries.question.plan import Plan
from queries.question.tree import Query, Spend, Within
from tests.kit.questions import ALL_MEASURES, make_policy, plan_of, queries

POLICY = make_policy()
DELTA = POLICY.budget.delta
RIDES = MeasureAsked(as_="rides", count="rows")
NOTHING = MeasureAsked(as_="zero", sum="nothing")
epsilons = st.integers(50, 200_000).map(lambda n: f"{n // 10_000}.{n % 10_000:04d}")
amounts = epsilons.map(lambda epsilon: Spend(epsilon=epsilon)) | st.builds(
    lambda plus_minus, confidence: Spend(within=Within(measure="rides", plus_minus=plus_minus, confidence=confidence)),
    st.integers(20, 2**30),
    st.sampled_from(["0.5", "0.9", "0.95", "0.9999"]),
)
plans = st.builds(
    lambda holders, rows, more: plan_of(make_policy(holders=holders, rows=rows), RIDES, *more, group_by=["ward"]),
    st.integers(1, 4),
    st.integers(1, 100),
    st.lists(st.sampled_from([*ALL_MEASURES[1:3], NOTHING]), unique_by=lambda measure: measure.as_),
)


def cost_of(plan: Plan, noise: list[Noise]) -> int:
    """The whole charge of this noise."""
    each = (
        nano_rho(primitive.squared_sensitivity, part.scale)
        for primitive, part in zip(plan.primitives, noise, strict=True)
    )
    return len(plan.participants) * sum(each)


def scaled(cost: Price, factor: Decimal, place: int | None = None) -> list[Noise]:
    """The noise with one scale, or all, changed by a factor."""
    return [
        Noise(
            primitive=part.primitive,
            scale=decimal_text(min(MAX_SCALE, round_digits(Decimal(part.scale) * factor, up=True)))
            if place in {None, at}
            else part.scale,
        )
        for at, part in enumerate(cost.noise)
    ]


def lie(plan: Plan, spend: Spend, noise: list[Noise], says: str) -> None:
    """It is rightly charged, for the noise that it has, and refused."""
    with pytest.raises(ProofInvalid, match=says):
        check_signed_spend(plan, spend, DELTA, noise, cost_of(plan, noise))


@given(
    query=queries,
    epsilon=st.integers(1, 200_000).map(lambda n: f"{n // 10_000}.{n % 10_000:04d}"),
    holders=st.integers(1, 4),
    rows=st.integers(1, 1000),
)
def test_what_an_epsilon_is_priced_at_is_what_was_signed(query: Query, epsilon: str, holders: int, rows: int) -> None:
    plan = make_plan(query, make_policy(holders=holders, rows=rows))
    spend = Spend(epsilon=epsilon)
    try:
        cost = price(plan, spend, POLICY.budget)
    except QueryInvalid:  # too little to answer anything
        assume(False)
    check_signed_spend(plan, spend, DELTA, cost.noise, cost.charge)


@given(plan=plans, spend=amounts)
def test_what_is_priced_is_what_was_signed(plan: Plan, spend: Spend) -> None:
    cost = price(plan, spend, POLICY.budget)
    check_signed_spend(plan, spend, DELTA, cost.noise, cost.charge)


@given(plan=plans, spend=amounts, factor=st.decimals("1.02", "1000", places=4))
def test_more_noise_at_its_own_lower_charge_is_refused_in_all_measures_and_in_any_one(
    plan: Plan, spend: Spend, factor: Decimal
) -> None:
    """Also where a lie costs whoever is lied to nothing: a sum that is always 0 has the least noise there is."""
    cost = price(plan, spend, POLICY.budget)
    for place in (None, *range(len(cost.noise))):
        noise = scaled(cost, factor, place)
        moved = [
            nano_rho(primitive.squared_sensitivity, before.scale)
            for at, (primitive, before) in enumerate(zip(plan.primitives, cost.noise, strict=True))
            if place in {None, at}
        ]
        if max(moved) > 200 or min(moved) == 0:  # below, whole nano-rho are coarser than the lie
            lie(plan, spend, noise, "less exactly|more noise than the least|more than the interval allows")


@given(plan=plans, epsilon=epsilons, factor=st.decimals("0.001", "0.98", places=4))
def test_noise_taken_from_one_measure_and_given_to_another_is_refused(
    plan: Plan, epsilon: str, factor: Decimal
) -> None:
    """The whole charge is the signed one, and who asked for two equal measures gets one good and one useless."""
    spend = Spend(epsilon=epsilon)
    cost = price(plan, spend, POLICY.budget)
    moving = [at for at, primitive in enumerate(plan.primitives) if primitive.squared_sensitivity]
    assume(len(moving) > 1 and all(cost.noise[at].scale != "1" for at in moving))
    noise = scaled(cost, factor, moving[0])
    assume(Decimal(noise[moving[0]].scale) >= 1)
    lie(plan, spend, noise, "more exactly|more than the partner signed for")


def test_ten_times_the_noise_for_a_hundredth_of_the_charge_was_taken_before_and_is_refused() -> None:
    plan = plan_of(POLICY, RIDES, ALL_MEASURES[2], group_by=["ward"])
    spend = Spend(epsilon="0.05")
    noise = scaled(price(plan, spend, POLICY.budget), Decimal(10))
    charge = cost_of(plan, noise)
    check_charge(plan, noise, charge)
    check_spend(plan, spend, DELTA, noise, charge)
    lie(plan, spend, noise, LESS)


def test_the_least_noise_there_is_is_refused_where_it_costs_more_than_its_share() -> None:
    """Of two measures one cannot have less noise; the other may not take what that one leaves of the epsilon."""
    plan = plan_of(POLICY, RIDES, ALL_MEASURES[2], group_by=["ward"])
    spend = Spend(epsilon="20")
    cost = price(plan, spend, POLICY.budget)
    check_signed_spend(plan, spend, DELTA, cost.noise, cost.charge)
    dearest = max(range(len(cost.noise)), key=lambda at: Decimal(cost.noise[at].scale))
    lie(plan, spend, scaled(cost, Decimal("0.9"), dearest), "more exactly|more than the partner")


def test_the_checker_never_searches(monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(POLICY, RIDES, ALL_MEASURES[2], group_by=["ward"])
    asked = [Spend(epsilon="0.3"), Spend(within=Within(measure="rides", plus_minus=50, confidence="0.95"))]
    costs = [price(plan, spend, POLICY.budget) for spend in asked]

    def search(*_: object) -> None:
        pytest.fail("the checker searches")

    for module in (pricing, signed_spend):
        for name in ("price", "largest_cost", "scale_within", "_scale_for"):
            monkeypatch.setattr(module, name, search, raising=False)
    for spend, cost in zip(asked, costs, strict=True):
        check_signed_spend(plan, spend, DELTA, cost.noise, cost.charge)

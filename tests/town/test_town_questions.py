"""What the demo of each town asks fits the policies, and the budgets say yes and no where the story needs it."""

from pathlib import Path

import pytest

from ledger.errors import QueryInvalid
from policies.policy_document import Policy
from queries.price.pricing import price
from queries.question.check import make_plan
from queries.question.faithful import check_faithful
from queries.question.sql import parse_sql
from queries.question.tree import Spend
from trust.town.document import DemoQuestion, Town
from trust.town.loader import load_town

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["towns/momijidai", "tests/towns/oulad"])
def town(request: pytest.FixtureRequest) -> Town:
    return load_town(ROOT / request.param)


def policy_of(town: Town, sql: str) -> Policy:
    policy = town.policy(sql.partition("FROM ")[2].partition(".")[0])
    assert policy is not None, "a demo's question names its policy"
    return policy


def charge_of(town: Town, question: DemoQuestion) -> int:
    policy = policy_of(town, question.sql)
    spend = Spend(epsilon=question.epsilon)
    plan = make_plan(parse_sql(question.sql, policy, spend), policy)
    check_faithful(plan)
    return price(plan, spend, policy.budget).charge


def test_each_partner_may_ask_what_the_demo_has_it_ask(town: Town) -> None:
    assert len(town.questions) >= 6
    for question in [*town.questions, town.demo.over_budget]:
        assert question.as_ in policy_of(town, question.sql).partners


def test_all_questions_can_be_asked_several_times_within_every_cap(town: Town) -> None:
    by_partner: dict[tuple[str, str], int] = {}
    by_policy: dict[str, int] = {}
    for question in town.questions:
        policy, charge = policy_of(town, question.sql), charge_of(town, question)
        assert 0 < charge <= policy.limits.charge
        account = (policy.id, question.as_)
        by_partner[account] = by_partner.get(account, 0) + charge
        by_policy[policy.id] = by_policy.get(policy.id, 0) + charge
        assert 3 * by_partner[account] <= policy.budget.per_partner
        assert 3 * by_policy[policy.id] <= policy.budget.per_window
        assert by_policy[policy.id] <= policy.yearly_caps[0], "nobody's own cap is passed by asking everything once"


def test_the_question_past_the_budget_is_valid_and_only_the_partner_cap_refuses_it(town: Town) -> None:
    question = town.demo.over_budget
    policy, charge = policy_of(town, question.sql), charge_of(town, question)
    assert policy.budget.per_partner < charge <= policy.limits.charge
    assert charge <= policy.budget.per_window


def test_a_column_that_the_data_has_and_no_view_lists_cannot_be_asked_for() -> None:
    policy = load_town(ROOT / "towns/momijidai").policy("mobility_demand")
    assert policy is not None
    text = "SELECT ridden_on, COUNT(*) AS rides FROM mobility_demand.rides GROUP BY ridden_on"
    query = parse_sql(text, policy, Spend(epsilon="0.5"))
    with pytest.raises(QueryInvalid):
        make_plan(query, policy)

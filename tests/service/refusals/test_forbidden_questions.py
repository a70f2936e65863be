"""A partner's well-signed question that may not be asked leaves one ``refuse`` entry, and nothing else."""

import pytest

from tests.kit.towns.running import query, question, refused
from tests.service.refusals.standing import Make, Standing, spend

pytestmark = pytest.mark.anyio

REFUSED_QUESTIONS: dict[str, tuple[Make, str, str]] = {
    "an epsilon of zero": (lambda s: question(s.town, spend(epsilon="0")), "query-invalid", "epsilon"),
    "an epsilon of 0.0": (lambda s: question(s.town, spend(epsilon="0.0")), "query-invalid", "epsilon"),
    "a huge epsilon": (lambda s: question(s.town, spend(epsilon="999999999999999999")), "query-invalid", "epsilon"),
    "an epsilon above the policy's limit": (
        lambda s: question(s.town, spend(epsilon="19")),
        "query-invalid",
        "limit|allows",
    ),
    "two ways to spend": (
        lambda s: question(
            s.town, spend(epsilon="0.2", within={"measure": "rows", "plus_minus": 50, "confidence": "0.95"})
        ),
        "query-invalid",
        "exactly one",
    ),
    "no way to spend": (lambda s: question(s.town, spend()), "query-invalid", "exactly one"),
    "an unknown view": (lambda s: question(s.town, query(**{"from": ["customers"]})), "query-invalid", "view"),
    "two views": (lambda s: question(s.town, query(**{"from": ["trips", "trips"]})), "query-invalid", "one view"),
    "an unknown column": (lambda s: question(s.town, query(group_by=["salary"])), "query-invalid", "'salary'"),
    "the resident's own column": (
        lambda s: question(s.town, query(group_by=["customer"])),
        "query-invalid",
        "'customer'",
    ),
    "an undeclared key": (
        lambda s: question(s.town, query(where=[{"column": "ward", "in": ["hill", "palace"]}])),
        "query-invalid",
        "does not list",
    ),
    "a type error in a filter": (
        lambda s: question(s.town, query(where=[{"column": "hour", "equals": "noon"}])),
        "query-invalid",
        "whole numbers",
    ),
    "a category between numbers": (
        lambda s: question(s.town, query(where=[{"column": "ward", "between": [1, 2]}])),
        "query-invalid",
        "category",
    ),
    "a filter beyond where values are cut": (
        lambda s: question(s.town, query(where=[{"column": "fare", "between": [1_001, 2_000]}])),
        "query-invalid",
        "write fare >= 1000",
    ),
    "a filter at the value that others are moved to": (
        lambda s: question(s.town, query(where=[{"column": "fare", "equals": 0}])),
        "query-invalid",
        "write fare <= 0",
    ),
    "a filter that no row can match": (
        lambda s: question(s.town, query(where=[{"column": "hour", "between": [24, 30]}])),
        "query-invalid",
        "goes from 0 to 23",
    ),
    "a measure of what bounding left out, which the policy does not allow": (
        lambda s: question(s.town, query(measures=[{"as": "x", "over_limit": "residents"}])),
        "query-invalid",
        "bounding_measures = true",
    ),
    "a sum of a category": (
        lambda s: question(s.town, query(measures=[{"as": "x", "sum": "ward"}])),
        "query-invalid",
        "not a measure",
    ),
    "a measure for a key": (lambda s: question(s.town, query(group_by=["fare"])), "query-invalid", "measure"),
    "two measures of one name": (
        lambda s: question(s.town, query(measures=[{"as": "x", "count": "rows"}, {"as": "x", "sum": "fare"}])),
        "query-invalid",
        "same name",
    ),
    "edges that fall": (
        lambda s: question(s.town, query(measures=[{"as": "x", "histogram": "fare", "edges": [10, 5]}])),
        "query-invalid",
        "rise",
    ),
    "too many groups": (
        lambda s: question(
            s.town,
            query(
                policy="health",
                group_by=["ward", "hour"],
                measures=[{"as": "h", "histogram": "fare", "edges": list(range(0, 1_000, 10))}],
            ),
        ),
        "query-invalid",
        "numbers",
    ),
    "an old policy version": (lambda s: question(s.town, query(policy="outings")), "policy-not-current", ""),
    "a policy version to come": (lambda s: question(s.town, query(version=2)), "policy-not-current", ""),
    "a policy that does not name the partner": (
        lambda s: question(s.town, query(policy="health"), "campus"),
        "not-permitted",
        "partner",
    ),
    "more than the budget": (lambda s: question(s.town, query(policy="tight")), "budget-exceeded", "left"),
}


@pytest.mark.parametrize("what", REFUSED_QUESTIONS)
async def test_a_question_that_may_not_be_asked_leaves_a_refusal_and_nothing_else(
    standing: Standing, what: str
) -> None:
    make, code, says = REFUSED_QUESTIONS[what]
    running = standing.running
    token = make(standing)
    async with running.unchanged():
        preview = await running.post("/v1/questions/preview", token)
        if code != "budget-exceeded":  # a preview shows what is left
            refused(preview, code)
    async with running.only_refused():
        document = refused(await running.post("/v1/questions", token), code)
    assert any(words in document["detail"] for words in says.split("|"))
    assert document["refused_at"] == running.service.store.size - 1
    if code == "budget-exceeded":
        assert document["asked"] > document["left"] == 10**5
        assert document["account"].startswith("policy/tight/")


async def test_a_question_under_a_policy_that_is_not_there_is_refused_without_an_entry(standing: Standing) -> None:
    """Nobody could check such an entry: there is no account, and no list of partners."""
    running = standing.running
    async with running.unchanged():
        for path in ("/v1/questions/preview", "/v1/questions"):
            document = refused(
                await running.post(path, question(running.town, query(policy="nowhere"))), "policy-not-current"
            )
            assert "refused_at" not in document


async def test_the_same_signed_question_again_stands_where_it_stood_and_is_not_charged_again(
    standing: Standing,
) -> None:
    async with standing.running.unchanged():
        assert (await standing.running.ask(standing.asked)).admit == standing.opened


async def test_a_preview_writes_nothing(standing: Standing) -> None:
    async with standing.running.unchanged():
        await standing.running.done("/v1/questions/preview", question(standing.town, query(group_by=["hour"])))

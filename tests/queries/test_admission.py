"""Who may ask, what an offer says, and that a decision made by one is borne out by everybody else's check."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw, structs

from ledger import entries as e
from ledger import jws
from ledger.canonical import encode
from ledger.errors import (
    BudgetExceeded,
    ClockSkew,
    Malformed,
    NotPermitted,
    PolicyNotCurrent,
    QueryInvalid,
    Replayed,
    SignatureInvalid,
)
from policies.accounts import budgets
from policies.in_force.chunk_tree import ChunkTree
from policies.replay import QUESTION_SECONDS
from queries.question.tree import decode_query, query_sha256
from queries.replay import replay
from queries.rounds.admission import check_admit, make_admit, offer, plan_of, read_question
from queries.rounds.messages import Question
from tests.kit.logs.histories import freeze, ready
from tests.kit.logs.log_builder import QUERY, LogBuilder
from tests.kit.towns.toy_town import PARTNER, START, key_of, scarce


def question(
    builder: LogBuilder, *, signer: str = PARTNER, asking: dict[str, Any] | None = None, **changes: Any
) -> str:
    """Sign a question with changes to its query or to the message around it."""
    said = jws.read_unverified(builder.ask(**(asking or {})), Question)
    return jws.sign(structs.replace(said, **changes), key_of(signer))


def test_a_partners_question_is_read_with_its_query_and_hash() -> None:
    builder = ready()
    asked = read_question(builder.state, builder.ask(), builder.at)
    assert asked.question.from_ == PARTNER
    assert asked.query_sha256 == query_sha256(asked.query)
    assert encode(asked.query) == bytes(asked.question.query)


@pytest.mark.parametrize("alias", ["bus_co", "city", "stranger"])
def test_only_a_partner_asks(alias: str) -> None:
    """Not a holder without that role, nor a steward, nor a stranger, each with a good signature of their own."""
    builder = ready()
    with pytest.raises(NotPermitted):
        read_question(builder.state, question(builder, signer=alias, from_=alias), builder.at)


def test_a_question_under_a_partners_name_needs_the_partners_key() -> None:
    builder = ready()
    with pytest.raises(SignatureInvalid):
        read_question(builder.state, question(builder, signer="bus_co"), builder.at)


def test_a_question_for_another_ledger_is_refused() -> None:
    builder = ready()
    with pytest.raises(NotPermitted, match="another town"):
        read_question(builder.state, question(builder, log="other.example/log"), builder.at)


@pytest.mark.parametrize("seconds", [-QUESTION_SECONDS, 0, QUESTION_SECONDS])
def test_a_questions_time_may_be_ten_minutes_off_and_no_more(seconds: int) -> None:
    builder = ready()
    read_question(builder.state, question(builder, at=builder.at + seconds), builder.at)
    beyond = seconds + (1 if seconds >= 0 else -1)
    if abs(beyond) > QUESTION_SECONDS:
        with pytest.raises(ClockSkew):
            read_question(builder.state, question(builder, at=builder.at + beyond), builder.at)


def test_an_admitted_question_is_a_replay() -> None:
    builder = ready()
    token = builder.ask()
    builder.admit(token)
    with pytest.raises(Replayed):
        read_question(builder.state, token, builder.at)


@pytest.mark.parametrize(
    "raw",
    [b"{}", b'{"v":1}', b"null", b"[]", encode(QUERY)[:-1] + b',"z":1}', encode(QUERY).replace(b'"v":1', b'"v": 1')],
)
def test_a_query_that_is_not_of_its_format_is_malformed(raw: bytes) -> None:
    builder = ready()
    with pytest.raises(Malformed):
        read_question(builder.state, question(builder, query=Raw(raw)), builder.at)


def test_an_offer_says_the_price_and_what_is_left_and_changes_nothing() -> None:
    builder = ready()
    builder.release(builder.admit())
    before = freeze(builder.state, builder._seen)
    asked = read_question(builder.state, builder.ask(), builder.at)
    offered = offer(builder.state, asked, builder.at)
    assert freeze(builder.state, builder._seen) == before
    spent = budgets.Account(spent=offered.price.charge)
    assert [each.left for each in offered.accounts] == [each.account_cap - spent.charged for each in offered.accounts]
    assert [each.account.partition("/")[0] for each in offered.accounts] == ["policy", "policy", "partner"]


OFFERS: dict[str, tuple[dict[str, Any], type[Exception]]] = {
    "an unknown policy": ({"policy": "health"}, PolicyNotCurrent),
    "a version to come": ({"version": 2}, PolicyNotCurrent),
    "an unknown view": ({"from": ["walks"]}, QueryInvalid),
    "two views": ({"from": ["rides", "rides"]}, QueryInvalid),
    "an unknown key": ({"group_by": ["age"]}, QueryInvalid),
    "a measure as a key": ({"group_by": ["fare"]}, QueryInvalid),
    "no measure that can be": ({"measures": [{"as": "a", "sum": "ward"}]}, QueryInvalid),
    "two forms of spending": (
        {"spend": {"epsilon": "0.1", "within": {"confidence": "0.95", "measure": "rides", "plus_minus": 50}}},
        QueryInvalid,
    ),
    "no form of spending": ({"spend": {}}, QueryInvalid),
    "an epsilon of 0": ({"spend": {"epsilon": "0"}}, QueryInvalid),
    "a price above the policy's limit": ({"spend": {"epsilon": "3"}}, QueryInvalid),
}


@pytest.mark.parametrize(("change", "error"), OFFERS.values(), ids=OFFERS)
def test_a_question_that_does_not_fit_the_policy_gets_no_offer(change: dict[str, Any], error: type[Exception]) -> None:
    builder = ready()
    asked = read_question(builder.state, question(builder, asking=change), builder.at)
    before = freeze(builder.state, builder._seen)
    with pytest.raises(error):
        offer(builder.state, asked, builder.at)
    assert freeze(builder.state, builder._seen) == before


def test_a_partner_that_the_policy_does_not_name_gets_no_offer() -> None:
    builder = ready()
    builder.member("museum", "partner")
    asked = read_question(builder.state, question(builder, signer="museum", from_="museum"), builder.at)
    with pytest.raises(NotPermitted):
        offer(builder.state, asked, builder.at)


def test_a_policy_that_has_ended_gives_no_offer() -> None:
    builder = ready()
    late = START + 3 * 365 * 86_400
    asked = read_question(builder.state, question(builder, at=late), late)
    with pytest.raises(PolicyNotCurrent):
        offer(builder.state, asked, late)


def test_a_decision_past_a_cap_is_refused_and_changes_nothing() -> None:
    """Asked again and again, the last one does not fit; what is left is said exactly."""
    builder = ready()
    for _ in range(100):
        at = builder.now()
        asked = read_question(builder.state, builder.ask(), at)
        offered = offer(builder.state, asked, at)
        left = min(each.left for each in offered.accounts)
        if offered.price.charge > left:
            break
        builder.add(make_admit(builder.state, asked, offered, at))
    before = freeze(builder.state, builder._seen)
    with pytest.raises(BudgetExceeded) as refused:
        make_admit(builder.state, asked, offered, at)
    assert (refused.value.asked, refused.value.left) == (offered.price.charge, left)
    assert freeze(builder.state, builder._seen) == before
    assert all(account.charged <= 20_000_000 for account in builder.state.accounts.values())


MEASURES: list[dict[str, Any]] = [
    {"count": "rows"},
    {"count": "residents"},
    {"sum": "fare"},
    {"mean": "fare"},
    {"histogram": "fare", "edges": [0, 100, 500]},
]
measures = st.lists(
    st.sampled_from(MEASURES),
    min_size=1,
    max_size=3,
).map(lambda found: [{"as": f"m{place}", **each} for place, each in enumerate(found)])
wheres = st.lists(
    st.sampled_from(
        [
            {"column": "hour", "between": [7, 9]},
            {"column": "ward", "equals": "north"},
            {"column": "ward", "in": ["south"]},
        ]
    ),
    max_size=2,
)
spends = st.sampled_from(["0.05", "0.2", "0.31"]).map(lambda epsilon: {"epsilon": epsilon}) | st.sampled_from(
    [200, 5_000]
).map(lambda width: {"within": {"measure": "m0", "plus_minus": width, "confidence": "0.95"}})


@settings(max_examples=40, deadline=None)
@given(measures, wheres, st.sampled_from([[], ["ward"], ["ward", "hour"]]), spends)
def test_whatever_is_offered_and_decided_passes_the_check_of_everybody_else(
    measures: Any, wheres: Any, group_by: list[str], spend: Any
) -> None:
    """The service prices, the checker never searches: it bears out what the service decides, and nothing cheaper."""
    builder = ready()
    asked = read_question(
        builder.state,
        builder.ask(measures=measures, where=wheres, group_by=group_by, spend=spend),
        builder.now(),
    )
    try:
        offered = offer(builder.state, asked, builder.at)
        admit = make_admit(builder.state, asked, offered, builder.at)
    except (QueryInvalid, BudgetExceeded):
        return
    plan = check_admit(builder.state, admit)
    assert plan == offered.plan == plan_of(builder.state, admit)
    data = e.encode(admit)
    assert replay(builder.state, len(builder.entries), data, builder._seen) == e.decode(data)


def test_the_root_of_a_decision_is_that_of_the_grants_below_it() -> None:
    """A grant, a question, a revocation, a question: the two roots differ by that one bit."""
    builder = ready()
    first = builder.make_admit()
    assert first.in_force_root == ChunkTree({0: 0b111 << 5}).root(8)
    builder.revoke(6)
    assert builder.make_admit().in_force_root == ChunkTree({0: 0b101 << 5}).root(9)


def test_the_query_in_an_admit_is_byte_for_byte_the_one_that_was_signed() -> None:
    builder = ready()
    token = builder.ask()
    admit = builder.make_admit(token)
    assert bytes(admit.query) == bytes(jws.read_unverified(token, Question).query)
    assert query_sha256(decode_query(bytes(admit.query))) == admit.query_sha256
    assert scarce().expires == admit.expires - admit.at

"""A partner's own side: which policy a question is about, what it spends, and that an answer is not just believed."""

import dataclasses
from typing import Any

import pytest
from msgspec import Raw, structs
from nacl.signing import SigningKey

from ledger import entries as e
from ledger.errors import Malformed, MusubiError, PolicyNotCurrent, ProofInvalid, QueryInvalid
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.receipts import Receipt
from policies.policy_document import Policy
from queries.answers.left_out import bounding_of
from queries.price.pricing import price
from queries.question.check import make_plan
from queries.question.tree import Query, Spend, Within, encode_query, query_sha256
from queries.rounds.messages import Bounding, OfferAnswer
from tests.kit.questions import WARDS, make_policy
from trust.cli.asking import answer_document, say_in_force, show_answer
from trust.client.service import Proven
from trust.partner.asking import check_answer, spend_of, to_query, with_bounding

POLICY = make_policy(holders=2)
OTHER = structs.replace(make_policy(), id="walking", views=[POLICY.views[1]])
POLICIES = {policy.id: policy for policy in (POLICY, OTHER)}
SPEND = Spend(epsilon="1")
COUNT = "SELECT ward, COUNT(*) AS rides FROM {} GROUP BY ward"
NOTE = sign_checkpoint(Checkpoint("example.town/log", 1, bytes(32)), SigningKey(bytes(32)))
RECEIPT = Receipt(0, [], NOTE)


@pytest.mark.parametrize("named", ["mobility.rides", '"mobility".rides', "MOBILITY.rides", "rides"])
def test_a_question_is_about_the_policy_that_its_table_names_or_the_only_one_with_such_a_view(named: str) -> None:
    query, policy = to_query(COUNT.format(named), POLICIES, SPEND)
    assert (query.policy, query.version, query.from_) == ("mobility", 3, ["rides"])
    assert policy is POLICY


@pytest.mark.parametrize("named", ["walks", "nowhere", "housing.rides", ""])
def test_where_no_policy_is_meant_for_certain_those_in_force_are_listed(named: str) -> None:
    with pytest.raises(PolicyNotCurrent) as refused:
        to_query(COUNT.format(named), POLICIES, SPEND)
    assert refused.value.details["policies"] == ["mobility", "walking"]


def test_a_policy_that_is_given_counts_also_where_two_have_such_a_view() -> None:
    _, policy = to_query("SELECT COUNT(*) AS walks FROM walks", POLICIES, SPEND, "walking")
    assert policy is OTHER


def test_what_is_spent_is_an_epsilon_or_an_interval() -> None:
    assert spend_of("0.5", None) == Spend(epsilon="0.5")
    for text in ("rides=±50", "rides=50", " rides = +-50"):
        spend = spend_of(None, text, "0.9")
        assert spend == Spend(within=Within(measure="rides", plus_minus=50, confidence="0.9"))


@pytest.mark.parametrize(
    ("epsilon", "within", "error"),
    [
        (None, None, Malformed),
        ("1", "rides=50", Malformed),
        (None, "rides", Malformed),
        (None, "rides=±0", Malformed),
        (None, "rides=±5.5", Malformed),
        (None, "=±50", Malformed),
        ("-1", None, QueryInvalid),
        ("1e3", None, QueryInvalid),
        ("NaN", None, QueryInvalid),
        ("\uff11", None, QueryInvalid),
    ],
)
def test_any_other_way_of_spending_is_refused(
    epsilon: str | None, within: str | None, error: type[MusubiError]
) -> None:
    with pytest.raises(error):
        spend_of(epsilon, within)


@dataclasses.dataclass
class Answer:
    """A question that was admitted and answered, as the ledger has it."""

    query: Query
    policy: Policy
    admit: e.Admit
    release: e.Release

    def check(self, query: Query | None = None, **changes: Any) -> None:
        """Check it, with changes to the two entries."""
        admit = structs.replace(self.admit, **changes.pop("admit", {}))
        closing = changes.pop("closing", None) or structs.replace(self.release, **changes)
        checked = check_answer(
            query or self.query,
            self.policy,
            Proven(index=7, entry=admit, data=b"", receipt=RECEIPT),
            Proven(index=9, entry=closing, data=b"", receipt=RECEIPT),
            reused=False,
        )
        assert checked.charge == admit.charge
        assert checked.bounding == bounding_of(self.query, checked.view)
        assert checked.status == ("released" if isinstance(closing, e.Release) else "refunded")
        assert len(checked.cells) == (len(WARDS) if isinstance(closing, e.Release) else 0)


@pytest.fixture
def answer() -> Answer:
    query, policy = to_query(COUNT.format("mobility.rides"), POLICIES, SPEND)
    plan = make_plan(query, policy)
    cost = price(plan, query.spend, policy.budget)
    admit = e.Admit(
        at=1,
        question="a.b.c",
        query=Raw(encode_query(query)),
        query_sha256=query_sha256(query),
        by="city",
        policy=policy.id,
        version=policy.version,
        policy_sha256="00" * 32,
        in_force_root="00" * 32,
        noise=list(cost.noise),
        participants=list(plan.participants),
        charge=cost.charge,
        expires=601,
    )
    release = e.Release(at=2, admit=7, vector=[3] * plan.length, shares={})
    return Answer(query, policy, admit, release)


def test_an_answer_and_a_refund_of_the_question_that_was_asked_are_taken(answer: Answer) -> None:
    answer.check()
    answer.check(closing=e.Refund(at=2, admit=7, words={}))


def test_what_an_answer_leaves_out_is_told_by_the_policy_and_not_by_the_service(answer: Answer) -> None:
    view = answer.policy.views[0]
    lie = Bounding(rows_per_resident=1_000, holders=1, columns=[], measures=[])
    offer = OfferAnswer(
        from_="operator", log="l", query_sha256="00" * 32, charge=1, epsilon="1", noise=[], participants=[],
        accounts=[], in_force=1,
    )  # fmt: skip
    for said in (offer, structs.replace(offer, bounding=lie)):
        assert with_bounding(said, answer.query, view).bounding == bounding_of(answer.query, view) != lie


def test_a_person_reads_what_is_left_out_below_the_price_and_below_the_answer(
    answer: Answer, capsys: pytest.CaptureFixture[str]
) -> None:
    checked = check_answer(
        answer.query,
        answer.policy,
        Proven(index=7, entry=answer.admit, data=b"", receipt=RECEIPT),
        Proven(index=9, entry=answer.release, data=b"", receipt=RECEIPT),
        reused=False,
    )
    show_answer(checked)
    say_in_force(4_231)
    said = capsys.readouterr().out
    for line in (
        "What the policy leaves out on purpose:\n",
        "  title: of each person, at most 10 records at each of 2 holders are used.\n",
        "  rides: apart from the ±, the true number can only be larger.\n",
        "It covers the noise, not what is left out.\n",
        "It counts at most 4,231 consents to this policy.\n",
    ):
        assert " ".join(line.split()) in " ".join(said.split()), line
    document = answer_document("SELECT", checked)
    assert document["bounding"]["measures"] == [{"measure": "rides", "column": "", "truth": "at-least", "provided": []}]


def test_an_answer_to_another_question_is_not_taken(answer: Answer) -> None:
    other, _ = to_query("SELECT COUNT(*) AS rides FROM mobility.rides", POLICIES, SPEND)
    lies: list[dict[str, Any]] = [
        {"query": other},
        {"admit": {"query": Raw(encode_query(other)), "query_sha256": query_sha256(other)}},
        {"admit": {"query_sha256": query_sha256(other)}},
        {"closing": structs.replace(answer.release, admit=8)},
        {"closing": e.Refund(at=2, admit=6, words={})},
        {"closing": answer.admit},
    ]
    for changes in lies:
        with pytest.raises(ProofInvalid):
            answer.check(**changes)


def test_an_answer_that_was_charged_or_noised_otherwise_than_signed_for_is_not_taken(answer: Answer) -> None:
    charge, (noise,) = answer.admit.charge, answer.admit.noise
    finer = [structs.replace(noise, scale=f"{float(noise.scale) / 2:.4f}")]
    ten_times = [structs.replace(noise, scale=f"{float(noise.scale) * 10:.4f}")]
    hundredth = {"noise": ten_times, "charge": -(-charge // 100) + 10}
    lies: list[dict[str, Any]] = [
        {"charge": charge - 1},
        {"charge": 2 * charge},
        {"noise": finer},
        {"noise": []},
        hundredth,
    ]
    for changes in lies:
        with pytest.raises(ProofInvalid):
            answer.check(admit=changes)
    with pytest.raises(ProofInvalid):
        answer.check(vector=[3])

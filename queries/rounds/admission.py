"""Letting a question in: what it costs, whether it may be asked, and checking an ``admit`` that someone else wrote.

``offer`` is the preview: it parses, checks and prices, looks at public state alone, and is blind to data.
``make_admit`` is the decision. ``check_admit`` is what nodes and auditors do with the result; it prices nothing anew,
it only checks that the stated noise costs the stated charge and is what the partner signed for.
"""

from msgspec import Raw, Struct

from ledger import entries as e
from ledger import jws
from ledger.errors import ClockSkew, NotPermitted, PolicyNotCurrent, ProofInvalid, QueryInvalid, Replayed
from policies.accounts import budgets
from policies.admit_expiry import expires_at
from policies.ledger_state import PolicyRecord, State
from policies.replay import QUESTION_SECONDS
from policies.rules import LIES_SEEN, WIDER_QUESTIONS
from queries.price.cost import epsilon_of
from queries.price.pricing import Price, check_charge, check_spend, price
from queries.price.signed_spend import check_signed_spend
from queries.question.check import make_plan
from queries.question.faithful import check_faithful
from queries.question.plan import Plan
from queries.question.tree import Query, decode_query, query_sha256
from queries.rounds.messages import Question, token_sha256


class Asked(Struct, frozen=True, kw_only=True):
    """A question whose signature and form are good."""

    token: str
    question: Question
    query: Query
    query_sha256: str


class AccountLeft(Struct, frozen=True, kw_only=True):
    """What one account has left, in nano-rho, before this question is charged."""

    account: str
    account_cap: int
    left: int


class Offer(Struct, frozen=True, kw_only=True):
    """A question's plan and price, and what is left in every account it would be charged to."""

    policy: PolicyRecord
    plan: Plan
    price: Price
    epsilon: str
    accounts: list[AccountLeft]


def read_question(state: State, token: str, now: int) -> Asked:
    """Check who asks and that the message is whole and of now.

    Raises Malformed, SignatureInvalid, NotPermitted (no partner by that name), ClockSkew, or Replayed (for a question
    that was admitted before).
    """
    claimed = jws.read_unverified(token, Question, "question")
    member = state.member(claimed.from_, "partner")
    if member is None:
        raise NotPermitted("The question is not from an active partner of this town.")
    question = jws.verify(token, bytes.fromhex(member.key), Question, "question")
    if question.log != state.log:
        raise NotPermitted("The question was signed for another town's ledger.")
    if abs(now - question.at) > QUESTION_SECONDS:
        raise ClockSkew("The question's time is more than 10 minutes from ours; check the clock and sign it again.")
    if token_sha256(token) in state.questions:
        raise Replayed("This signed question was admitted before; sign a new one to ask again.")
    query = decode_query(bytes(question.query))
    return Asked(token=token, question=question, query=query, query_sha256=query_sha256(query))


def offer(state: State, asked: Asked, at: int) -> Offer:
    """Check a question against its policy and price it; no data is touched.

    Raises PolicyNotCurrent, NotPermitted or QueryInvalid.
    """
    record = state.policies.get(asked.query.policy)
    if record is None or record.document.version != asked.query.version:
        raise PolicyNotCurrent("The question names a policy version that is not in force.")
    policy = record.document
    if asked.question.from_ not in policy.partners:
        raise NotPermitted("The policy does not name this partner.")
    if max(policy.until) < state.day(at):
        raise PolicyNotCurrent("The policy has ended.")
    plan = make_plan(asked.query, policy)
    check_faithful(plan)  # by whichever rules: replay takes either from a service
    if not _all_here(state, plan):
        raise PolicyNotCurrent("A holder of this view has left the town, so nobody could answer; ask the stewards.")
    cost = price(plan, asked.query.spend, policy.budget)
    if cost.charge > policy.limits.charge:
        raise QueryInvalid(
            "The question costs more than the policy allows for one question; ask for less precision or fewer measures.",
            asked=cost.charge,
            limit=policy.limits.charge,
        )
    charges = budgets.charges_for(policy, asked.question.from_, at, state.trust_root.time_zone)
    accounts = [
        AccountLeft(account=charge.account, account_cap=charge.account_cap, left=budgets.left(state.accounts, charge))
        for charge in charges
    ]
    return Offer(
        policy=record,
        plan=plan,
        price=cost,
        epsilon=epsilon_of(cost.charge, policy.budget.delta),
        accounts=accounts,
    )


def _all_here(state: State, plan: Plan) -> bool:
    """Return whether all participants are active holders: nobody else's share or word is taken, so none could end."""
    return all(state.member(holder, "holder") is not None for holder in plan.participants)


def make_admit(state: State, asked: Asked, offered: Offer, at: int) -> e.Admit:
    """Decide: return the ``admit`` entry for the next index, or raise BudgetExceeded."""
    policy = offered.policy.document
    charges = budgets.charges_for(policy, asked.question.from_, at, state.trust_root.time_zone)
    budgets.check_fits(state.accounts, charges, offered.price.charge)
    return e.Admit(
        at=at,
        question=asked.token,
        query=Raw(bytes(asked.question.query)),
        query_sha256=asked.query_sha256,
        by=asked.question.from_,
        policy=policy.id,
        version=policy.version,
        policy_sha256=offered.policy.sha256,
        in_force_root=state.in_force_root(offered.policy.sha256, at, offered.price.charge),
        noise=list(offered.price.noise),
        participants=list(offered.plan.participants),
        charge=offered.price.charge,
        expires=expires_at(at, policy.expires),
    )


def plan_of(state: State, admit: e.Admit) -> Plan:
    """Return the plan of an admitted question; raise ProofInvalid where its policy version is unknown."""
    record = state.versions.get(admit.policy_sha256)
    if record is None:
        raise ProofInvalid("The question's policy version is not in the ledger.")
    return make_plan(decode_query(bytes(admit.query)), record.document)


def check_admit(state: State, admit: e.Admit) -> Plan:
    """Check an ``admit`` against the state just before it, without trusting who wrote it; return its plan.

    Raises a MusubiError that says what is wrong. In-force root, accounts and expiry are ``policies.replay``'s part.
    """
    member = state.member(admit.by, "partner")
    if member is None:
        raise ProofInvalid("The admitted question is by no active partner.")
    question = jws.verify(admit.question, bytes.fromhex(member.key), Question, "question")
    query_bytes = bytes(admit.query)
    if question.from_ != admit.by or question.log != state.log or bytes(question.query) != query_bytes:
        raise ProofInvalid("The admitted query is not the one that the partner signed.")
    if abs(admit.at - question.at) > QUESTION_SECONDS:
        raise ProofInvalid("The question was signed at another time than it was admitted.")
    query = decode_query(query_bytes)
    named = (query.policy, query.version, query_sha256(query))
    if named != (admit.policy, admit.version, admit.query_sha256):
        raise ProofInvalid("The entry does not say the same as its query.")
    plan = plan_of(state, admit)
    if list(plan.participants) != admit.participants:
        raise ProofInvalid("The entry's participants are not the holders of the question's view.")
    if not _all_here(state, plan):
        raise ProofInvalid("A participant of the question is no active holder.")
    if state.rules >= WIDER_QUESTIONS:
        check_faithful(plan)
    policy = state.versions[admit.policy_sha256].document
    if state.rules < LIES_SEEN:
        check_charge(plan, admit.noise, admit.charge)
        check_spend(plan, query.spend, policy.budget.delta, admit.noise, admit.charge)
    else:
        check_signed_spend(plan, query.spend, policy.budget.delta, admit.noise, admit.charge)
    if admit.charge > policy.limits.charge:
        raise ProofInvalid("The charge is more than the policy allows for one question.")
    return plan

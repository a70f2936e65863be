"""A partner's whole question: SQL to query, price first, ask, wait, and check the answer instead of believing it."""

import re
from collections.abc import Callable
from typing import Literal

from msgspec import Struct, structs
from nacl.signing import SigningKey

from ledger import entries as e
from ledger import jws
from ledger.errors import Malformed, PolicyNotCurrent, ProofInvalid, QueryInvalid, Unavailable
from policies.policy_document import Policy, View
from policies.replay import QUESTION_SECONDS
from queries.answers.finish import Cell, finish
from queries.answers.left_out import bounding_of
from queries.price.cost import epsilon_of
from queries.price.signed_spend import check_signed_spend
from queries.question.check import make_plan
from queries.question.sql import parse_sql
from queries.question.tree import Query, Spend, Within, decode_query, encode_query, query_sha256
from queries.rounds.messages import Bounding, OfferAnswer, Question
from trust.client.service import Proven, ServiceClient
from trust.partner.answer_sum import check_sum

DECIMAL = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?", re.ASCII)
PATIENCE_SECONDS = 900
"""How long an open round is waited for: longer than most policies' ``expires``, after which it may be refunded."""
Ended = Literal["released", "refunded", "lost"]
_ENDED: dict[type[e.Closing], Ended] = {e.Release: "released", e.Refund: "refunded", e.Lost: "lost"}


class Answered(Struct, frozen=True, kw_only=True):
    """An answer with everything that proves it; ``bounding`` says what it leaves out of the ``view``."""

    query: Query
    view: View
    bounding: Bounding
    admit: Proven
    closing: Proven
    status: Ended
    reused: bool
    cells: list[Cell]
    charge: int
    epsilon: str


def to_query(sql: str, policies: dict[str, Policy], spend: Spend, policy_id: str | None = None) -> tuple[Query, Policy]:
    """Read SQL against the policy that its table names (``policy.view``), or the one given.

    Raises QueryInvalid, or PolicyNotCurrent where no such policy is in force.
    """
    wanted = policy_id or _policy_named(sql, policies)
    policy = policies.get(wanted)
    if policy is None:
        raise PolicyNotCurrent(
            f"The question names no policy of this town; write FROM policy.view, the policy being one of: "
            f"{', '.join(sorted(policies))}.",
            policies=sorted(policies),
        )
    return parse_sql(sql, policy, spend), policy


def _policy_named(sql: str, policies: dict[str, Policy]) -> str:
    """Return the policy that the FROM clause qualifies its view with, or the only one that has such a view."""
    words = sql.replace("\n", " ").split()
    lowered = [word.lower() for word in words]
    table = words[lowered.index("from") + 1] if "from" in lowered[:-1] else ""
    first, _, view = table.strip('";').partition(".")
    if view:
        return first.strip('"').lower()
    having = [policy.id for policy in policies.values() if policy.view(first.lower())]
    return having[0] if len(having) == 1 else ""


def spend_of(epsilon: str | None, within: str | None, confidence: str = "0.95") -> Spend:
    """Return what to spend: an epsilon, or ``MEASURE=±X``.

    Raises Malformed for both, neither, or another form of the latter; QueryInvalid where epsilon is not a decimal.
    """
    if (epsilon is None) == (within is None):
        raise Malformed("Say how much to spend: either --epsilon E, or --within MEASURE=±X.")
    if epsilon is not None:
        if not DECIMAL.fullmatch(epsilon):
            raise QueryInvalid("--epsilon is a decimal number above 0, as in --epsilon 0.5.")
        return Spend(epsilon=epsilon)
    measure, _, amount = (within or "").partition("=")
    digits = amount.strip().lstrip("±").lstrip("+-")
    if not measure or not digits.isascii() or not digits.isdigit() or int(digits) < 1:
        raise Malformed("--within is MEASURE=±X with a whole number X of at least 1, as in --within rides=±50.")
    return Spend(within=Within(measure=measure.strip(), plus_minus=int(digits), confidence=confidence))


def preview(client: ServiceClient, query: Query, partner: str, key: SigningKey) -> OfferAnswer:
    """Return the price; nothing is charged."""
    return client.preview(client.question(query, partner, key, fresh=False))


def with_bounding(offer: OfferAnswer, query: Query, view: View) -> OfferAnswer:
    """Return a price with what the answer would leave out: by the policy itself, whatever the service says of it."""
    return structs.replace(offer, bounding=bounding_of(query, view))


def ask(
    client: ServiceClient,
    query: Query,
    policy: Policy,
    partner: str,
    key: SigningKey,
    *,
    fresh: bool = False,
    waiting: Callable[[list[str]], None] = lambda _: None,
) -> Answered:
    """Ask, wait for the end of the round, and check both ledger entries.

    ``waiting`` is called with the holders that are waited for. Raises BudgetExceeded and the like; Unavailable when
    the round is still open after 15 minutes, or will not be answered; ProofInvalid where the ledger does not say so,
    also when everything was asked for again: sent twice, a question is charged once.
    """
    token = client.question(query, partner, key, fresh=fresh)

    def check() -> Answered:
        answered, plan = _read_end(client, query, policy, token, waiting), make_plan(query, policy)
        _check_own(answered, token, policy, fresh=fresh)
        if isinstance(answered.closing.entry, e.Release):
            check_sum(client, plan, answered.admit, answered.closing.entry)
        return answered

    return client.checked(check)


def _read_end(
    client: ServiceClient, query: Query, policy: Policy, token: str, waiting: Callable[[list[str]], None]
) -> Answered:
    answer = client.ask(token)
    status = client.watch(answer.admit)
    for _ in range(PATIENCE_SECONDS // 5):
        if status.closed_by is not None:
            break
        if not status.waiting_for:
            raise Unavailable(
                "The question will not be answered: one holder had sent its part when another had stepped out. It is "
                "closed in the ledger a day after it expired; what was sent counts, so the charge stands.",
                admit=answer.admit,
            )
        waiting(status.waiting_for)
        status = client.watch(answer.admit, 5)
    if status.closed_by is None:
        raise Unavailable(
            "The question is admitted, but a holder's node does not answer. Ask for it again later, in the same words: "
            "it is answered or its charge is given back when all nodes have spoken, or else it is given up a day after "
            "it expired, and its charge stands.",
            admit=answer.admit,
            waiting_for=status.waiting_for,
        )
    admit, closing = client.prove(answer.admit), client.prove(status.closed_by)
    return check_answer(query, policy, admit, closing, reused=answer.reused)


def _check_own(answered: Answered, token: str, policy: Policy, *, fresh: bool) -> None:
    """Raise ProofInvalid where an old answer is passed off as the one that was asked for."""
    asked, at = answered.admit.entry, jws.read_unverified(token, Question, "question").at
    if not answered.reused and isinstance(asked, e.Admit) and asked.question != token:
        raise ProofInvalid("The service gives the answer to another question than the one that was just signed.")
    if answered.reused and (fresh or answered.closing.entry.at < at - policy.reuse - QUESTION_SECONDS):
        raise ProofInvalid("The service gives an answer that is older than was asked for.")


def check_answer(query: Query, policy: Policy, admit: Proven, closing: Proven, *, reused: bool) -> Answered:
    """Check that the two proven entries are this question and its end; return the finished cells.

    Noise and charge are held against what was asked for as by the newest rules, also in a town with older ones: no
    honest service ever priced otherwise.
    """
    if not isinstance(admit.entry, e.Admit) or not isinstance(closing.entry, e.Closing):
        raise ProofInvalid("The ledger's entries are not a question and its end.")
    asked = decode_query(bytes(admit.entry.query))
    if encode_query(asked) != encode_query(query) or admit.entry.query_sha256 != query_sha256(query):
        raise ProofInvalid("The ledger's question is not the one that was asked.")
    if closing.entry.admit != admit.index:
        raise ProofInvalid("The ledger's answer is to another question.")
    plan = make_plan(query, policy)
    check_signed_spend(plan, query.spend, policy.budget.delta, admit.entry.noise, admit.entry.charge)
    cells = finish(plan, admit.entry.noise, closing.entry.vector) if isinstance(closing.entry, e.Release) else []
    return Answered(
        query=query,
        view=plan.view,
        bounding=bounding_of(query, plan.view),
        admit=admit,
        closing=closing,
        status=_ENDED[type(closing.entry)],
        reused=reused,
        cells=cells,
        charge=admit.entry.charge,
        epsilon=epsilon_of(admit.entry.charge, policy.budget.delta),
    )

"""Taking a question in. Gather: its signature, its policy, what is left. Decide. Apply: ``admit`` or ``refuse``.

The same question asked again within the policy's ``reuse`` period gets the answer that is out already, at no charge:
nothing is computed anew, so repeating a question teaches nothing. ``fresh`` asks for a new one and pays.
"""

from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType, structs
from sqlalchemy import func, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import entries as e
from ledger.errors import (
    BudgetExceeded,
    MusubiError,
    NotPermitted,
    PolicyNotCurrent,
    QueryInvalid,
    RateLimited,
)
from queries.answers.left_out import bounding_by_rules
from queries.question.tree import decode_query
from queries.rounds.admission import Asked, Offer, make_admit, offer, read_question
from queries.rounds.messages import Bounding, OfferAnswer, Question
from trust.runtime.callers.per_minute import PerMinute
from trust.runtime.problems import error_of, problem
from trust.service import metrics
from trust.service.database import tables as t
from trust.service.rounds.readiness import check_ready
from trust.service.store.idempotency import CallersKey, answered_before, read_answer, remember
from trust.service.store.signed_first import look_first, signed_by_member
from trust.service.store.store import Store, Transaction

REFUSED = (BudgetExceeded, QueryInvalid, NotPermitted, PolicyNotCurrent)
"""What a partner's well-signed question can be refused for, in the ledger."""


class Admitted(Struct, frozen=True, kw_only=True):
    """Where the question stands in the ledger."""

    admit: int
    reused: bool
    query_sha256: str
    bounding: Bounding | UnsetType = UNSET


class Refused(Struct, frozen=True, kw_only=True):
    """The question was not let in; ``index`` is its ``refuse`` entry, if it got one."""

    code: str
    error: MusubiError
    index: int | None


class _KeptOutcome(Struct, frozen=True, kw_only=True):
    """What is kept of an outcome: ``Admitted``, or the problem of a refusal and where in the ledger that stands."""

    admit: int = 0
    reused: bool = False
    query_sha256: str = ""
    problem: dict[str, Any] | None = None
    refused_at: int | None = None


async def preview(store: Store, token: str, operator: str, accounts: PerMinute | None = None) -> OfferAnswer:
    """Price a question and stop: free, and blind to data. Raises as ``ask`` would, and writes nothing.

    ``accounts`` limits what one partner asks in a minute.
    """
    state, now = store.state, store.clock()
    asked = read_question(state, token, now)
    if accounts is not None:
        accounts.count(asked.question.from_)
    offered = offer(state, asked, now)
    async with store.databases.reader.connect() as connection:
        await _check_ready(connection, offered)
    return OfferAnswer(
        from_=operator,
        log=state.log,
        query_sha256=asked.query_sha256,
        charge=offered.price.charge,
        epsilon=offered.epsilon,
        noise=list(offered.price.noise),
        participants=list(offered.plan.participants),
        accounts=[{"account": each.account, "cap": each.account_cap, "left": each.left} for each in offered.accounts],
        in_force=state.count_eligible(offered.policy.sha256, now, offered.price.charge),
        bounding=bounding_by_rules(state, asked.query),
    )


async def ask(
    store: Store,
    token: str,
    *,
    max_open: int,
    max_refusals: int,
    max_open_each: int | None = None,
    accounts: PerMinute | None = None,
) -> Admitted:
    """Let a question in, or refuse it; return where it stands once that is durable.

    Raises what ``queries.rounds.admission`` raises, and NotReady where a holder has no data for it yet. A refusal of a
    well-signed question is in the ledger before it is raised (at most ``max_refusals`` a day for each partner), unless
    there is no such policy; that a holder is not ready is none. At most ``max_open`` questions are open at once, and
    ``max_open_each`` of one partner, so that none can keep the others out; ``accounts`` limits what one asks a minute.
    """
    signed = await look_first(store, lambda state: signed_by_member(state, token, Question, "question"))
    if accounts is not None:
        accounts.count(signed.from_)
    theirs = CallersKey(kind="question", caller=signed.from_, key=signed.id)
    request = token.encode("ascii", "replace")

    async def act(transaction: Transaction) -> Admitted | Refused:
        before = await answered_before(transaction, theirs, request)
        if before is not None:
            return _as_before(before)
        asked = read_question(transaction.state, token, transaction.at)
        try:
            offered = offer(transaction.state, asked, transaction.at)
            earlier = await _earlier_answer(transaction, asked, offered)
            if earlier is not None:
                reused = Admitted(admit=earlier, reused=True, query_sha256=asked.query_sha256)
                await remember(transaction, theirs, request, msgspec.json.encode(reused).decode())
                return reused
            await _check_ready(transaction.connection, offered)
            if len(transaction.state.rounds) >= max_open:
                raise RateLimited("Too many questions are open; try again when some are answered.")
            mine = sum(each.admit.by == asked.question.from_ for each in transaction.state.rounds.values())
            if max_open_each is not None and mine >= max_open_each:
                raise RateLimited("Too many of your questions are open; try again when some are answered.")
            admit = make_admit(transaction.state, asked, offered, transaction.at)
        except REFUSED as error:
            refused = await _refuse(transaction, asked, error, max_refusals)
            if refused.index is not None:
                said = {"problem": problem(error), "refused_at": refused.index}
                await remember(transaction, theirs, request, msgspec.json.encode(said).decode())
            return refused
        index = transaction.append(admit)
        await transaction.connection.execute(insert(t.rounds), _round(index, admit))
        admitted = Admitted(admit=index, reused=False, query_sha256=asked.query_sha256)
        await remember(transaction, theirs, request, msgspec.json.encode(admitted).decode())
        return admitted

    outcome = await store.submit(act)
    if isinstance(outcome, Refused):
        metrics.refused.labels(rule=outcome.code).inc()
        if outcome.index is not None:
            outcome.error.details["refused_at"] = outcome.index
        raise outcome.error
    if not outcome.reused:
        metrics.admitted.inc()
    return structs.replace(outcome, bounding=bounding_by_rules(store.state, decode_query(bytes(signed.query))))


async def _check_ready(connection: AsyncConnection, offered: Offer) -> None:
    await check_ready(connection, offered.policy.sha256, offered.plan.view.name, list(offered.plan.participants))


def _as_before(answer: str) -> Admitted | Refused:
    """Return the kept outcome: the same signed question is let in, or refused, once."""
    said = read_answer(answer, _KeptOutcome)
    if said.problem is None:
        return Admitted(admit=said.admit, reused=said.reused, query_sha256=said.query_sha256)
    error = error_of(said.problem)
    return Refused(code=error.code, error=error, index=said.refused_at)


async def _earlier_answer(transaction: Transaction, asked: Asked, offered: Offer) -> int | None:
    if asked.question.fresh:
        return None
    since = transaction.at - offered.policy.document.reuse
    query = (
        select(t.rounds.c.admit)
        .where(t.rounds.c.query_sha256 == bytes.fromhex(asked.query_sha256), t.rounds.c.released)
        .where(t.rounds.c.closed_at > since)
        .order_by(t.rounds.c.admit.desc())
        .limit(1)
    )
    row = (await transaction.connection.execute(query)).first()
    return int(row.admit) if row else None


def _round(index: int, admit: e.Admit) -> dict[str, object]:
    return {
        "admit": index,
        "query_sha256": bytes.fromhex(admit.query_sha256),
        "by": admit.by,
        "policy": admit.policy,
        "asked_to_stop": False,
        "released": False,
    }


async def _refuse(transaction: Transaction, asked: Asked, error: MusubiError, most: int) -> Refused:
    if asked.query.policy not in transaction.state.policies:  # no account, no partners: nothing that anyone could check
        return Refused(code=error.code, error=error, index=None)
    partner, day = asked.question.from_, transaction.state.day(transaction.at)
    count = select(func.count()).select_from(t.refusals).where(t.refusals.c.by == partner, t.refusals.c.day == day)
    if ((await transaction.connection.execute(count)).scalar() or 0) >= most:
        return Refused(code=error.code, error=error, index=None)
    rule: Literal["budget-exceeded", "query-invalid", "not-permitted", "policy-not-current"] = error.code  # type: ignore[assignment]
    entry = e.Refuse(
        at=0,
        query_sha256=asked.query_sha256,
        by=partner,
        policy=asked.query.policy,
        rule=rule,
        account=error.account if isinstance(error, BudgetExceeded) else "",
        asked=error.asked if isinstance(error, BudgetExceeded) else 0,
        left=error.left if isinstance(error, BudgetExceeded) else 0,
    )
    index = transaction.append(entry)
    await transaction.connection.execute(insert(t.refusals), {"index": index, "by": partner, "day": day})
    return Refused(code=error.code, error=error, index=index)

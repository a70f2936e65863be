"""Gathering what the public page shows: from the state, the latest rounds and refusals, and the checkpoint."""

import asyncio

from msgspec import structs

from ledger import entries as e
from ledger.entries import Text
from ledger.notes.witness_policy import cosigners_of
from policies.accounts import budgets
from policies.languages import TITLE_LANGUAGES
from policies.ledger_state import PolicyRecord, State
from policies.policy_document import Policy
from queries.answers.finish import finish
from queries.price.cost import epsilon_of
from queries.question.tree import decode_query
from queries.rounds.admission import plan_of
from trust.client import paths
from trust.pages.answers import shown_cell
from trust.pages.cards import PolicyCard, QuestionCard, QuestionStatus, RefusalCard, ShownCell, Spending
from trust.service.pages.town.model import CheckpointCard, Cosigner, HolderCard, TownPage
from trust.service.rounds.caught_up import LAGGING_SECONDS, has_gone
from trust.service.rounds.latest import LatestQuestion, LatestRefusal, latest_questions, latest_refusals
from trust.service.service import Service

LATEST_QUESTIONS = 12
LATEST_REFUSALS = 10
_STATUS: dict[type[e.Closing], QuestionStatus] = {e.Release: "answered", e.Refund: "refunded", e.Lost: "lost"}


class TownPageGatherer:
    """Gathers the page's model of one service, from published entries only.

    It is gathered once for each tree size and minute; only how far the holders are is asked anew for each view,
    one view after the other: that many ask at once costs no more.
    """

    def __init__(self, service: Service) -> None:
        self._service = service
        self._newest: tuple[tuple[int, int], TownPage] | None = None
        """The model as last gathered, with the tree size and minute that it is for."""
        self._given: TownPage | None = None
        """The model as last given: while it is the same, so is the page."""
        self._gathering = asyncio.Lock()

    async def gather(self) -> TownPage:
        """Return the page's model for one view."""
        service = self._service
        state, now = service.store.state, service.clock()
        key = (service.sequencer.size, now // 60)
        async with self._gathering:
            if self._newest is None or self._newest[0] != key:
                self._newest = (key, await _gather(service, state, now))
            page = structs.replace(self._newest[1], holders=await _holders(service, state, now))
            if self._given != page:
                self._given = page
            return self._given


async def _holders(service: Service, state: State, now: int) -> tuple[HolderCard, ...]:
    """Return each holder that questions can be put to, or that has one to end."""
    found = await service.caught_up.standing(service.sequencer.size)
    cards = []
    for alias, body in sorted(state.members.items()):
        if "holder" not in body.roles or has_gone(state, alias):
            continue
        each = found[alias]
        ago = max(0, now - each.heard) if each.heard else None
        behind = each.waits_since is not None and now - each.waits_since > LAGGING_SECONDS
        silent = ago is None or ago > 2 * LAGGING_SECONDS
        cards.append(HolderCard(title=body.title, size=each.size, seconds_ago=ago, is_lagging=behind or silent))
    return tuple(cards)


async def _gather(service: Service, state: State, now: int) -> TownPage:
    published = service.sequencer.size
    questions = await latest_questions(service.store, published, LATEST_QUESTIONS)
    refusals = await latest_refusals(service.store, published, LATEST_REFUSALS)
    policies = tuple(_policy_card(state, record, now) for record in state.policies.values())
    return TownPage(
        title=state.trust_root.title,
        origin=state.log,
        time_zone=state.trust_root.time_zone,
        entries_total=service.sequencer.size,
        in_force_total=sum(card.in_force for card in policies),
        checkpoint=_checkpoint(service, now),
        holders=(),
        policies=policies,
        questions=tuple(_question_card(state, each) for each in questions),
        refusals=tuple(_refusal_card(state, each) for each in refusals),
    )


def _checkpoint(service: Service, now: int) -> CheckpointCard | None:
    data = service.tiles.read_checkpoint()
    if data is None:
        return None
    keys = service.store.state.log_keys
    if keys is None:
        return None
    checkpoint, note = keys.open(data)
    cosigners = tuple(Cosigner(name=name, time=time) for name, time in cosigners_of(note, service.witnesses).items())
    published_at = max((cosigner.time for cosigner in cosigners), default=now)
    return CheckpointCard(
        size=checkpoint.size,
        root=checkpoint.root.hex(),
        cosigners=cosigners,
        published_at=published_at,
        url=paths.CHECKPOINT,
    )


def _title(state: State, alias: str) -> Text:
    member = state.members.get(alias)
    return member.title if member else dict.fromkeys(TITLE_LANGUAGES, alias)


def _policy_card(state: State, record: PolicyRecord, now: int) -> PolicyCard:
    policy = record.document
    zone = state.trust_root.time_zone
    window, life, _ = budgets.charges_for(policy, "", now, zone)
    return PolicyCard(
        id=policy.id,
        version=policy.version,
        title=policy.title,
        purpose=policy.purpose,
        group=policy.group,
        holders=tuple(_title(state, holder) for holder in policy.holders),
        in_force=state.count_eligible(record.sha256, now, 0),
        delta=policy.budget.delta,
        window=policy.budget.window,
        window_ends=budgets.window_ends(now, policy.budget.window, zone),
        window_spending=_spending(state, window, policy),
        life_spending=_spending(state, life, policy),
    )


def _spending(state: State, charge: budgets.Charge, policy: Policy) -> Spending:
    spent = charge.account_cap - budgets.left(state.accounts, charge)
    return Spending(
        spent=spent,
        cap=charge.account_cap,
        epsilon_spent=epsilon_of(spent, policy.budget.delta),
        epsilon_cap=epsilon_of(charge.account_cap, policy.budget.delta),
    )


def _question_card(state: State, question: LatestQuestion) -> QuestionCard:
    admit, closing = question.admit, question.closing
    policy = state.versions[admit.policy_sha256].document
    plan = plan_of(state, admit)
    cells: tuple[ShownCell, ...] = ()
    if isinstance(closing, e.Release):
        cells = tuple(map(shown_cell, finish(plan, admit.noise, closing.vector)))
    return QuestionCard(
        admit_index=question.index,
        release_index=question.closed_by if cells else None,
        status=_STATUS[type(closing)] if isinstance(closing, e.Closing) else "running",
        asked_at=admit.at,
        by=_title(state, admit.by),
        policy=policy.title,
        purpose=policy.purpose,
        query=decode_query(bytes(admit.query)),
        views=(plan.view,),
        epsilon=epsilon_of(admit.charge, policy.budget.delta),
        cells=cells,
    )


def _refusal_card(state: State, refusal: LatestRefusal) -> RefusalCard:
    entry = refusal.refuse
    record = state.policies.get(entry.policy)
    over = entry.rule == "budget-exceeded" and record is not None
    return RefusalCard(
        index=refusal.index,
        at=entry.at,
        by=_title(state, entry.by),
        policy=record.document.title if record else dict.fromkeys(TITLE_LANGUAGES, entry.policy),
        rule=entry.rule,
        account=entry.account,
        asked=entry.asked,
        left=entry.left,
        epsilon_asked=epsilon_of(entry.asked, record.document.budget.delta) if over and record else "",
        epsilon_left=epsilon_of(entry.left, record.document.budget.delta) if over and record else "",
    )

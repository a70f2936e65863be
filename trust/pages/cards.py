"""What pages show of questions, answers, policies and budgets. A process fills it; the templates only read it.

Everything here is public already: it is in the ledger, or follows from it. Texts are ``ledger.entries.Text`` (one text
in several languages), times are whole UTC seconds since 1970, budgets are whole nano-rho with their epsilon, at the
policy's delta, beside them as decimal text. Lists come in the order in which they are to be shown, latest first.
"""

from typing import Literal

from msgspec import Struct

from ledger.entries import RefuseRule, Text
from policies.policy_document import ServiceGroup, View
from queries.question.tree import Query


class ShownCell(Struct, frozen=True, kw_only=True):
    """One number of an answer."""

    key: tuple[str | int, ...]
    measure: str
    value: str
    half_width: str


class Spending(Struct, frozen=True, kw_only=True):
    """One account: nano-rho spent (reservations count) and its cap, and both as epsilon, as decimal text."""

    spent: int
    cap: int
    epsilon_spent: str
    epsilon_cap: str

    @property
    def percent_spent(self) -> int:
        """The whole percentage spent, 0 to 100, rounded up: the page never shows more left than there is."""
        return min(100, -(-self.spent * 100 // self.cap)) if self.cap > 0 else 100


class PolicyCard(Struct, frozen=True, kw_only=True):
    """One policy version in use. ``in_force`` counts consents; ``window_ends`` is when the next window begins."""

    id: str
    version: int
    title: Text
    purpose: str
    group: ServiceGroup
    holders: tuple[Text, ...]
    in_force: int
    delta: str
    window: Literal["day", "month", "year"]
    window_ends: int
    window_spending: Spending
    life_spending: Spending


QuestionStatus = Literal["answered", "running", "refunded", "lost"]


class QuestionCard(Struct, frozen=True, kw_only=True):
    """A question that was let in: ``views`` are the policy's views that ``query`` reads, for their columns' titles.

    ``epsilon`` is what it costs at the policy's delta; ``cells`` is the released answer, empty unless ``answered``, and
    ``confidence`` is how surely all its intervals hold at once.
    """

    admit_index: int
    release_index: int | None
    status: QuestionStatus
    asked_at: int
    by: Text
    policy: Text
    purpose: str
    query: Query
    views: tuple[View, ...]
    epsilon: str
    cells: tuple[ShownCell, ...] = ()
    confidence: str = "0.95"


class RefusalCard(Struct, frozen=True, kw_only=True):
    """A question that was not let in. ``account`` is "" and the epsilons are "" where the rule is not the budget's."""

    index: int
    at: int
    by: Text
    policy: Text
    rule: RefuseRule
    account: str = ""
    asked: int = 0
    left: int = 0
    epsilon_asked: str = ""
    epsilon_left: str = ""

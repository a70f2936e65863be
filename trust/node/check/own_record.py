"""What a holder's node has taken part in, as its holder sees it: questions, answers, its own books, its links.

Questions and answers are public: they are fetched from the ledger, each proven against the pins. What the books say is
the holder's own: like all findings (``trust.node.check.findings``) it goes into no log line, metric, error or message.
"""

from collections.abc import Mapping, MutableMapping
from pathlib import Path

from msgspec import Struct

from ledger import entries as e
from ledger.entries import Text
from ledger.errors import MusubiError, ProofInvalid
from policies.languages import TITLE_LANGUAGES
from queries.answers.finish import finish
from queries.price.cost import epsilon_of
from queries.question.check import make_plan
from queries.question.tree import decode_query
from trust.client.service import ServiceClient
from trust.node.books.charged_rounds import RoundState
from trust.node.books.reading import BooksRead, books_read
from trust.node.check.public_service import open_service
from trust.node.settings import BOOKS, NodeSettings
from trust.pages.answers import shown_cell
from trust.pages.cards import QuestionCard, QuestionStatus

MOST_QUESTIONS = 20
"""How many of the newest questions are shown."""
_STATUS: dict[type[e.Closing], QuestionStatus] = {e.Release: "answered", e.Refund: "refunded", e.Lost: "lost"}


class OwnAccount(Struct, frozen=True, kw_only=True):
    """One account of the node's own books, of one data set and calendar year, in nano-rho."""

    account: str
    spent: int
    cap: int

    @property
    def left(self) -> int:
        """What is left by these books; a question may leave less by the ledger's."""
        return max(0, self.cap - self.spent)

    @property
    def percent_spent(self) -> int:
        """The whole percentage spent, 0 to 100, rounded up."""
        return min(100, -(-self.spent * 100 // self.cap)) if self.cap > 0 else 100


class OwnQuestion(Struct, frozen=True, kw_only=True):
    """One question that the node had a part in, how far that came by its own books, and what is public of it.

    ``card`` is None where the ledger could not be asked.
    """

    admit: int
    part: RoundState
    card: QuestionCard | None = None


class OwnRecord(Struct, frozen=True, kw_only=True):
    """All of it, the newest question first. ``unread`` says why the ledger could not be asked, or ""."""

    links: int = 0
    accounts: list[OwnAccount] = []
    questions: list[OwnQuestion] = []
    unread: str = ""


def read_own_books(folder: Path, cards: Mapping[int, QuestionCard], unread: str = "") -> OwnRecord:
    """Return what the node's books say now, with the questions' cards as far as they are there.

    Nothing is in it where there are no books yet. Raises Unavailable where they cannot be read.
    """
    path = folder / BOOKS
    if not path.exists():
        return OwnRecord(unread=unread)
    with books_read(path) as books:
        return OwnRecord(
            links=books.links(),
            accounts=[_account(books, name) for name in books.accounts()],
            questions=[
                OwnQuestion(admit=admit, part=part, card=cards.get(admit))
                for admit, part in books.rounds(MOST_QUESTIONS)
            ],
            unread=unread,
        )


def _account(books: BooksRead, name: str) -> OwnAccount:
    return OwnAccount(account=name, spent=books.charged(name), cap=books.account_cap(name) or 0)


def look_up_questions(folder: Path, settings: NodeSettings, cards: MutableMapping[int, QuestionCard]) -> str:
    """Put the cards of the newest questions that the node had a part in into ``cards``; return why not, or "".

    What has ended stays as it is there. Each entry is proven against the pins in the node's folder.
    """
    try:
        admits = [question.admit for question in read_own_books(folder, {}).questions]
        wanted = [admit for admit in admits if admit not in cards or cards[admit].status == "running"]
        if wanted:
            with open_service(folder, settings) as client:
                titles = {alias: body.title for alias, body in client.members().items()}
                for admit in wanted:
                    cards[admit] = _card(client, admit, titles)
    except MusubiError as error:
        return error.message
    return ""


def _card(client: ServiceClient, index: int, titles: Mapping[str, Text]) -> QuestionCard:
    admit = client.prove(index).entry
    if not isinstance(admit, e.Admit):
        raise ProofInvalid("The ledger has no question where the node's books say that there is one.")
    closed_by = client.watch(index, 0).closed_by
    closing = None if closed_by is None else client.prove(closed_by).entry
    if closing is not None and not (isinstance(closing, e.Closing) and closing.admit == index):
        raise ProofInvalid("The service names another entry as a question's end than the ledger has.")
    policy = client.policy(admit.policy_sha256)
    query = decode_query(bytes(admit.query))
    plan = make_plan(query, policy)
    released = closing if isinstance(closing, e.Release) else None
    return QuestionCard(
        admit_index=index,
        release_index=closed_by if released is not None else None,
        status="running" if closing is None else _STATUS[type(closing)],
        asked_at=admit.at,
        by=titles.get(admit.by, dict.fromkeys(TITLE_LANGUAGES, admit.by)),
        policy=policy.title,
        purpose=policy.purpose,
        query=query,
        views=(plan.view,),
        epsilon=epsilon_of(admit.charge, policy.budget.delta),
        cells=() if released is None else tuple(map(shown_cell, finish(plan, admit.noise, released.vector))),
    )

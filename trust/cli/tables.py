"""Answers, prices and budgets as tables for people."""

from ledger.errors import Malformed
from policies.languages import SOURCE_LANGUAGE
from policies.policy_document import View
from queries.answers.finish import Cell
from queries.answers.left_out import bounding_sentences
from queries.price.cost import epsilon_of
from queries.question.tree import Query
from queries.rounds.messages import Bounding, OfferAnswer
from trust.cli.terminal import Sentence, Sheet, rho, sentence


def answer_table(query: Query, cells: list[Cell], most_rows: int = 40) -> Sheet:
    """Return the answer: one row a group, one column a measure with its ± interval."""
    measures = list(dict.fromkeys(cell.measure for cell in cells))
    table = Sheet()
    for key in query.group_by:
        table.add_column(key)
    for measure in measures:
        table.add_column(measure, justify="right")
    rows: dict[tuple[str | int, ...], dict[str, Cell]] = {}
    for cell in cells:
        rows.setdefault(cell.key, {})[cell.measure] = cell
    for shown, (group, numbers) in enumerate(rows.items()):
        if shown == most_rows:
            table.caption = f"… and {len(rows) - most_rows} more rows"
            break
        table.add_row(*map(str, group), *(_number(numbers.get(measure)) for measure in measures))
    return table


def bounding_lines(bounding: Bounding, view: View) -> list[str]:
    """Return what an answer leaves out on purpose, in sentences; measures have the names that the question gives."""
    return bounding_sentences(
        bounding,
        view,
        {},
        gettext=lambda message: message,
        plain=lambda text: text[SOURCE_LANGUAGE],
        number=lambda number: f"{number:,}",
    )


def _number(cell: Cell | None) -> Sentence:
    if cell is None:
        return sentence("")
    return sentence("{} [dim]± {}[/]", _grouped(cell.value), _grouped(cell.half_width))


def _grouped(text: str) -> str:
    whole, dot, rest = text.partition(".")
    return f"{int(whole):,}" + dot + rest if whole.lstrip("-").isdigit() and whole != "-0" else text


def budget_table(offer: OfferAnswer, delta: str) -> Sheet:
    """Return what is left in every account that a question is charged to, as rho and as epsilon at ``delta``.

    Accounts have long names; nothing of one is cut, also where only 80 columns are there.
    """
    table = Sheet()
    table.add_column("account", overflow="fold")
    for column in ("left, ρ", "of", "as ε", "of"):
        table.add_column(column, justify="right", no_wrap=True)
    for account, left, cap in accounts_of(offer):
        numbers = (rho(left), rho(cap), epsilon_of(left, delta), epsilon_of(cap, delta))
        table.add_row(account, *numbers)
    return table


def accounts_of(offer: OfferAnswer) -> list[tuple[str, int, int]]:
    """Return each account that a question is charged to: its name, what is left and the cap, in nano-rho.

    Raises Malformed where the service's rows say something else: they may come after the question was charged.
    """
    try:
        return [(str(row["account"]), int(row["left"]), int(row["cap"])) for row in offer.accounts]
    except (KeyError, ValueError):
        raise Malformed("The service's list of accounts is not one; its operator should know.") from None

"""What ``node check`` shows besides files: what has shrunk, and the questions, answers, books and links of the node."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec

from policies.languages import SOURCE_LANGUAGE
from queries.question.tree import encode_query
from trust.cli.terminal import Sheet, rho, say, show_table
from trust.node.check.findings import SourceFindings
from trust.node.check.own_record import OwnQuestion, OwnRecord, look_up_questions, read_own_books
from trust.node.check.since_last_load import shrunk_files
from trust.node.settings import NodeSettings
from trust.pages.cards import QuestionCard

MOST_CELLS = 3
"""How many numbers of an answer are shown in the table; the town's page has them all."""


def own_record_of(folder: Path, settings: NodeSettings) -> OwnRecord:
    """Return what the node's books say, with what the ledger says of its questions."""
    cards: dict[int, QuestionCard] = {}
    unread = look_up_questions(folder, settings, cards)
    return read_own_books(folder, cards, unread)


def checked_as_json(folder: Path, settings: NodeSettings, found: Sequence[SourceFindings]) -> dict[str, Any]:
    """Return all that ``node check`` shows, for machines."""
    record = own_record_of(folder, settings)
    return {
        "sources": msgspec.to_builtins(found),
        "shrunk": msgspec.to_builtins(shrunk_files(folder, found)),
        "links": record.links,
        "accounts": [{**msgspec.to_builtins(each), "left": each.left} for each in record.accounts],
        "questions": [_question_as_json(each) for each in record.questions],
        "unread": record.unread,
    }


def _question_as_json(question: OwnQuestion) -> dict[str, Any]:
    said: dict[str, Any] = {"admit": question.admit, "part": question.part}
    card = question.card
    if card is not None:
        said |= {"asked_at": card.asked_at, "by": card.by, "policy": card.policy, "status": card.status}
        said |= {"query": msgspec.json.decode(encode_query(card.query)), "release": card.release_index}
        said["cells"] = msgspec.to_builtins(card.cells)
    return said


def show_own_record(folder: Path, settings: NodeSettings, found: Sequence[SourceFindings]) -> None:
    """Print what has shrunk, then questions, answers, books and links."""
    for each in shrunk_files(folder, found):
        say(
            "[red]More than half of {} is gone:[/] {:,} rows before, {:,} now. Was the file written whole?",
            each.source,
            each.rows_before,
            each.rows,
        )
    record = own_record_of(folder, settings)
    say("[bold]This node[/]: {:,} customers have linked.", record.links)
    for account in record.accounts:
        numbers = (rho(account.spent), rho(account.cap), rho(account.left))
        say("  Used of {}, by the node's own books: ρ {} of {}; {} left.", account.account, *numbers)
    if record.unread:
        say("  [yellow]What is public of its questions could not be read:[/] {}", record.unread)
    if record.questions:
        table = Sheet()
        for heading in ("question", "asked (UTC)", "by", "policy", "this node's part", "answer"):
            table.add_column(heading)
        for question in record.questions:
            table.add_row(str(question.admit), *_public(question.card)[:3], question.part, _public(question.card)[3])
        show_table(table)


def _public(card: QuestionCard | None) -> tuple[str, str, str, str]:
    if card is None:
        return "", "", "", ""
    asked_at = datetime.fromtimestamp(card.asked_at, UTC).strftime("%Y-%m-%d %H:%M")
    cells = [f"{_cell_words(cell.key, cell.measure)} {cell.value} ± {cell.half_width}" for cell in card.cells]
    more = f", and {len(cells) - MOST_CELLS} more" if len(cells) > MOST_CELLS else ""
    answer = ", ".join(cells[:MOST_CELLS]) + more if cells else card.status
    return asked_at, _words(card.by), _words(card.policy), answer


def _cell_words(key: Sequence[str | int], measure: str) -> str:
    return " ".join([*map(str, key), measure])


def _words(text: dict[str, str]) -> str:
    return text.get(SOURCE_LANGUAGE) or next(iter(text.values()), "")

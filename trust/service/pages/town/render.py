"""The town's public page as HTML."""

from pathlib import Path
from typing import Any

from trust.pages import wording
from trust.pages.answers import make_answer
from trust.pages.cards import QuestionCard
from trust.pages.render import Templates
from trust.pages.translations import Language, load_language
from trust.service.pages.town.model import TownPage

TEMPLATES = Templates(Path(__file__).parent / "templates")


def render_town(page: TownPage, language: str) -> str:
    """Return the town's public page in one of PAGE_LANGUAGES."""
    speech = load_language(language).in_zone(page.time_zone)
    answers = {card.admit_index: _question(speech, card) for card in page.questions}
    newest_answer = next((card.admit_index for card in page.questions if card.cells), None)
    return TEMPLATES.render("town.html", speech, page=page, asked=answers, newest_answer=newest_answer)


def _question(language: Language, card: QuestionCard) -> dict[str, Any]:
    words = wording.question(language, card.query, card.views)
    return {
        "words": words,
        "answer": make_answer(language, words, card.cells),
        "left_out": wording.left_out(language, card.query, card.views[0], words),
    }

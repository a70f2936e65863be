"""The town's public page as HTML."""

from pathlib import Path

from trust.pages.answers import make_question
from trust.pages.render import Templates
from trust.pages.translations import load_language
from trust.service.pages.town.model import TownPage

TEMPLATES = Templates(Path(__file__).parent / "templates")


def render_town(page: TownPage, language: str) -> str:
    """Return the town's public page in one of PAGE_LANGUAGES."""
    speech = load_language(language).in_zone(page.time_zone)
    answers = {card.admit_index: make_question(speech, card) for card in page.questions}
    newest_answer = next((card.admit_index for card in page.questions if card.cells), None)
    return TEMPLATES.render("town.html", speech, page=page, asked=answers, newest_answer=newest_answer)

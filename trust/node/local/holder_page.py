"""The holder's page as HTML: what ``musubi node check`` shows, in the holder's language."""

from collections.abc import Sequence
from pathlib import Path

from msgspec import Struct

from trust.node.check.findings import tenths_of
from trust.node.check.own_record import OwnRecord
from trust.node.local.look import Looked
from trust.node.sources.tables.one_table import RowPlace, places_by_file
from trust.pages.answers import make_question
from trust.pages.render import Templates
from trust.pages.translations import Language, load_language

TEMPLATES = Templates(Path(__file__).parent / "templates")


class HolderPage(Struct, frozen=True, kw_only=True):
    """All that the page shows. ``since`` is when the look that is under way was begun, or None."""

    holder: str
    town: str
    zone: str
    looked: Looked | None
    since: int | None
    record: OwnRecord


def render_holder_page(page: HolderPage, language: str) -> str:
    """Return the page in one of PAGE_LANGUAGES."""
    speech = load_language(language).in_zone(page.zone)
    cards = [question.card for question in page.record.questions if question.card is not None]
    asked = {card.admit_index: make_question(speech, card) for card in cards}
    return TEMPLATES.render(
        "holder.html",
        speech,
        page=page,
        asked=asked,
        whys=_whys(speech),
        said_places=lambda places: _said_places(speech, places),
        tenths_of=tenths_of,
        share_of=lambda part, whole: f"{speech.decimal(tenths_of(part, whole))}%",
    )


def render_shut_door(language: str) -> str:
    """Return the page for whoever may not come in: nothing of the node is in it."""
    return TEMPLATES.render("shut_door.html", load_language(language))


def _whys(language: Language) -> dict[str, str]:
    return {
        "no customer": language.gettext("no customer number"),
        "customer not read": language.gettext("what stands there as the customer number is not read"),
        "not linked": language.gettext("a customer who has not linked"),
    }


def _said_places(language: Language, places: Sequence[RowPlace]) -> str:
    """Return where rows are: lines or rows, by file where there are several."""
    one = {"line": language.gettext("line %(line)s"), "row": language.gettext("row %(row)s")}
    many = {"line": language.gettext("lines %(line)s"), "row": language.gettext("rows %(row)s")}
    said = []
    for file, unit, numbers in places_by_file(places):
        shown = language.gettext(", ").join(map(language.number, numbers))
        where = (many if len(numbers) > 1 else one)[unit] % {unit: shown}
        said.append(language.gettext("%(file)s, %(where)s") % {"file": file, "where": where} if file else where)
    return language.gettext("; ").join(said)

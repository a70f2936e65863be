"""The pages as HTML: one Jinja environment for each language, with everything escaped and nothing undefined.

Further pages are a template that extends ``base.html`` and a function like ``render_town`` here.
"""

import hashlib
import json
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ledger.entries import Text
from queries.question.tree import Query, encode_query
from trust.pages import wording
from trust.pages.answers import MANY_CELLS, make_answer
from trust.pages.cards import QuestionCard, TownPage
from trust.pages.interface import Operation
from trust.pages.languages import LANGUAGES, Language, load_language

FOLDER = Path(__file__).parent
STATIC_FILES = {path.name: path.read_bytes() for path in sorted((FOLDER / "static").iterdir()) if path.is_file()}
"""Every file under ``/static``, by name, read once at start."""

LANGUAGE_NAMES = {"ja": "日本語", "en": "English"}


def static_tag(name: str) -> str:
    """Return the short hash that changes an address when the file changes."""
    return hashlib.sha256(STATIC_FILES[name]).hexdigest()[:16]


def render_town(page: TownPage, language: str) -> str:
    """Return the town's public page in one of LANGUAGES."""
    speech = load_language(language).in_zone(page.time_zone)
    answers = {card.admit_index: _question(speech, card) for card in page.questions}
    newest_answer = next((card.admit_index for card in page.questions if card.cells), None)
    template = _environment(language).get_template("town.html")
    return template.render(page=page, asked=answers, newest_answer=newest_answer, **_helpers(speech))


def render_interface(operations: list[Operation], language: str) -> str:
    """Return the page of the HTTP interface in one of LANGUAGES."""
    template = _environment(language).get_template("interface.html")
    return template.render(operations=operations, **_helpers(load_language(language)))


def _question(language: Language, card: QuestionCard) -> dict[str, Any]:
    words = wording.question(language, card.query, card.views)
    return {"words": words, "answer": make_answer(language, words, card.cells)}


def _helpers(language: Language) -> dict[str, Any]:
    def say(text: Text) -> Markup:
        """A text, marked with its own language where that is not the page's."""
        words, tag = language.text(text)
        if tag.partition("-")[0] == language.tag:
            return escape(words)
        return Markup('<span lang="{}">{}</span>').format(tag, words)

    return {
        "language": language,
        "say": say,
        "purpose": lambda iri: wording.purpose(language, iri),
        "service_group": lambda group: wording.service_group(language, group),
        "refusal": lambda rule: wording.refusal(language, rule),
    }


@cache
def _environment(language: str) -> Environment:
    environment = Environment(
        loader=FileSystemLoader(FOLDER / "templates"),
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(load_language(language).translations, newstyle=True)  # type: ignore[attr-defined]
    environment.globals.update(
        languages=[(tag, LANGUAGE_NAMES[tag]) for tag in LANGUAGES],
        many_cells=MANY_CELLS,
        static=lambda name: f"/static/{name}?v={static_tag(name)}",
        iso_time=_iso_time,
        query_json=_query_json,
        opening=_opening,
    )
    return environment


def _iso_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _opening(words: str) -> str:
    """Begin a heading with a capital letter, where the script has them."""
    return words[:1].upper() + words[1:]


def _query_json(query: Query) -> str:
    return json.dumps(json.loads(encode_query(query)), ensure_ascii=False, indent=2)

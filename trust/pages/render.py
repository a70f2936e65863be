"""Templates as HTML: one Jinja environment for each language, with everything escaped and nothing undefined.

A process with pages has a folder of templates of its own, which extend ``base.html`` and use the ``parts/`` here, and
one ``Templates`` for it. Every template finds ``language``, ``say``, ``purpose``, ``service_group`` and ``refusal``.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from ledger.entries import Text
from policies.languages import BY_TAG, PAGE_LANGUAGES
from queries.question.tree import Query, encode_query
from trust.pages import wording
from trust.pages.answers import MANY_CELLS
from trust.pages.interface import Operation
from trust.pages.static_files import static_tag
from trust.pages.translations import Language, load_language

FOLDER = Path(__file__).parent / "templates"


class Templates:
    """The templates of one process, which may build on the shared ones.

    ``folders`` are its own. Raises ValueError where one of them holds a name that another has too: the shared pages
    look the same in every process.
    """

    def __init__(self, *folders: Path) -> None:
        loader = FileSystemLoader([FOLDER, *folders])
        names = [
            path.relative_to(folder).as_posix()
            for folder in (FOLDER, *folders)
            for path in folder.rglob("*")
            if path.is_file()
        ]
        twice = {name for name in names if names.count(name) > 1}
        if twice:
            raise ValueError(f"Templates of two folders have one name: {', '.join(sorted(twice))}.")
        self._environments = {language: _environment(loader, load_language(language)) for language in PAGE_LANGUAGES}

    def render(self, name: str, language: Language, **shown: Any) -> str:
        """Return the template of that name in a reader's language, with what it is to show."""
        return self._environments[language.tag].get_template(name).render(**shown, **_words(language))


def _words(language: Language) -> dict[str, Language | Callable[..., str]]:
    """Return what a template says things with: a time zone belongs to a reader's language, so each time anew."""

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


def _environment(loader: FileSystemLoader, language: Language) -> Environment:
    environment = Environment(
        loader=loader,
        extensions=["jinja2.ext.i18n"],
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(language.translations, newstyle=True)  # type: ignore[attr-defined]
    environment.globals.update(
        languages=[BY_TAG[tag] for tag in PAGE_LANGUAGES],
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


_SHARED = Templates()


def render_interface(operations: list[Operation], language: str) -> str:
    """Return the page of the HTTP interface in one of PAGE_LANGUAGES."""
    return _SHARED.render("interface.html", load_language(language), operations=operations)

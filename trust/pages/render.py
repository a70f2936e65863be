"""Templates as HTML: one Jinja environment for each language, with everything escaped and nothing undefined.

A process with pages has a folder of templates of its own, which extend ``base.html`` and use the ``parts/`` here, and
one ``Templates`` for it. Every template finds ``language``, ``say``, ``purpose``, ``service_group`` and ``refusal``.

Whatever a template shows, or says within a translation, is taken for somebody else's text: besides being escaped, what
would hide or turn the text around it is written out, and letters from right to left are isolated (``foreign_text``).
"""

import json
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup, escape

from ledger.entries import Text
from policies.languages import BY_TAG, PAGE_LANGUAGES
from queries.question.tree import Query, encode_query
from trust.pages import wording
from trust.pages.answers import MANY_CELLS
from trust.pages.interface import Operation
from trust.pages.static_files import static_tag
from trust.pages.translations import Language, load_language
from trust.runtime.foreign_text import visible, visible_json

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
            return escape(as_shown(words))
        return Markup('<span lang="{}">{}</span>').format(tag, as_shown(words))

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
        finalize=as_shown,
    )
    environment.policies["ext.i18n.trimmed"] = True
    environment.install_gettext_translations(language.translations, newstyle=True)  # type: ignore[attr-defined]
    for name in ("gettext", "ngettext"):
        environment.globals[name] = _with_shown_values(environment.globals[name])
    environment.globals.update(
        languages=[BY_TAG[tag] for tag in PAGE_LANGUAGES],
        many_cells=MANY_CELLS,
        static=lambda name: f"/static/{name}?v={static_tag(name)}",
        iso_time=_iso_time,
        query_json=_query_json,
        opening=_opening,
        joined_by=_joined_by,
    )
    return environment


def as_shown(value: Any) -> Any:
    """Return a value as a page may show it: a text that is no markup of ours becomes visible text."""
    return visible(value, lines=True) if isinstance(value, str) and not isinstance(value, Markup) else value


def _with_shown_values(translate: Any) -> Any:
    """Return a translating function whose values are shown as everywhere else."""

    @pass_context
    def translated(context: Context, *messages: Any, **values: Any) -> Any:
        return translate(context, *messages, **{name: as_shown(value) for name, value in values.items()})

    return translated


def _joined_by(between: str, words: Iterable[str]) -> Markup:
    """Return words with something between them, each by itself: ``join`` would take them for one text."""
    return escape(between).join(as_shown(each) for each in words)


def _iso_time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _opening(words: str) -> str:
    """Begin a heading with a capital letter, where the script has them."""
    return words[:1].upper() + words[1:]


def _query_json(query: Query) -> str:
    return visible_json(json.dumps(json.loads(encode_query(query)), ensure_ascii=False, indent=2))


_SHARED = Templates()


def render_interface(operations: list[Operation], language: str) -> str:
    """Return the page of the HTTP interface in one of PAGE_LANGUAGES."""
    return _SHARED.render("interface.html", load_language(language), operations=operations)

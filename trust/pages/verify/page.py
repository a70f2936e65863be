"""The page that checks receipts: one HTML file that works alone, from a disk, without a network.

It is put together once, from ``verify.html``, ``page.css`` and ``page.js`` beside this module, ``static/style.css``,
and the modules that ``page.js`` imports. Its own Content-Security-Policy allows exactly that style and that script, by
their hashes, and no connection at all. It holds every language. The same version of Musubi makes the same bytes
everywhere, so that anyone can compare the SHA-256 of a copy with somebody else's.
"""

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from io import BytesIO
from pathlib import Path

from babel.messages.extract import extract
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from policies.languages import BY_TAG, PAGE_LANGUAGES, LanguageRow
from trust.pages.csp import one_file_policy
from trust.pages.es_modules import join_modules
from trust.pages.static_files import STATIC_FILES
from trust.pages.translations import load_language

FILE_NAME = "musubi-verify.html"
_FOLDER = Path(__file__).parent


def _script() -> str:
    """Return the page's script with all that it imports as one module: an inline one cannot import from a file."""
    script = join_modules(_FOLDER / "page.js")
    if "</script" in script or "<!--" in script:
        raise ValueError("The verify page's script cannot be put into one HTML file.")
    return script


def _words(messages: set[str]) -> str:
    """Return each language with its translations of ``messages``, as JSON that can stand inside a script element."""
    table = {
        tag: {
            "formats": BY_TAG[tag].formats.replace("_", "-"),
            "direction": BY_TAG[tag].direction,
            "words": {message: load_language(tag).gettext(message) for message in sorted(messages)},
        }
        for tag in PAGE_LANGUAGES
    }
    return json.dumps(table, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


@dataclass(frozen=True, slots=True)
class VerifyPage:
    """The whole page, its Content-Security-Policy, and the SHA-256 that everybody's copy of this version has."""

    html: bytes
    policy: str
    sha256: str


@cache
def verify_page() -> VerifyPage:
    """Return the page; it is put together when it is first asked for, which takes some tenths of a second."""
    html, policy = _build()
    return VerifyPage(html, policy, hashlib.sha256(html).hexdigest())


def _build() -> tuple[bytes, str]:
    script, style = _script(), STATIC_FILES["style.css"].decode() + (_FOLDER / "page.css").read_text("utf-8")
    policy = one_file_policy(script, style)
    messages = {str(message) for _, message, _, _ in extract("javascript", BytesIO(script.encode()))}
    first = load_language(PAGE_LANGUAGES[0])

    def in_each(message: str) -> list[tuple[LanguageRow, str]]:
        """A message for a reader without scripts, in every language at once."""
        return [(BY_TAG[tag], load_language(tag).gettext(message)) for tag in PAGE_LANGUAGES]

    def spoken(message: str) -> Markup:
        messages.add(message)
        return Markup('<span data-words="{}">{}</span>').format(message, first.gettext(message))

    environment = Environment(
        loader=FileSystemLoader(_FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True
    )
    template = environment.get_template("verify.html")
    shown = {
        "policy": policy,
        "languages": [BY_TAG[tag] for tag in PAGE_LANGUAGES],
        "label": first.gettext("Language"),
        "in_each": in_each,
        "N_": str,
        "_": spoken,
    }
    # Texts are collected while the page is rendered; the words stand at its end.
    template.render(shown, style="", script="", words="")
    whole = template.render(shown, style=Markup(style), script=Markup(script), words=Markup(_words(messages)))  # noqa: S704 - our own files
    return whole.encode(), policy

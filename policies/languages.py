"""The languages of texts, notices and pages: one row each in one table, and no other place lists them.

A text (``ledger.entries.Text``) may be in any language; the table says in which ones it must be, and what else is
written in which. A new language of the pages is a row with a ``catalog``, and that catalog under
``trust/pages/locales``. ``is_in_titles`` and ``is_in_notices`` are part of the format of documents: given to a language
later, they would turn away documents that the ledger holds already.
"""

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta


@dataclass(frozen=True, slots=True, kw_only=True)
class LanguageRow:
    """One language."""

    tag: str
    """As BCP 47 has it, or a word of ours: in texts, addresses and ``lang`` attributes."""
    name: str
    """Its own name, for the language's readers."""
    english: str
    """What it is called in English."""
    formats: str
    """The CLDR locale by which numbers, dates and times are written."""
    fallback: str
    """The language that is shown where a text lacks this one."""
    direction: Literal["ltr", "rtl"] = "ltr"
    """Which way it is written."""
    catalog: str | None = None
    """The folder of its gettext catalog; None where no page is written in it."""
    is_in_titles: bool = False
    """Whether every title and label has it."""
    is_in_notices: bool = False
    """Whether every notice has it, and a consent may be given to the notice in it."""
    letters: tuple[str, ...] = ()
    """Parts of the Unicode names of letters by which wording in it is told from that in the other languages."""


LANGUAGES = (
    LanguageRow(
        tag="ja",
        name="日本語",
        english="Japanese",
        formats="ja",
        fallback="en",
        catalog="ja",
        is_in_titles=True,
        is_in_notices=True,
        letters=("CJK", "KANA"),
    ),
    LanguageRow(
        tag="en",
        name="English",
        english="English",
        formats="en_GB",
        fallback="ja",
        catalog="en",
        is_in_titles=True,
        is_in_notices=True,
    ),
    LanguageRow(
        tag="ja-easy",
        name="やさしい日本語",
        english="plain Japanese",
        formats="ja",
        fallback="ja",
        is_in_notices=True,
        letters=("CJK", "KANA"),
    ),
)
"""The table. The first row is what a reader gets who asks for none."""

BY_TAG = {row.tag: row for row in LANGUAGES}
DEFAULT_LANGUAGE = LANGUAGES[0].tag
SOURCE_LANGUAGE = "en"
"""What the code's own words are in: errors, the command line, the descriptions of the HTTP interface."""

PAGE_LANGUAGES = tuple(row.tag for row in LANGUAGES if row.catalog)
"""The languages that the pages are written in, the default first."""
TITLE_LANGUAGES = tuple(row.tag for row in LANGUAGES if row.is_in_titles)
NOTICE_LANGUAGES = tuple(row.tag for row in LANGUAGES if row.is_in_notices)

NoticeLanguage = Annotated[str, Meta(pattern=rf"^(?:{'|'.join(NOTICE_LANGUAGES)})\Z")]
"""The tag of a language that a notice may be read and agreed to in."""


def fallbacks(tag: str) -> tuple[str, ...]:
    """Return the languages in which to look for a text, the reader's own first, each once."""
    found = [tag]
    while (following := BY_TAG[found[-1]].fallback) not in found:
        found.append(following)
    return tuple(found)

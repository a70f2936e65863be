r"""A page's language: which one a reader gets, its translations, and its numbers, dates and times.

Translations are gettext catalogs, committed as ``locales/<language>/LC_MESSAGES/messages.po`` and read once at start;
there are no compiled files to go stale. One catalog serves the pages of every process. To take in changed templates::

    pybabel extract -F trust/pages/locales/babel.cfg -o messages.pot --no-wrap --no-location \
        trust/pages trust/*/pages trust/node/local queries/question queries/answers
    pybabel update -i messages.pot -d trust/pages/locales --no-fuzzy-matching --no-wrap --ignore-pot-creation-date

A reader's language is ``?lang=``, else the cookie ``lang``, else ``Accept-Language`` (RFC 9110, section 12.5.4), else
Japanese.
"""

import gettext
import unicodedata
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, tzinfo
from decimal import Decimal
from functools import cache
from io import BytesIO
from pathlib import Path

from babel import Locale
from babel.dates import format_date, format_skeleton, format_time
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po
from babel.numbers import format_compact_decimal, format_decimal

from ledger.entries import Text
from policies.languages import BY_TAG, LANGUAGES, PAGE_LANGUAGES, fallbacks
from policies.time_zones import time_zone_of

LOCALES = Path(__file__).parent / "locales"


def choose_language(query: str | None, cookie: str | None, accept_language: str | None) -> str:
    """Return the reader's language. What is not one of ours is passed over, never an error."""
    for asked in (query, cookie):
        if asked in PAGE_LANGUAGES:
            return asked
    best, best_weight = PAGE_LANGUAGES[0], Decimal(0)
    for item in (accept_language or "")[:1000].split(","):
        tag, _, parameter = item.partition(";")
        language = tag.strip().lower().partition("-")[0]
        weight = _weight(parameter.strip())
        if language in PAGE_LANGUAGES and weight > best_weight:
            best, best_weight = language, weight
    return best


def _weight(parameter: str) -> Decimal:
    name, _, value = parameter.partition("=")
    if not parameter:
        return Decimal(1)
    number = value.strip()
    if name.strip().lower() != "q" or not number.isascii() or not number.replace(".", "", 1).isdigit():
        return Decimal(0)
    return min(Decimal(1), Decimal(number))


@dataclass(frozen=True)
class Language:
    """One language: its translations, and how it writes numbers and times in the town's time zone."""

    tag: str
    locale: Locale
    translations: gettext.NullTranslations
    time_zone: tzinfo = UTC

    def in_zone(self, time_zone: str) -> "Language":
        """Return the same language with times in that IANA time zone."""
        return replace(self, time_zone=time_zone_of(time_zone))

    @property
    def direction(self) -> str:
        """Which way it is written: ``ltr`` or ``rtl``."""
        return BY_TAG[self.tag].direction

    def gettext(self, message: str) -> str:
        """Return the translation of one of the catalog's messages."""
        return self.translations.gettext(message)

    def text(self, text: Text) -> tuple[str, str]:
        """Return a text's wording and its language tag: this language's, else its fallbacks', or what there is."""
        for tag in (*fallbacks(self.tag), *sorted(text)):
            if text.get(tag):
                return text[tag], tag
        return "—", self.tag

    def plain(self, text: Text) -> str:
        """Return a text's wording alone, for attributes and charts."""
        return self.text(text)[0]

    def foreign(self, wording: str) -> str:
        """Return the language of wording with the letters of one, so that it can be marked; "" for the page's own."""
        names = [unicodedata.name(character, "") for character in wording]
        for row in LANGUAGES:
            if any(part in name for part in row.letters for name in names):
                return "" if row.tag == self.tag else row.tag
        return ""

    def number(self, value: int) -> str:
        """Write a whole number with its grouping."""
        return str(format_decimal(value, locale=self.locale))

    def decimal(self, value: str) -> str:
        """Write decimal text exactly, with grouping: no digit is lost or added."""
        digits = "0" * len(value.partition(".")[2])
        return str(format_decimal(Decimal(value), f"#,##0{'.' if digits else ''}{digits}", locale=self.locale))

    def tick(self, value: Decimal) -> str:
        """Write a chart's tick: short from 100,000 on."""
        if abs(value) >= 100_000:
            return str(format_compact_decimal(value, locale=self.locale, fraction_digits=1))
        return str(format_decimal(value, locale=self.locale, decimal_quantization=False))

    def percent(self, fraction: str) -> str:
        """Write decimal text such as 0.95 as a percentage."""
        return f"{(Decimal(fraction) * 100).normalize():f}%"

    def day(self, seconds: int) -> str:
        """Write the date of a time."""
        return format_date(self._moment(seconds).date(), "long", locale=self.locale)

    def calendar(self, day: date, *fields: str) -> str:
        """Write some fields of a day, such as ``y`` and ``MMMM``, in this language's order (Unicode CLDR skeletons)."""
        return str(format_skeleton("".join(fields), day, locale=self.locale))

    def moment(self, seconds: int) -> str:
        """Write the date and the time to the minute."""
        moment = self._moment(seconds)
        return f"{self.day(seconds)} {format_time(moment, 'HH:mm', tzinfo=self.time_zone, locale=self.locale)}"

    def _moment(self, seconds: int) -> datetime:
        return datetime.fromtimestamp(seconds, UTC).astimezone(self.time_zone)


@cache
def load_language(tag: str) -> Language:
    """Read one language's catalog; raise OSError or ValueError at start if it is missing or broken."""
    row = BY_TAG[tag]
    path = LOCALES / str(row.catalog) / "LC_MESSAGES" / "messages.po"
    compiled = BytesIO()
    with path.open("rb") as file:
        write_mo(compiled, read_po(file, locale=tag, abort_invalid=True))
    compiled.seek(0)
    return Language(tag, Locale.parse(row.formats), gettext.GNUTranslations(compiled))

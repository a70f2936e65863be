"""Each language is whole: every message is translated, none is left over, and placeholders agree."""

import re

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.extract import extract_from_dir
from babel.messages.frontend import parse_mapping_cfg
from babel.messages.pofile import read_po

from policies.languages import BY_TAG, PAGE_LANGUAGES, SOURCE_LANGUAGE
from trust.pages.translations import LOCALES, choose_language, load_language

PAGES = LOCALES.parent
OF_PROCESSES = [*sorted(PAGES.parent.glob("*/pages")), PAGES.parent / "node" / "local"]
FOLDERS = [
    PAGES,
    *OF_PROCESSES,
    *(PAGES.parent.parent / "queries" / room for room in ("question", "answers")),
]
"""What every process with pages shares, each process's own pages, and the measures, which bring their own words."""


def _extracted() -> set[str | tuple[str, ...]]:
    with (LOCALES / "babel.cfg").open() as file:
        methods, options = parse_mapping_cfg(file)  # type: ignore[no-untyped-call] # Babel leaves this one without types
    return {message for folder in FOLDERS for _, _, message, _, _ in extract_from_dir(folder, methods, options)}


def _catalog(tag: str) -> Catalog:
    with (LOCALES / str(BY_TAG[tag].catalog) / "LC_MESSAGES" / "messages.po").open("rb") as file:
        return read_po(file, locale=tag, abort_invalid=True)


def _texts(said: object) -> tuple[str, ...]:
    """Return the forms of a message or its translation: one, or one for each number."""
    return tuple(map(str, said)) if isinstance(said, tuple | list) else (str(said or ""),)


def _messages(tag: str) -> list[Message]:
    return [message for message in _catalog(tag) if message.id]


def test_the_languages_of_the_pages_are_those_that_have_a_catalog() -> None:
    assert {path.name for path in LOCALES.iterdir() if path.is_dir()} == {BY_TAG[tag].catalog for tag in PAGE_LANGUAGES}


@pytest.mark.parametrize("tag", PAGE_LANGUAGES)
def test_a_catalog_holds_exactly_the_messages_of_the_pages(tag: str) -> None:
    extracted = _extracted()
    assert len(extracted) > 80
    assert {message.id for message in _messages(tag)} == extracted


@pytest.mark.parametrize("tag", PAGE_LANGUAGES)
def test_every_message_is_translated_and_none_is_fuzzy(tag: str) -> None:
    for message in _messages(tag):
        strings = _texts(message.string)
        assert all(text.strip() or str(message.id).isspace() for text in strings), message.id
        assert not message.fuzzy, message.id


@pytest.mark.parametrize("tag", PAGE_LANGUAGES)
def test_a_translation_uses_no_placeholder_that_its_message_lacks(tag: str) -> None:
    for message in _messages(tag):
        ids = "".join(_texts(message.id))
        for text in _texts(message.string):
            assert set(re.findall(r"%\(\w+\)s", text)) <= set(re.findall(r"%\(\w+\)s", ids)), message.id
            if isinstance(message.id, str):
                assert set(re.findall(r"%\(\w+\)s", text)) == set(re.findall(r"%\(\w+\)s", ids)), message.id


@pytest.mark.parametrize("tag", [tag for tag in PAGE_LANGUAGES if tag != SOURCE_LANGUAGE])
def test_no_other_language_has_the_english_words(tag: str) -> None:
    """A name or a sign may be the same everywhere; hardly a sentence is."""
    sentences = [message for message in _messages(tag) if len(_texts(message.id)[0].split()) > 3]
    assert len(sentences) > 40
    assert [message.id for message in sentences if _texts(message.string)[0] == _texts(message.id)[0]] == []


def test_japanese_is_written_in_japanese_and_in_the_polite_form() -> None:
    for message in _messages("ja"):
        for text in _texts(message.string):
            if re.search(r"[A-Za-z]{3,}", re.sub(r"%\(\w+\)s", "", str(message.id))):
                assert re.search(r"[ぁ-んァ-ン一-龥]", text), message.id
            for sentence in re.findall(r"[^。]+。", text):
                assert re.search(r"(です|ます|ません|でした|ました|たか|のか|ください)。$", sentence), sentence


@pytest.mark.parametrize(
    ("query", "cookie", "header", "expected"),
    [
        (None, None, None, "ja"),
        (None, None, "en-GB,en;q=0.9", "en"),
        (None, None, "fr, en;q=0.4, ja;q=0.6", "ja"),
        (None, None, "EN", "en"),
        (None, None, "en;q=0", "ja"),
        (None, None, "en;q=NaN, ;;,q=1,*", "ja"),
        (None, None, "en;q=²", "ja"),
        (None, "en", "ja", "en"),
        ("ja", "en", "en", "ja"),
        ("<script>", "..", "en", "en"),
    ],
)
def test_the_language_is_the_link_then_the_cookie_then_the_browser_then_japanese(
    query: str | None, cookie: str | None, header: str | None, expected: str
) -> None:
    assert choose_language(query, cookie, header) == expected


def test_times_are_written_in_the_towns_own_time_zone() -> None:
    assert load_language("ja").in_zone("Asia/Tokyo").moment(1_795_338_120) == "2026年11月22日 18:02"
    assert load_language("en").in_zone("Europe/London").moment(1_795_338_120) == "22 November 2026 09:02"


def test_decimal_text_keeps_every_digit() -> None:
    assert load_language("ja").decimal("1234567.50") == "1,234,567.50"
    assert load_language("en").decimal("-4") == "-4"
    assert load_language("ja").percent("0.95") == "95%"
    assert load_language("ja").percent("0.5") == "50%"

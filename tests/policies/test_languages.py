"""A language is one row in one table: what the table says holds everywhere, and nothing else lists languages."""

import ast
import re
from pathlib import Path

import msgspec
import pytest
from babel import Locale

from policies import languages
from policies.languages import (
    BY_TAG,
    DEFAULT_LANGUAGE,
    LANGUAGES,
    NOTICE_LANGUAGES,
    PAGE_LANGUAGES,
    SOURCE_LANGUAGE,
    TITLE_LANGUAGES,
    LanguageRow,
    NoticeLanguage,
    fallbacks,
)

ROOT = Path(languages.__file__).parents[1]
ROOMS = ("ledger", "policies", "queries", "trust")


@pytest.mark.parametrize("row", LANGUAGES, ids=lambda row: row.tag)
def test_a_row_names_a_language_that_there_is_and_falls_back_on_others(row: LanguageRow) -> None:
    locale = Locale.parse(row.formats)
    assert locale.language == row.tag.partition("-")[0]
    assert row.direction == {"left-to-right": "ltr", "right-to-left": "rtl"}[locale.character_order]
    assert [each.tag for each in LANGUAGES].count(row.tag) == 1
    assert row.fallback in BY_TAG
    assert fallbacks(row.tag)[0] == row.tag
    assert len(set(fallbacks(row.tag))) == len(fallbacks(row.tag)) > 1


@pytest.mark.parametrize("tag", PAGE_LANGUAGES)
def test_a_language_of_the_pages_is_called_what_its_readers_call_it(tag: str) -> None:
    assert BY_TAG[tag].name == Locale.parse(tag).get_language_name(tag)
    assert BY_TAG[tag].english == Locale.parse(tag).get_language_name(SOURCE_LANGUAGE)


def test_titles_and_notices_have_the_languages_that_documents_had_from_the_first_version_on() -> None:
    """The format of documents does not change by a row: what the ledger holds would be turned away."""
    assert TITLE_LANGUAGES == ("ja", "en")
    assert NOTICE_LANGUAGES == ("ja", "en", "ja-easy")
    assert set(TITLE_LANGUAGES) <= set(NOTICE_LANGUAGES)
    assert DEFAULT_LANGUAGE in PAGE_LANGUAGES
    assert SOURCE_LANGUAGE in PAGE_LANGUAGES


def test_a_notice_is_read_in_a_language_of_notices_and_in_no_other() -> None:
    for tag in NOTICE_LANGUAGES:
        assert msgspec.convert(tag, NoticeLanguage) == tag
    for other in ("fr", "", "JA", "ja-", "ja\n", "xja", "ja|en", "ja-easy-"):
        with pytest.raises(msgspec.ValidationError):
            msgspec.convert(other, NoticeLanguage)


def test_no_other_module_names_a_language() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{node.lineno}"
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
        if path != Path(languages.__file__)
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Constant) and node.value in BY_TAG
    ]
    assert found == []


def test_no_template_and_no_script_names_a_language_but_to_mark_the_codes_own_words() -> None:
    files = [path for suffix in ("html", "js", "css") for path in sorted((ROOT / "trust").rglob(f"*.{suffix}"))]
    tags = "|".join(map(re.escape, BY_TAG))
    marked = re.compile(rf"""\blang ?= ?"{SOURCE_LANGUAGE}\"""")
    assert len(files) > 10
    assert [
        str(path) for path in files if re.search(rf"""["'`]({tags})["'`]""", marked.sub("", path.read_text()))
    ] == []

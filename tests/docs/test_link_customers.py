"""The page on linking names every call, field and refusal of the local interface, and no other."""

import re

import msgspec

from ledger.errors import Malformed, NotPermitted
from tests.docs.docs_pages import REPO, blocks, code_words, headings, table_rows
from trust.node.local.linking_routes import GivenChallenge, LinkStanding, LoggedIn, SentAnswer
from trust.node.local.local_paths import CHALLENGES, LINKS, STATUS
from trust.runtime.problems import KINDS

PAGE = REPO / "docs" / "how-to" / "link-customers.md"
CALLS: dict[str, tuple[type[msgspec.Struct], type[msgspec.Struct]]] = {
    CHALLENGES: (LoggedIn, GivenChallenge),
    LINKS: (SentAnswer, LinkStanding),
    STATUS: (LoggedIn, LinkStanding),
}


def test_every_call_is_there_with_its_body_and_answer() -> None:
    rows = [row for row in table_rows(PAGE, "The calls") if "POST" in row[0]]
    written = {code_words(row[0])[0].split()[1]: (code_words(row[1]), code_words(row[2])) for row in rows}
    assert written == {
        path: (list(body.__struct_fields__), list(answer.__struct_fields__)) for path, (body, answer) in CALLS.items()
    }


def test_every_field_is_explained() -> None:
    fields = {field for kinds in CALLS.values() for kind in kinds for field in kind.__struct_fields__}
    explained = {code_words(row[0])[0] for row in table_rows(PAGE, "The calls") if len(row) == 2}
    assert explained == fields


def test_every_code_has_the_status_that_it_is_answered_with() -> None:
    statuses = {error.code: str(kind.status) for error, kind in KINDS.items()}
    rows = [row for row in table_rows(PAGE, "The calls") if re.fullmatch(r"[0-9, ]+", row[1])]
    written = {
        code: status for row in rows for code, status in zip(code_words(row[0]), row[1].split(", "), strict=True)
    }
    assert {Malformed.code, NotPermitted.code} <= set(written)
    assert written == {code: statuses[code] for code in written}


def test_the_japanese_page_says_the_same_calls_fields_codes_and_lines() -> None:
    japanese = PAGE.with_suffix(".ja.md")
    assert [block.text for block in blocks(japanese)] == [block.text for block in blocks(PAGE)]
    assert [level for level, _ in headings(japanese)] == [level for level, _ in headings(PAGE)]
    theirs, ours = table_rows(japanese, "呼び出し"), table_rows(PAGE, "The calls")
    assert [code_words(row[0]) for row in theirs] == [code_words(row[0]) for row in ours]
    assert [row[1] for row in theirs if len(row) == 3] == [row[1] for row in ours if len(row) == 3]

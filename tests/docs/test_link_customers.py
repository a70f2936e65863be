"""The page on linking names every call, field and refusal of the local interface, and no other."""

import ast
import re

import msgspec

from ledger.errors import Malformed, NotPermitted
from tests.docs.docs_pages import REPO, blocks, code_words, headings, table_rows
from trust.node.local.app import BODY_SECONDS, HEAD_MILLISECONDS, MOST_BYTES
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


def refusals() -> list[list[str]]:
    """Return the rows of the table of refusals."""
    return [row for row in table_rows(PAGE, "The calls") if re.fullmatch(r"[0-9, ]+", row[1])]


def test_every_code_has_the_status_that_it_is_answered_with() -> None:
    statuses = {error.code: str(kind.status) for error, kind in KINDS.items()}
    written = {
        code: status for row in refusals() for code, status in zip(code_words(row[0]), row[1].split(", "), strict=True)
    }
    assert {Malformed.code, NotPermitted.code} <= set(written)
    assert written == {code: {**statuses, "fault": "500"}[code] for code in written}


LOCAL = sorted((REPO / "trust" / "node" / "local").glob("*.py"))
ON_THE_WAY = (
    *LOCAL,
    *(
        REPO / each
        for each in (
            "trust/node/links.py",
            "trust/node/books/reading.py",
            "trust/files/durable.py",
            "trust/runtime/serving.py",
            "trust/runtime/callers/bounds.py",
            "policies/consents/attestation.py",
            "ledger/jws.py",
        )
    ),
)
"""Every module in which an answer of the local interface may come to be refused."""


def test_the_table_of_refusals_has_every_one_that_the_local_interface_can_answer_and_no_other() -> None:
    kinds = {error.__name__: error for error in KINDS}
    called = [
        node.func.id
        for path in ON_THE_WAY
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    written = {code for row in refusals() for code in code_words(row[0])}
    assert written == {kinds[name].code for name in called if name in kinds} | {"fault"}


def test_every_status_that_is_no_refusal_is_said_too() -> None:
    used = {
        word.value.value
        for path in LOCAL
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.Call)
        for word in node.keywords
        if word.arg == "status_code" and isinstance(word.value, ast.Constant)
    }
    assert used == {200, 303, 500}
    for page in (PAGE, PAGE.with_suffix(".ja.md")):
        assert {str(each) for each in used} <= set(re.findall(r"\b\d{3}\b", page.read_text("utf-8"), re.ASCII))


def test_the_numbers_beside_the_table_are_the_codes_own() -> None:
    text = " ".join(PAGE.read_text("utf-8").split())
    assert f"head has {HEAD_MILLISECONDS // 1000} seconds, a body {BODY_SECONDS}," in text
    assert f"at most {MOST_BYTES // 1024} KiB" in text
    assert f"more than {MOST_BYTES // 1024} KiB" in text


def test_the_japanese_page_says_the_same_calls_fields_codes_and_lines() -> None:
    japanese = PAGE.with_suffix(".ja.md")
    assert [block.text for block in blocks(japanese)] == [block.text for block in blocks(PAGE)]
    assert [level for level, _ in headings(japanese)] == [level for level, _ in headings(PAGE)]
    theirs, ours = table_rows(japanese, "呼び出し"), table_rows(PAGE, "The calls")
    assert [code_words(row[0]) for row in theirs] == [code_words(row[0]) for row in ours]
    assert [row[1] for row in theirs if len(row) == 3] == [row[1] for row in ours if len(row) == 3]

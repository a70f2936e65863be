"""Pages take everybody else's text for text: in templates, in code that makes markup, in the browser's modules."""

import ast
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
SCRIPTS = sorted((ROOT / "trust").rglob("*.js"))
TEMPLATES = sorted((ROOT / "trust").rglob("*.html"))
CODE = {str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in (ROOT / "trust").rglob("*.py")}
READ_AS_MARKUP = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|createContextualFragment|DOMParser|setHTML|srcdoc|document\.write"
    r"|\beval\b|new Function|javascript:|setAttribute\(\s*[\"'](?:on|href|src|style)"
)
SET_AS_TEXT = re.compile(r"\.textContent = (.*);")
OWN_FILES = {"trust/pages/verify/page.py"}
"""Here a page is put together from our own script, style and words, and shows nothing of anybody else's."""


def calls(tree: ast.AST, name: str) -> list[ast.Call]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call) and ast.unparse(node.func) == name]


def test_no_module_of_the_browser_reads_text_as_markup() -> None:
    assert len(SCRIPTS) > 8
    assert [
        (path.name, READ_AS_MARKUP.findall(path.read_text("utf-8")))
        for path in SCRIPTS
        if READ_AS_MARKUP.search(path.read_text("utf-8"))
    ] == []


def test_what_a_module_shows_is_made_visible_or_our_own_words() -> None:
    shown = [words for path in SCRIPTS for words in SET_AS_TEXT.findall(path.read_text("utf-8"))]
    assert len(shown) > 4
    own = re.compile(
        r'visible\(text\)|""|say\(.*\)|location\.protocol === "file:" \? say\(N_\(".*"\)\) : location\.origin'
    )
    assert [words for words in shown if not own.fullmatch(words)] == []


def test_no_template_takes_a_text_for_markup_or_joins_texts_to_one() -> None:
    assert len(TEMPLATES) > 8
    forbidden = re.compile(r"\|\s*safe|autoescape|\|\s*join\b|\|\s*(?:urlize|xmlattr|tojson|forceescape)|Markup")
    assert [path.name for path in TEMPLATES if forbidden.search(path.read_text("utf-8"))] == []


def test_every_environment_escapes_and_every_one_with_others_text_makes_it_visible() -> None:
    made = [
        (name, {each.arg: ast.unparse(each.value) for each in call.keywords})
        for name, tree in CODE.items()
        for call in calls(tree, "Environment")
    ]
    assert len(made) >= 2
    for name, options in made:
        assert options["autoescape"] == "True", name
        assert options["undefined"] == "StrictUndefined", name
        assert name in OWN_FILES or options["finalize"] == "as_shown", name


def test_markup_in_code_is_a_literal_whose_values_are_escaped() -> None:
    made = [(name, call) for name, tree in CODE.items() for call in calls(tree, "Markup")]
    assert made
    for name, call in made:
        assert name in OWN_FILES or isinstance(call.args[0], ast.Constant), (name, ast.unparse(call))


def test_a_log_line_that_says_by_a_code_what_failed_says_it_in_a_sentence_too() -> None:
    lines = [
        (name, ast.unparse(call))
        for name, tree in CODE.items()
        for call in ast.walk(tree)
        if isinstance(call, ast.Call) and ast.unparse(call.func).startswith("logger.")
    ]
    assert len(lines) > 30
    assert [each for each in lines if "error.code" in each[1] or "error.message" in each[1]] == []
    assert sum("reason_of(error)" in line for _, line in lines) > 8

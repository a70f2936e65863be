"""The picture of the demo shows what the demo says now: each sentence of its story is in it."""

import ast
import html
import re

import pytest

from tests.docs.docs_pages import REPO

STORY = REPO / "trust" / "cli" / "demo" / "story.py"
PICTURE = REPO / "docs" / "pictures" / "demo.svg"
SAID_BY = {"narrate", "title", "progress_bar"}


def sentences() -> list[str]:
    """Return the texts that the story is told with."""
    calls = [node for node in ast.walk(ast.parse(STORY.read_text("utf-8"))) if isinstance(node, ast.Call)]
    named = [(getattr(call.func, "id", getattr(call.func, "attr", "")), call.args[:1]) for call in calls]
    said = [each.value for name, args in named if name in SAID_BY for each in args if isinstance(each, ast.Constant)]
    return [text for text in said if isinstance(text, str) and re.search("[A-Za-z]{3}", text)]


def shown() -> str:
    """Return the picture's text, line after line, with single blanks."""
    lines: dict[float, list[tuple[float, str]]] = {}
    for x, y, text in re.findall(
        r'<text [^>]*x="([\d.]+)" y="([\d.]+)"[^>]*>([^<]*)</text>', PICTURE.read_text("utf-8")
    ):
        lines.setdefault(float(y), []).append((float(x), html.unescape(text)))
    return " ".join(" ".join("".join(text for _, text in sorted(lines[y])) for y in sorted(lines)).split())


@pytest.mark.parametrize("sentence", sentences())
def test_the_picture_has_each_sentence_that_the_demo_says(sentence: str) -> None:
    """Where this fails the demo says something else now: run ``python docs/pictures/draw_demo.py``."""
    plain = re.sub(r"\[/?[a-z]*\]", "", sentence)
    pattern = ".+?".join(re.escape(" ".join(part.split())) for part in re.split(r"\{[^}]*\}", plain))
    assert re.search(pattern.replace(".+?", " ?.+? ?"), shown())


def test_there_are_sentences_to_look_for() -> None:
    assert len(sentences()) > 15

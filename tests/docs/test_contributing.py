"""What the page for contributors says of rooms, files, names and tests is so."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.docs_pages import REPO, blocks, code_words, headings, table_rows

PAGE = REPO / "docs" / "contributing.md"


def test_the_table_of_rooms_has_every_room() -> None:
    written = {word.rstrip("/") for row in table_rows(PAGE, "The rooms") for word in code_words(row[0])}
    rooms = {path.parent.relative_to(REPO).as_posix() for path in REPO.glob("trust/*/__init__.py")}
    assert written == rooms | {"ledger", "policies", "queries"}


def test_the_drawing_of_the_one_direction_is_that_of_the_import_contracts() -> None:
    contracts = tomllib.loads((REPO / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    layers = {tuple(each.get("containers", ())): each["layers"] for each in contracts if each["type"] == "layers"}
    across, within = layers[()], layers[("trust",)]
    assert across[0] == "trust"
    floors = [*within, *across[1:]]
    drawn = next(block.text for block in blocks(PAGE) if "└─>" in block.text)
    assert [set(re.findall(r"[a-z]+", each)) for each in floors] == _floors(drawn)


WHERE = table_rows(PAGE, "Where would I change …")


def test_the_ten_questions_that_a_newcomer_asked_are_answered() -> None:
    assert [row[0] for row in WHERE] == [
        "the time before an admit expires",
        "how a resident's yearly caps are declared",
        "a new measure",
        "a new route for residents",
        "a tile's cache headers",
        "a new language",
        "a new kind of source file",
        "how a revocation reaches the nodes",
        "what a slow witness does",
        "the name of a budget account",
    ]


@pytest.mark.parametrize("row", WHERE, ids=lambda row: str(row[0]))
def test_the_file_that_answers_is_there_and_has_that_name(row: list[str]) -> None:
    (file,), (name, *_) = code_words(row[1]), code_words(row[2])
    body: list[ast.stmt] = ast.parse((REPO / file).read_text("utf-8")).body
    for part in name.split("."):
        found = [node for node in body if part in _names(node)]
        assert len(found) == 1, (file, name)
        body = getattr(found[0], "body", [])


def _names(node: ast.stmt) -> set[str]:
    """Return what a statement defines or assigns."""
    if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {node.name}
    targets = node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
    return {target.id for target in targets if isinstance(target, ast.Name)}


RECIPES = ["A measure", "A route", "A language", "A kind of entry", "A table", "A page"]


def test_there_are_six_recipes() -> None:
    names = [text for level, text in headings(PAGE) if level == 3]
    assert names == RECIPES


@pytest.mark.parametrize("recipe", RECIPES)
def test_what_a_recipe_touches_is_there_and_so_is_the_test_that_fails(recipe: str) -> None:
    for touched, fails in table_rows(PAGE, recipe):
        files = [word for word in code_words(touched.partition(":")[0]) if "/" in word]
        assert files, touched
        for file in files:
            assert list(REPO.glob(re.sub(r"…|<tag>", "*", file))), file
        for test, link in re.findall(r"\[`(\w+)`\]\(([^)]+)\)", fails):
            _check_test(PAGE.parent / link, test)


def _check_test(path: Path, name: str) -> None:
    module = ast.parse(path.resolve().read_text("utf-8"))
    assert any(name in _names(node) for node in module.body), (path, name)


def _floors(drawing: str) -> list[set[str]]:
    """Return the rooms of each floor, from the top, without what is said beside them."""
    floors = []
    for line in drawing.splitlines():
        names = re.split(r"\s{3,}(?=\w)", line.strip())[0].replace("└─>", "")
        floors += [set(re.findall(r"[a-z]+", part)) for part in names.split("─>")]
    return floors

"""What the page for contributors says of rooms is so."""

import re
import tomllib

from tests.docs.docs_pages import REPO, blocks, code_words, table_rows

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


def _floors(drawing: str) -> list[set[str]]:
    """Return the rooms of each floor, from the top, without what is said beside them."""
    floors = []
    for line in drawing.splitlines():
        names = re.split(r"\s{3,}(?=\w)", line.strip())[0].replace("└─>", "")
        floors += [set(re.findall(r"[a-z]+", part)) for part in names.split("─>")]
    return floors

"""Reading the documentation's pages: code blocks, headings, links and tables."""

import re
from dataclasses import dataclass
from pathlib import Path

REPO = Path(__file__).parents[2]
PAGES = sorted([*REPO.glob("*.md"), *(REPO / "docs").rglob("*.md")])
_FENCE = re.compile(r"^```([a-z]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^(#+) (.+)$", re.MULTILINE)
_FILE = re.compile(r"# (\S+\.(?:toml|py))\n")


@dataclass(frozen=True)
class Block:
    """One fenced code block, and the line that it begins at."""

    language: str
    text: str
    line: int

    @property
    def file(self) -> str | None:
        """The file that the page tells its reader to save this block as, if its first line names one."""
        named = _FILE.match(self.text)
        return named.group(1) if named else None


def name_of(page: Path) -> str:
    """Return a page's path in the repository."""
    return page.relative_to(REPO).as_posix()


def blocks(page: Path) -> list[Block]:
    """Return the page's code blocks in order."""
    text = page.read_text("utf-8")
    return [Block(m.group(1), m.group(2), text.count("\n", 0, m.start()) + 1) for m in _FENCE.finditer(text)]


def prose(page: Path) -> str:
    """Return the page without its code blocks."""
    return _FENCE.sub("", page.read_text("utf-8"))


def headings(page: Path) -> list[tuple[int, str]]:
    """Return (level, text) of the page's headings."""
    return [(len(marks), text) for marks, text in _HEADING.findall(prose(page))]


def anchors(page: Path) -> set[str]:
    """Return the anchors of the page's headings, as the usual renderers make them."""
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for _, text in headings(page)}


def links(page: Path) -> list[str]:
    """Return where the page's links and pictures lead."""
    return _LINK.findall(prose(page))


def table_rows(page: Path, heading: str) -> list[list[str]]:
    """Return the cells of all table rows under one heading (until the next), without the head rows."""
    text = prose(page)
    start = re.search(rf"^#+ {re.escape(heading)}$", text, re.MULTILINE)
    assert start is not None, f"{name_of(page)} has no heading '{heading}'"
    rest = text[start.end() :]
    following = _HEADING.search(rest)
    section = rest[: following.start()] if following else rest
    rows: list[list[str]] = []
    for line in section.splitlines():
        if re.fullmatch(r"[|:-]+", line):
            rows.pop()  # what stood above is the head row
        elif line.startswith("|"):
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def code_words(cell: str) -> list[str]:
    """Return what a cell or text has between backticks."""
    return re.findall(r"`([^`]+)`", cell)

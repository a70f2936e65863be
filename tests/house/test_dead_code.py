"""What only tests call is no part of the product: it is deleted, or lies with the tests that need it."""

import ast
import re
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
ROOMS = [ROOT / room for room in ("ledger", "policies", "queries", "trust")]
MIGRATIONS = ROOT / "trust" / "service" / "database" / "migrations"
TREES = {
    path: ast.parse(path.read_text("utf-8"))
    for room in ROOMS
    for path in sorted(room.rglob("*.py"))
    if MIGRATIONS not in path.parents
}
WORD = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def names_used() -> Counter[str]:
    """Every name that the code mentions other than where it is defined; and every word of a template."""
    used: Counter[str] = Counter()
    for tree in TREES.values():
        for node in ast.walk(tree):
            match node:
                case ast.Name(id=name, ctx=ast.Load()) | ast.Attribute(attr=name):
                    used[name] += 1
                case ast.Constant(value=str(text)) if text.isidentifier():
                    used[text] += 1  # getattr and the like
                case _:
                    pass
    for room in ROOMS:
        for path in room.rglob("*.html"):
            used.update(WORD.findall(path.read_text("utf-8")))
    return used


def names_defined() -> list[tuple[str, str]]:
    """The modules' functions, classes and constants, and the classes' methods, each with where it is.

    What has a decorator is called by whoever decorates: a command, a handler, a property.
    """
    found = []
    for path, tree in TREES.items():
        module = str(path.relative_to(ROOT))
        bodies = [tree.body, *(node.body for node in ast.walk(tree) if isinstance(node, ast.ClassDef))]
        for place, body in enumerate(bodies):
            for node in body:
                match node:
                    case ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name) | ast.ClassDef(name=name):
                        if not node.decorator_list and not name.startswith("__"):
                            found.append((name, module))
                    case ast.Assign(targets=[ast.Name(id=name)]) | ast.AnnAssign(target=ast.Name(id=name)):
                        if place == 0:
                            found.append((name, module))
                    case _:
                        pass
    return found


def test_nothing_is_defined_that_only_tests_use() -> None:
    used = names_used()
    assert [(name, module) for name, module in names_defined() if not used[name]] == []

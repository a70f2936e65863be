"""Everybody else's text reaches a terminal in one way: through ``trust.cli.terminal``, as a value, never as markup."""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[2]
TRUST = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8")) for path in sorted((ROOT / "trust").rglob("*.py"))
}
COMMANDS = {name: tree for name, tree in TRUST.items() if name.startswith("trust/cli/")}
TERMINAL = "trust/cli/terminal.py"
MAY_WRITE = {TERMINAL, "trust/cli/streams.py", "trust/cli/__init__.py", "trust/runtime/json_lines.py"}
TEMPLATES = {"say", "narrate", "headline", "sentence", "question"}
OWN_WORDS = {"busy", "progress_bar"}
PRINTERS = {"print", "click.echo", "click.secho", "click.echo_via_pager", "sys.stdout.write", "sys.stderr.write"}


def calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def imported(tree: ast.AST) -> set[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def is_literal(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def test_rich_is_used_in_one_place_and_click_by_the_command_line_alone() -> None:
    assert [name for name, tree in TRUST.items() if "rich" in imported(tree)] == [TERMINAL]
    assert [name for name, tree in TRUST.items() if "click" in imported(tree) and name not in COMMANDS] == []


def test_nothing_is_printed_elsewhere() -> None:
    found = [
        (name, ast.unparse(call))
        for name, tree in TRUST.items()
        if name not in MAY_WRITE
        for printer, call in calls(tree)
        if printer in PRINTERS
    ]
    bytes_to_sign = [(TERMINAL, "click.echo")]
    assert found == []
    assert [(TERMINAL, printer) for printer, _ in calls(TRUST[TERMINAL]) if printer in PRINTERS] == bytes_to_sign


def test_every_sentence_of_a_command_is_a_template_of_its_own() -> None:
    found = [
        (name, ast.unparse(call))
        for name, tree in COMMANDS.items()
        if name != TERMINAL
        for function, call in calls(tree)
        if function in TEMPLATES | OWN_WORDS and not (call.args and is_literal(call.args[0]))
    ]
    assert found == []
    assert sum(function in TEMPLATES for tree in COMMANDS.values() for function, _ in calls(tree)) > 100


def test_no_template_has_a_character_for_private_use() -> None:
    templates = [
        call.args[0].value
        for tree in COMMANDS.values()
        for function, call in calls(tree)
        if function in TEMPLATES and call.args and isinstance(call.args[0], ast.Constant)
    ]
    assert [each for each in templates if any("\ue000" <= letter <= "\uf8ff" for letter in str(each))] == []


def test_what_click_asks_is_a_template_too() -> None:
    asked = [
        call.args[0]
        for tree in COMMANDS.values()
        for name, call in calls(tree)
        if name in {"click.confirm", "click.prompt"}
    ]
    assert len(asked) > 2
    for each in asked:
        assert isinstance(each, ast.Constant | ast.Name) or (
            isinstance(each, ast.Call) and ast.unparse(each.func) == "question"
        ), ast.unparse(each)

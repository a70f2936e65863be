"""A name is one thing: no two classes share one, nor functions that one reader meets, nor files without a reason."""

import ast
from collections import defaultdict
from pathlib import Path

ROOT = Path(__file__).parents[2]
MIGRATIONS = ROOT / "trust" / "service" / "database" / "migrations"
TREES = {
    str(path.relative_to(ROOT)): ast.parse(path.read_text("utf-8"))
    for room in ("ledger", "policies", "queries", "trust")
    for path in sorted((ROOT / room).rglob("*.py"))
    if MIGRATIONS not in path.parents and path.name != "__init__.py"
}

COMMANDS_AND_HANDLERS = ("trust/cli/", "trust/service/routes/", "trust/service/app.py", "trust/service/pages/")
"""A command is named as it is typed, a handler as its path, a file of either as the role or the heading it is for."""

SHARED_FUNCTIONS = {
    "ask": "a partner asks, the service lets a question in: both ends of one act",
    "back_up": "of a node, of a service: an operator runs one of the two",
    "check": "of a signature, ed25519.check and ml_dsa.check: always called with its module's name",
    "decode": "canonical.decode, entries.decode: always called with its module's name",
    "encode": "canonical.encode, entries.encode: always called with its module's name",
    "farewell": "a resident's device and the service: both ends of one act",
    "grant": "a resident's device and the service: both ends of one act",
    "preview": "a partner and the service: both ends of one act",
    "replace_device": "the town plays it, the service does it: both ends of one act",
    "restore": "of a node, of a service: an operator runs one of the two",
    "revoke": "a resident's device and the service: both ends of one act",
}

SHARED_FILES = {
    "backup": "of a node, of a service",
    "check": "what a question, and what fsck, is checked for",
    "checkpoints": "the format; which of them fsck finds",
    "erasure": "its signed messages; what a node, and what a resident's device, does of it",
    "evidence": "what convicts a log; the files of it",
    "lost_device": "the act; how the town plays it",
    "promises": "what they say; what a resident's device keeps of them",
    "receipts": "the format; a resident's files",
    "replay": "of policies and consents; with questions besides",
    "report": "of an audit; of fsck",
    "service": "as its clients see it; itself",
    "settings": "of a node, of a service",
    "tree": "the log's; a question's",
    "uses": "the proofs' messages and their check; what a resident's device asks for",
}


def named_more_than_once(named: list[tuple[str, str]]) -> dict[str, list[str]]:
    places = defaultdict(list)
    for name, module in named:
        places[name].append(module)
    return {name: modules for name, modules in places.items() if len(modules) > 1}


def test_no_two_classes_share_a_name() -> None:
    classes = [
        (node.name, module) for module, tree in TREES.items() for node in tree.body if isinstance(node, ast.ClassDef)
    ]
    assert named_more_than_once(classes) == {}


def test_no_two_functions_below_commands_and_handlers_share_a_name_without_a_reason() -> None:
    functions = [
        (node.name, module)
        for module, tree in TREES.items()
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
        if not module.startswith(COMMANDS_AND_HANDLERS)
    ]
    assert set(named_more_than_once(functions)) == set(SHARED_FUNCTIONS), named_more_than_once(functions)


def test_no_two_files_share_a_name_without_a_reason() -> None:
    files = [(Path(module).stem, module) for module in TREES if not module.startswith(COMMANDS_AND_HANDLERS)]
    assert set(named_more_than_once(files)) == set(SHARED_FILES), named_more_than_once(files)

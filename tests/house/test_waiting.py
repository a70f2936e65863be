"""No test depends on the machine's speed: it waits for events, by the kit's one module, and gives everything time."""

import ast
from collections.abc import Iterator
from pathlib import Path

TESTS = Path(__file__).parents[1]
WAITING = TESTS / "kit" / "waiting.py"
LEAST = 300
"""Seconds below which a limit could be met by a slow machine alone."""
ARGUED = {
    "audit/test_witness_process.py": "a witness on a made-up network that is slow to answer, and one that never does",
    "kit/parties/witnesses.py": "a witness that answers by drops",
    "log/test_tile_folder.py": "a slow disk",
    "service/acts/test_service_keys.py": "a tree that must not be published while one waits for it",
    "service/test_service_several.py": "a client that asks a few times a second; a request to a stopped process is given up",
}
"""Where something else than the kit lets time pass, and what that time is."""
CLOCKS = {"time.sleep", "asyncio.sleep", "time.monotonic", "time.perf_counter", "time.process_time", "asyncio.timeout"}
LIMITED = {"wait", "join", "wait_for", "timeout", "communicate"}
"""Methods whose last positional argument may be a number of seconds."""


def watches(tree: ast.AST) -> Iterator[str]:
    """Yield what in a module sleeps, reads a stopwatch, or sets a limit that is short."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module in {"time", "asyncio"}:
            yield from (
                f"line {node.lineno}: from {node.module} import {name.name}"
                for name in node.names
                if f"{node.module}.{name.name}" in CLOCKS
            )
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        if called in CLOCKS:
            yield f"line {node.lineno}: {called}"
        limits = [each.value for each in node.keywords if each.arg == "timeout"]
        if called.rpartition(".")[2] in LIMITED:
            limits += node.args
        for limit in limits:
            if isinstance(limit, ast.Constant) and isinstance(limit.value, int | float) and limit.value < LEAST:
                yield f"line {node.lineno}: {called}(… {limit.value} seconds)"


def test_a_test_waits_for_events_and_measures_no_time() -> None:
    """What it needs to wait with is in tests.kit.waiting; what is argued for above is still there."""
    found = {
        path.relative_to(TESTS).as_posix(): list(watches(ast.parse(path.read_text())))
        for path in sorted(TESTS.rglob("*.py"))
        if path not in {WAITING, Path(__file__)}
    }
    assert {name: lines for name, lines in found.items() if lines and name not in ARGUED} == {}
    assert [name for name in ARGUED if not found[name]] == []


def test_what_a_test_must_not_do_is_noticed() -> None:
    code = "import time\ntime.sleep(1)\nprocess.wait(20)\nrun(timeout=5)\nrun(timeout=900)\nfrom asyncio import sleep\n"
    assert [line.partition(":")[0] for line in watches(ast.parse(code))] == ["line 6", "line 2", "line 3", "line 4"]

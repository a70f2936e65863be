"""What every call of ``musubi`` imports, and what it must not: help, version and completion are for people who wait."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

from tests.kit.commands import commands_of
from tests.kit.waiting import PATIENCE
from trust.cli import main
from trust.cli.lazy_group import LazyGroup

ROOT = Path(__file__).parents[2]
HEAVY = {
    "alembic", "aiosqlite", "asyncio", "asyncpg", "babel", "cryptography", "duckdb", "granian", "httpx", "ibis", "jinja2",
    "litestar", "merkletools", "msgspec", "nacl", "numpy", "opendp", "pandas", "prometheus_client", "pyarrow", "pygments",
    "rich", "sklearn", "sqlalchemy", "sqlglot", "structlog",
}  # fmt: skip
"""All that ``pyproject.toml`` lists but click, and what these bring along."""
CALLED = """
import atexit, sys
atexit.register(lambda: print("\\n" + " ".join(sorted({name.partition(".")[0] for name in sys.modules})), file=sys.stderr))
from trust.cli import main
main(prog_name="musubi")
"""


def modules_of(*words: str, **environment: str) -> tuple[str, set[str]]:
    """Call the command line; return what it printed, and the packages that were imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", CALLED, *words],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=True,
        timeout=PATIENCE,
        env={**os.environ, **environment},
    )
    return done.stdout, set(done.stderr.splitlines()[-1].split())


def completing(words: str) -> dict[str, str]:
    return {"_MUSUBI_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1)}


@pytest.mark.parametrize("option", ["--version", "--help", "-h"])
def test_version_and_help_import_nothing_heavy(option: str) -> None:
    said, modules = modules_of(option)
    assert "musubi" in said
    assert modules & HEAVY == set()
    assert "click" in modules


def test_completion_of_a_command_imports_nothing_heavy() -> None:
    said, modules = modules_of(**completing("musubi r"))
    assert said.split() == ["plain,resident", "plain,restore", "plain,rules"]
    assert modules & HEAVY == set()


DATA_AND_QUESTIONS = {
    "sqlglot",
    "opendp",
    "duckdb",
    "ibis",
    "pyarrow",
    "numpy",
    "sqlalchemy",
    "litestar",
    "granian",
    "jinja2",
}
GROUPS = sorted(name for name, each in commands_of(main).items() if isinstance(each, click.Group) and name != "play")


@pytest.mark.parametrize("group", GROUPS)
def test_a_group_of_commands_brings_nothing_that_computes_serves_or_asks(group: str) -> None:
    said, modules = modules_of(**completing(f"musubi {group} "))
    assert said.split()
    assert modules & DATA_AND_QUESTIONS == set()


def groups_with_a_table() -> list[LazyGroup]:
    return [main, *(each for each in commands_of(main).values() if isinstance(each, LazyGroup))]


@pytest.mark.parametrize("group", groups_with_a_table(), ids=lambda group: str(group.name))
def test_the_short_help_in_the_table_is_the_commands_own(group: LazyGroup) -> None:
    commands = commands_of(group)
    assert set(commands) == set(group.listed)
    long = 10_000
    assert {name: help_ for name, (_, help_) in group.listed.items()} == {
        name: command.get_short_help_str(long) for name, command in commands.items()
    }
    assert list(commands) == [command.name for command in commands.values()]


def test_help_lists_commands_as_click_does() -> None:
    plain = click.Group("musubi", commands=commands_of(main), help=main.help, params=main.params)
    here, there = (click.Context(each, info_name="musubi", **main.context_settings) for each in (main, plain))
    assert main.get_help(here) == plain.get_help(there)

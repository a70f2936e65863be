"""The gate before a commit (``.githooks/pre-commit``) judges what is staged, and nothing else."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.docs_pages import REPO

pytestmark = pytest.mark.slow

PROJECT = """
[tool.ruff.lint]
select = ["F"]
[tool.mypy]
packages = ["upper", "lower"]
strict = true
[tool.importlinter]
root_packages = ["upper", "lower"]
[[tool.importlinter.contracts]]
name = "One direction"
type = "layers"
layers = ["upper", "lower"]
"""
GOOD = {"upper/__init__.py": "from lower import size\n\nlength: int = size\n", "lower/__init__.py": "size = 1\n"}
BAD = {
    "not formatted": {"lower/__init__.py": "size  = 1\n"},
    "F401": {"lower/__init__.py": "import os\n\nsize = 1\n"},
    "[assignment]": {"lower/__init__.py": 'size = "one"\n'},
    "One direction BROKEN": {
        "upper/__init__.py": "length = 1\n",
        "lower/__init__.py": "from upper import length\n\nsize = length\n",
    },
}
"""What the gate says, and what is wrong."""


class Clone:
    """A small project of its own, whose git asks the real hook."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / ".venv").mkdir(parents=True)
        self.scratch = folder / ".scratch"
        self.scratch.mkdir()
        (folder / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
        (folder / ".venv" / "ready").touch()
        shutil.copytree(REPO / ".githooks", folder / ".githooks")
        (folder / ".gitignore").write_text("/.*\n", "utf-8")
        (folder / "pyproject.toml").write_text(PROJECT, "utf-8")
        self.git("init", "--quiet")
        self.git("config", "core.hooksPath", ".githooks")

    def git(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run git as somebody who has no settings."""
        bare = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
        someone = {
            "GIT_AUTHOR_NAME": "a",
            "GIT_AUTHOR_EMAIL": "a",
            "GIT_COMMITTER_NAME": "a",
            "GIT_COMMITTER_EMAIL": "a",
        }
        nobodys = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_SYSTEM": os.devnull}
        return subprocess.run(
            ["git", *words],
            cwd=self.folder,
            env={**bare, **someone, **nobodys, "TMPDIR": str(self.scratch)},
            capture_output=True,
            text=True,
            check=False,
        )

    def write(self, files: dict[str, str]) -> None:
        """Write files, without staging them."""
        for name, text in files.items():
            (self.folder / name).parent.mkdir(exist_ok=True)
            (self.folder / name).write_text(text, "utf-8")

    def commit(self, message: str) -> subprocess.CompletedProcess[str]:
        """Commit what is staged, and nothing else."""
        return self.git("commit", "--quiet", "--message", message)


def test_what_is_staged_is_let_through_only_if_formatted_linted_typed_and_within_the_contracts(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    clone.write(GOOD)
    clone.git("add", ".")
    first = clone.commit("good")
    assert first.returncode == 0, first.stderr
    for said, files in BAD.items():
        clone.write(files)
        clone.git("add", ".")
        clone.write(GOOD)  # what lies in the folder does not help
        refused = clone.commit("bad")
        assert refused.returncode == 1, said
        assert said in refused.stderr
    clone.write({"lower/__init__.py": "size = 2\n"})
    clone.git("add", ".")
    clone.write(BAD["F401"])  # nor does it hinder
    assert clone.commit("better").returncode == 0
    assert clone.git("log", "--format=%s").stdout.split() == ["better", "good"]
    assert not list(clone.scratch.iterdir()), "it leaves nothing behind"


def test_a_commit_without_code_asks_for_no_tools(tmp_path: Path) -> None:
    clone = Clone(tmp_path / "clone")
    clone.write({"README.md": "text\n"})
    clone.git("add", "README.md")
    (clone.folder / ".venv" / "ready").unlink()
    assert clone.commit("text only").returncode == 0
    clone.git("add", "pyproject.toml")
    refused = clone.commit("code, with nothing set up")
    assert refused.returncode == 1
    assert "make hooks" in refused.stderr

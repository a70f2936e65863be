"""Where things lie: folders taken in at a glance, modules read in one sitting, names that say something."""

import re
import subprocess
from collections import Counter
from pathlib import PurePosixPath

import pytest

from tests.docs.docs_pages import REPO

MOST_FILES = 12
FULLER_FOLDERS = {
    "docs/decisions": "one for each decision, for ever, numbered",
    "docs/how-to": "one for each task; docs/README.md puts them in order",
}
"""Folders with more files than that, and why it does no harm there."""

MOST_LINES = 400
MOSTLY = range(80, 301)
"""How long most modules are that are not mere glue."""

NOT_A_NAME = r"(utils?|helpers?|services|common|misc|shared|base|stuff|tools?|lib)"


NOT_ROOMS = {
    "docs": "what documentation says",
    "examples": "programs to copy",
    "faults": "several rooms and a disk, a line or a clock that fails",
    "fuzz": "hostile bytes for every parser",
    "house": "how the code is laid out",
    "interop": "other people's programs",
    "kit": "what tests share",
    "towns": "towns for tests",
}
"""The folders of tests that are named like no room."""


def _tracked(pattern: str = "*") -> list[PurePosixPath]:
    listed = subprocess.run(["git", "ls-files", "-z", pattern], cwd=REPO, capture_output=True, text=True, check=True)
    # What is staged as deleted is no file any more.
    return [PurePosixPath(name) for name in listed.stdout.split("\0") if name and (REPO / name).is_file()]


CODE = [path for path in _tracked("*.py") if path.parts[0] in {"ledger", "policies", "queries", "trust"}]
MODULES = [path for path in CODE if not path.name.startswith("__") and "migrations" not in path.parts]


def _lines(path: PurePosixPath) -> int:
    return len((REPO / path).read_text("utf-8").splitlines())


def test_no_folder_has_more_than_a_dozen_files() -> None:
    dunder = {"__init__.py", "__main__.py", "conftest.py"}
    counts = Counter(str(path.parent) for path in _tracked() if path.name not in dunder)
    counts.pop(".")
    assert {folder for folder, count in counts.items() if count > MOST_FILES} == set(FULLER_FOLDERS)


def test_a_module_is_read_in_one_sitting() -> None:
    lengths = {str(path): _lines(path) for path in MODULES}
    assert {path: length for path, length in lengths.items() if length > MOST_LINES} == {}
    long = [path for path, length in lengths.items() if length > MOSTLY.stop]
    assert len(long) < len(lengths) / 10, long
    middling = [path for path, length in lengths.items() if length in MOSTLY]
    assert len(middling) > len(lengths) / 2


@pytest.mark.parametrize("suffix", ["py", "js", "html"])
def test_no_file_and_no_folder_has_a_name_that_would_fit_anything(suffix: str) -> None:
    named = {part.removesuffix(f".{suffix}") for path in _tracked(f"*.{suffix}") for part in path.parts}
    named -= {"base"} if suffix == "html" else set()  # what a page's template is filled into: Jinja's own word
    assert {name for name in named if re.fullmatch(rf"(test_)?{NOT_A_NAME}", name)} == set()


def test_each_room_has_a_folder_of_tests_with_its_name_and_no_other_folder_looks_like_one() -> None:
    rooms = {"ledger", "policies", "queries"}
    rooms |= {path.parts[1] for path in CODE if path.parts[0] == "trust" and len(path.parts) > 2}
    folders = {path.parts[1] for path in _tracked("tests/*") if len(path.parts) > 2}
    assert folders == rooms | set(NOT_ROOMS)
    for room in rooms:
        assert list((REPO / "tests" / room).rglob("test_*.py")), room


MACHINE = re.compile(
    rb"/(?:home|Users|root|work)/[\w.-]+"  # somebody's own folder
    rb"|[A-Z]:\\Users\\"
    rb"|https?://[^\s\"'<>)]*(?:pypi|pythonhosted|npmjs|registry|artifactory|nexus|proxy\.golang)"  # where packages come from
    rb"|--(?:extra-)?index-url|index-url *="
)
SECRET = re.compile(
    rb"-----BEGIN [A-Z ]*PRIVATE KEY-----|PRIVATE\+KEY\+|\bAKIA[0-9A-Z]{16}\b|\bgh[pousr]_\w{36}|\bsk-[\w-]{32,}"
    rb"|\bxox[abp]-[\w-]{10,}|^[0-9a-f]{64}\n\Z"  # the last is what a key file of ours holds
)


def test_no_machines_own_path_no_package_registry_and_no_secret_is_committed() -> None:
    for path in _tracked():
        data = (REPO / path).read_bytes()
        found = MACHINE.findall(data) + SECRET.findall(data)
        assert not found or path == PurePosixPath(__file__).relative_to(REPO), (str(path), found)
        assert path.suffix not in {".key", ".pem", ".env", ".p12", ".sqlite"}, path


def test_what_is_looked_for_would_be_found() -> None:
    lines = (b"/home/kim/musubi", b"https://pypi.org/simple", b"-----BEGIN PRIVATE KEY-----", b"AKIA" + b"A" * 16)
    assert [bool(MACHINE.search(line) or SECRET.search(line)) for line in lines] == [True] * len(lines)
    assert SECRET.search(bytes(32).hex().encode() + b"\n")

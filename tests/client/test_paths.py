"""A path of the HTTP interface is written once, in ``trust.client.paths``, and filled in by one function."""

import re
from pathlib import Path

import pytest

import trust
from trust.client import paths

ROOT = Path(trust.__file__).parent
LITERAL = re.compile(r"""["'](/v1/|/log/)""")


def test_no_other_file_writes_a_path_down() -> None:
    writing = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if LITERAL.search(path.read_text("utf-8"))}
    assert writing == {"client/paths.py"}


@pytest.mark.parametrize(
    ("path", "filled"),
    [
        (paths.at(paths.ROUNDS), "/v1/rounds"),
        (paths.at(paths.ROUND, admit=7), "/v1/rounds/7"),
        (paths.at(paths.ROUND, admit=7, wait=20), "/v1/rounds/7?wait=20"),
        (paths.at(paths.SHARES, admit=7), "/v1/rounds/7/shares"),
        (paths.at(paths.IN_FORCE, policy_sha256="ab", size=9, index=4), "/v1/log/in-force/ab/9/4"),
        (paths.at(paths.USES, policy_sha256="ab", index=4, first=0), "/v1/log/uses/ab/4?first=0"),
        (paths.node_step("share"), "/v1/node/share"),
        (paths.CHECKPOINT, "/log/checkpoint"),
    ],
)
def test_a_path_is_filled_in_as_it_always_was(path: str, filled: str) -> None:
    assert path == filled


def test_a_path_without_what_it_needs_is_no_path() -> None:
    with pytest.raises(KeyError):
        paths.at(paths.ROUND, wait=20)

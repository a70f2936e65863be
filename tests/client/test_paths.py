"""A path of the HTTP interface is filled in by one function."""

import pytest

from trust.client import paths


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

"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.kit.amounts import LONG, every_nth

# No deadlines: a busy machine is not a fault. Under CI the same examples each time, so that a failure is the change's;
# everywhere else fresh ones, so that they go on finding things; now and then far more of them.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("long", deadline=None, max_examples=1_000, print_blob=True)
settings.load_profile("long" if LONG else "ci" if os.environ.get("CI") == "true" else "here")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what an ordinary run need not try of tables of alike cases; pytest says how many were left out."""
    if LONG:
        return
    left_out = every_nth(items)
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        gone = {id(item) for item in left_out}
        items[:] = [item for item in items if id(item) not in gone]


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of records and test vectors by other people, where this machine has it."""
    folder = Path(os.environ.get("MUSUBI_DATA") or Path(__file__).parents[1].parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("the shared data is not here: set MUSUBI_DATA to its folder")
    return folder

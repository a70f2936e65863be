"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest
from hypothesis import settings

from tests.kit.amounts import LONG

# No deadlines: a busy machine is not a fault. Under CI the same examples each time, so that a failure is the change's;
# everywhere else fresh ones, so that they go on finding things; now and then far more of them.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("long", deadline=None, max_examples=1_000, print_blob=True)
settings.load_profile("long" if LONG else "ci" if os.environ.get("CI") == "true" else "here")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of records and test vectors by other people, where this machine has it."""
    folder = Path(os.environ.get("MUSUBI_DATA") or Path(__file__).parents[1].parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("the shared data is not here: set MUSUBI_DATA to its folder")
    return folder

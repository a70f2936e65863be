"""Fixtures that every room's tests share."""

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of records and test vectors by other people, where this machine has it."""
    folder = Path(os.environ.get("MUSUBI_DATA") or Path(__file__).parents[1].parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("the shared data is not here: set MUSUBI_DATA to its folder")
    return folder

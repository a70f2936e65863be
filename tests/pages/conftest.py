"""The browser that the tests of pages share."""

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.kit.machine.chromium import launch


@pytest.fixture(scope="module")  # the driver's event loop must not outlive the module: others run their own
def browser() -> Iterator[Browser]:
    yield from launch()

"""Fixtures that every room's tests share."""

import os
import ssl
from collections.abc import Iterator
from pathlib import Path
from unittest import mock

import pytest
from httpx._config import create_ssl_context
from hypothesis import settings

from tests.kit.amounts import LONG

# No deadlines: a busy machine is not a fault. Under CI the same examples each time, so that a failure is the change's;
# everywhere else fresh ones, so that they go on finding things; now and then far more of them.
settings.register_profile("here", deadline=None)
settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
settings.register_profile("long", deadline=None, max_examples=1_000, print_blob=True)
settings.load_profile("long" if LONG else "ci" if os.environ.get("CI") == "true" else "here")


@pytest.fixture(scope="session", autouse=True)
def certificates_read_once() -> Iterator[None]:
    """Whoever makes an HTTP client reads the machine's certificates anew, which takes longer than most requests."""
    usual = create_ssl_context()

    def cached(
        verify: ssl.SSLContext | str | bool = True,
        cert: tuple[str, str] | str | None = None,
        trust_env: bool = True,
    ) -> ssl.SSLContext:
        of_its_own = trust_env and not {"SSL_CERT_FILE", "SSL_CERT_DIR"}.isdisjoint(os.environ)
        if verify is True and cert is None and not of_its_own:
            return usual
        return create_ssl_context(verify, cert, trust_env)

    with mock.patch("httpx._transports.default.create_ssl_context", cached):
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of records and test vectors by other people, where this machine has it."""
    folder = Path(os.environ.get("MUSUBI_DATA") or Path(__file__).parents[1].parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip("the shared data is not here: set MUSUBI_DATA to its folder")
    return folder

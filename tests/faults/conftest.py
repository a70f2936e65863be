"""The fault tests use the kit of the service's tests: a tiny town, real processes, two databases."""

from collections.abc import Iterator

import pytest

from tests.kit.machine.databases import postgresql_server


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The socket folder of a running PostgreSQL."""
    with postgresql_server() as host:
        yield host

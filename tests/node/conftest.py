"""A real PostgreSQL for the tests of a node."""

from collections.abc import Iterator

import pytest

from tests.kit.machine.databases import new_database, postgresql_server


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """Give the address of a server's folder."""
    with postgresql_server() as host:
        yield host


@pytest.fixture
def address(server: str) -> str:
    """Give the address of a new database."""
    return new_database(server).replace("+asyncpg", "")

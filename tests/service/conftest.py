"""Fixtures for tests of the service: one PostgreSQL for each worker, a fresh database for each town."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest

from tests.kit.machine.databases import new_database, postgresql_server
from tests.kit.towns.running import Running, Town, lay_out, run

MakeTown = Callable[..., Town]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The socket folder of a running PostgreSQL."""
    with postgresql_server() as host:
        yield host


@pytest.fixture(scope="session", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.slow)])
def database(request: pytest.FixtureRequest) -> Callable[[], str]:
    """Gives the address of a fresh database: SQLite in the service's own folder, or PostgreSQL."""
    if request.param == "sqlite":
        return lambda: ""
    host = request.getfixturevalue("postgresql")
    return lambda: new_database(host)


@pytest.fixture
def town(tmp_path: Path, database: Callable[[], str]) -> Town:
    """A laid-out town that nothing runs of yet."""
    return lay_out(tmp_path / "town", database())


@pytest.fixture
async def running(town: Town) -> AsyncIterator[Running]:
    """A founded town whose service runs."""
    async with run(town) as started:
        yield await started.found()

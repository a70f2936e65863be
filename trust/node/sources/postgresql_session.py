"""A connection to a holder's PostgreSQL, from any thread: where its address stands, and what is not taken for one.

The address may hold a password: it is in a file of mode 0600, or in the environment, and never in a message from here.
"""

import asyncio
import os
import threading
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg

from ledger.errors import Unavailable

CONNECT_SECONDS = 10
CLOSE_SECONDS = 10
HERE = {"", "localhost", "127.0.0.1", "::1"}


def address_of(whose: str, dsn: str, dsn_env: str, dsn_file: Path | None) -> str:
    """Return the address that one of the three says; raise Unavailable where it is none, or may not be used.

    ``whose`` is how the sentence begins: "A source".
    """
    if dsn_env:
        address = os.environ.get(dsn_env, "")
        if not address:
            raise Unavailable(
                f"{whose}'s dsn_env names no variable of the node's environment; set it before the start."
            )
    elif dsn_file is not None:
        address = _secret_line(whose, dsn_file)
    else:
        address = dsn
    try:
        parts = urlsplit(address)
        asked = {name: values[-1] for name, values in parse_qs(parts.query).items()}
        host = asked.get("host", parts.hostname or "")
    except ValueError:
        raise Unavailable(f"{whose}'s dsn is no address; write postgresql://user@host/database.") from None
    if parts.scheme not in {"postgresql", "postgres"}:
        raise Unavailable(f"{whose}'s dsn is no address; write postgresql://user@host/database.")
    is_here = host in HERE or host.startswith("/")
    if not is_here and asked.get("sslmode") not in {"verify-full", "verify-ca", "require"}:
        raise Unavailable(
            f"{whose}'s database is on another machine, and its address does not say how it is known: add "
            "sslmode=verify-full."
        )
    return address


class PostgresqlSession:
    """One connection, and the event loop that it needs, in a thread of its own: another may be running in ours."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="postgresql", daemon=True)
        self._thread.start()
        self.connection: Any = None

    def run(self, work: Any, seconds: float | None = None) -> Any:
        """Return what an awaitable comes to; raise TimeoutError where that takes longer than so many seconds."""

        async def wait() -> Any:
            return await asyncio.wait_for(work, seconds)

        return asyncio.run_coroutine_threadsafe(wait(), self._loop).result()

    async def open(self, address: str, settings: Mapping[str, str]) -> None:
        """Connect, with the server set so. No table but the server's own and temporary ones has a short name."""
        self.connection = await asyncpg.connect(
            address,
            timeout=CONNECT_SECONDS,
            server_settings={"application_name": "musubi node", "search_path": "pg_catalog", **settings},
        )

    def close(self) -> None:
        """End the connection and its thread, whatever state they are in."""
        if self.connection is not None:
            with suppress(Exception):  # past the time it is broken off
                self.run(self.connection.close(timeout=CLOSE_SECONDS))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


def _secret_line(whose: str, path: Path) -> str:
    try:
        if path.stat().st_mode & 0o077:
            raise Unavailable(f"{whose}'s dsn_file is open to others; let nobody but the node read it: chmod 600.")
        return path.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        raise Unavailable(f"{whose}'s dsn_file cannot be read; look at its path and permissions.") from None

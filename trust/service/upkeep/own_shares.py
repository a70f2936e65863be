"""The signed shares of closed rounds as the service's own database has them, for an export on its own machine."""

import asyncio
from pathlib import Path
from types import TracebackType
from typing import Self

from sqlalchemy import or_, select
from sqlalchemy.exc import SQLAlchemyError

from ledger import canonical
from ledger.errors import NotFound, Unavailable
from trust.client.wire import SignedShares
from trust.service.database import tables as t
from trust.service.database.engine import Databases

SQLITE = "sqlite+aiosqlite:///"


class OwnShares:
    """The shares in the database at an address (``trust.log.share_files.SharesSource``); the service may run meanwhile.

    Raises NotFound where there is no such database.
    """

    def __init__(self, database_url: str) -> None:
        if database_url.startswith(SQLITE) and not Path(database_url.removeprefix(SQLITE)).exists():
            raise NotFound("The service's database is not there; was the service ever started?")
        self._runner = asyncio.Runner()
        self._databases = Databases(database_url)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._runner.run(self._databases.close())
        self._runner.close()

    def read_shares(self, admit: int) -> bytes:
        """Return the JSON of one round's shares. Raises NotFound or Unavailable."""
        try:
            shares = self._runner.run(self._read(admit))
        except SQLAlchemyError:
            raise Unavailable("The service's database cannot be read; look at its disk, or at its server.") from None
        if not shares:
            raise NotFound("No question whose shares are public is at that place of the ledger.")
        return canonical.encode(SignedShares(shares=shares))

    def ways(self) -> "list[OwnShares]":
        """Return the one way: nothing lies between."""
        return [self]

    def carries(self) -> None:
        """Say that it has those of all entries."""

    async def _read(self, admit: int) -> dict[str, str]:
        query = (
            select(t.messages.c.holder, t.messages.c.token)
            .join(t.rounds, t.rounds.c.admit == t.messages.c.admit)
            .where(t.messages.c.admit == admit, t.messages.c.step == "share")
            .where(or_(t.rounds.c.released, t.rounds.c.lost))
        )
        async with self._databases.reader.connect() as connection:
            return {row.holder: row.token for row in await connection.execute(query)}

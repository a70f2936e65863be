"""The log's own rows in the database, as a check needs them: a few at a time, in plain calls, written only to repair.

Whatever the database raises becomes Unavailable. Nothing is migrated and no database is made where there is none.
"""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Row, RowMapping, Select, Table, delete, func, insert, select, tuple_
from sqlalchemy.engine import make_url
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.errors import NotFound, Unavailable
from trust.service.database import tables as t
from trust.service.database.engine import Databases
from trust.service.keys.record_keys import RecordKeys
from trust.service.store.election import Election, make_election

T = TypeVar("T")
CHUNK = 256
MOST_INDEX = 2**63 - 1


class LogRows:
    """The tables ``entries``, ``head`` and ``published`` of one database. Not for use within an event loop.

    Raises NotFound where a SQLite database is not there.
    """

    def __init__(self, url: str) -> None:
        file = make_url(url).database or ""
        if make_url(url).get_backend_name() == "sqlite" and not Path(file).is_file():
            raise NotFound("The service's database is not there; restore it from a backup.")
        self._runner = asyncio.Runner()
        self._databases = Databases(url)
        self._election: Election | None = None

    def take_lock(self) -> None:
        """Keep service processes from starting until ``close``; raise Unavailable where one is at work."""
        self._election = make_election(self._databases, lambda: None)
        self._runner.run(self._election.claim())
        self._runner.run(self._election.start())
        if not self._election.leads:
            raise Unavailable("A service process is at work on this ledger; stop it before the repair.")

    def close(self) -> None:
        """Close the connections, and let go of the lock."""
        if self._election is not None:
            self._runner.run(self._election.stop())
        self._runner.run(self._databases.close())
        self._runner.close()

    def entries(self, first: int, last: int) -> dict[int, bytes]:
        """Return the rows with ``first`` <= index < ``last``, by index."""

        async def read(connection: AsyncConnection) -> dict[int, bytes]:
            wanted = t.entries.c.index.between(first, last - 1)
            found = await connection.execute(select(t.entries.c.index, t.entries.c.data).where(wanted))
            return {int(row[0]): bytes(row[1]) for row in found}

        return self._run(read)

    def entries_from(self, first: int) -> Iterator[tuple[int, bytes]]:
        """Yield every row from index ``first`` on, in order, however far apart they are."""
        columns = select(t.entries.c.index, t.entries.c.data)
        for part in self._parts(columns, first):
            yield from ((int(row[0]), bytes(row[1])) for row in part)

    def _parts(self, wanted: Select[*tuple[Any, ...]], first: int) -> Iterator[Sequence[Row[*tuple[Any, ...]]]]:
        """Yield a query's rows from the entry ``first`` on, in order, some at a time; the index comes first in each."""
        while True:
            part = wanted.where(t.entries.c.index >= first).order_by(t.entries.c.index).limit(CHUNK)

            async def read(
                connection: AsyncConnection, part: Select[*tuple[Any, ...]] = part
            ) -> Sequence[Row[*tuple[Any, ...]]]:
                return (await connection.execute(part)).all()

            rows = self._run(read)
            yield rows
            if len(rows) < CHUNK or rows[-1][0] >= MOST_INDEX:
                return
            first = int(rows[-1][0]) + 1

    def end(self) -> int:
        """Return the index after the last row."""

        async def read(connection: AsyncConnection) -> int:
            last = (await connection.execute(select(func.max(t.entries.c.index)))).scalar()
            return 0 if last is None else int(last) + 1

        return self._run(read)

    def head(self) -> tuple[int, int] | None:
        """Return the size and time that ``head`` says, or None where there is no row."""

        async def read(connection: AsyncConnection) -> tuple[int, int] | None:
            row = (await connection.execute(select(t.head.c.size, t.head.c.at))).first()
            return None if row is None else (int(row[0]), int(row[1]))

        return self._run(read)

    def published(self) -> tuple[int, bytes] | None:
        """Return the size and checkpoint that ``published`` says, or None where there is no row."""

        async def read(connection: AsyncConnection) -> tuple[int, bytes] | None:
            row = (await connection.execute(select(t.published.c.size, t.published.c.checkpoint))).first()
            return None if row is None else (int(row[0]), bytes(row[1]))

        return self._run(read)

    def all_of(self, table: Table) -> Iterator[RowMapping]:
        """Yield every row of a table by its columns' names, in the order of its key."""
        key = list(table.primary_key.columns)
        last: tuple[Any, ...] | None = None
        while True:
            part = select(table).order_by(*key).limit(CHUNK)
            wanted = part if last is None else part.where(tuple_(*key) > last)

            async def read(
                connection: AsyncConnection, wanted: Select[*tuple[Any, ...]] = wanted
            ) -> Sequence[RowMapping]:
                return (await connection.execute(wanted)).mappings().all()

            rows = self._run(read)
            yield from rows
            if len(rows) < CHUNK:
                return
            last = tuple(rows[-1][column.name] for column in key)

    def grants(self) -> Iterator[tuple[int, bytes, bytes, bytes]]:
        """Yield (index, consent, policy hash, entry) of every consent's row, in order."""
        columns = t.entries.c.index, t.grants.c.consent, t.grants.c.policy_sha256, t.entries.c.data
        wanted = select(*columns).join(t.grants, t.grants.c.index == t.entries.c.index)
        for part in self._parts(wanted, 0):
            for index, consent, policy_sha256, data in part:
                yield int(index), bytes(consent), bytes(policy_sha256), bytes(data)

    def records(self, key_file: Path) -> Iterator[tuple[int, bytes | None, bytes | None, bytes]]:
        """Yield (index, key, sealed record, entry) of every consent and revocation, in order; None for what is lost.

        Without those whose record was erased. ``key_file`` is the file of the records' keys.
        """
        wanted = (
            select(t.entries.c.index, t.records.c.sealed, t.entries.c.data)
            .outerjoin(t.records, t.records.c.index == t.entries.c.index)
            .outerjoin(t.grants, t.grants.c.index == t.entries.c.index)
            .outerjoin(t.erasures, t.erasures.c.index == t.entries.c.index)
            .where(t.erasures.c.index.is_(None))
            .where(t.records.c.index.is_not(None) | t.grants.c.index.is_not(None))
        )
        keys = RecordKeys(key_file) if key_file.is_file() else None
        try:
            for part in self._parts(wanted, 0):
                found = self._runner.run(keys.find(row[0] for row in part)) if keys is not None else {}
                for index, sealed, data in part:
                    yield int(index), found.get(index), None if sealed is None else bytes(sealed), bytes(data)
        finally:
            if keys is not None:
                self._runner.run(keys.close())

    def write_entries(self, entries: dict[int, bytes]) -> None:
        """Put these rows in the place of whatever is there, all or none."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(delete(t.entries).where(t.entries.c.index.in_(list(entries))))
            await connection.execute(
                insert(t.entries), [{"index": index, "data": data} for index, data in entries.items()]
            )

        self._run(write, writing=True)

    def write_head(self, size: int, at: int) -> None:
        """Put this row in the place of whatever is there."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(delete(t.head))
            await connection.execute(insert(t.head).values(id=1, size=size, at=at))

        self._run(write, writing=True)

    def write_published(self, size: int, checkpoint: bytes) -> None:
        """Put this row in the place of whatever is there."""

        async def write(connection: AsyncConnection) -> None:
            await connection.execute(delete(t.published))
            await connection.execute(insert(t.published).values(id=1, size=size, checkpoint=checkpoint))

        self._run(write, writing=True)

    def _run(self, act: Callable[[AsyncConnection], Awaitable[T]], *, writing: bool = False) -> T:
        async def run() -> T:
            engine = self._databases.writer if writing else self._databases.reader
            async with engine.begin() as connection:
                return await act(connection)

        try:
            return self._runner.run(run())
        except (SQLAlchemyError, OSError, OverflowError, ValueError):
            raise Unavailable(
                "The service's database cannot be read or written; mend it, or restore a backup."
            ) from None

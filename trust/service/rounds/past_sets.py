"""In-force sets as they were at any past tree size, for proofs: made from the store, without replaying the log.

A set at size N takes: which grants were given, and where the replacing ones stand, from the state's own bitmaps and
chains, cut at N; which of them were ended below N, from ``grants.ended_by``; and the charges in force at N, from the
``admit`` entries of this and older versions and what refunded them. A set
that was made for a smaller size is moved on to a larger one, so going through a policy's questions in order costs
little for each. The few sets last used are kept.

What it costs, measured with one grant in ten ended and 1,000 questions: at 1 million ledger indices 0.3 s for a first
set and 1 ms for the next question's; at 10 million 3.5 s and some 2 ms (9 ms at most), nearly all of it reading the
ended grants. A kept set takes about 0.4 MiB and 4 MiB. One set is made at a time, rows are read a few thousand at a
time so that others get their turn, and few callers may wait.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import structlog
from msgspec import Struct
from sqlalchemy import Select, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.errors import NotFound, RateLimited, Unavailable
from policies.in_force.sets import InForce
from policies.ledger_state import PolicyRecord
from queries.answers.uses import PAGE, InForceAt, PossibleUse, Uses
from trust.service.database import tables as t
from trust.service.store.store import Store

KEPT_SETS = 8
MOST_WAITING = 32
ROWS = 5_000
logger = structlog.get_logger()


class _EntryPart(Struct):
    """The fields of an entry that in-force sets depend on; those of an ``admit`` are empty for other kinds."""

    at: int
    kind: str
    charge: int = 0
    policy_sha256: str = ""
    in_force_root: str = ""


_entry_part = msgspec.json.Decoder(_EntryPart)


class _Moment(Struct, frozen=True):
    """For when and for what charge a set is asked for; ``root`` is the one that an ``admit`` there names, or empty."""

    at: int
    charge: int
    root: str


class _PastSet:
    """The grants and charges of one policy version at one tree size."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.in_force = InForce()


class PastSets:
    """Past in-force sets of one store."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._sets: OrderedDict[tuple[str, int], _PastSet] = OrderedDict()
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def prove(self, policy_sha256: str, size: int, index: int, charge: int | None, published: int) -> InForceAt:
        """Prove whether the grant at ``index`` was in force at a published tree size.

        Without ``charge``, it is the one of the ``admit`` of this policy version at that very index, and 0 where there
        is none. Raises NotFound, RateLimited or Unavailable.
        """
        record = self._record(policy_sha256)
        if not record.index < size <= published:
            raise NotFound("No published tree of that size has this policy version in it.")
        if not 0 <= index < size:
            raise NotFound("A tree of that size has no entry at that index.")
        async with self._connection() as connection:
            moment = await _moment(connection, record, size, published)
            past = await self._at(connection, record, size)
            if charge is not None and charge != moment.charge:
                moment = _Moment(moment.at, charge, "")
            return self._answer(record, past, moment, index)

    async def uses(self, policy_sha256: str, index: int, first: int, published: int) -> Uses:
        """Prove the same for one page of the published questions from ``first`` on that came after ``index``."""
        record = self._record(policy_sha256)
        if not 0 <= index < published:
            raise NotFound("The ledger has no such published entry.")
        query = (
            select(t.rounds.c.admit, t.rounds.c.closed_by, t.entries.c.data)
            .join(t.entries, t.entries.c.index == t.rounds.c.admit)
            .where(t.rounds.c.policy == record.document.id)
            .where(t.rounds.c.admit >= max(first, index + 1), t.rounds.c.admit < published)
            .order_by(t.rounds.c.admit)
            .limit(PAGE)
        )
        uses: list[PossibleUse] = []
        async with self._connection() as connection:
            rows = (await connection.execute(query)).all()
            for row in rows:
                part = _entry_part.decode(row.data)
                if part.policy_sha256 != policy_sha256:
                    continue  # another version of the policy
                past = await self._at(connection, record, row.admit, move=bool(uses))
                closed = row.closed_by is not None and row.closed_by < published
                moment = _Moment(part.at, part.charge, part.in_force_root)
                in_force = self._answer(record, past, moment, index)
                uses.append(PossibleUse(in_force=in_force, closed_by=row.closed_by if closed else None))
        return Uses(
            log=self._store.state.log,
            policy_sha256=policy_sha256,
            index=index,
            size=published,
            uses=uses,
            next=rows[-1].admit + 1 if len(rows) == PAGE else None,
        )

    def _record(self, policy_sha256: str) -> PolicyRecord:
        record = self._store.state.versions.get(policy_sha256)
        if record is None:
            raise NotFound("The ledger has no policy document with that hash.")
        return record

    @asynccontextmanager
    async def _connection(self) -> AsyncIterator[AsyncConnection]:
        """Wait for one's turn, and read."""
        if self._waiting >= MOST_WAITING:
            raise RateLimited("Too many proofs of past sets are being waited for; try again in a few seconds.")
        self._waiting += 1
        try:
            async with self._turn, self._store.databases.reader.connect() as connection:
                yield connection
        finally:
            self._waiting -= 1

    def _answer(self, record: PolicyRecord, past: _PastSet, moment: _Moment, index: int) -> InForceAt:
        state = self._store.state
        day = state.day(moment.at)
        root = past.in_force.root(day, moment.charge, past.size)
        if moment.root and root != moment.root:
            logger.error("past-set-differs", admit=past.size)
            raise Unavailable(
                "The store does not give the in-force root that the ledger has; tell the town's stewards."
            )
        return InForceAt(
            log=state.log,
            policy_sha256=record.sha256,
            size=past.size,
            at=moment.at,
            day=day,
            charge=moment.charge,
            root=root,
            proof=past.in_force.prove(day, moment.charge, past.size, index),
        )

    async def _at(
        self, connection: AsyncConnection, record: PolicyRecord, size: int, *, move: bool = False
    ) -> _PastSet:
        """Return the set at a size: a kept one, or one made from the nearest kept below; ``move`` gives that one up."""
        kept = [at for sha256, at in self._sets if sha256 == record.sha256 and at <= size]
        nearest = (record.sha256, max(kept)) if kept else None
        if nearest is None:
            past = _PastSet(record.index)
        elif nearest[1] == size:
            self._sets.move_to_end(nearest)
            return self._sets[nearest]
        elif move:
            past = self._sets.pop(nearest)
        else:
            past = _PastSet(nearest[1])
            past.in_force = self._sets[nearest].in_force.copy()
        await self._move_on(connection, record, past, size)
        self._sets[record.sha256, size] = past
        if len(self._sets) > KEPT_SETS:
            self._sets.popitem(last=False)
        return past

    async def _move_on(self, connection: AsyncConnection, record: PolicyRecord, past: _PastSet, size: int) -> None:
        """Bring a set up to a size. Where this fails half-way, the set must not be kept."""
        first, in_force, state = past.size, past.in_force, self._store.state
        if state.size < size:
            raise Unavailable("This process has not read the ledger so far yet; try again in a moment.")
        in_force.copy_grants(state.in_force[record.sha256], first, size)
        ended = select(t.grants.c.index.label("place")).where(
            t.grants.c.policy_sha256 == bytes.fromhex(record.sha256),
            t.grants.c.ended_by >= first,
            t.grants.c.ended_by < size,
        )
        async for row in _rows(connection, ended):
            in_force.end(row.place)
        of_policy = t.rounds.c.policy == record.document.id
        counting = {
            sha256
            for sha256, version in state.versions.items()
            if version.document.id == record.document.id and version.index <= record.index
        }
        since = 0 if first == record.index else first  # a new version begins with the charges of those before it
        admits = (
            select(t.rounds.c.admit, t.entries.c.data)
            .join(t.entries, t.entries.c.index == t.rounds.c.admit)
            .where(of_policy, t.rounds.c.admit >= since, t.rounds.c.admit < size)
            .order_by(t.rounds.c.admit)
        )
        async for row in _rows(connection, admits):
            part = _entry_part.decode(row.data)
            if part.policy_sha256 in counting:
                in_force.charge(row.admit, int(state.day(part.at)[:4]), part.charge)
        refunds = select(t.rounds.c.admit).where(
            of_policy,
            t.rounds.c.released.is_(False),
            t.rounds.c.lost.is_(False),
            t.rounds.c.closed_by >= since,
            t.rounds.c.closed_by < size,
        )
        async for row in _rows(connection, refunds):
            in_force.refund(row.admit)
        past.size = size


async def _moment(connection: AsyncConnection, record: PolicyRecord, size: int, published: int) -> _Moment:
    """Return the ``admit`` of this policy version at ``size``, or else the last entry's time."""
    query = (
        select(t.entries.c.data)
        .where(t.entries.c.index.between(size - 1, min(size, published - 1)))
        .order_by(t.entries.c.index)
    )
    parts = [_entry_part.decode(row.data) for row in (await connection.execute(query)).all()]
    if len(parts) == 2 and parts[1].kind == "admit" and parts[1].policy_sha256 == record.sha256:
        return _Moment(parts[1].at, parts[1].charge, parts[1].in_force_root)
    return _Moment(parts[0].at, 0, "")


async def _rows(connection: AsyncConnection, query: Select) -> AsyncIterator:  # type: ignore[type-arg]
    """Yield a query's rows, some thousands at a time."""
    async with connection.stream(query) as result:
        async for rows in result.partitions(ROWS):
            for row in rows:
                yield row

"""What each holder's node has signed that it is caught up with, and so when an ended consent is stopped everywhere.

With each poll a node signs its newest statement (``queries.rounds.messages.CaughtUp``). Its size is kept, it never goes
back, and of the statements those that were the first to cover the end, or the erasure, of some consent given for that
holder: of each end, so, the first statement of every holder. They are kept for ever; they are the proof that the end
was final.

A node's ``at`` is its own clock's, within a minute of ours. A holder that has left the town and takes part in no open
round is not waited for: no question admitted since names it.
"""

from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, Row, and_, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import entries as e
from ledger import jws
from ledger.errors import ClockSkew, Malformed, MusubiError, NotFound
from policies.consents.revocation import ended_grant
from policies.ledger_state import PolicyRecord, State
from queries.answers.uses import HolderStopped, Stopped, check_caught_up
from queries.rounds.messages import CaughtUp
from trust.runtime.clock import MAX_SKEW_SECONDS
from trust.service import metrics
from trust.service.database import tables as t
from trust.service.store.entry_rows import decode_stored, entry_at
from trust.service.store.store import Store, Transaction

LAGGING_SECONDS = 60
"""An entry that waits longer for a node makes it one that lags; it may wait for an open question to end, too."""
HEARD_EVERY_SECONDS = 60
"""How often it is written down that a node was heard which has nothing new to say."""


class Heard(Struct, frozen=True, kw_only=True):
    """How far a node has caught up, and when it was last heard (UTC seconds)."""

    size: int = 0
    heard: int = 0


class Standing(Struct, frozen=True, kw_only=True):
    """How far a node is, and since when the first entry that it has not caught up with waits (None: there is none)."""

    size: int
    heard: int
    waits_since: int | None


class CaughtUpBooks:
    """The books of one store. ``known`` is what this process knows, by holder; the tables say the same or more."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self.known: dict[str, Heard] = {}
        self._written: dict[str, int] = {}

    async def load(self) -> None:
        """Read what was heard before this process began."""
        async with self._store.databases.reader.connect() as connection:
            self.known = await _read(connection, self._store.size)

    async def note(self, holder: str, token: str, published: int) -> None:
        """Take a node's statement in.

        Raises SignatureInvalid, ProofInvalid (another holder's), ClockSkew, or Malformed for more than is published.
        """
        state, now = self._store.state, self._store.clock()
        key = state.member_keys[holder][-1]
        said = check_caught_up(token, key.key, log=state.log, holder=holder)
        if said.size > published:
            raise Malformed("A node cannot have caught up with more than is published.")
        if abs(said.at - now) > MAX_SKEW_SECONDS:
            raise ClockSkew("The statement's time is more than a minute from the service's; check the clock.", now=now)
        before = self.known.get(holder, Heard())
        self.known[holder] = Heard(size=before.size, heard=now)
        if said.size <= before.size and now - self._written.get(holder, 0) < HEARD_EVERY_SECONDS:
            return

        async def act(transaction: Transaction) -> list[tuple[str, int, int]]:
            return await _write(transaction, said, token, key.index, now)

        stopped = await self._store.submit(act)
        self._written[holder] = now
        self.known[holder] = Heard(size=max(said.size, self.known[holder].size), heard=now)
        for sha256, first, end in stopped:
            await self._measure(sha256, first, end, now)

    def _latest(self, holder: str, written: dict[str, Heard]) -> Heard:
        """Return the latest of what this process knows and what another one wrote down."""
        mine, theirs = self.known.get(holder, Heard()), written.get(holder, Heard())
        return Heard(size=max(mine.size, theirs.size), heard=max(mine.heard, theirs.heard))

    async def _measure(self, policy_sha256: str, first: int, end: int, now: int) -> None:
        """Note how long the ends of consents in a part of the ledger took until they were stopped everywhere."""
        query = (
            select(t.entries.c.data)
            .join(t.grants, t.grants.c.ended_by == t.entries.c.index)
            .where(_ended(bytes.fromhex(policy_sha256), first, end))
        )
        async with self._store.databases.reader.connect() as connection, connection.stream(query) as result:
            async for row in result:
                metrics.stop_seconds.observe(max(0, now - decode_stored(bytes(row.data)).at))

    async def sizes(self) -> dict[str, int]:
        """Return the tree size that each holder's node has signed it is caught up with, as written down."""
        async with self._store.databases.reader.connect() as connection:
            return {holder: each.size for holder, each in (await _read(connection, self._store.size)).items()}

    async def standing(self, published: int) -> dict[str, Standing]:
        """Return how far every holder that was ever registered is."""
        async with self._store.databases.reader.connect() as connection:
            written = await _read(connection, self._store.size)
            found = {}
            for holder in self._store.state.members:
                latest = self._latest(holder, written)
                since = (await entry_at(connection, latest.size)).at if latest.size < published else None
                found[holder] = Standing(size=latest.size, heard=latest.heard, waits_since=since)
        return found

    async def stopped(self, index: int, published: int) -> Stopped:
        """Return where the end of a consent has come to. Raises NotFound unless the entry there is one."""
        state = self._store.state
        async with self._store.databases.reader.connect() as connection:
            entry = await entry_at(connection, index) if 0 <= index < published else None
            erased = await entry_at(connection, entry.index) if isinstance(entry, e.Erase) else None
            grant = ended_grant(entry, erased) if entry is not None else None
            if entry is None or grant is None:
                raise NotFound("The published ledger has no end of a consent at that place.")
            granted = await entry_at(connection, grant)
            if not isinstance(granted, e.Grant):
                raise NotFound("The published ledger has no end of a consent at that place.")
            record = state.versions[granted.policy_sha256]
            written = await _read(connection, self._store.size)
            holders = [
                await _holder(connection, state, holder, index, self._latest(holder, written))
                for holder in record.document.holders
            ]
            times = [await _time(connection, state, each) for each in holders]
        reached = [time for time in times if time is not None]
        return Stopped(
            log=state.log,
            index=index,
            at=entry.at,
            grant=grant,
            policy_sha256=record.sha256,
            holders=holders,
            stopped_at=max(reached) if len(reached) == len(times) else None,
        )


def has_gone(state: State, holder: str) -> bool:
    """Return whether a holder has left the town, or is none any more, and takes part in no open round."""
    body = state.members.get(holder)
    open_rounds = state.rounds.values()
    return body is None or (
        state.member(holder, "holder") is None and not any(holder in each.admit.participants for each in open_rounds)
    )


async def _read(connection: AsyncConnection, committed: int) -> dict[str, Heard]:
    """Return what is written down of each holder; a size that the ledger does not reach is damaged, and none."""
    rows = (await connection.execute(select(t.caught_up))).all()
    return {row.holder: Heard(size=row.size, heard=row.heard) for row in rows if 0 <= row.size <= committed}


async def _write(
    transaction: Transaction, said: CaughtUp, token: str, member: int, now: int
) -> list[tuple[str, int, int]]:
    """Write a statement down; return for which policy versions it was the last one, and between which sizes."""
    connection, holder = transaction.connection, said.from_
    known = await _read(connection, transaction.state.size)
    before = known.get(holder)
    old = before.size if before is not None else 0
    values = {"size": max(said.size, old), "heard": now}
    await connection.execute(delete(t.caught_up).where(t.caught_up.c.holder == holder))  # a damaged one, too
    await connection.execute(insert(t.caught_up), {"holder": holder, **values})
    if said.size <= old:
        return []
    records = [each for each in transaction.state.versions.values() if holder in each.document.holders]
    ended = [each for each in records if await _any_ended(connection, bytes.fromhex(each.sha256), old, said.size)]
    if ended:
        row = {"holder": holder, "size": said.size, "at": said.at, "member": member, "token": token}
        await connection.execute(insert(t.confirmations), row)
    sizes = {alias: each.size for alias, each in known.items()}
    return [
        (each.sha256, first, end)
        for each in ended
        if (end := _everywhere(transaction.state, each, {**sizes, holder: said.size}))
        > (first := _everywhere(transaction.state, each, sizes))
    ]


def _everywhere(state: State, record: PolicyRecord, sizes: dict[str, int]) -> int:
    """Return the size that all holders of a policy version have caught up with."""
    return min((sizes.get(holder, 0) for holder in record.document.holders if not has_gone(state, holder)), default=0)


def _ended(policy_sha256: bytes, first: int, end: int) -> ColumnElement[bool]:
    return and_(t.grants.c.policy_sha256 == policy_sha256, t.grants.c.ended_by.between(first, end - 1))


async def _any_ended(connection: AsyncConnection, policy_sha256: bytes, first: int, end: int) -> bool:
    """Return whether a part of the ledger ends a consent, or erases one, or the record of what ended it."""
    erased = select(t.erasures.c.index).where(t.erasures.c.entry.between(first, end - 1))
    of_policy = select(t.grants.c.index).where(t.grants.c.policy_sha256 == policy_sha256)
    queries = [
        of_policy.where(_ended(policy_sha256, first, end)),
        of_policy.where(t.grants.c.index.in_(erased)),
        of_policy.where(t.grants.c.ended_by.in_(erased)),
    ]
    for query in queries:
        if (await connection.execute(query.limit(1))).first() is not None:
            return True
    return False


async def _holder(connection: AsyncConnection, state: State, holder: str, index: int, latest: Heard) -> HolderStopped:
    """Return a holder's first statement that covers an entry; one that is damaged is as good as lost."""
    said = t.confirmations
    query = select(said).where(said.c.holder == holder, said.c.size > index).order_by(said.c.size)
    async with connection.stream(query) as rows:
        row = await anext((each async for each in rows if _is_whole(state, each, index)), None)
    return HolderStopped(
        holder=holder,
        member=row.member if row is not None else state.member_entries[holder],
        size=latest.size,
        heard=latest.heard or None,
        token=row.token if row is not None else None,
    )


def _is_whole(state: State, row: Row[*tuple[Any, ...]], index: int) -> bool:
    """Return whether a kept statement is its holder's own and covers an entry, as it stands in the database."""
    keys = [each.key for each in state.member_keys.get(row.holder, []) if each.index == row.member]
    try:
        return bool(keys) and check_caught_up(row.token, keys[0], log=state.log, holder=row.holder).size > index
    except MusubiError:
        return False


async def _time(connection: AsyncConnection, state: State, each: HolderStopped) -> int | None:
    """Return when a holder stopped: as it says, or when it left; None where it has done neither."""
    if each.token is not None:
        return jws.read_unverified(each.token, CaughtUp).at
    return (await entry_at(connection, each.member)).at if has_gone(state, each.holder) else None

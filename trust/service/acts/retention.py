"""Records are not kept for ever: some time after a consent has ended, its record is erased (reason ``retention``).

``retention_days`` in ``service.toml`` says how long after. A consent has ended when it was revoked, or when its last
day (``until``) is past. The sweep runs at each start and once an hour, a few hundred grants at a time, in random order,
so that their order in the ledger ties nobody's consents together. It also destroys keys that a crash left behind.

What is erased is gone for good, so our own clock is not enough: time counts only as far as the witnesses' cosignatures
of the published checkpoint say that it has come (where the town has witnesses).
"""

import datetime as dt
from collections.abc import AsyncIterator
from secrets import SystemRandom

from sqlalchemy import select

from ledger import entries as e
from ledger.notes.note import parse_note
from ledger.notes.witness_policy import WitnessPolicy
from policies.accounts.budgets import local_day
from trust.client.wire import Erased
from trust.service.acts.erase import erase_records, finish_erasure
from trust.service.database import tables as t
from trust.service.store.entry_rows import decode_stored
from trust.service.store.store import Store, Transaction

EVERY_SECONDS = 3_600
AT_ONCE = 200
CHUNK = 2_000
DAY_SECONDS = 86_400
_random = SystemRandom()


def time_come(clock: int, checkpoint: bytes | None, witnesses: WitnessPolicy) -> int:
    """Return the time (seconds since 1970) that has surely come: ours, or the witnesses' where that is earlier.

    Of several witnesses the median counts, the lower one of two. Raises ProofInvalid without their quorum.
    """
    if not witnesses.witnesses:
        return clock
    come = witnesses.median_of(witnesses.check_quorum(parse_note(checkpoint))) if checkpoint else None
    return 0 if come is None else min(clock, come)


async def sweep(store: Store, days: int, now: int) -> int:
    """Erase the records whose time was over at ``now``; return how many grants that were. ``days`` 0 keeps all."""
    await store.keys.destroy(sorted(store.state.erased))
    if not days:
        return 0
    due = [index async for index in _due(store, days, now)]
    _random.shuffle(due)
    for at in range(0, len(due), AT_ONCE):
        part = due[at : at + AT_ONCE]

        async def act(transaction: Transaction, wanted: list[int] = part) -> list[Erased]:
            left = [index for index in wanted if index not in transaction.state.erased]
            return await erase_records(transaction, left, "retention") if left else []

        erased = await store.submit(act)
        await finish_erasure(store, erased)
    return len(due)


async def _due(store: Store, days: int, now: int) -> AsyncIterator[int]:
    """Yield the grants whose end is longer ago than that.

    Only those that still have a record or a resident are read.
    """
    oldest_end = now - days * DAY_SECONDS
    today = dt.date.fromisoformat(local_day(now, store.state.trust_root.time_zone))
    oldest_day = (today - dt.timedelta(days=days)).isoformat()
    end = t.entries.alias("end")
    first = 0
    while True:
        query = (
            select(t.grants.c.index.label("place"), t.entries.c.data, end.c.data.label("end"))
            .join(t.entries, t.entries.c.index == t.grants.c.index)
            .outerjoin(end, end.c.index == t.grants.c.ended_by)
            .outerjoin(t.erasures, t.erasures.c.index == t.grants.c.index)
            .where(t.grants.c.index >= first, t.erasures.c.index.is_(None))
            .order_by(t.grants.c.index)
            .limit(CHUNK)
        )
        async with store.databases.reader.connect() as connection:
            rows = (await connection.execute(query)).all()
        for row in rows:
            granted = decode_stored(bytes(row.data))
            over = isinstance(granted, e.Grant) and granted.until < oldest_day
            if over or (row.end is not None and decode_stored(bytes(row.end)).at < oldest_end):
                yield int(row.place)
        if len(rows) < CHUNK:
            return
        first = int(rows[-1].place) + 1

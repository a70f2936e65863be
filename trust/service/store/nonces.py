"""Messages of now, once: a signed poll or request is refused when its time is off or its nonce was seen before.

One process keeps the nonces in memory, and forgets them at a restart (the time still guards then). Where several serve
one ledger, a message that one has seen must not be good at another: they keep them in the database as well, in
transactions that do not wait for the disk.
"""

from collections import OrderedDict
from typing import Any

from sqlalchemy import CursorResult, delete, text
from sqlalchemy.dialects.postgresql import insert

from ledger.errors import ClockSkew, Replayed
from trust.runtime.clock import MAX_SKEW_SECONDS, Clock
from trust.service.database import tables as t
from trust.service.database.engine import Databases

MOST = 100_000
KEPT_SECONDS = 2 * MAX_SKEW_SECONDS


class Nonces:
    """Nonces of the last two minutes."""

    def __init__(self, clock: Clock, databases: Databases) -> None:
        self._clock = clock
        self._databases = databases
        self._seen: OrderedDict[str, int] = OrderedDict()
        self._dropped = 0
        """When old nonces were last removed from the database."""

    async def check(self, nonce: str, at: int) -> None:
        """Raise ClockSkew or Replayed unless the message is new and of now."""
        now = self._clock()
        if abs(now - at) > MAX_SKEW_SECONDS:
            raise ClockSkew("The message's time is more than a minute from the service's; check the clock.", now=now)
        while self._seen and (len(self._seen) > MOST or next(iter(self._seen.values())) < now - KEPT_SECONDS):
            self._seen.popitem(last=False)
        if nonce in self._seen:
            raise _replayed()
        self._seen[nonce] = now
        if not self._databases.sqlite:
            await self._check_shared(nonce, now)

    async def _check_shared(self, nonce: str, now: int) -> None:
        async with self._databases.writer.begin() as connection:
            await connection.execute(text("SET LOCAL synchronous_commit TO off"))
            if self._dropped < now - KEPT_SECONDS:
                self._dropped = now
                await connection.execute(delete(t.nonces).where(t.nonces.c.at < now - KEPT_SECONDS))
            new = insert(t.nonces).values(nonce=nonce, at=now).on_conflict_do_nothing()
            result: CursorResult[Any] = await connection.execute(new)
        if result.rowcount != 1:
            raise _replayed()


def _replayed() -> Replayed:
    return Replayed("This message was sent before; sign a new one.")

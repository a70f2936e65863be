"""How often an identity provider may stop consents for others: enough for an office, too little to empty a town.

Two limits, in attempts, done or refused: of one provider in an hour, and for one person in a day. A provider that is
over one gets a refusal that says when the next attempt is taken. The person's own key is never limited by these.
"""

from datetime import UTC, datetime
from typing import Any

from msgspec import Struct
from sqlalchemy import ColumnElement, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.errors import RateLimited
from trust.service.database import tables as t

HOUR, DAY = 3_600, 86_400


class StopLimits(Struct, frozen=True, kw_only=True):
    """The most attempts of one provider in an hour, and for one person in a day."""

    per_hour: int
    per_person_a_day: int


async def refuse_over(connection: AsyncConnection, limits: StopLimits, provider: str, person: bytes, now: int) -> None:
    """Raise RateLimited, with the time from which it may try again, where one more attempt would pass a limit."""
    mine, theirs = t.stop_attempts.c.provider == provider, t.stop_attempts.c.subject_sha256 == person
    for who, most, seconds, what in (
        (mine, limits.per_hour, HOUR, "stops of this identity provider in an hour"),
        (theirs, limits.per_person_a_day, DAY, "stops for this person in a day"),
    ):
        again = await _free_again(connection, who, most, seconds, now)
        if again > now:
            when = datetime.fromtimestamp(again, UTC).strftime("%Y-%m-%d %H:%M:%S")
            raise RateLimited(f"No more than {most} {what} are taken; the next one from {when} UTC on.", again_at=again)


async def _free_again(connection: AsyncConnection, who: ColumnElement[bool], most: int, seconds: int, now: int) -> int:
    """Return from when on there is room for one more attempt: ``now`` or earlier where there is."""
    at: Any = t.stop_attempts.c.at
    query = select(at).where(who, at > now - seconds).order_by(at.desc()).offset(max(most, 1) - 1).limit(1)
    oldest = (await connection.execute(query)).scalar()
    return now if oldest is None else int(oldest) + seconds

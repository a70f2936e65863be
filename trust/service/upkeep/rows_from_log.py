"""The rows that follow from the ledger's entries alone: for a database that was restored from before them.

What an act of the service writes beside an entry (a grant's row, its end, a round, a refusal) is written here from the
entry, without what only that act knew: who the resident was, and the sealed record. Erasures act on whatever the backup
brought back.
"""

from typing import Any

from sqlalchemy import delete, insert, select, update
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import entries as e
from policies.ledger_state import State
from trust.client.wire import Erased
from trust.service.acts.erase import clear_rows
from trust.service.acts.revoke import end_grant
from trust.service.database import tables as t
from trust.service.rounds.closing import closing_row

AT_ONCE = 500


class RowsFromLog:
    """Collects rows entry by entry. ``state`` is the replay's, right after each entry that ``take`` is given."""

    def __init__(self, connection: AsyncConnection, state: State) -> None:
        self._connection = connection
        self._state = state
        self._new: dict[Any, list[dict[str, Any]]] = {t.grants: [], t.rounds: [], t.refusals: []}
        self._ends: list[tuple[int, int]] = []
        self._lost: list[int] = []
        self._closed: list[tuple[int, dict[str, Any]]] = []
        self._erased: list[Erased] = []

    def take(self, index: int, entry: e.AnyEntry, *, new: bool) -> None:
        """Note what an entry says that was just replayed; ``new`` is one that the database lacks."""
        if self._state.finding:
            return  # it changes nothing
        if isinstance(entry, e.Erase):
            self._erased.append(Erased(index=entry.index, entry=index))
        if new:
            self._take_new(index, entry)

    def _take_new(self, index: int, entry: e.AnyEntry) -> None:
        match entry:
            case e.Grant():
                row: dict[str, Any] = {
                    "consent": bytes.fromhex(entry.consent),
                    "policy_sha256": bytes.fromhex(entry.policy_sha256),
                }
                self._new[t.grants].append({"index": index, "resident": None, "ended_by": None, **row})
            case e.Revoke():
                self._ends.append((entry.grant, index))
                if entry.reason == "lost-device":
                    self._lost.append(entry.grant)
            case e.Admit():
                row = {"query_sha256": bytes.fromhex(entry.query_sha256), "by": entry.by, "policy": entry.policy}
                self._new[t.rounds].append({"admit": index, "asked_to_stop": False, "released": False, **row})
            case e.Release() | e.Refund() | e.Lost():
                self._closed.append((entry.admit, closing_row(index, entry, entry.at)))
            case e.Refuse():
                row = {"index": index, "by": entry.by, "day": self._state.day(entry.at)}
                self._new[t.refusals].append(row)

    async def flush(self) -> None:
        """Write what was collected, but for erasures."""
        for table, rows in self._new.items():
            if rows:
                await self._connection.execute(insert(table), rows)
                rows.clear()
        for grant, index in self._ends:
            await end_grant(self._connection, grant, index)
        for admit, values in self._closed:
            await self._connection.execute(update(t.rounds).where(t.rounds.c.admit == admit).values(values))
        await self._shut_out()
        self._ends.clear()
        self._lost.clear()
        self._closed.clear()

    async def _shut_out(self) -> None:
        """Note the keys of devices that were reported lost since the backup: it brought them back as enrolled.

        The person stays enrolled with that key, which is taken for nothing any more, until the identity provider
        attests the new device once more. Where no consent stood when the device was lost, the ledger says nothing of
        it.
        """
        for grant in self._lost:
            query = (
                select(t.residents.c.key)
                .join(t.grants, t.grants.c.resident == t.residents.c.id)
                .outerjoin(t.lost_keys, t.lost_keys.c.key == t.residents.c.key)
                .where(t.grants.c.index == grant, t.lost_keys.c.key.is_(None))
            )
            row = (await self._connection.execute(query)).first()
            if row is not None:
                await self._connection.execute(insert(t.lost_keys), {"key": bytes(row.key)})

    async def clear_erased(self) -> int:
        """Delete what the tables still hold of erased records; return how many sealed records that were.

        An enrolment whose last consents go with that goes too: its resident may have asked to be forgotten, and can
        enrol anew.
        """
        known = {int(row[0]) for row in await self._connection.execute(select(t.erasures.c.index))}
        due = [each for each in self._erased if each.index not in known]
        found, residents = 0, set()
        for at in range(0, len(due), AT_ONCE):
            part = due[at : at + AT_ONCE]
            indices = [each.index for each in part]
            records = select(t.records.c.index).where(t.records.c.index.in_(indices))
            found += len((await self._connection.execute(records)).all())
            owners = select(t.grants.c.resident).where(t.grants.c.index.in_(indices), t.grants.c.resident.is_not(None))
            residents |= {int(row[0]) for row in await self._connection.execute(owners)}
            await clear_rows(self._connection, part)
        for resident in residents:
            left = select(t.grants.c.index).where(t.grants.c.resident == resident).limit(1)
            if (await self._connection.execute(left)).first() is None:
                await self._connection.execute(delete(t.residents).where(t.residents.c.id == resident))
        return found

    async def lost(self) -> list[int]:
        """Return the grants that were not ended and whose sealed record is nowhere."""
        query = (
            select(t.grants.c.index)
            .outerjoin(t.records, t.records.c.index == t.grants.c.index)
            .where(t.grants.c.ended_by.is_(None), t.records.c.index.is_(None))
            .order_by(t.grants.c.index)
        )
        return [int(row[0]) for row in await self._connection.execute(query)]

"""Which views each holder's node has said that it has no data for yet, so that no question about them is let in.

A node says it with each poll, signed (``queries.rounds.messages.Work``): it follows from whether a load ever succeeded,
and never goes back to "not ready" over what a file says later. So turning a question away for it depends on no value.
Of a node that was never heard nothing is known, and its questions are let in.
"""

import msgspec
from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.errors import NotReady
from trust.service.database import tables as t
from trust.service.store.store import Store, Transaction


async def note_ready(store: Store, holder: str, not_ready: list[str]) -> None:
    """Write down what a node says, where it is not what is written."""
    async with store.databases.reader.connect() as connection:
        if await _not_ready(connection, holder) == not_ready:
            return

    async def act(transaction: Transaction) -> None:
        await transaction.connection.execute(delete(t.not_ready).where(t.not_ready.c.holder == holder))
        row = {"holder": holder, "views": msgspec.json.encode(not_ready).decode()}
        if not_ready:
            await transaction.connection.execute(insert(t.not_ready), row)

    await store.submit(act)


async def check_ready(connection: AsyncConnection, policy_sha256: str, view: str, holders: list[str]) -> None:
    """Raise NotReady where one of these holders has no data yet for a view of a policy version."""
    waiting = [each for each in holders if f"{policy_sha256}/{view}" in await _not_ready(connection, each)]
    if waiting:
        raise NotReady(
            f"No data has been loaded yet at: {', '.join(waiting)}. Nothing was charged; ask again later.",
            holders=waiting,
        )


async def _not_ready(connection: AsyncConnection, holder: str) -> list[str]:
    row = (await connection.execute(select(t.not_ready.c.views).where(t.not_ready.c.holder == holder))).first()
    if row is None:
        return []
    try:
        return msgspec.json.decode(row.views, type=list[str])
    except (msgspec.MsgspecError, UnicodeDecodeError):  # damaged, so as good as lost: its node says it again
        return []

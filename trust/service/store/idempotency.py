"""Asking twice is answered once: the answer of an act is kept under the caller's key, in the act's own transaction.

Keys of different acts never meet, nor those of different callers: a caller is whoever signed the request, so nobody
gets or blocks another's answer by knowing, or guessing, a key. An answer is kept for 30 days; after that a consent's
own identifier, or a question's own time, still refuses what was used before.
"""

import hashlib
from contextlib import suppress
from typing import Literal, TypeVar

import msgspec
from msgspec import Struct
from sqlalchemy import bindparam, delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger.errors import Malformed, Replayed
from trust.service.database import tables as t
from trust.service.store.store import Transaction

MAX_KEY = 64
KEPT_SECONDS = 30 * 86_400
Kind = Literal["grant", "question"]
T = TypeVar("T")


def check_key(key: str | None) -> str | None:
    """Return the key; raise Malformed unless it has 8 to 64 characters."""
    if key is not None and not 8 <= len(key) <= MAX_KEY:
        raise Malformed("An Idempotency-Key has 8 to 64 characters.")
    return key


class CallersKey(Struct, frozen=True, kw_only=True):
    """An Idempotency-Key with the act that it is for and whoever signed the request; without one nothing is kept.

    ``caller`` must be checked: an alias whose signature was verified, or public keys that signed.
    """

    kind: Kind
    caller: str
    key: str | None

    def row_key(self) -> str:
        """Return what the answer is kept under: fixed-length parts, so that no two callers' run together."""
        parts = [self.kind, self.caller, self.key or ""]
        return hashlib.sha256("".join(hashlib.sha256(part.encode()).hexdigest() for part in parts).encode()).hexdigest()


async def answered_before(transaction: Transaction, key: CallersKey, request: bytes) -> str | None:
    """Return the kept answer to the same request under the same caller's key, if there is one.

    Raises Replayed when the key was used for another request.
    """
    if key.key is None:
        return None
    columns = select(t.idempotency.c.request_sha256, t.idempotency.c.answer)
    query = columns.where(t.idempotency.c.key == key.row_key())
    row = (await transaction.connection.execute(query)).first()
    if row is None:
        return None
    if bytes(row.request_sha256) != hashlib.sha256(request).digest():
        raise Replayed("This Idempotency-Key was used for another request.")
    return str(row.answer)


def read_answer(kept: str, type_: type[T]) -> T:
    """Return a kept answer; raise Replayed where it is damaged: what came of the request is in the ledger."""
    answer, _, digest = kept.partition("\n")
    if digest in {"", _digest(answer)}:  # older rows bear none
        with suppress(msgspec.MsgspecError, UnicodeError):
            return msgspec.json.decode(answer, type=type_)
    raise Replayed(
        "This was sent before, and the service's copy of its answer is damaged; what came of it is in the ledger."
    )


def _digest(answer: str) -> str:
    return hashlib.sha256(answer.encode()).hexdigest()


async def remember(
    transaction: Transaction, key: CallersKey, request: bytes, answer: str, indices: list[int] | None = None
) -> None:
    """Keep the answer under the key; ``indices`` are the consents that it names, which stand next to each other.

    It is kept with its SHA-256 on a line of its own: one that was damaged is told from another one.
    """
    if key.key is not None:
        row = {
            "key": key.row_key(),
            "request_sha256": hashlib.sha256(request).digest(),
            "answer": f"{answer}\n{_digest(answer)}",
            "at": transaction.at,
            "first": min(indices) if indices else None,
            "last": max(indices) if indices else None,
        }
        await transaction.connection.execute(insert(t.idempotency), row)


async def forget_naming(connection: AsyncConnection, indices: list[int]) -> None:
    """Drop the answers that name one of these consents: they say which were given together."""
    named = t.idempotency.c.first <= bindparam("place"), t.idempotency.c.last >= bindparam("place")
    if indices:
        await connection.execute(delete(t.idempotency).where(*named), [{"place": i} for i in indices])


async def forget_old(transaction: Transaction) -> None:
    """Drop the answers that have been kept for long enough."""
    old = t.idempotency.c.at < transaction.at - KEPT_SECONDS
    await transaction.connection.execute(delete(t.idempotency).where(old))

"""Asking twice is answered once: the answer of an act is kept under the caller's key, in the act's own transaction."""

import hashlib

from sqlalchemy import insert, select

from ledger.errors import Malformed, Replayed
from trust.service.database import tables as t
from trust.service.store import Transaction

MAX_KEY = 64


def check_key(key: str | None) -> str | None:
    """Return the key; raise Malformed if it is longer than 64 characters."""
    if key is not None and not 8 <= len(key) <= MAX_KEY:
        raise Malformed("An Idempotency-Key has 8 to 64 characters.")
    return key


async def answered_before(transaction: Transaction, key: str | None, request: bytes) -> str | None:
    """Return the kept answer to the same request under the same key, if there is one.

    Raises Replayed when the key was used for another request.
    """
    if key is None:
        return None
    query = select(t.idempotency.c.request_sha256, t.idempotency.c.answer).where(t.idempotency.c.key == key)
    row = (await transaction.connection.execute(query)).first()
    if row is None:
        return None
    if bytes(row.request_sha256) != hashlib.sha256(request).digest():
        raise Replayed("This Idempotency-Key was used for another request.")
    return str(row.answer)


async def remember(transaction: Transaction, key: str | None, request: bytes, answer: str) -> None:
    """Keep the answer under the key."""
    if key is not None:
        row = {
            "key": key,
            "request_sha256": hashlib.sha256(request).digest(),
            "answer": answer,
            "at": transaction.at,
        }
        await transaction.connection.execute(insert(t.idempotency), row)

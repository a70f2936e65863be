"""What holders say of erased consents: their nodes' signed words are taken in, kept, and given to whoever asks.

Gather: the ``erase`` entry and the consent's policy. Decide: the word is by a holder of that policy, about that very
entry. Apply: a row; the ledger gets nothing.
"""

from typing import Any

import msgspec
from msgspec import UnsetType
from sqlalchemy import Row, delete, insert, select

from ledger import entries as e
from ledger import jws
from ledger.entries import Token
from ledger.errors import MusubiError, NotFound, ProofInvalid, SignatureInvalid
from policies.consents.erasure import ErasedWord, check_erased_word
from policies.governance import Approval
from policies.ledger_state import State
from policies.replay import entry_sha256
from trust.client.wire import ErasureAnswer
from trust.service.database import tables as t
from trust.service.store.entry_rows import granted_at
from trust.service.store.signed_first import look_first
from trust.service.store.store import Store, Transaction


async def take_erased_words(store: Store, tokens: list[Token]) -> int:
    """Keep holders' words that an erased consent is gone from their nodes; return how many were new.

    Raises SignatureInvalid, NotFound or ProofInvalid, and then keeps none.
    """
    tokens = list(
        dict.fromkeys(tokens)
    )  # a word that anybody may read is no means to have us check it a thousand times

    def check(state: State) -> None:
        for token in tokens:
            _check_from_holder(state, token)

    await look_first(store, check)

    async def act(transaction: Transaction) -> int:
        rows = [await _check_word(transaction, token) for token in tokens]
        new = 0
        for row in rows:
            same = (t.erased_words.c.index == row["index"]) & (t.erased_words.c.holder == row["holder"])
            kept = (await transaction.connection.execute(select(t.erased_words.c.token).where(same))).scalar()
            if kept is None or not _is_signed(transaction.state, str(row["holder"]), kept):  # none, or a damaged one
                await transaction.connection.execute(delete(t.erased_words).where(same))
                await transaction.connection.execute(insert(t.erased_words), row)
                new += kept is None
        return new

    return await store.submit(act)


def _check_from_holder(state: State, token: str) -> None:
    """Raise SignatureInvalid unless somebody who is, or was, a holder has signed it; NotFound for what stands."""
    claimed = jws.read_unverified(token, ErasedWord, "erased word")
    if state.participant(claimed.from_) is None:
        raise SignatureInvalid("The word is not by a holder of this town.")
    if claimed.index not in state.erased:
        raise NotFound("No consent at that place of the ledger was erased.")
    if not _is_signed(state, claimed.from_, token):
        raise SignatureInvalid("The word that a consent is erased is not signed by its holder.")


async def _check_word(transaction: Transaction, token: str) -> dict[str, str | int]:
    claimed = jws.read_unverified(token, ErasedWord, "erased word")
    member = transaction.state.participant(claimed.from_)
    if member is None:
        raise SignatureInvalid("The word is not by a holder of this town.")
    query = (
        select(t.erasures.c.entry, t.entries.c.data)
        .join(t.entries, t.entries.c.index == t.erasures.c.entry)
        .join(t.grants, t.grants.c.index == t.erasures.c.index)
        .where(t.erasures.c.index == claimed.index)
    )
    row = (await transaction.connection.execute(query)).first()
    if row is None:
        raise NotFound("No consent at that place of the ledger was erased.")
    check_erased_word(
        token,
        # Said anew with the key of today: an older one may be in a thief's hands, and this has no end as a round has.
        transaction.state.keys_since(claimed.from_, row.entry)[:1],
        log=transaction.state.log,
        holder=claimed.from_,
        index=claimed.index,
        entry=row.entry,
        entry_sha256=entry_sha256(bytes(row.data)),
    )
    granted = await transaction.granted(claimed.index)
    if claimed.from_ not in transaction.state.versions[granted.policy_sha256].document.holders:
        raise ProofInvalid("The word is by a holder that never had a part in that consent.")
    return {"index": claimed.index, "holder": claimed.from_, "token": token}


async def erasure_at(store: Store, index: int) -> ErasureAnswer:
    """Return which entry erased the consent at ``index``, and what each holder has said of that. Raises NotFound."""
    query = (
        select(t.erasures.c.entry, t.erasures.c.approvals, t.entries.c.data)
        .join(t.entries, t.entries.c.index == t.erasures.c.entry)
        .where(t.erasures.c.index == index)
    )
    words = select(t.erased_words.c.holder, t.erased_words.c.token).where(t.erased_words.c.index == index)
    async with store.databases.reader.connect() as connection:
        row = (await connection.execute(query)).first() if 0 <= index < store.size else None
        if row is None:
            raise NotFound("No consent at that place of the ledger was erased.")
        granted = await granted_at(connection, index)
        said = {each.holder: each.token for each in await connection.execute(words)}
    holders = store.state.versions[granted.policy_sha256].document.holders
    return ErasureAnswer(
        index=index,
        entry=row.entry,
        holders={holder: _whole(store.state, said.get(holder), holder, index, row) for holder in holders},
        approvals=_in_ledger(bytes(row.data)) or _approvals(row.approvals),
    )


def _is_signed(state: State, holder: str, token: str) -> bool:
    """Return whether a kept word bears its holder's signature, by any key that it ever had."""
    try:
        jws.verify_any(token, [bytes.fromhex(each.key) for each in state.member_keys[holder]], ErasedWord)
    except MusubiError:
        return False
    return True


def _whole(state: State, token: str | None, holder: str, index: int, row: Row[*tuple[Any, ...]]) -> str | None:
    """Return a kept word, or None where it is damaged: it is as good as lost, and its holder can say it again."""
    if token is None:
        return None
    try:
        check_erased_word(
            token,
            state.keys_since(holder, row.entry),
            log=state.log,
            holder=holder,
            index=index,
            entry=row.entry,
            entry_sha256=entry_sha256(bytes(row.data)),
        )
    except MusubiError:
        return None
    return token


def _in_ledger(data: bytes) -> list[Token]:
    """Return the approvals that the ``erase`` entry bears: from rules number 3 on, also where the row was lost."""
    try:
        entry = e.decode(data)
    except MusubiError:  # the row is damaged
        return []
    return [] if not isinstance(entry, e.Erase) or isinstance(entry.approvals, UnsetType) else entry.approvals


def _approvals(kept: str | None) -> list[Token]:
    """Return the stewards' kept approvals that can be read; where they are damaged there are none."""
    try:
        approvals = msgspec.json.decode(kept, type=list[Token]) if kept else []
        for each in approvals:
            jws.read_unverified(each, Approval)
    except (MusubiError, msgspec.MsgspecError, UnicodeError):
        return []
    return approvals

"""Other rules for the entries to come (``policies.rules``): nodes say what they read, the stewards' quorum decides.

Gather: the words of the active holders' nodes, and the stewards' signatures. Decide: the replay's own check. Apply: a
``rules`` entry, with the words in it. The same rules sent again (the answer was lost) get the index where they stand.
"""

from sqlalchemy import delete, insert, select
from sqlalchemy.ext.asyncio import AsyncConnection

from ledger import entries as e
from ledger import jws
from ledger.canonical import encode
from ledger.errors import MusubiError, NotPermitted, UpgradeNeeded
from policies.governance import check_quorum
from policies.ledger_state import State
from policies.replay import holder_keys
from policies.rules import FIRST_RULES, NEWEST_RULES, RulesWord, check_readers, check_rules_word
from trust.client.wire import RulesAnswer, RulesRequest
from trust.service.database import tables as t
from trust.service.store.signed_first import look_first
from trust.service.store.store import Store, Transaction


async def take_rules_word(store: Store, token: str) -> None:
    """Keep an active holder's word on up to which number its node reads the rules: its latest.

    Raises Malformed, SignatureInvalid, NotPermitted or ProofInvalid.
    """
    await look_first(store, lambda state: _check_word_on_rules(state, token))

    async def act(transaction: Transaction) -> None:
        holder = _check_word_on_rules(transaction.state, token)
        await transaction.connection.execute(delete(t.rules_words).where(t.rules_words.c.holder == holder))
        await transaction.connection.execute(insert(t.rules_words), {"holder": holder, "token": token})

    await store.submit(act)


def _check_word_on_rules(state: State, token: str) -> str:
    """Return whose word it is."""
    holder = jws.read_unverified(token, RulesWord, "word on rules").from_
    key = holder_keys(state).get(holder)
    if key is None:
        raise NotPermitted("The word on rules is not by an active holder of this town.")
    check_rules_word(token, key, log=state.log, holder=holder)
    return holder


async def change_rules(store: Store, request: RulesRequest) -> int:
    """Have the entries to come judged by other rules; return the entry's index.

    Raises SignatureInvalid, NotPermitted below the quorum or before every active holder's node reads the rules,
    UpgradeNeeded where this service does not, and ProofInvalid for a number that is not above the last one.
    """
    check_quorum("rules", encode(request.rules), request.signatures, store.state.trust_root)

    async def act(transaction: Transaction) -> int:
        state, number = transaction.state, request.rules.number
        if number == state.rules and state.rules_entry is not None:
            return state.rules_entry
        if number > NEWEST_RULES:
            raise UpgradeNeeded(f"This service reads the rules up to number {NEWEST_RULES}; upgrade it first.")
        words = await _words(transaction.connection)
        keys = holder_keys(state)  # a word that cannot be read, or is by a key that was changed, is none
        readers = {
            holder: words[holder]
            for holder in keys
            if _number(words.get(holder), keys[holder], holder, state) >= number
        }
        check_readers(readers, number, keys, log=state.log)
        return transaction.append(e.Rules(at=0, rules=request.rules, readers=readers, signatures=request.signatures))

    return await store.submit(act)


async def rules_read(store: Store) -> RulesAnswer:
    """Return by which rules the ledger goes, and up to which each active holder's node has said that it reads them."""
    state = store.state
    async with store.databases.reader.connect() as connection:
        words = await _words(connection)
    holders = {holder: _number(words.get(holder), key, holder, state) for holder, key in holder_keys(state).items()}
    return RulesAnswer(number=state.rules, newest=NEWEST_RULES, holders=holders)


def _number(token: str | None, key: bytes, holder: str, state: State) -> int:
    """Return what a kept word is worth today: one by a key that was changed since says nothing any more."""
    try:
        return FIRST_RULES if token is None else check_rules_word(token, key, log=state.log, holder=holder)
    except MusubiError:
        return FIRST_RULES


async def _words(connection: AsyncConnection) -> dict[str, str]:
    return {row.holder: row.token for row in await connection.execute(select(t.rules_words))}

"""Replaying the whole ledger, questions included: ``policies.replay`` plus what only this room can check.

Service, node and auditor all call ``replay`` for every entry, in order, or its two halves, ``decode_next`` and
``apply``. There is no other way to build the state.
"""

from ledger import entries as e
from ledger import jws
from ledger.errors import MusubiError, ProofInvalid, UpgradeNeeded
from policies.ledger_state import State
from policies.replay import SeenConsents, step
from policies.rules import LOST_ROUNDS, check_readable
from queries.rounds.admission import check_admit, plan_of
from queries.rounds.messages import Word


def replay(state: State, index: int, data: bytes, seen: SeenConsents) -> e.AnyEntry:
    """Decode, check and apply one entry; return it.

    Raises as ``decode_next`` and ``apply`` do, and leaves the state as it was.
    """
    entry = decode_next(state, index, data)
    apply(state, index, entry, data, seen)
    return entry


def decode_next(state: State, index: int, data: bytes) -> e.AnyEntry:
    """Decode the next entry.

    Raises ProofInvalid with its index and a sentence, or UpgradeNeeded where it brings rules that this software does
    not read.
    """
    check_readable(data, state.genesis)
    try:
        return e.decode(data)
    except MusubiError as error:
        raise _at(index, error) from None


def apply(state: State, index: int, entry: e.AnyEntry, data: bytes, seen: SeenConsents) -> None:
    """Check and apply an entry that was read from ``data``; raise ProofInvalid and leave the state as it was."""
    try:
        match entry:
            case e.Admit():
                check_admit(state, entry)
            case e.Release():
                _check_release(state, entry)
            case e.Refund() | e.Lost():
                _check_words(state, entry)
    except UpgradeNeeded:
        raise
    except MusubiError as error:
        raise _at(index, error) from None
    step(state, index, entry, data, seen)


def _at(index: int, error: MusubiError) -> ProofInvalid:
    return ProofInvalid(f"Entry {index}: {error.message}", index=index, rule=error.code)


def _check_release(state: State, release: e.Release) -> None:
    opened = state.rounds.get(release.admit)
    if opened is not None and len(release.vector) != plan_of(state, opened.admit).length:
        raise ProofInvalid("The released vector is not of the length that the question's plan says.")


def _check_words(state: State, closing: e.Refund | e.Lost) -> None:
    opened = state.rounds.get(closing.admit)
    if opened is None:
        return  # the ledger's own replay says so
    for alias, token in closing.words.items():
        check_word(state, alias, token, closing.admit, opened.entry_sha256)


def check_word(state: State, alias: str, token: str, admit: int, admit_sha256: str) -> None:
    """Check one participant's signed word for one round; raise Malformed, SignatureInvalid or ProofInvalid.

    It is signed with a key that the participant had while the round was open (``State.keys_since``).
    """
    member = state.participant(alias)
    if member is None or (state.rules < LOST_ROUNDS and "holder" not in member.roles):
        raise ProofInvalid("A word is by no holder of this town.")
    word = jws.verify_any(token, state.keys_since(alias, admit), Word, "word")
    if (word.from_, word.log, word.admit, word.admit_sha256) != (alias, state.log, admit, admit_sha256):
        raise ProofInvalid("A word is for another round.")

"""Which ``log-key`` entries change the log's key: those that the stewards' quorum signed, numbered without gaps.

One rule for everybody: the replay of the service, node and auditor, and a reader who follows nothing but the keys.
"""

from msgspec import UNSET, UnsetType

from ledger import entries as e
from ledger.canonical import encode
from ledger.errors import ProofInvalid
from ledger.notes.log_keys import LogKeyHistory, LogKeys
from policies.governance import check_quorum


def first_log_keys(genesis: e.Genesis) -> LogKeyHistory:
    """Return the history that the genesis entry begins; raise ProofInvalid or Malformed for keys not its own."""
    keys = LogKeys.parse(genesis.log_key, _text(genesis.log_key_pq))
    if keys.key.name != genesis.origin:
        raise ProofInvalid("the log's key is not named for its origin.")
    return LogKeyHistory.of(keys)


def change_log_keys(history: LogKeyHistory, index: int, entry: e.LogKey, genesis: e.Genesis) -> LogKeyHistory:
    """Return the history with the change that the entry at ``index`` makes.

    Raises SignatureInvalid or NotPermitted without the quorum; Malformed or ProofInvalid for keys that cannot follow.
    """
    check_quorum("log-key", encode(entry.log_key), entry.signatures, genesis)
    if entry.log_key.number != len(history.changes) + 1:
        raise ProofInvalid("the number of the log's key does not follow the last one.")
    return history.after(index, LogKeys.parse(entry.log_key.key, _text(entry.log_key.key_pq)))


def make_log_key_body(number: int, keys: LogKeys) -> e.LogKeyBody:
    """Return what the stewards sign for the log to change to ``keys``, its ``number``-th."""
    post_quantum = UNSET if keys.post_quantum is None else str(keys.post_quantum)
    return e.LogKeyBody(number=number, key=str(keys.key), key_pq=post_quantum)


def _text(key: str | UnsetType) -> str:
    return "" if isinstance(key, UnsetType) else key

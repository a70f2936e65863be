"""Redoing the sum of one answer from the holders' signed shares, which the service publishes beside the log.

``GET /v1/rounds/<admit>/shares`` gives ``{"shares": {"<holder>": "<compact JWS>", …}}``. Each token's SHA-256 is the
one that the ``release`` names; each is signed with a key that the holder had in the ledger while the round was open,
from the ``admit`` to the ``release`` (a holder may change its key in between); each is a share for that very ``admit``
(by index and by hash) and all are for one and the same transcript; and their sum is the released vector.
"""

import msgspec
from msgspec import Struct

from ledger import entries as e
from ledger import jws
from ledger.errors import Malformed, NotFound, ProofInvalid
from policies.ledger_state import OpenRound, State
from queries.question.plan import Plan
from queries.rounds.local import combine
from queries.rounds.messages import Share, token_sha256
from trust.client import paths
from trust.client.wire import SignedShares
from trust.log.source import HttpLog

MAX_SHARES_BYTES = 8_000_000


class AnswerBasis(Struct, frozen=True, kw_only=True):
    """What a ``release`` is checked against: its round and its plan."""

    opened: OpenRound
    plan: Plan


def fetch_shares(log: HttpLog, admit: int) -> dict[str, str]:
    """Fetch the signed shares of one answer. Raises ProofInvalid where the service does not have them, Unavailable."""
    try:
        data = log.get(paths.at(paths.SHARES, admit=admit), MAX_SHARES_BYTES)
        return msgspec.json.decode(data, type=SignedShares).shares
    except NotFound:
        raise ProofInvalid("the service does not give the signed shares that the answer was summed from.") from None
    except (msgspec.DecodeError, RecursionError):
        raise Malformed("the shares that the service gives are not of their format.") from None


def check_shares(basis: AnswerBasis, release: e.Release, tokens: dict[str, str], state: State) -> None:
    """Redo the sum of one answer, in the state right after its ``release``.

    Raises ProofInvalid, SignatureInvalid or Malformed for the first thing wrong.
    """
    if set(tokens) != set(release.shares):
        raise ProofInvalid("the shares given are not those of the answer's participants.")
    shares = [_open(basis, release, alias, token, state) for alias, token in sorted(tokens.items())]
    if len({share.transcript_sha256 for share in shares}) != 1:
        raise ProofInvalid("the shares are for different transcripts.")
    if combine(basis.plan, shares) != release.vector:
        raise ProofInvalid("the shares do not add up to the released answer.")


def check_lost(basis: AnswerBasis, lost: e.Lost, tokens: dict[str, str], state: State) -> None:
    """Check that what a ``lost`` names as shares are shares of its round, in the state right after it.

    Raises as ``check_shares``. That a participant was silent, only that participant can deny.
    """
    if set(tokens) != set(lost.shares):
        raise ProofInvalid("the shares given are not those that the entry names.")
    for alias, token in sorted(tokens.items()):
        _open(basis, lost, alias, token, state)


def _open(basis: AnswerBasis, closing: e.Release | e.Lost, alias: str, token: str, state: State) -> Share:
    if not token.isascii() or token_sha256(token) != closing.shares[alias]:
        raise ProofInvalid(f"the share of '{alias}' is not the one that the entry names.")
    share = jws.verify_any(token, state.keys_since(alias, closing.admit), Share, "share")
    named = (share.from_, share.log, share.admit, share.admit_sha256)
    if named != (alias, state.log, closing.admit, basis.opened.entry_sha256):
        raise ProofInvalid(f"the share of '{alias}' is for another round.")
    return share

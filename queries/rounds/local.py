"""Putting the participants' shares together into the released vector, and doing that again to check it.

Mode ``local``: each participant added the whole noise by itself, so the answer is the plain sum, and the shares
themselves are private releases that anyone may see and add up again.
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from ledger import entries as e
from ledger import jws
from ledger.entries import Hex32
from ledger.errors import ProofInvalid
from queries.question.plan import Plan
from queries.rounds.messages import Share, token_sha256

MAX_NUMBER = 2**53 - 1
"""What a release may hold (``ledger.entries.Whole``)."""


def fit(plan: Plan, vector: Sequence[int]) -> list[int]:
    """Return a noised vector whose numbers are cut off where the sum of all shares might be too large for a release.

    A share that no release can hold would keep its round open for ever, and whether there is an answer would follow
    from the data. Cutting off comes after the noise: it is post-processing, and costs nothing.
    """
    most = MAX_NUMBER // len(plan.participants)
    return [max(-most, min(most, number)) for number in vector]


def combine(plan: Plan, shares: Sequence[Share]) -> list[int]:
    """Return the sum of the shares.

    Raises ProofInvalid unless there is exactly one fitting share of each participant, and their sum is exact in JSON.
    """
    if sorted(share.from_ for share in shares) != sorted(plan.participants):
        raise ProofInvalid("The shares are not exactly one from each participant.")
    if any(len(share.vector) != plan.length for share in shares):
        raise ProofInvalid("A share is not of the length that the question's plan says.")
    vector = [sum(column) for column in zip(*(share.vector for share in shares), strict=True)]
    if any(abs(number) > MAX_NUMBER for number in vector):
        raise ProofInvalid("The shares add up to more than a JSON reader holds exactly.")
    return vector


class ClosedRound(Struct, frozen=True, kw_only=True):
    """Which round it is that shares are for: the log, the ``admit``'s index and hash, and the question's plan."""

    log: str
    admit: int
    admit_sha256: Hex32
    plan: Plan


def check_shares(
    closed: ClosedRound, closing: e.Release | e.Lost, tokens: Mapping[str, str], keys: Mapping[str, list[bytes]]
) -> None:
    """Check the signed shares that an entry names, and do the sum of a ``release`` again.

    ``keys`` are those that each participant had in the ledger while the round was open, from the ``admit`` to its end.
    Raises ProofInvalid, SignatureInvalid or Malformed for the first thing wrong.
    """
    if set(tokens) != set(closing.shares):
        raise ProofInvalid("the shares given are not those that the entry names.")
    shares = [_open(closed, closing, alias, token, keys[alias]) for alias, token in sorted(tokens.items())]
    if not isinstance(closing, e.Release):
        return
    if len({share.transcript_sha256 for share in shares}) != 1:
        raise ProofInvalid("the shares are for different transcripts.")
    if combine(closed.plan, shares) != closing.vector:
        raise ProofInvalid("the shares do not add up to the released answer.")


def _open(closed: ClosedRound, closing: e.Release | e.Lost, alias: str, token: str, keys: list[bytes]) -> Share:
    if not token.isascii() or token_sha256(token) != closing.shares[alias]:
        raise ProofInvalid(f"the share of '{alias}' is not the one that the entry names.")
    share = jws.verify_any(token, keys, Share, "share")
    named = (share.from_, share.log, share.admit, share.admit_sha256)
    if named != (alias, closed.log, closed.admit, closed.admit_sha256):
        raise ProofInvalid(f"the share of '{alias}' is for another round.")
    return share

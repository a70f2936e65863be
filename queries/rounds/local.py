"""Putting the participants' shares together into the released vector.

Mode ``local``: each participant added the whole noise by itself, so the answer is the plain sum, and the shares
themselves are private releases that anyone may see and add up again.
"""

from collections.abc import Sequence

from ledger.errors import ProofInvalid
from queries.question.plan import Plan
from queries.rounds.messages import Share

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

"""The times of an ``admit``: when it expires, and the last moment at which it may still be finished.

A policy says after how many seconds (``expires``), the ``admit`` says at which second, and from that second on no
participant begins the round any more: a node does not countersign, and gives its word instead of a share that it has
not made; the service asks for words, so that the charge is freed.

A round of which a share is out already is finished all the same, by whoever is shown that share: until its ``last``, a
day after it expired, which follows from the entry alone. From then on nothing is computed for it any more, and what is
still open is closed as ``lost``.
"""

from typing import Annotated

from msgspec import Meta

from ledger.entries import Admit

ExpirySeconds = Annotated[int, Meta(ge=10, le=86_400)]
DEFAULT_EXPIRY_SECONDS = 600
"""What a policy that says nothing means."""
LAST_SECONDS = 86_400
"""How long after it expired a round that some participant has answered may be finished."""


def expires_at(at: int, after: int) -> int:
    """Return what the ``admit`` of a moment says (UTC seconds); ``after`` is the policy's ``expires``."""
    return at + after


def has_expired(admit: Admit, now: int) -> bool:
    """Return whether it is too late to begin."""
    return now >= admit.expires


def last_of(admit: Admit) -> int:
    """Return the moment (UTC seconds) from which on nothing is computed for this round any more."""
    return admit.expires + LAST_SECONDS


def is_past_last(admit: Admit, now: int) -> bool:
    """Return whether it is too late to finish."""
    return now >= last_of(admit)

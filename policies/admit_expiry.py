"""The time before an ``admit`` expires.

A policy says after how many seconds (``expires``), the ``admit`` says at which second, and from that second on no
participant begins the round any more: a node does not countersign, and gives its word instead of a share that it has
not made; the service asks for words, so that the charge is freed.
"""

from typing import Annotated

from msgspec import Meta

from ledger.entries import Admit

ExpirySeconds = Annotated[int, Meta(ge=10, le=86_400)]
DEFAULT_EXPIRY_SECONDS = 600
"""What a policy that says nothing means."""


def expires_at(at: int, after: int) -> int:
    """Return what the ``admit`` of a moment says (UTC seconds); ``after`` is the policy's ``expires``."""
    return at + after


def has_expired(admit: Admit, now: int) -> bool:
    """Return whether it is too late to begin."""
    return now >= admit.expires

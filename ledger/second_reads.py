"""One sample is no finding: what was read and does not hold is read again, by other ways, before it counts."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from ledger.errors import Malformed, MusubiError, NotFound, ProofInvalid, SignatureInvalid, Told, TooLarge

T = TypeVar("T")
Way = TypeVar("Way")
DOUBTS: tuple[type[MusubiError], ...] = (Malformed, NotFound, ProofInvalid, SignatureInvalid, TooLarge)
"""What may be no more than one bad read: a cache's, or something's on the way."""


def read_in_turn(ways: Sequence[Way], read: Callable[[Way], T], doubts: tuple[type[MusubiError], ...] = DOUBTS) -> T:
    """Return what reading gives by the first of ``ways`` by which it holds; raise what the last one gives.

    Anything but ``doubts`` is raised at once, and so is what somebody said (``Told``): it was no reading. There is at
    least one way.
    """
    for way in ways[:-1]:
        try:
            return read(way)
        except doubts as error:
            if isinstance(error, Told):
                raise
    return read(ways[-1])

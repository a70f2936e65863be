"""The clock: whole UTC seconds, as they stand in entries, messages and cosignatures.

Nothing else here asks for the time.

Whoever works with the time takes a ``Clock``, so that a test can say what time it is.
"""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Gives the time in whole UTC seconds since 1970."""
MAX_SKEW_SECONDS = 60
"""How far apart two machines' clocks may be before one does not take the other's word."""


def system_clock() -> int:
    """Return this machine's time in whole UTC seconds."""
    return int(time.time())

"""The clock: whole UTC seconds, as they stand in entries, messages and cosignatures.

Nothing else here asks for the time.

Whoever works with the time takes a ``Clock``, so that a test can say what time it is. A machine's clock may be set to
any time, by a person or by itself; the seconds that pass are counted beside it (``Ticks``), and nobody can set those.
"""

import time
from collections.abc import Callable

Clock = Callable[[], int]
"""Gives the time in whole UTC seconds since 1970."""
Ticks = Callable[[], float]
"""Gives seconds since some moment, those that the machine slept through too; it never jumps and is never set."""
MAX_SKEW_SECONDS = 60
"""How far apart two machines' clocks may be before one does not take the other's word."""


def system_clock() -> int:
    """Return this machine's time in whole UTC seconds."""
    return int(time.time())


def system_ticks() -> float:
    """Return the seconds since this machine started, where it says so with those asleep; else ``time.monotonic``."""
    since_boot: int | None = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if since_boot is None else time.clock_gettime(since_boot)

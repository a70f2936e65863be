"""So many requests a minute of one address, or of one account.

A window is a minute; a count is one number, so that it costs the same however near the limit a caller is. When a window
ends everything in it is forgotten: no address is remembered for longer than a minute.
"""

import time
from collections import Counter
from collections.abc import Callable

from ledger.errors import RateLimited

SECONDS = 60


class PerMinute:
    """Counts of one minute. For one event loop."""

    def __init__(self, most: int, ticks: Callable[[], float] = time.monotonic) -> None:
        self._most = most
        self._ticks = ticks
        self._window = 0
        self._counts: Counter[str] = Counter()

    def count(self, who: str) -> None:
        """Count one request; raise RateLimited where its caller has had all of this minute's."""
        window = int(self._ticks() // SECONDS)
        if window != self._window:
            self._window = window
            self._counts.clear()
        if self._counts[who] >= self._most:
            raise RateLimited("Too many requests of yours in this minute; try again in the next one.")
        self._counts[who] += 1

"""The node's clock, as far as somebody else has taken it: what it decides is often for ever.

A question that this node holds for expired is never computed here again, and books that were restored say from when on
they may be trusted. A clock that is hours ahead would decide both wrongly, and one that is behind the second. So what
binds goes by the time at which the service last took a message of ours (it refuses one that is more than a minute off
its own, which it holds against the witnesses'), and by the seconds that have passed since, which no setting of the
clock moves. Before the first such answer nothing has expired and no restore is dated; the service gives no work then
either. Our own clock counts where it is earlier: a service that takes anything cannot make time run ahead of it.
"""

from trust.runtime.clock import MAX_SKEW_SECONDS, Clock, Ticks, system_clock, system_ticks


class TakenClock:
    """A ``Clock`` that is never ahead of what was taken; 0 before anything was."""

    def __init__(self, clock: Clock = system_clock, ticks: Ticks = system_ticks) -> None:
        self._clock = clock
        self._ticks = ticks
        self._taken: tuple[int, float] | None = None

    def read(self) -> tuple[int, float]:
        """Return our own clock, and the tick: to be noted as ``taken`` once a message of this moment was."""
        return self._clock(), self._ticks()

    def taken(self, moment: tuple[int, float]) -> None:
        """Note that the service took a message that was signed at a moment."""
        self._taken = moment

    def __call__(self) -> int:
        """Return the time in whole UTC seconds."""
        expected = self._expected()
        return 0 if expected is None else min(self._clock(), expected)

    @property
    def is_sure(self) -> bool:
        """Whether our own clock shows what was taken, to a minute."""
        expected = self._expected()
        return expected is not None and abs(self._clock() - expected) <= MAX_SKEW_SECONDS

    def _expected(self) -> int | None:
        if self._taken is None:
            return None
        at, tick = self._taken
        return at + int(max(0.0, self._ticks() - tick))

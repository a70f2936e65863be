"""Messages of now, once: a signed poll or request is refused when its time is off or its nonce was seen before."""

from collections import OrderedDict

from ledger.errors import ClockSkew, Replayed
from trust.service.store import MAX_SKEW_SECONDS, Clock

MOST = 100_000


class Nonces:
    """Nonces of the last two minutes; bounded, and forgotten at a restart (the time still guards then)."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: OrderedDict[str, int] = OrderedDict()

    def check(self, nonce: str, at: int) -> None:
        """Raise ClockSkew or Replayed unless the message is new and of now."""
        now = self._clock()
        if abs(now - at) > MAX_SKEW_SECONDS:
            raise ClockSkew("The message's time is more than a minute from the service's; check the clock.", now=now)
        while self._seen and (len(self._seen) > MOST or next(iter(self._seen.values())) < now - 2 * MAX_SKEW_SECONDS):
            self._seen.popitem(last=False)
        if nonce in self._seen:
            raise Replayed("This message was sent before; sign a new one.")
        self._seen[nonce] = now

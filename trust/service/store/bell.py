"""Something changed: whoever waits looks again."""

import asyncio
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Bell:
    """A broadcast without content. Waiters decide for themselves whether what they wait for has come."""

    def __init__(self) -> None:
        self._event = asyncio.Event()
        self._closed = False

    def close(self) -> None:
        """End every wait now and from now on: the service is to stop."""
        self._closed = True
        self.ring()

    def ring(self) -> None:
        """Wake every waiter once."""
        self._event.set()
        self._event = asyncio.Event()

    async def until(self, look: Callable[[], T | None], seconds: float) -> T | None:
        """Return the first result of ``look`` that is not None, looking again at each ring; None after ``seconds``.

        A closed bell waits for nothing.
        """
        deadline = asyncio.get_running_loop().time() + seconds
        while True:
            event = self._event
            found = look()
            left = deadline - asyncio.get_running_loop().time()
            if found is not None or left <= 0 or self._closed:
                return found
            try:
                async with asyncio.timeout(left):
                    await event.wait()
            except TimeoutError:
                return look()

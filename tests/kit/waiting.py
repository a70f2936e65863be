"""Waiting for what has to happen: for the event itself, however slow the machine is.

Nothing here measures speed. ``PATIENCE`` only ends a wait for what will never come, so it is long: other people's work
on every core is no fault. A test that has to let time pass says by the function that it calls what the time is for.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

PATIENCE = 600
"""Seconds after which what has not happened never will; also the limit of a process that a test runs or waits for."""
_PAUSE = 0.01
"""Seconds between two looks."""
T = TypeVar("T")


def until(condition: Callable[[], T], otherwise: Callable[[], object] = str) -> T:
    """Look again and again until a condition holds; return what it gave. ``otherwise`` tells what there was instead.

    Raises:
        AssertionError: it did not come about within ``PATIENCE`` seconds.

    """
    end = time.monotonic() + PATIENCE
    while not (found := condition()):
        assert time.monotonic() < end, f"it did not come about: {otherwise()}"
        time.sleep(_PAUSE)
    return found


@overload
async def eventually(condition: Callable[[], Awaitable[T]], otherwise: Callable[[], object] = str) -> T: ...
@overload
async def eventually(condition: Callable[[], T], otherwise: Callable[[], object] = str) -> T: ...
async def eventually(condition: Callable[[], Any], otherwise: Callable[[], object] = str) -> Any:
    """Do as ``until`` does, but let this event loop's other tasks run; the condition may be asynchronous.

    Raises:
        AssertionError: it did not come about within ``PATIENCE`` seconds.

    """
    end = time.monotonic() + PATIENCE
    while True:
        looked = condition()
        found = await looked if isinstance(looked, Awaitable) else looked
        if found:
            return found
        assert time.monotonic() < end, f"it did not come about: {otherwise()}"
        await asyncio.sleep(_PAUSE)


async def breath() -> None:
    """Wait a little before something is tried again that is tried until it succeeds."""
    await asyncio.sleep(_PAUSE)


async def nothing_for(seconds: float) -> None:
    """Let time pass in which something is *not* to happen. On a slow machine this sees less, and never fails for it."""
    await asyncio.sleep(seconds)


def random_moment(chance: random.Random, most: float) -> None:
    """Let up to ``most`` seconds pass, so that what follows (a kill) hits anywhere."""
    time.sleep(chance.uniform(0, most))


async def async_random_moment(chance: random.Random, most: float) -> None:
    """Let up to ``most`` seconds pass, so that what follows (a kill, a full disk) hits anywhere."""
    await asyncio.sleep(chance.uniform(0, most))

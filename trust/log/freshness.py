"""Whether what a log shows is all that there is by now: a frozen view is genuine, and hides what came after it.

An old checkpoint is signed and cosigned like any other. Three things show that it is old:

- **what this reader saw before**: a ``LogFollower`` with the last note of another day refuses a smaller tree;
- **the cosignatures' times**: a service has its newest checkpoint cosigned anew each half minute, also when nothing is
  written (``trust.service.publish.sequencer``). A view of more than ``FRESH_SECONDS`` ago is old by the reader's
  clock. Five minutes: two clocks may be a minute apart, and a few renewals may fail;
- **the witnesses themselves**: a pinned witness says which tree it cosigned last. If the log signed a larger one than
  it shows here, also past every cache, an old copy is served, or the service waits for its quorum. If it signed
  another one, that is a fork, with the evidence.

None of it accuses anybody but the fork: it says ``old-view``. A witness that is silent says nothing.
"""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from ledger.errors import MusubiError, OldView
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.cosignatures import check_cosignature
from ledger.notes.note import parse_note
from trust.log.follower import LogFollower
from trust.log.seen_checkpoint import SeenCheckpoint
from trust.log.witness_client import fetch_latest
from trust.runtime.clock import Clock, system_clock
from trust.runtime.http_clients import open_async_http

FRESH_SECONDS = 300
"""How old a view may be, by the cosignatures' times, before it is said to be old."""
WITNESS_SECONDS = 5.0
"""How long one witness may take to say what it cosigned last."""
_UNITS = ((86_400, "day"), (3_600, "hour"), (60, "minute"), (1, "second"))


def age_of(seen: SeenCheckpoint, clock: Clock = system_clock) -> int | None:
    """Return how many seconds ago the witnesses confirmed a checkpoint, or None where no witness says of when it is."""
    return None if seen.time is None else max(0, clock() - seen.time)


def say_age(seconds: int) -> str:
    """Write a number of seconds for people, in the largest unit of which there are two: ``3 days``, ``100 minutes``."""
    size, unit = next((each for each in _UNITS if seconds >= 2 * each[0]), _UNITS[-1])
    number = seconds // size
    return f"{number} {unit}" if number == 1 else f"{number} {unit}s"


def check_fresh(seen: SeenCheckpoint, clock: Clock = system_clock) -> None:
    """Raise OldView where the witnesses confirmed a checkpoint longer than ``FRESH_SECONDS`` ago."""
    age = age_of(seen, clock)
    if age is not None and age > FRESH_SECONDS:
        raise OldView(
            f"The newest that the log shows was confirmed {say_age(age)} ago: what came since is not in it. Either an old "
            "copy is served, or the service has no witnesses now, or this machine's clock is wrong."
        )


def sizes_by_witnesses(follower: LogFollower) -> dict[str, int] | None:
    """Ask the pinned witnesses which tree they cosigned last; return its size, by their names, of those that showed it.

    Each has to be signed by the log and by the witness; other answers are a stranger's words. None where no witness has
    an address to be asked at. Raises HistoryForked, with the evidence, where the log signed one of them and it is no
    beginning of the tree that ``follower`` has seen; and what reading the log raises.
    """
    policy = follower.witnesses
    if policy is None or follower.latest is None or not any(each.url for each in policy.witnesses.values()):
        return None

    async def ask() -> dict[str, bytes]:
        async with open_async_http(seconds=WITNESS_SECONDS) as client:
            return await fetch_latest(client, policy, follower.history.origin, WITNESS_SECONDS)

    sizes: dict[str, int] = {}
    with ThreadPoolExecutor(1) as thread:  # whoever calls may run in an event loop
        notes = thread.submit(lambda: asyncio.run(ask())).result()
    for name, note in notes.items():
        checkpoint: Checkpoint | None = None
        with suppress(MusubiError):
            opened, _ = follower.history.open(note, of_witness=True)
            if check_cosignature(parse_note(note), policy.witnesses[name].key) is not None:
                checkpoint = opened
        if checkpoint is not None:
            follower.check_begins_latest(SeenCheckpoint(checkpoint, note, {}))
            sizes[name] = checkpoint.size
    return sizes


def more_is_known(shown: int, sizes: dict[str, int]) -> OldView:
    """Return the error for a log that shows fewer entries than a witness has cosigned."""
    name = max(sizes, key=lambda each: sizes[each])
    return OldView(
        f"The witness '{name}' has cosigned {sizes[name]} entries, and the log shows {shown}: an old copy is served, or the "
        "service waits for its other witnesses. Try again in a minute; if it stays so, tell the town's stewards."
    )


def look(follower: LogFollower, at_least: int = 0) -> SeenCheckpoint:
    """Fetch the newest checkpoint, hold it against what the pinned witnesses know, and return it.

    ``at_least`` is a size that the reader has other proof of, a receipt say. Raises OldView where less is shown than
    was seen before, than that, or than a witness has cosigned, and what ``fetch`` and ``sizes_by_witnesses`` raise.
    """
    seen = follower.fetch(at_least)
    if seen.checkpoint.size < at_least:
        raise OldView(
            f"The log shows {seen.checkpoint.size} entries, and a receipt was given of {at_least}: an old copy is served. "
            "Try again in a minute."
        )
    sizes = sizes_by_witnesses(follower)
    if sizes and max(sizes.values()) > seen.checkpoint.size:
        seen = follower.fetch(at_least=max(sizes.values()))
        if seen.checkpoint.size < max(sizes.values()):
            raise more_is_known(seen.checkpoint.size, sizes)
    return seen

"""What a node went on from at its start, checked by the same replay of every entry while the node works.

It has a thread, a reader of the log and a connection to the books of its own, and changes nothing. It works a quarter
of the time, a batch of at most 4,096 entries at once, so that no poll waits for it; it needs the memory of one more
state. A log that cannot be read now, or is not what it should be, is for the node's own reader to find: here it is read
again later. Where the state or the books differ from what the entries give, ``difference`` says so, and the node ends.
"""

import hashlib
import sqlite3
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, closing
from pathlib import Path

import structlog

from ledger.errors import KeptStateDiffers, MusubiError
from ledger.tlog.tree import Frontier
from trust.log.follower import LogFollower
from trust.log.pins import Trust
from trust.log.seen_checkpoint import VerifiedBatch
from trust.node.books.checked_books import CheckedBooks, differs
from trust.node.kept.holder_state import HolderState, RestsOn
from trust.runtime.clock import Ticks, system_ticks
from trust.runtime.json_lines import reason_of

REST = 3
"""How long it rests after each batch, in times that the batch took."""
RETRY_SECONDS = 30
logger = structlog.get_logger()


class BackgroundCheck:
    """The check of one snapshot. ``follow`` opens a reader of the log that has read nothing yet, and closes it."""

    def __init__(
        self,
        rests_on: RestsOn,
        follow: Callable[[], AbstractContextManager[LogFollower]],
        books: Path,
        *,
        holder: str,
        trust: Trust,
        ticks: Ticks = system_ticks,
    ) -> None:
        self.difference: KeptStateDiffers | None = None
        """What was found, if anything."""
        self.is_same = False
        """Whether all was looked at, and is as it was kept."""
        self._rests_on = rests_on
        self._follow = follow
        self._path = books
        self._held = HolderState(holder, trust)
        self._edge = Frontier()
        self._ticks = ticks
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self.run, name="background-check", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._thread.start()

    def stop(self) -> None:
        """End after the batch in hand; it changes nothing, so nobody waits for it."""
        self._stop.set()

    def run(self) -> None:
        """Check, until done or stopped."""
        with closing(CheckedBooks(self._path, self._rests_on.size)) as books:
            while not self._stop.is_set():
                try:
                    self._read(books)
                except KeptStateDiffers as error:
                    self.difference = error
                    at = self._held.state.size
                    logger.error("snapshot-differs", entries=at, **reason_of(error))  # noqa: TRY400 - no fault of the code
                    return
                except (MusubiError, sqlite3.Error) as error:  # the log or the books cannot be read now
                    why = error if isinstance(error, MusubiError) else None
                    logger.warning("snapshot-unchecked", **(reason_of(why) if why else {"kind": type(error).__name__}))
                    self._stop.wait(RETRY_SECONDS)
                    continue
                return

    def _read(self, books: CheckedBooks) -> None:
        with self._follow() as follower:
            follower.go_on_from(self._edge, self._held.state.log_keys)
            for batch in follower.follow(self._rests_on.size):
                began = self._ticks()
                self._take(batch, books)
                if self._edge.size == self._rests_on.size:
                    self._compare(books)
                    return
                if self._stop.wait(REST * (self._ticks() - began)):
                    return

    def _take(self, batch: VerifiedBatch, books: CheckedBooks) -> None:
        wanted = self._rests_on.size - batch.first
        for index, data in enumerate(batch.entries[:wanted], batch.first):
            try:
                self._held.apply(index, data, books, books)
            except KeptStateDiffers:
                raise
            except MusubiError:
                raise differs(f" at entry {index}") from None
        self._edge.append(batch.hashes[:wanted])

    def _compare(self, books: CheckedBooks) -> None:
        if self._edge.root() != self._rests_on.root:
            raise differs(" of its own tree")
        if hashlib.sha256(self._held.kept()).digest() != self._rests_on.state_sha256:
            raise differs()
        books.check_none_besides()
        self.is_same = True
        logger.info("snapshot-checked", entries=self._rests_on.size)

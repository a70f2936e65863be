"""Links between this holder's customers and residents' pairwise keys, taken in from the holder's own website.

The website, where the customer is logged in, gives a challenge (made with ``keys/link.key``), and what the resident's
device answers comes as a line of canonical JSON in a file ``links/<name>.jsonl``: ``{"customer":"…","link":"<JWS>"}``.
It is written under another ending first and renamed, so that a file here is whole. The node's local interface and
``musubi node link`` do that (``hand_in``). Files are taken in and removed; lines that do not check are counted and
dropped. Nothing of this leaves the holder.
"""

import hashlib
import sqlite3
import threading
from pathlib import Path

import structlog
from msgspec import Struct

from ledger import canonical
from ledger.errors import MusubiError, Unavailable
from policies.consents.attestation import check_link
from trust.files.durable import write_whole
from trust.files.regular import open_regular
from trust.node.books.books import Books
from trust.node.taken_clock import TakenClock
from trust.runtime.clock import Clock

LINKS_FAILED = "A file in links/ could not be taken in, and stays; look at the disk and the permissions."
logger = structlog.get_logger()
EVERY_SECONDS = 0.2
RETRY_SECONDS = 1.0


class AnsweredChallenge(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One line: which customer was logged in, and the resident's signed answer."""

    customer: str
    link: str


def check_answered(answered: AnsweredChallenge, *, secret: bytes, holder: str, now: int) -> str:
    """Return the pairwise key that an answered challenge binds to its customer; raises what ``check_link`` does."""
    return check_link(answered.link, secret=secret, customer=answered.customer, holder=holder, now=now)


def hand_in(folder: Path, answered: AnsweredChallenge) -> Path:
    """Leave an answered challenge where the link desk looks, mode 0600; return the file, which goes once it is taken.

    The same answer has the same name, so that handing it in again is no second one. Raises Unavailable.
    """
    line = canonical.encode(answered) + b"\n"
    path = folder / f"{hashlib.sha256(line).hexdigest()[:32]}.jsonl"
    write_whole(path, line)
    return path


class LinkDesk:
    """Takes answered challenges in, on a thread of its own with ``books`` of its own (a connection has one thread)."""

    def __init__(
        self, folder: Path, books: Books, secret: bytes, holder: str, clock: Clock, taken: TakenClock | None = None
    ) -> None:
        self._folder = folder
        self._books = books
        self._secret = secret
        self._holder = holder
        self._clock = clock
        self._taken_clock = taken
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="links", daemon=True)

    def start(self) -> None:
        """Begin to look for files."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        self._thread.start()

    def check_alive(self) -> None:
        """Raise Unavailable if the thread has ended by itself."""
        if not self._thread.is_alive():
            raise Unavailable("The node's link desk has ended; its log says why.")

    def stop(self) -> None:
        """End after the file in hand."""
        self._stop.set()
        self._thread.join()
        self._books.close()

    def _run(self) -> None:
        while not self._stop.wait(EVERY_SECONDS):
            if self._taken_clock is not None and not self._taken_clock.is_sure:
                continue  # by a wrong clock good answers would be too old, and gone
            for path in sorted(self._folder.glob("*.jsonl")):
                if self._stop.is_set():
                    return
                try:
                    self.take(path)
                except (sqlite3.Error, OSError) as error:  # a full disk, say: the file stays, and is taken in later
                    logger.warning("links-failed", kind=type(error).__name__, why=LINKS_FAILED)
                    self._stop.wait(RETRY_SECONDS)

    def take(self, path: Path) -> int:
        """Take one file in; return how many customers were newly linked, or linked to another key.

        A crash before the removal takes it again.
        """
        good: list[tuple[str, str]] = []
        bad = 0
        with open_regular(path) as file:
            lines = file.read().splitlines()
        for line in lines:
            try:
                answered = canonical.decode(line, AnsweredChallenge, "answered challenge")
                key = check_answered(answered, secret=self._secret, holder=self._holder, now=self._clock())
                good.append((key, answered.customer))
            except MusubiError:
                bad += 1
        with self._books.transaction():
            new = self._books.link(good)
        path.unlink()
        logger.info("links", new=new, bad=bad)
        return new

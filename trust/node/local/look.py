"""Looking through the holder's files for its page: one at a time, on a thread of its own, the last result kept.

It takes as long as the files are long, and runs in the process of the local interface, never in the node's. What it
finds stays in this process's memory. What does not fit goes into ``local.tmp`` in the node's folder, mode 0700, which
is emptied at the start and at the end: what a crash leaves behind is gone at the next start.
"""

import shutil
import tempfile
import threading
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import structlog
from msgspec import Struct

from ledger.errors import MusubiError
from policies.policy_document import Policy
from trust.node.check.findings import SourceFindings
from trust.node.check.node_check import check_files
from trust.node.check.own_record import OwnRecord, look_up_questions, read_own_books
from trust.node.check.public_service import open_service
from trust.node.check.since_last_load import ShrunkFile, shrunk_files
from trust.node.settings import NodeSettings
from trust.pages.cards import QuestionCard
from trust.runtime.clock import Clock, system_clock

SPILL = "local.tmp"
NOT_LOOKED = "Looking through the files failed; the log of the node's local interface says of what kind it was."
logger = structlog.get_logger()


class Looked(Struct, frozen=True, kw_only=True):
    """What was found, and when it was begun (UTC seconds). ``failed`` says why nothing was, or ""."""

    at: int
    found: Sequence[SourceFindings] = ()
    shrunk: Sequence[ShrunkFile] = ()
    failed: str = ""


class Looking:
    """The looks of one local interface. ``settings`` are the node's."""

    def __init__(self, folder: Path, settings: NodeSettings, clock: Clock = system_clock) -> None:
        self._folder = folder
        self._settings = settings
        self._clock = clock
        self._lock = threading.Lock()
        self._cards: dict[int, QuestionCard] = {}
        self._unread = ""
        self.zone = "UTC"
        """The town's time zone, once the service was asked."""
        self.last: Looked | None = None
        self.since: int | None = None
        """When the look that is under way was begun."""

    def open(self) -> None:
        """Have an empty folder for what does not fit into memory, and nothing of this process go elsewhere."""
        shutil.rmtree(self._folder / SPILL, ignore_errors=True)
        spill = self._folder / SPILL
        spill.mkdir(mode=0o700)
        tempfile.tempdir = str(spill)

    def close(self) -> None:
        """Remove what a look has put there."""
        tempfile.tempdir = None
        shutil.rmtree(self._folder / SPILL, ignore_errors=True)

    def begin(self) -> None:
        """Begin to look, unless that is under way."""
        with self._lock:
            if self.since is not None:
                return
            self.since = self._clock()
        threading.Thread(target=self._run, name="look", daemon=True).start()

    def record(self) -> OwnRecord:
        """Return what the node's books say now, and what is public as of the last look; or why they cannot be read."""
        try:
            return read_own_books(self._folder, dict(self._cards), self._unread)
        except MusubiError as error:
            return OwnRecord(unread=error.message)

    def _run(self) -> None:
        at = self.since or 0
        try:
            looked = self._look(at)
        except MusubiError as error:
            looked = Looked(at=at, failed=error.message)
        except Exception as error:  # noqa: BLE001 - a file may bring about anything; the page has to say so
            logger.error("look-failed", kind=type(error).__name__)  # noqa: TRY400 - a trace could hold rows
            looked = Looked(at=at, failed=NOT_LOOKED)
        with self._lock:
            self.last, self.since = looked, None

    def _look(self, at: int) -> Looked:
        cards = dict(self._cards)
        self._unread = look_up_questions(self._folder, self._settings, cards)
        self._cards = cards
        found = check_files(self._folder, self._settings, self._policies())
        return Looked(at=at, found=found, shrunk=shrunk_files(self._folder, found))

    def _policies(self) -> list[Policy]:
        with open_service(self._folder, self._settings) as client:
            with suppress(MusubiError):
                self.zone = client.genesis().time_zone
            return list(client.policies().values())

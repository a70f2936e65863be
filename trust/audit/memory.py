"""What an auditor keeps between two audits of one town: its pins, the last checkpoint it saw, and evidence.

The folder has ``trust.json`` (the pins), ``checkpoint`` (the last signed note that was checked), ``evidence/`` (files
that convict the log: ``trust.files.evidence``) and ``set-aside/`` (signed notes of trees smaller than one seen before:
an old copy, or a second history; whoever has the larger tree's tiles can tell which). Files are written whole or not at
all; a crash leaves the old ones.
"""

import hashlib
from pathlib import Path

from ledger.errors import HistoryForked, Malformed, NotFound, TooLarge, Unavailable
from ledger.notes.note import MAX_NOTE_BYTES
from trust.files.durable import write_whole
from trust.files.evidence import Evidence, keep_evidence
from trust.log.pins import TRUST_FILE, Trust, load_trust, save_trust


class Memory:
    """The state folder; ``None`` remembers nothing."""

    def __init__(self, folder: Path | None) -> None:
        self._folder = folder

    def pins(self) -> Trust | None:
        """Return the pins kept, or None. Raises Unavailable."""
        if self._folder is None:
            return None
        try:
            return load_trust(self._folder / TRUST_FILE)
        except NotFound:
            return None
        except (Malformed, TooLarge):
            raise Unavailable("The auditor's own pins are damaged; give it another state folder.") from None

    def pin(self, trust: Trust) -> None:
        """Keep pins; raise HistoryForked when others are kept, for another log, log key or genesis entry.

        Which witnesses count may change: whoever brings the new pins answers for that.
        """
        if self._folder is None:
            return
        kept = self.pins()
        if kept is not None:
            check_same_town(kept, trust)
        if kept != trust:
            save_trust(trust, self._folder / TRUST_FILE)

    def checkpoint(self) -> bytes | None:
        """Return the last note seen, or None."""
        if self._folder is None:
            return None
        try:
            with (self._folder / "checkpoint").open("rb") as file:
                return file.read(MAX_NOTE_BYTES)
        except FileNotFoundError:
            return None
        except OSError:
            raise Unavailable("The auditor's state folder cannot be read; check its permissions.") from None

    def keep_checkpoint(self, note: bytes) -> None:
        """Remember the note that was checked last."""
        if self._folder is not None:
            write_whole(self._folder / "checkpoint", note)

    def keep_evidence(self, evidence: Evidence) -> Path | None:
        """Keep what convicts the log; return its file."""
        return None if self._folder is None else keep_evidence(self._folder / "evidence", evidence)

    def set_aside(self, note: bytes) -> Path | None:
        """Keep a signed note of which it cannot be told yet whether it contradicts another; return its file."""
        if self._folder is None:
            return None
        path = self._folder / "set-aside" / hashlib.sha256(note).hexdigest()[:16]
        write_whole(path, note)
        return path


def check_same_town(kept: Trust, offered: Trust) -> None:
    """Raise HistoryForked unless both pin the same log, log key and genesis entry."""
    ours, theirs = ((each.origin, each.log_key, each.log_key_pq, each.genesis_sha256) for each in (kept, offered))
    if ours != theirs:
        raise HistoryForked(
            "This is not the log that was pinned before: its name, key or genesis entry is another one."
        )

"""What a resident's device keeps of its own: each consent as it was signed, and that its owner has left the town.

The service keeps the consents, and may lose them: it may be set up again from a backup that was made before. The
ledger still has the grant then, and nodes still count it. The device's own copy takes it back: the ledger's entry
commits to it.

Files: ``<SHA-256 of the consent identifier, 16 digits>.json``, one consent each, written before it is handed in, so
that a device that stops in between has what the ledger may have; ``left.json``, written before a farewell is sent. Mode
0600: they name the resident's own keys. A damaged file is as good as lost, and keeps nobody from the others.
"""

import hashlib
from pathlib import Path
from typing import Literal

from msgspec import Struct, structs

from ledger import canonical, jws
from ledger.entries import Hex32, Index, Seconds
from ledger.errors import MusubiError
from policies.consents.bundle import Bundle
from policies.consents.consent import General
from trust.files.durable import sync_folder, write_whole

LEFT = "left.json"
MAX_COPY_BYTES = 4_000_000


class OwnCopy(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A consent as this device signed it, and where it stands in the ledger, once that was proven."""

    v: Literal[1] = 1
    bundle: Bundle
    index: Index | None

    @property
    def general(self) -> General:
        """What leaf 0 says."""
        return jws.read_unverified(self.bundle.leaves[0].body, General)


class LeftNote(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The owner of ``key`` (at the service) asked at ``at`` to be forgotten."""

    v: Literal[1] = 1
    key: Hex32
    at: Seconds


class OwnCopies:
    """The folder of one resident's own copies."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, bundle: Bundle, index: int | None = None) -> None:
        """Keep a consent, durably; raise Unavailable where the disk does not take it."""
        copy = OwnCopy(bundle=bundle, index=index)
        write_whole(self._path(copy.general.consent), canonical.encode(copy))

    def place(self, consent: Hex32, index: int) -> None:
        """Note where in the ledger a kept consent stands."""
        copy = self.find(consent)
        if copy is not None:
            write_whole(self._path(consent), canonical.encode(structs.replace(copy, index=index)))

    def find(self, consent: Hex32) -> OwnCopy | None:
        """Return the copy of a consent, or None where there is none that can be read."""
        return self._read(self._path(consent))

    def at(self, index: int) -> OwnCopy | None:
        """Return the copy of the consent that was seen to stand at ``index`` of the ledger, or None."""
        return next((copy for copy in self.all() if copy.index == index), None)

    def all(self) -> list[OwnCopy]:
        """Return every copy that can be read."""
        copies = (self._read(path) for path in sorted(self.folder.glob("*.json")) if path.name != LEFT)
        return [copy for copy in copies if copy is not None]

    def damaged(self) -> list[str]:
        """Return the names of the files that cannot be read."""
        paths = [path for path in sorted(self.folder.glob("*.json")) if path.name != LEFT]
        return [path.name for path in paths if self._read(path) is None]

    def forget(self, consent: Hex32) -> None:
        """Delete the copy of a consent, durably: nobody can show it any more."""
        path = self._path(consent)
        if path.exists():
            path.unlink()
            sync_folder(self.folder)

    def note_leaving(self, key: Hex32, at: int) -> None:
        """Note that the owner of a key is about to ask to be forgotten."""
        write_whole(self.folder / LEFT, canonical.encode(LeftNote(key=key, at=at)))

    def left_at(self, key: Hex32) -> int | None:
        """Return when the owner of a key asked to be forgotten, or None where this device knows of no such thing."""
        try:
            note = canonical.decode((self.folder / LEFT).read_bytes(), LeftNote, "note")
        except (OSError, MusubiError):
            return None
        return note.at if note.key == key else None

    def _path(self, consent: Hex32) -> Path:
        return self.folder / f"{hashlib.sha256(bytes.fromhex(consent)).hexdigest()[:16]}.json"

    @staticmethod
    def _read(path: Path) -> OwnCopy | None:
        try:
            with path.open("rb") as file:
                copy = canonical.decode(file.read(MAX_COPY_BYTES), OwnCopy, "own copy")
            _ = copy.general
        except (OSError, MusubiError, IndexError):
            return None
        return copy

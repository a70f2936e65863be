r"""The folder of a backup: files, their hashes, and what it is a backup of.

::

    BACKUP/
      backup.json     {"at":1790000000,"files":{"service.toml":"5f…"},"kind":"service","origin":"…","v":1}
      …               the files that it names, each with its SHA-256
      log/            a service's log, held against its own checkpoint instead

``backup.json`` is written last: a folder without it is a backup that did not come to its end, and is not taken for one.
The folder is open to its own user alone. What it holds and what not is said by ``trust.service.upkeep.backup`` and
``trust.node.backup``.
"""

import hashlib
import shutil
from pathlib import Path
from typing import Literal

from msgspec import Struct

from ledger import canonical
from ledger.entries import Hex32, Seconds
from ledger.errors import Malformed, NotFound, NotPermitted, Unavailable
from trust.files.durable import write_whole

MANIFEST = "backup.json"
Kind = Literal["service", "node"]


class Backup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``backup.json``: what was backed up when (UTC seconds), of which log, and each file's SHA-256."""

    v: Literal[1] = 1
    kind: Kind
    at: Seconds
    origin: str
    files: dict[str, Hex32]


def begin_backup(out: Path) -> None:
    """Make the folder; raise NotPermitted where it holds something, Unavailable where it cannot be made."""
    try:
        out.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(out.iterdir()):
            raise NotPermitted("The backup's folder is not empty; choose a new one, with the date in its name, say.")
        out.chmod(0o700)
    except OSError:
        raise Unavailable("The backup's folder cannot be made; choose another place.") from None


def take_file(source: Path, out: Path, name: str) -> None:
    """Copy one file to ``out``/``name``, durably, mode 0600. Raises NotFound or Unavailable."""
    try:
        data = source.read_bytes()
    except FileNotFoundError:
        raise NotFound(f"The file '{name}' that a backup needs is not there.") from None
    except OSError:
        raise Unavailable(f"The file '{name}' cannot be read.") from None
    write_whole(out / name, data)


def end_backup(out: Path, kind: Kind, origin: str, at: Seconds) -> Backup:
    """Hash all files but the log's, write ``backup.json`` as of ``at``, and return it."""
    files = {
        str(path.relative_to(out)): file_sha256(path)
        for path in sorted(out.rglob("*"))
        if path.is_file() and path.relative_to(out).parts[0] != "log"
    }
    backup = Backup(kind=kind, at=at, origin=origin, files=files)
    write_whole(out / MANIFEST, canonical.encode(backup) + b"\n")
    return backup


def read_backup(folder: Path) -> Backup:
    """Read a backup's ``backup.json`` and hold every file against its hash.

    Raises NotFound where the folder holds no whole backup, Malformed where a file is missing or is not what it was.
    """
    try:
        backup = canonical.decode((folder / MANIFEST).read_bytes().rstrip(b"\n"), Backup, "backup.json")
    except FileNotFoundError:
        raise NotFound("That folder holds no whole backup: it has no backup.json.") from None
    for name, sha256 in backup.files.items():
        path = folder / name
        if ".." in Path(name).parts or Path(name).is_absolute() or not path.is_file() or file_sha256(path) != sha256:
            raise Malformed("A file of the backup is missing or damaged; take another backup.", file=name)
    return backup


def put_file(backup: Path, name: str, folder: Path) -> None:
    """Copy one file of a backup into a folder, durably, mode 0600."""
    write_whole(folder / name, (backup / name).read_bytes())


def put_large_file(source: Path, target: Path) -> None:
    """Copy a file of any size, mode 0600; it is whole only when this returns. Raises Unavailable."""
    try:
        target.touch(mode=0o600)
        shutil.copyfile(source, target)
    except OSError:
        raise Unavailable("A file of the backup cannot be put back; free some space.") from None


def file_sha256(path: Path) -> Hex32:
    """Return a file's SHA-256."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""The files that one source is made of, in their order, and which version of each is there.

One file is named by ``file``, which is never a pattern. ``folder`` and ``glob`` name any number: regular files alone,
none that begins with a dot or with ``~$`` (what Excel lays beside an open file), in no folder below, and for ``folder``
those with an ending of its kind. Their order is that of their names, byte by byte; so ``2024-04-01.csv`` comes before
``2024-04-02.csv``. What is being written bears another name until it is whole (``.part``, say), and is renamed then.
"""

import hashlib
import os
from collections.abc import Sequence
from fnmatch import fnmatchcase
from pathlib import Path

from msgspec import Struct

from ledger.errors import Unavailable
from trust.files.regular import open_regular
from trust.node.sources.mapping import ENDINGS, SourceMapping


class FileMark(Struct, frozen=True):
    """One file as it was taken in: its name, for people, and the SHA-256 (hex) of its name and bytes."""

    name: str
    sha256: str


class SourceParts:
    """The files of one source; each is read for its hash again only when its size or one of its times is another."""

    def __init__(self, path: Path, mapping: SourceMapping) -> None:
        self._path = path
        self._mapping = mapping
        self._known: dict[Path, tuple[tuple[int, ...], FileMark, bytes]] = {}

    def paths(self) -> list[Path]:
        """Return the files that are there, in their order; raise Unavailable where there is none."""
        if not self._mapping.is_many:
            return [self._path]
        folder, pattern = self._path, "*"
        if self._mapping.glob:
            folder, pattern = self._path.parent, self._path.name
        endings = {ending for ending, kind in ENDINGS.items() if kind == self._mapping.kind}
        try:
            found = [
                Path(entry.path)
                for entry in os.scandir(folder)
                if not entry.name.startswith((".", "~$"))
                and fnmatchcase(entry.name, pattern)
                and (self._mapping.glob or Path(entry.name).suffix.lower() in endings)
                and entry.is_file()
            ]
        except OSError:
            raise Unavailable("A source's folder is not there; look at its path and permissions.") from None
        if not found:
            raise Unavailable("A source's folder has no file of its kind, or its glob fits none.")
        return sorted(found, key=lambda path: os.fsencode(path.name))

    def marks(self) -> list[FileMark]:
        """Return the files that are there, each as it is; raise Unavailable where one cannot be read, or changes."""
        paths = self.paths()
        known = {path: self._mark(path) for path in paths}
        self._known = known
        return [known[path][1] for path in paths]

    def alike(self) -> list[list[int]]:
        """Return the places of files whose bytes are the same, those of each kind together. Raises as ``marks``."""
        self.marks()
        places: dict[bytes, list[int]] = {}
        for place, path in enumerate(self._known):
            places.setdefault(self._known[path][2], []).append(place)
        return [each for each in places.values() if len(each) > 1]

    def _mark(self, path: Path) -> tuple[tuple[int, ...], FileMark, bytes]:
        state = self._state(path)
        known = self._known.get(path)
        if known is not None and known[0] == state:
            return known
        try:
            with open_regular(path) as file:
                digest = hashlib.file_digest(file, "sha256").digest()
        except OSError:
            raise Unavailable("A source's file cannot be read; look at its path and permissions.") from None
        if self._state(path) != state:
            raise Unavailable("A source's file is being written; replace it in one step, by renaming.")
        name = os.fsencode(path.name) if self._mapping.is_many else b""  # one file may be called otherwise
        told = name.decode("utf-8", "replace")
        return state, FileMark(told, hashlib.sha256(hashlib.sha256(name).digest() + digest).hexdigest()), digest

    def _state(self, path: Path) -> tuple[int, ...]:
        try:
            stat = path.stat()
        except OSError:
            if not self._mapping.is_many and any(sign in path.name for sign in "*?["):
                raise Unavailable(
                    "A source's file is not there: its name is no pattern. For all files that fit one, write: glob = …"
                ) from None
            raise Unavailable("A source's file is not there; look at its path and permissions.") from None
        return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)


def version_of(marks: Sequence[FileMark], mapping: SourceMapping) -> str:
    """Return the SHA-256 (hex) of files and of how they are read."""
    digest = hashlib.sha256(bytes.fromhex(mapping.sha256()))
    for mark in marks:
        digest.update(bytes.fromhex(mark.sha256))
    return digest.hexdigest()

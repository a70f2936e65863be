"""Durable writing: what a function here has written outlives a power cut, and a crash leaves it whole or not at all.

The order is always the same: the bytes into a file of another name in the same folder (fsync), the name, the folder
that the name is in (fsync). A crash before the name leaves at worst a ``.new-…`` file that nobody reads. The log's
tiles have an order of their own, because many of them become durable together (``trust.log.tile_folder``).
"""

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from ledger.errors import Unavailable

HALF_WRITTEN = ".new-"
"""How the name of a file begins that was not written whole; nobody reads it."""


def write_whole(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file, or replace it: a crash leaves the old file or the new one, never a mixture. Raises Unavailable."""
    try:
        _write(path, data, mode, lambda written: written.replace(path))
    except OSError:
        raise Unavailable("The disk did not take a file; free some space or check the folder's permissions.") from None


def write_new(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Write a file that is not there yet; raise FileExistsError where it is, and OSError where the disk refuses."""
    _write(
        path, data, mode, lambda written: os.link(written, path)
    )  # unlike a rename, it fails where the name is taken


def _write(path: Path, data: bytes, mode: int, name: Callable[[Path], object]) -> None:
    """Write to a file of another name, give it its own by ``name``, and leave nothing behind where that fails."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, temporary = tempfile.mkstemp(prefix=HALF_WRITTEN, dir=path.parent)
    written = Path(temporary)
    try:
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        name(written)
    finally:
        written.unlink(missing_ok=True)  # also where the disk was full: no part of a secret stays behind
    sync_folder(path.parent)


def take_place(written: Path, path: Path) -> None:
    """Give a file of another name in the same folder, which somebody else wrote whole, its own. Raises OSError."""
    with written.open("rb") as file:
        os.fsync(file.fileno())
    written.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable: those put there, and those taken away. Raises OSError."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

"""The files under ``/static``, which every process with pages serves: read once at start, from then on from memory."""

import hashlib
from pathlib import Path

_FOLDER = Path(__file__).parent / "static"

STATIC_FILES = {path.name: path.read_bytes() for path in sorted(_FOLDER.iterdir()) if path.is_file()}
"""Every file under ``/static``, by name."""


def static_tag(name: str) -> str:
    """Return the short hash that changes an address when the file changes."""
    return hashlib.sha256(STATIC_FILES[name]).hexdigest()[:16]

"""The files under ``/static``, which every process with pages serves: read once at start, from then on from memory.

``verify.js`` is put together from the modules of ``device/``, so that pages elsewhere can load it as one file.
"""

import hashlib
from pathlib import Path

from trust.pages.es_modules import join_modules

_FOLDER = Path(__file__).parent

STATIC_FILES = {path.name: path.read_bytes() for path in sorted((_FOLDER / "static").iterdir()) if path.is_file()} | {
    "verify.js": join_modules(_FOLDER / "device" / "verify.js").encode()
}
"""Every file under ``/static``, by name."""


def static_tag(name: str) -> str:
    """Return the short hash that changes an address when the file changes."""
    return hashlib.sha256(STATIC_FILES[name]).hexdigest()[:16]

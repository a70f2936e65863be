"""One process for one folder, where two would undo each other's work.

The lock is the kernel's (``flock``): it ends with the process, however that ends, so nothing is left to clear away.
"""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import Unavailable


@contextmanager
def sole_process(lock: Path, what: str) -> Iterator[None]:
    """Hold the file ``lock`` (made with mode 0600) for as long as this lasts; ``what`` is the process, for people.

    Raises Unavailable where another process holds it, OSError where the folder cannot be written.
    """
    handle = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unavailable(
                f"Another {what} is at work in the folder '{lock.parent.name}'; stop it first. Two would charge and sign "
                "side by side."
            ) from None
        yield
    finally:
        os.close(handle)

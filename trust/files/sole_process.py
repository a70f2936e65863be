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
def sole_process(lock: Path, what: str, why: str = "Two would charge and sign side by side.") -> Iterator[None]:
    """Hold the file ``lock`` (made with mode 0600) for as long as this lasts.

    ``what`` is the process, and ``why`` the sentence that says why there is one only, for people.

    Raises Unavailable where another process holds it, OSError where the folder cannot be written.
    """
    handle = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Unavailable(
                f"Another {what} is at work in the folder '{lock.parent.name}'; stop it first. {why}"
            ) from None
        yield
    finally:
        os.close(handle)


def is_at_work(lock: Path) -> bool:
    """Whether a process holds the file ``lock``. Raises OSError where it cannot be read."""
    try:
        handle = os.open(lock, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(handle)
    return False

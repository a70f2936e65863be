"""Reading files that somebody else may have put there: only what is a file is opened.

A pipe in a folder that is looked through would hold its reader for ever, a device give bytes without end. So a file is
opened without waiting, and refused where it is none.
"""

import errno
import os
import stat
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Open a file for reading; raise OSError where there is none, or what is there is no regular file."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError(errno.EINVAL, "no regular file", str(path))
    return os.fdopen(handle, "rb")

"""No image of a process that holds keys, seeds or rows is written to a disk when it crashes.

A core dump holds all of a process's memory, and is kept by others: beside the program, or by the machine's collector.
"""

import ctypes
import resource
import sys
from contextlib import suppress

_PR_SET_DUMPABLE = 4
"""prctl(2), Linux: also for a collector that reads through a pipe, which no limit holds back (core(5))."""


def forbid_core_dumps() -> None:
    """Have no core written of this process, nor of those that it starts. Where the machine refuses, it goes on."""
    with suppress(ValueError, OSError):
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if sys.platform == "linux":
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)

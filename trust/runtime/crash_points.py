"""Named places where a test may have a process killed: right after a durable step, before the next.

``MUSUBI_CRASH_AT=<name>`` makes the process send itself SIGKILL when it reaches that place, so that what a real crash
there leaves behind can be looked at. Without it these calls do nothing.
"""

import os
import signal

_AT = os.environ.get("MUSUBI_CRASH_AT", "")


def reached(name: str) -> None:
    """Die here if this is the place that was asked for."""
    if name == _AT:
        os.kill(os.getpid(), signal.SIGKILL)

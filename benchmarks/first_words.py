"""How long ``musubi --version`` takes: the wait before every command, against Python's own start."""

import statistics
import subprocess
import sys
import time
from typing import Any

TURNS = 15
TARGET = "<= 14"
BARE = [sys.executable, "-c", "pass"]
MUSUBI = [sys.executable, "-m", "trust.cli", "--version"]


def run(turns: int = TURNS) -> dict[str, Any]:
    """Return the median time of ``musubi --version`` in those of a bare interpreter, measured in turns."""
    taken: dict[str, list[float]] = {"bare": [], "musubi": []}
    for _ in range(turns):
        for name, command in (("bare", BARE), ("musubi", MUSUBI)):
            began = time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            taken[name].append(time.perf_counter() - began)
    bare, musubi = (statistics.median(taken[name]) for name in ("bare", "musubi"))
    return {
        "name": "`musubi --version` ÷ `python -c pass`",
        "ratio": musubi / bare,
        "target": TARGET,
        "detail": f"median of {turns}: {1e3 * musubi:.0f} ms and {1e3 * bare:.0f} ms",
    }

"""How to call this program again, for the lines that say what to try next."""

import shutil
import sys
from pathlib import Path


def program() -> str:
    """Return ``musubi``, or where it lies if the shell would not find it: ``make`` puts nothing on the path."""
    own = Path(sys.executable).with_name("musubi")
    if shutil.which("musubi") or not own.exists():
        return "musubi"
    here = Path.cwd()
    return str(own.relative_to(here) if own.is_relative_to(here) else own)

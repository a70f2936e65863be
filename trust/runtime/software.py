"""Which software this is, for what it keeps for itself alone: another one's is made anew instead of being read."""

from functools import cache
from importlib.metadata import version

FORM = 1
"""Of what is kept; to be raised with every change of what its bytes mean, or of what the replay makes of an entry."""


@cache
def software() -> str:
    """Return the version of this software and the form of what it keeps."""
    return f"{version('musubi')}/{FORM}"

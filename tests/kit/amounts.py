"""How much a test tries that tries many things: enough to find faults each time, far more under ``make test-long``."""

import os

LONG = os.environ.get("MUSUBI_TESTS") == "long"
"""Whether everything is to be tried, however long it takes."""


def amount(enough: int, long: int) -> int:
    """Return how many examples, steps or kills: ``enough`` for every change, ``long`` for once in a while."""
    return long if LONG else enough

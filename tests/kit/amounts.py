"""How much a test tries that tries many things: enough to find faults each time, far more under ``make test-long``."""

import os
from collections import defaultdict
from zlib import crc32

import pytest

LONG = os.environ.get("MUSUBI_TESTS") == "long"
"""Whether everything is to be tried, however long it takes."""


def amount(enough: int, long: int) -> int:
    """Return how many examples, steps or kills: ``enough`` for every change, ``long`` for once in a while."""
    return long if LONG else enough


def every_nth(items: list[pytest.Item]) -> list[pytest.Item]:
    """Return what an ordinary run leaves out of tables marked ``many(n)``: all of each test's cases but every n-th.

    Always the same ones, the first of them chosen by the test's own name, so that two tests of one table begin apart.
    Whoever names one case by its id gets it.
    """
    tables: defaultdict[str, list[pytest.Item]] = defaultdict(list)
    for item in items:
        if item.get_closest_marker("many"):
            tables[item.nodeid.partition("[")[0]].append(item)
    left_out = []
    for name, cases in tables.items():
        marker = cases[0].get_closest_marker("many")
        step = marker.args[0] if marker else 1
        if len(cases) > step:
            left_out += [case for place, case in enumerate(cases) if place % step != crc32(name.encode()) % step]
    return left_out

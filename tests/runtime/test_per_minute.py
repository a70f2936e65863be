"""So many requests a minute."""

import pytest

from ledger.errors import RateLimited
from trust.runtime.callers.per_minute import PerMinute


def test_a_caller_has_its_number_in_each_minute_and_takes_none_of_anothers() -> None:
    now = [1_000_000.0]
    limit = PerMinute(3, lambda: now[0])
    for _ in range(3):
        limit.count("192.0.2.1")
    with pytest.raises(RateLimited):
        limit.count("192.0.2.1")
    limit.count("192.0.2.2")
    now[0] += 60
    limit.count("192.0.2.1")


def test_a_minute_that_is_over_is_forgotten_whole() -> None:
    now = [0.0]
    limit = PerMinute(3, lambda: now[0])
    for number in range(1_000):
        limit.count(f"2001:db8:0:{number:x}::/64")
    now[0] += 60
    limit.count("192.0.2.1")
    assert len(limit._counts) == 1

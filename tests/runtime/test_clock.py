"""The clock has one address: ``trust.runtime.clock``."""

import re
from pathlib import Path

import trust

ROOT = Path(trust.__file__).parent
ASKS = re.compile(r"\btime\.time\b|\bdatetime\.(now|utcnow|today)\b|\bdate\.today\b|\bgmtime\(\)|\blocaltime\(\)")


def test_only_the_clock_asks_the_machine_for_the_time() -> None:
    asking = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if ASKS.search(path.read_text("utf-8"))}
    assert asking == {"runtime/clock.py"}


def test_how_far_clocks_may_be_apart_is_said_once() -> None:
    says = re.compile(r"^(MAX_SKEW_SECONDS|Clock)\b.* = |^def system_clock", re.MULTILINE)
    saying = {str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py") if says.search(path.read_text("utf-8"))}
    assert saying == {"runtime/clock.py"}

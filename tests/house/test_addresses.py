"""What must be right in one place is written in one place: each such thing has one address in the code."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = [path for room in ("ledger", "policies", "queries", "trust") for path in (ROOT / room).rglob("*.py")]


@pytest.mark.parametrize(
    ("what", "pattern", "addresses"),
    [
        (
            "durable writing",  # the tile folder makes many files durable together, in an order of its own
            r"\bfsync\(|\bfdatasync\b|\bmkstemp\b|\bos\.(link|replace|rename)\(",
            {"trust/files/durable.py", "trust/log/tile_folder.py"},
        ),
        (
            "the check of the genesis entry against its pin",
            r"entry_sha256\(\w+\) [!=]= |[!=]= \S*genesis_sha256",
            {"trust/log/pins.py"},
        ),
        (
            "the name of a budget account",
            r"""\bf["'](policy|partner|data)/\{|/life\b""",
            {"policies/accounts/account_names.py"},
        ),
        ("when an admit expires", r"[<>+]=? \S*\.expires\b|\.expires\S* [<>+]", {"policies/admit_expiry.py"}),
        ("pins made of a genesis entry", r"genesis_sha256=", {"trust/log/pins.py"}),
        (
            "the time of day",
            r"\btime\.time\b|\bdatetime\.(now|utcnow|today)\b|\bdate\.today\b|\b(gm|local)time\(\)",
            {"trust/runtime/clock.py"},
        ),
        (
            "how far apart clocks may be",
            r"(?m)^(MAX_SKEW_SECONDS|Clock)\b.* = |^def system_clock",
            {"trust/runtime/clock.py"},
        ),
        (
            "where time zones come from",
            r"\bZoneInfo(\.\w+)?\(|\b(tzlocal|dateutil|pytz|localtime|gettz|tzset)\b",
            {"policies/time_zones.py"},
        ),
        (
            "the making of an HTTP client",
            r"\bhttpx\.(Client|AsyncClient|get|post|put|request|stream|create_ssl_context)\(",
            {"trust/runtime/http_clients.py", "trust/runtime/authorities.py"},
        ),
        (
            "a path of the HTTP interface",
            r"""["'](/v1/|/log/)""",
            {"trust/client/paths.py", "trust/node/local/local_paths.py"},
        ),
        (
            "an entry by its index",
            r"select\(t\.entries\.c\.data\)\.where\(t\.entries\.c\.index ==",
            {"trust/service/store/entry_rows.py"},
        ),
        ("the end of a grant", r"values\(ended_by=", {"trust/service/acts/revoke.py"}),
    ],
)
def test_a_thing_is_written_at_its_own_address_alone(what: str, pattern: str, addresses: set[str]) -> None:
    found = {str(path.relative_to(ROOT)) for path in MODULES if re.search(pattern, path.read_text("utf-8"))}
    assert found == addresses, what

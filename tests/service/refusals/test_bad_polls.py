"""A node's poll, or its wish for leaves, that is not its own or not of now is refused and changes nothing."""

import time
from typing import Any

import pytest

from tests.kit.logs.tampering import flipped
from tests.kit.towns.running import refused
from tests.service.refusals.standing import HOUR, Make, Standing, signed

pytestmark = pytest.mark.anyio


def polled(s: Standing, alias: str = "bus_co", key: str | None = None, **changes: Any) -> str:
    return signed(s, alias, s.node(alias).work(**changes), key)


def wanting(s: Standing, first: int, last: int, key: str | None = None, **changes: Any) -> str:
    return signed(s, "bus_co", s.node("bus_co").leaves(first, last, **changes), key)


BAD_POLLS: dict[str, tuple[str, Make, str, str]] = {
    "a poll by a partner": ("work", lambda s: polled(s, key="planner", from_="planner"), "signature-invalid", "holder"),
    "a poll by nobody": ("work", lambda s: polled(s, from_="nobody"), "signature-invalid", ""),
    "a poll with another node's key": ("work", lambda s: polled(s, key="clinic"), "signature-invalid", ""),
    "a poll with a bad signature": ("work", lambda s: flipped(polled(s)), "signature-invalid", ""),
    "a poll for another ledger": ("work", lambda s: polled(s, log="elsewhere.test/log"), "signature-invalid", "ledger"),
    "a poll by a clock an hour behind": ("work", lambda s: polled(s, at=int(time.time()) - HOUR), "clock-skew", ""),
    "a poll by a clock an hour ahead": ("work", lambda s: polled(s, at=int(time.time()) + HOUR), "clock-skew", ""),
    "a poll sent a second time": ("work", lambda s: polled(s, known=0), "replayed", "before"),
    "a poll ahead of what is published": ("work", lambda s: polled(s, size=10**6), "malformed", "published"),
    "a poll that would wait a year": ("work", lambda s: polled(s, wait=10**7), "malformed", ""),
    "a poll in place of a wish for leaves": ("leaves", polled, "malformed", ""),
    "leaves with another node's key": ("leaves", lambda s: wanting(s, 0, 5, key="clinic"), "signature-invalid", ""),
    "leaves of too many places": ("leaves", lambda s: wanting(s, 0, 2_048), "malformed", ""),
    "leaves of a range turned over": ("leaves", lambda s: wanting(s, 5, 4), "malformed", ""),
    "leaves by a clock an hour off": (
        "leaves",
        lambda s: wanting(s, 0, 5, at=int(time.time()) - HOUR),
        "clock-skew",
        "",
    ),
}


@pytest.mark.parametrize("what", BAD_POLLS)
async def test_a_bad_poll_of_a_node_is_refused_and_changes_nothing(standing: Standing, what: str) -> None:
    path, make, code, says = BAD_POLLS[what]
    token = make(standing)
    if code == "replayed":
        await standing.running.done(f"/v1/node/{path}", token)
    async with standing.running.unchanged():
        refused(await standing.running.post(f"/v1/node/{path}", token), code, says)

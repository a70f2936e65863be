"""The town that every bad request meets: something of everything stands in it."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from msgspec import structs

from policies.consents.bundle import Bundle
from policies.policy_document import Budget
from tests.kit.towns.running import Node, Resident, Running, Town, query
from tests.kit.towns.toy_town import policy

TIGHT = policy(
    "tight",
    ["market"],
    ["planner"],
    ["market"],
    budget=Budget(delta="0.000001", window="day", per_window=10**5, life=10**6, per_partner=10**5),
)
OUTINGS = policy("outings", ["market"], ["planner"], ["market"])
OUTINGS_2 = structs.replace(OUTINGS, version=2)


@dataclass
class Standing:
    """The town that all cases attack, and what stands in it."""

    running: Running
    aoi: Resident
    ren: Resident
    stranger: Resident
    given: Bundle
    grant: int
    given_too: Bundle
    grant_too: int
    ended: Bundle
    ended_grant: int
    revocation: dict[str, Any]
    asked: str
    opened: int
    opened_entry: bytes
    closed: int
    closed_entry: bytes
    closed_shares: dict[str, str]
    worded: int
    worded_entry: bytes
    half: int
    half_entry: bytes
    half_transcript: list[str]
    half_share: str

    @property
    def town(self) -> Town:
        """The town."""
        return self.running.town

    def node(self, alias: str) -> Node:
        """One holder's node."""
        return self.running.nodes[alias]


Make = Callable[[Standing], Any]
"""What makes the request for a case."""


def signed(s: Standing, alias: str, message: object, key: str | None = None) -> str:
    return s.node(alias).sign(message, s.town.keys[key] if key else None)


def spend(**how: Any) -> dict[str, Any]:
    return query(spend=how)


HOUR = 3_600
"""Seconds that no clock may be off by."""

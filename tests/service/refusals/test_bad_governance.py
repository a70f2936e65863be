"""A member or a policy that the stewards did not approve, or that may not stand, is refused and changes nothing."""

from typing import Any

import pytest
from msgspec import structs

from policies.governance import approve
from tests.kit.towns.running import refused
from tests.kit.towns.toy_town import HOLDERS, MOBILITY, ORIGIN, text
from tests.service.refusals.standing import Make, Standing

pytestmark = pytest.mark.anyio


def member(s: Standing, stewards: tuple[str, ...] = ("city", "firms"), **changes: Any) -> dict[str, Any]:
    body = structs.replace(s.town.member("market", ["holder"], 2), **changes)
    return dict(s.town.approved("member", body, stewards))


def document(s: Standing, stewards: tuple[str, ...] = ("city", "firms"), **changes: Any) -> dict[str, Any]:
    return dict(s.town.approved("policy", structs.replace(MOBILITY, **({"version": 2} | changes)), stewards))


def by_no_steward(s: Standing) -> dict[str, Any]:
    wanted = member(s, ("city",))
    alien = approve("member", wanted["member"], log=ORIGIN, steward="planner", key=s.town.keys["planner"])
    return wanted | {"signatures": [*wanted["signatures"], alien]}


def forged_steward(s: Standing) -> dict[str, Any]:
    wanted = member(s, ("city",))
    forged = approve("member", wanted["member"], log=ORIGIN, steward="firms", key=s.town.keys["operator"])
    return wanted | {"signatures": [*wanted["signatures"], forged]}


BAD_GOVERNANCE: dict[str, tuple[str, Make, str, str]] = {
    "a member with one approval": ("members", lambda s: member(s, ("city",)), "not-permitted", "2 stewards"),
    "a member approved twice by one steward": ("members", lambda s: member(s, ("city", "city")), "not-permitted", ""),
    "a member approved by no steward": ("members", by_no_steward, "signature-invalid", ""),
    "a member with a forged approval": ("members", forged_steward, "signature-invalid", ""),
    "a member with approvals of another body": (
        "members",
        lambda s: member(s) | {"member": s.town.member("clinic", ["holder"], 2)},
        "signature-invalid",
        "another document",
    ),
    "a member whose number does not follow": ("members", lambda s: member(s, number=3), "proof-invalid", "number"),
    "a member's other body under an old number": (
        "members",
        lambda s: member(s, number=1, sealing_key="11" * 32),
        "proof-invalid",
        "number",
    ),
    "a member with a role that is none": ("members", lambda s: member(s, roles=["king"]), "malformed", ""),
    "a policy with one approval": ("policies", lambda s: document(s, ("city",)), "not-permitted", ""),
    "a policy with approvals as a member": (
        "policies",
        lambda s: {
            "policy": structs.replace(MOBILITY, version=2),
            "signatures": [
                approve("member", structs.replace(MOBILITY, version=2), log=ORIGIN, steward=a, key=s.town.stewards[a])
                for a in ("city", "firms")
            ],
        },
        "signature-invalid",
        "",
    ),
    "a policy version that does not follow": ("policies", lambda s: document(s, version=3), "proof-invalid", "version"),
    "another policy under an old version": (
        "policies",
        lambda s: document(s, version=1, reuse=1),
        "proof-invalid",
        "version",
    ),
    "a policy naming no holder of the town": (
        "policies",
        lambda s: document(s, holders=[*HOLDERS, "bank"]),
        "proof-invalid",
        "bank",
    ),
    "a policy naming a holder as partner": (
        "policies",
        lambda s: document(s, partners=["market"]),
        "proof-invalid",
        "",
    ),
    "a policy that ends within a month": (
        "policies",
        lambda s: document(s, until=["2030-03-30"]),
        "malformed",
        "month",
    ),
    "a policy that is past": ("policies", lambda s: document(s, until=["2020-03-31"]), "malformed", "past"),
    "a policy without plain Japanese": (
        "policies",
        lambda s: document(s, notice={"ja": "x", "en": "x"}),
        "malformed",
        "",
    ),
    "a policy with a delta of 1": (
        "policies",
        lambda s: document(s, budget=structs.replace(MOBILITY.budget, delta="1")),
        "malformed",
        "delta",
    ),
    "a policy larger than an entry": (
        "policies",
        lambda s: document(s, notice={f"x{n}": "y" * 8_000 for n in range(9)} | text("z")),
        "too-large",
        "",
    ),
}


@pytest.mark.parametrize("what", BAD_GOVERNANCE)
async def test_a_member_or_policy_that_may_not_stand_is_refused_and_changes_nothing(
    standing: Standing, what: str
) -> None:
    path, make, code, says = BAD_GOVERNANCE[what]
    async with standing.running.unchanged():
        refused(await standing.running.post(f"/v1/{path}", make(standing)), code, says)

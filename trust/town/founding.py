"""Founding a town: the stewards' quorum signs members and policies, and the service writes them down."""

from typing import Any

from policies.governance import approve
from trust.client.service import ServiceClient
from trust.town.document import Town
from trust.town.layout import Layout, member_bodies


def found_town(layout: Layout, town: Town, client: ServiceClient) -> list[int]:
    """Register every member and publish every policy; return the entries' indices."""
    signers = [steward.alias for steward in town.stewards][: town.quorum]
    keys = {alias: layout.signing_key(alias) for alias in signers}

    def signed(subject: str, body: object) -> dict[str, Any]:
        approvals = [
            approve(subject, body, log=town.origin, steward=alias, key=key)  # type: ignore[arg-type]
            for alias, key in keys.items()
        ]
        return {subject: body, "signatures": approvals}

    wanted = [("/v1/members", "member", body) for body in member_bodies(layout, town)]
    wanted += [("/v1/policies", "policy", policy) for policy in town.policies]  # type: ignore[misc]
    return [client.post(path, signed(subject, body), dict[str, int])["index"] for path, subject, body in wanted]

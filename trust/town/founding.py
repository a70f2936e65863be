"""Founding a town: the stewards' quorum signs members and policies, and the service writes them down."""

from msgspec import Raw

from ledger import canonical
from ledger.entries import MemberBody, Token
from policies.governance import Subject, approve
from policies.policy_document import Policy
from trust.client import paths
from trust.client.service import ServiceClient
from trust.client.wire import MemberRequest, Placed, PolicyRequest
from trust.town.document import Town
from trust.town.layout import Layout, member_bodies


def found_town(layout: Layout, town: Town, client: ServiceClient) -> list[int]:
    """Register every member and publish every policy; return the entries' indices."""
    signers = [steward.alias for steward in town.stewards][: town.quorum]
    keys = {alias: layout.signing_key(alias) for alias in signers}

    def approved(subject: Subject, body: MemberBody | Policy) -> list[Token]:
        return [approve(subject, body, log=town.origin, steward=alias, key=key) for alias, key in keys.items()]

    members = [MemberRequest(member=body, signatures=approved("member", body)) for body in member_bodies(layout, town)]
    policies = [
        PolicyRequest(policy=Raw(canonical.encode(policy)), signatures=approved("policy", policy))
        for policy in town.policies
    ]
    return [
        *(client.post(paths.MEMBERS, each, Placed).index for each in members),
        *(client.post(paths.POLICIES, each, Placed).index for each in policies),
    ]

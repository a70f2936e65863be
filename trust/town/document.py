"""What a town's folder says, as types, and the checks that its parts fit each other.

The format itself is described in ``trust.town.loader``, which reads it.
"""

from decimal import Decimal as Number
from pathlib import Path
from typing import Annotated

from msgspec import Meta, Struct, field

from ledger.entries import Alias, Decimal, Role, Text
from ledger.errors import Malformed
from policies.languages import TITLE_LANGUAGES
from policies.policy_document import Name, Policy
from policies.time_zones import time_zone_of


class StewardRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One of those whose quorum signs members and policies."""

    alias: Alias
    title: Text


class MemberRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An organisation: its roles, and a holder's sources."""

    alias: Alias
    roles: Annotated[list[Role], Meta(min_length=1, max_length=4)]
    title: Text
    sources: list[Name] = []


class ConsentRow(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which share of a policy's eligible residents consent in the demo: decimal text from 0 to 1."""

    policy: Alias
    share: Decimal


class DemoQuestion(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question of the demo: who asks (``as``), why (``title``), what, and at which epsilon."""

    as_: Alias = field(name="as")
    title: Text
    sql: Annotated[str, Meta(min_length=1, max_length=2_000)]
    epsilon: Decimal


class Demo(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the demo does: questions, one past the budget, and how many residents withdraw."""

    revoke: Annotated[int, Meta(ge=0)]
    questions: Annotated[list[DemoQuestion], Meta(min_length=1)] = field(name="question")
    over_budget: DemoQuestion


class TownFile(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """``town.toml`` as it is written."""

    name: Alias
    origin: Annotated[str, Meta(pattern=r"^[a-z0-9.-]+(/[a-z0-9._-]+)*\Z", max_length=200)]
    time_zone: Annotated[str, Meta(max_length=64)]
    residents: Annotated[int, Meta(ge=1, le=1_000_000)]
    seed: Annotated[int, Meta(ge=0, le=2**31 - 1)]
    quorum: Annotated[int, Meta(ge=1, le=64)]
    title: Text
    stewards: Annotated[list[StewardRow], Meta(min_length=1, max_length=64)] = field(name="steward")
    members: Annotated[list[MemberRow], Meta(min_length=1)] = field(name="member")
    consents: list[ConsentRow] = field(name="consent", default=[])
    demo: Demo


class Town(TownFile, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole town, checked: ``town.toml``, its folder, and its policies by id in alphabetical order."""

    folder: Path
    policies: tuple[Policy, ...]

    @property
    def questions(self) -> list[DemoQuestion]:
        """The demo's questions, in order."""
        return self.demo.questions

    @property
    def holders(self) -> list[MemberRow]:
        """The members that hold data, in the file's order."""
        return self.with_role("holder")

    def with_role(self, role: Role) -> list[MemberRow]:
        """Return the members that have ``role``, in the file's order."""
        return [member for member in self.members if role in member.roles]

    def policy(self, policy_id: str) -> Policy | None:
        """Return the policy of that id, if the town has it."""
        return next((policy for policy in self.policies if policy.id == policy_id), None)


def _check_titles(what: str, title: Text) -> None:
    for language in TITLE_LANGUAGES:
        if not title.get(language):
            raise Malformed(f"The title of {what} lacks the language '{language}'.")


def check_members(town: TownFile) -> None:
    """Raise Malformed unless stewards, members and their roles fit each other."""
    _check_titles("the town", town.title)
    aliases: set[str] = set()
    rows: list[StewardRow | MemberRow] = [*town.stewards, *town.members]
    for row in rows:
        _check_titles(f"'{row.alias}'", row.title)
        if row.alias in aliases:
            raise Malformed(f"The alias '{row.alias}' is given twice.")
        aliases.add(row.alias)
    if town.quorum > len(town.stewards):
        raise Malformed(f"The quorum is {town.quorum}, but there are {len(town.stewards)} stewards.")
    try:
        time_zone_of(town.time_zone)
    except Malformed:
        raise Malformed(f"The time zone '{town.time_zone}' is not known.") from None
    for member in town.members:
        if len(set(member.roles)) != len(member.roles) or len(set(member.sources)) != len(member.sources):
            raise Malformed(f"The member '{member.alias}' repeats a role or a source.")
        if ("holder" in member.roles) != bool(member.sources):
            raise Malformed(f"The member '{member.alias}' must be a holder and have sources, or neither.")
    if sum("operator" in member.roles for member in town.members) != 1:
        raise Malformed("The town needs exactly one member with the role 'operator'.")
    for role in ("holder", "partner", "identity"):
        if not any(role in member.roles for member in town.members):
            raise Malformed(f"The town needs a member with the role '{role}'.")


def check_policy(policy: Policy, stem: str, town: TownFile) -> None:
    """Raise Malformed unless the town has everybody and every source that the policy names."""
    if policy.id != stem:
        raise Malformed(f"The file is named '{stem}', but the policy's id is '{policy.id}'.")
    members = {member.alias: member for member in town.members}
    if policy.controller not in members:
        raise Malformed(f"The controller '{policy.controller}' is not a member of the town.")
    for role, aliases in (("holder", policy.holders), ("partner", policy.partners)):
        for alias in aliases:
            if alias not in members or role not in members[alias].roles:
                raise Malformed(f"The town has no {role} '{alias}'.")
    for view in policy.views:
        for holder in view.holders:
            if view.source not in members[holder].sources:
                raise Malformed(f"The view '{view.name}' needs the source '{view.source}', which '{holder}' lacks.")


def check_demo(town: TownFile, policies: set[str]) -> None:
    """Raise Malformed unless consents and questions name policies and partners that the town has."""
    asked: set[str] = set()
    for consent in town.consents:
        if consent.policy not in policies:
            raise Malformed(f"A consent names the policy '{consent.policy}', which the town does not have.")
        if consent.policy in asked:
            raise Malformed(f"There are two consents for the policy '{consent.policy}'.")
        if Number(consent.share) > 1:
            raise Malformed(f"The consent share of the policy '{consent.policy}' is above 1.")
        asked.add(consent.policy)
    partners = {member.alias for member in town.members if "partner" in member.roles}
    for question in (*town.demo.questions, town.demo.over_budget):
        _check_titles("a question", question.title)
        if question.as_ not in partners:
            raise Malformed(f"A question is asked as '{question.as_}', who is not a partner of the town.")
    if town.demo.revoke > town.residents:
        raise Malformed("More residents revoke than there are.")

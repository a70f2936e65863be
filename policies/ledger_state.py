"""The state that decisions need, as it follows from the ledger (``policies.replay``).

It grows with members, policies, windows and open rounds, by one bit for each entry and policy, and by one for each
entry of a consent; never with residents' records.
"""

from collections import OrderedDict

from msgspec import Struct, field

from ledger import entries as e
from ledger.errors import ProofInvalid
from ledger.notes.log_keys import LogKeyHistory
from policies.accounts import budgets
from policies.consents.replacing import Replaceable
from policies.in_force.chunk_tree import Chunks
from policies.in_force.sets import InForce
from policies.policy_document import Policy
from policies.rules import FIRST_RULES, LOST_ROUNDS


class OpenRound(Struct, frozen=True, kw_only=True):
    """An ``admit`` that nothing has closed yet. ``entry_sha256`` is the hash that words and shares name."""

    admit: e.Admit
    entry_sha256: str


class PolicyRecord(Struct, frozen=True, kw_only=True):
    """One policy version in the ledger: where it stands, its hash and its document."""

    index: int
    sha256: str
    document: Policy


class MemberKey(Struct, frozen=True, kw_only=True):
    """A member's signing key, and the index of the entry that brought it: it counts for what comes after that entry."""

    index: int
    key: str


class State(Struct, kw_only=True):
    """Everything that decisions need. ``size`` is how many entries were applied."""

    size: int = 0
    at: int = 0
    finding: str = ""
    """What is wrong with the last entry, where it is wrong and changes nothing: for an auditor to tell."""
    genesis: e.Genesis | None = None
    rules: int = FIRST_RULES
    """The rules by which the next entry is judged."""
    rules_entry: int | None = None
    """The index of the latest ``rules`` entry."""
    rules_since: list[tuple[int, int]] = field(default_factory=list)
    """(index, number) of the genesis entry and of every ``rules`` entry: entries after it go by these."""
    log_keys: LogKeyHistory | None = None
    """Which keys sign trees of which size; None before the genesis entry."""
    members: dict[str, e.MemberBody] = field(default_factory=dict)
    member_keys: dict[str, list[MemberKey]] = field(default_factory=dict)
    """Each member's signing keys in their order."""
    once_holders: set[str] = field(default_factory=set)
    """Who is a holder or was one: what it began it must be able to end."""
    member_entries: dict[str, int] = field(default_factory=dict)
    """The index of each member's latest entry."""
    policies: dict[str, PolicyRecord] = field(default_factory=dict)
    """The current version of each policy, by id."""
    versions: dict[str, PolicyRecord] = field(default_factory=dict)
    """Every version, by document hash."""
    accounts: budgets.Accounts = field(default_factory=dict)
    in_force: dict[str, InForce] = field(default_factory=dict)
    """Grants not ended, by document hash."""
    replaceable: Replaceable = field(default_factory=dict)
    """What the ``revoke`` entries right before the next one have ended for a grant to take their place."""
    rounds: dict[int, OpenRound] = field(default_factory=dict)
    questions: OrderedDict[str, int] = field(default_factory=OrderedDict)
    """Hashes of signed questions admitted of late, with their ``at``, oldest first: none may be admitted twice."""
    grants: Chunks = field(default_factory=dict)
    """The indices of all ``grant`` entries, as bits: in force, ended or void."""
    revokes: Chunks = field(default_factory=dict)
    """The indices of all ``revoke`` entries, as bits."""
    erased: set[int] = field(default_factory=set)
    ordered: int | None = None
    """The index of the latest ``erase`` that bears the stewards' order (``policies.harmless_entries``)."""
    attested_stops: dict[e.Alias, int] = field(default_factory=dict)
    """How many consents each identity provider has ended for residents who had no key at hand."""

    @property
    def log(self) -> str:
        """The ledger's origin."""
        return self.trust_root.origin

    @property
    def trust_root(self) -> e.Genesis:
        """The genesis entry; raises ProofInvalid on an empty ledger."""
        if self.genesis is None:
            raise ProofInvalid("The ledger is empty: it has no genesis entry yet.")
        return self.genesis

    def day(self, at: int) -> str:
        """Return the date of a moment in the town's time zone."""
        return budgets.local_day(at, self.trust_root.time_zone)

    def member(self, alias: str, role: e.Role | None = None) -> e.MemberBody | None:
        """Return an active member, with that role if one is asked for."""
        body = self.members.get(alias)
        if body is None or body.status != "active" or (role is not None and role not in body.roles):
            return None
        return body

    def participant(self, alias: str) -> e.MemberBody | None:
        """Return a round's participant, also one that has left or lost its role since: it ends what it began.

        By the first rules, one whose role was taken could not.
        """
        body = self.members.get(alias)
        if self.rules >= LOST_ROUNDS:
            return body if alias in self.once_holders else None
        return body if body is not None and (body.status == "left" or "holder" in body.roles) else None

    def keys_since(self, alias: str, index: int) -> list[bytes]:
        """Return the member's signing keys that were in force at ``index`` or came after it, the newest first.

        A round's participant may change its key while the round is open: what it said before and what it says after
        both count. Nothing that was laid down before the round does.
        """
        keys = self.member_keys.get(alias, [])
        first = max((place for place, each in enumerate(keys) if each.index < index), default=0)
        return [bytes.fromhex(each.key) for each in reversed(keys[first:])]

    def members_with(self, role: e.Role) -> list[e.MemberBody]:
        """Return the active members of one role, by alias."""
        return [body for alias, body in sorted(self.members.items()) if self.member(alias, role)]

    def eligible(self, policy_sha256: str, at: int, charge: int) -> Chunks:
        """Return the in-force set for a question of ``charge`` nano-rho at ``at``."""
        return self._in_force(policy_sha256).eligible(self.day(at), charge)

    def count_eligible(self, policy_sha256: str, at: int, charge: int) -> int:
        """Return how many grants are in that set."""
        return self._in_force(policy_sha256).count(self.day(at), charge)

    def in_force_root(self, policy_sha256: str, at: int, charge: int) -> e.Hex32:
        """Return the root of that set over all entries so far: what an ``admit`` at the next index names."""
        return self._in_force(policy_sha256).root(self.day(at), charge, self.size)

    def _in_force(self, policy_sha256: str) -> InForce:
        return self.in_force.get(policy_sha256) or InForce()

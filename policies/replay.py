"""The state that follows from the ledger, entry by entry: one pure function for service, node and auditor alike.

``step(state, index, entry, data, seen)`` either applies one entry or raises ProofInvalid and leaves the state as it
was. It checks everything that the ledger's own words decide: order and times, quorums, policy versions, consents used
twice, grants ended twice, in-force roots, accounts and caps, rounds opened and closed. What the *question* means and
costs is checked one room up (``queries.replay``), which calls this.

Which consent identifiers were seen before is asked of the caller (``SeenConsents``), who may keep them on disk.
"""

import hashlib
from typing import Protocol

from ledger import entries as e
from ledger.canonical import encode
from ledger.errors import MusubiError, ProofInvalid, UpgradeNeeded
from policies.accounts import budgets
from policies.admit_expiry import expires_at, is_past_last
from policies.consents.attested_stop import stopping_provider
from policies.consents.replacing import Replaceable, chain_first
from policies.governance import check_quorum
from policies.harmless_entries import check_erase, check_refuse, ordered_at
from policies.in_force.chunk_tree import set_bit
from policies.in_force.sets import InForce
from policies.ledger_state import MemberKey, OpenRound, PolicyRecord, State
from policies.log_key_changes import change_log_keys, first_log_keys
from policies.policy_document import decode_document, decode_narrow_document
from policies.rules import LOST_ROUNDS, REPLACING, SOME_HARMLESS, WIDER_QUESTIONS, check_readers, rules_at_first


class SeenConsents(Protocol):
    """Where the caller keeps which consent identifiers were used."""

    def add(self, consent: str, index: int) -> bool:
        """Remember the identifier; return False where it was used before (the grant is then void for ever)."""


class MemoryConsents:
    """Consent identifiers in memory: for tests and small logs."""

    def __init__(self) -> None:
        self._seen: set[bytes] = set()

    def add(self, consent: str, index: int) -> bool:  # noqa: ARG002 - the index is for those who keep it
        """Remember the identifier; return False where it was used before."""
        key = bytes.fromhex(consent)
        if key in self._seen:
            return False
        self._seen.add(key)
        return True


CHANGES_NOTHING = (e.Erase, e.Refuse)
"""Where these are wrong, nothing of the state depends on them."""
QUESTION_SECONDS = 600
"""How far a signed question's own time may be from its ``admit``'s; a replay is remembered twice as long."""


def entry_sha256(data: bytes) -> str:
    """Return the plain SHA-256 of an entry's bytes, by which rounds and pins name it."""
    return hashlib.sha256(data).hexdigest()


def step(  # noqa: C901, PLR0912 - one branch for each kind of entry, and nothing else
    state: State, index: int, entry: e.AnyEntry, data: bytes, seen: SeenConsents
) -> None:
    """Apply one entry, or raise ProofInvalid with a sentence that says what is wrong and change nothing.

    From rules number 2 on, a wrong entry of the kinds in ``CHANGES_NOTHING`` is not raised but noted (``finding``).
    """
    if index != state.size:
        raise ProofInvalid(f"Entry {index} is applied out of turn; {state.size} comes next.", index=index)
    if entry.at < state.at:
        raise ProofInvalid(f"Entry {index} runs backwards in time.", index=index)
    if (index == 0) != isinstance(entry, e.Genesis):
        raise ProofInvalid(f"Entry {index} is out of place: the genesis entry comes first and only once.", index=index)
    finding = ""
    replaceable = state.replaceable if entry.at == state.at else {}  # they stand in one transaction with the grant
    try:
        match entry:
            case e.Genesis():
                _genesis(state, entry)
            case e.LogKey():
                _log_key(state, index, entry)
            case e.Member():
                _member(state, index, entry)
            case e.PolicyEntry():
                _policy(state, index, entry)
            case e.Rules():
                _rules(state, index, entry)
            case e.Grant():
                _grant(state, index, entry, replaceable, seen)
            case e.Revoke():
                replaceable = _revoke(state, index, entry, replaceable)
            case e.Erase():
                _erase(state, index, entry)
            case e.Admit():
                _admit(state, index, entry, data)
            case e.Release() | e.Refund() | e.Lost():
                _close(state, entry)
            case e.Refuse():
                check_refuse(state, entry)
    except ProofInvalid as error:
        finding = f"Entry {index} ({_kind(entry)}): {error.message}"
        if state.rules < SOME_HARMLESS or not isinstance(entry, CHANGES_NOTHING):
            raise ProofInvalid(finding, index=index) from None
    except UpgradeNeeded:  # no fault of the entry's: of what it was to be judged with
        raise
    except MusubiError as error:
        raise ProofInvalid(f"Entry {index} ({_kind(entry)}): {error.message}", index=index, rule=error.code) from None
    state.size = index + 1
    state.at = entry.at
    state.finding = finding
    state.replaceable = replaceable if isinstance(entry, e.Revoke) else {}


def _kind(entry: e.AnyEntry) -> str:
    return str(entry.__struct_config__.tag)


def _genesis(state: State, entry: e.Genesis) -> None:
    aliases = {steward.alias for steward in entry.stewards}
    keys = {steward.key for steward in entry.stewards}  # one key under two names would be a quorum by itself
    if len(aliases) != len(entry.stewards) or len(keys) != len(aliases) or entry.quorum > len(aliases):
        raise ProofInvalid("the stewards repeat, or are fewer than their quorum.")
    try:
        budgets.local_day(entry.at, entry.time_zone)
    except (KeyError, ValueError, OSError):
        raise ProofInvalid("its time zone is not one of the IANA database.") from None
    state.log_keys = first_log_keys(entry)
    state.rules = rules_at_first(entry)
    state.rules_since = [(0, state.rules)]
    state.genesis = entry


def _log_key(state: State, index: int, entry: e.LogKey) -> None:
    if state.log_keys is not None:
        state.log_keys = change_log_keys(state.log_keys, index, entry, state.trust_root)


def _rules(state: State, index: int, entry: e.Rules) -> None:
    check_quorum("rules", encode(entry.rules), entry.signatures, state.trust_root)
    if entry.rules.number <= state.rules:
        raise ProofInvalid("the number of its rules is not above the last one.")
    check_readers(entry.readers, entry.rules.number, holder_keys(state), log=state.log)
    state.rules = entry.rules.number
    state.rules_since.append((index, state.rules))
    state.rules_entry = index


def holder_keys(state: State) -> dict[str, bytes]:
    """Return the signing key of each active holder: whose word new rules wait for."""
    return {body.alias: bytes.fromhex(body.key) for body in state.members_with("holder")}


def _member(state: State, index: int, entry: e.Member) -> None:
    body = entry.member
    check_quorum("member", encode(body), entry.signatures, state.trust_root)
    before = state.members.get(body.alias)
    if body.number != (before.number + 1 if before else 1):
        raise ProofInvalid("the member's number does not follow the last one.")
    keys = state.member_keys.setdefault(body.alias, [])
    if before is None or body.key != before.key:
        if any(each.key == body.key for each in keys):
            raise ProofInvalid("the member takes back a key that it laid down.")
        keys.append(MemberKey(index=index, key=body.key))
    state.members[body.alias] = body
    if "holder" in body.roles:
        state.once_holders.add(body.alias)
    state.member_entries[body.alias] = index


def _policy(state: State, index: int, entry: e.PolicyEntry) -> None:
    data = bytes(entry.policy)
    policy = decode_document(data) if state.rules >= WIDER_QUESTIONS else decode_narrow_document(data)
    check_quorum("policy", data, entry.signatures, state.trust_root)
    before = state.policies.get(policy.id)
    if policy.version != (before.document.version + 1 if before else 1):
        raise ProofInvalid("the policy's version does not follow the last one.")
    if before and policy.budget.window != before.document.budget.window:
        raise ProofInvalid("the policy changes its budget's window, which would begin its accounts anew.")
    for alias, role in [(holder, "holder") for holder in policy.holders] + [(p, "partner") for p in policy.partners]:
        if state.member(alias, role) is None:  # type: ignore[arg-type]
            raise ProofInvalid(f"the policy names '{alias}', which is no active member with the role {role}.")
    if state.member(policy.controller) is None:
        raise ProofInvalid("the policy's controller is no active member.")
    sha256 = hashlib.sha256(data).hexdigest()
    record = PolicyRecord(index=index, sha256=sha256, document=policy)
    state.policies[policy.id] = state.versions[sha256] = record
    state.in_force[sha256] = state.in_force[before.sha256].next_version() if before else InForce()


def current_policy(state: State, policy_id: str, version: int, policy_sha256: str) -> PolicyRecord:
    """Return the policy's current version if it is the one named; raise ProofInvalid otherwise."""
    record = state.policies.get(policy_id)
    if record is None or (record.document.version, record.sha256) != (version, policy_sha256):
        raise ProofInvalid("it names an unknown or old policy version.")
    return record


def _grant(state: State, index: int, entry: e.Grant, replaceable: Replaceable, seen: SeenConsents) -> None:
    policy = current_policy(state, entry.policy, entry.version, entry.policy_sha256).document
    if entry.until not in policy.until or entry.yearly_cap not in policy.yearly_caps:
        raise ProofInvalid("its until or cap is not one of the policy's.")
    if entry.until < state.day(entry.at):
        raise ProofInvalid("its until is past.")
    first = chain_first(entry, replaceable, state.rules)
    set_bit(state.grants, index)
    if seen.add(entry.consent, index):  # a consent used before is void for ever: it stands here, and never counts
        state.in_force[entry.policy_sha256].add(index, entry, first)


def grant_in_force(state: State, index: int) -> str | None:
    """Return the policy hash of the grant at ``index`` if it was not ended, else None."""
    return next((sha256 for sha256, in_force in state.in_force.items() if in_force.holds(index)), None)


def _revoke(state: State, index: int, entry: e.Revoke, replaceable: Replaceable) -> Replaceable:
    """End a grant; return which grants the next entry may replace."""
    if entry.reason == "replaced" and state.rules < REPLACING:
        raise ProofInvalid("its reason is one that these rules do not know.")
    sha256 = grant_in_force(state, entry.grant)
    if sha256 is None:
        raise ProofInvalid("it revokes no grant that is in force.")
    provider = stopping_provider(entry, state.rules)
    if provider is not None and state.member(provider, "identity") is None:
        raise ProofInvalid("the consent is ended by no active identity provider.")
    state.in_force[sha256].end(entry.grant)
    set_bit(state.revokes, index)
    if provider is not None:
        state.attested_stops[provider] = state.attested_stops.get(provider, 0) + 1
    if entry.reason != "replaced":
        return {}
    replaceable[entry.grant] = state.versions[sha256].document.id, state.in_force[sha256].chains.first(entry.grant)
    return replaceable


def _erase(state: State, index: int, entry: e.Erase) -> None:
    check_erase(state, index, entry)
    state.ordered = ordered_at(index, entry)
    state.erased.add(entry.index)
    sha256 = grant_in_force(state, entry.index)
    if sha256 is not None:
        state.in_force[sha256].end(entry.index)


def _admit(state: State, index: int, entry: e.Admit, data: bytes) -> None:
    policy = current_policy(state, entry.policy, entry.version, entry.policy_sha256).document
    if state.member(entry.by, "partner") is None or entry.by not in policy.partners:
        raise ProofInvalid("it admits a question by no partner of the policy.")
    if max(policy.until) < state.day(entry.at):
        raise ProofInvalid("the policy has ended.")
    question = hashlib.sha256(entry.question.encode("ascii", "replace")).hexdigest()
    if question in state.questions:
        raise ProofInvalid("it admits one signed question a second time.")
    if entry.expires != expires_at(entry.at, policy.expires):
        raise ProofInvalid("its expiry is not the policy's.")
    if state.in_force_root(entry.policy_sha256, entry.at, entry.charge) != entry.in_force_root:
        raise ProofInvalid("its in-force root is not the one that the ledger gives.")
    charges = budgets.charges_for(policy, entry.by, entry.at, state.trust_root.time_zone)
    budgets.reserve(state.accounts, charges, entry.charge)
    state.in_force[entry.policy_sha256].charge(index, int(state.day(entry.at)[:4]), entry.charge)
    state.rounds[index] = OpenRound(admit=entry, entry_sha256=entry_sha256(data))
    while state.questions and next(iter(state.questions.values())) < entry.at - 2 * QUESTION_SECONDS:
        state.questions.popitem(last=False)
    state.questions[question] = entry.at


def _close(state: State, entry: e.Closing) -> None:
    opened = state.rounds.get(entry.admit)
    if opened is None:
        raise ProofInvalid("it closes a round that is not open.")
    admit = opened.admit
    match entry:
        case e.Release():
            named = sorted(entry.shares)
        case e.Refund():
            named = sorted(entry.words)
        case e.Lost():
            named = sorted([*entry.shares, *entry.words, *entry.silent])
            _check_lost(state, entry, admit)
    if named != sorted(admit.participants):
        raise ProofInvalid("it does not name exactly the round's participants.")
    policy = state.versions[admit.policy_sha256].document
    charges = budgets.charges_for(policy, admit.by, admit.at, state.trust_root.time_zone)
    if isinstance(entry, e.Refund):
        budgets.refund(state.accounts, charges, admit.charge)
        for record in state.versions.values():  # a newer version's set knows the charge, too
            if record.document.id == admit.policy:
                state.in_force[record.sha256].refund(entry.admit)
    else:
        budgets.settle(state.accounts, charges, admit.charge)
    del state.rounds[entry.admit]


def _check_lost(state: State, entry: e.Lost, admit: e.Admit) -> None:
    """Raise unless the round can be finished by nobody: too late to compute, a share lacking, and no refund due."""
    if state.rules < LOST_ROUNDS:
        raise ProofInvalid("by the rules of its place there is no such entry.")
    if not is_past_last(admit, entry.at):
        raise ProofInvalid("it gives a round up that may still be finished.")
    if set(admit.participants) in (set(entry.shares), set(entry.words)):
        raise ProofInvalid("it gives a round up in which everybody has spoken alike.")

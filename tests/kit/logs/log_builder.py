"""A small town's log, made by hand with real keys: for tests that need a whole history, true or tampered with.

``LogBuilder`` keeps the entries' bytes and the state that follows from them. What it appends by its named methods is
right (it is replayed at once); ``append`` takes anything. ``publish`` writes tiles, a signed and cosigned checkpoint
and ``trust.json`` into a folder, for its own entries or for others that a test made from them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
from msgspec import UNSET, Raw, UnsetType
from nacl.signing import SigningKey

from ledger import entries as e
from ledger import jws
from ledger.canonical import encode
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.cosignatures import cosign
from ledger.notes.log_keys import LogKeys
from ledger.notes.note import Note, VerifierKey, format_note, parse_note
from ledger.notes.receipts import Receipt
from ledger.notes.witness_policy import PolicyGroup, PolicyLog, PolicyWitness, WitnessPolicy
from ledger.tlog.tiles import TileAppender, TileReader
from ledger.tlog.tree import prove_inclusion
from policies.accounts.budgets import charges_for, left, tightest
from policies.admit_expiry import last_of
from policies.consents.erasure import ErasureOrder
from policies.governance import approve
from policies.ledger_state import State
from policies.log_key_changes import make_log_key_body
from policies.policy_document import Policy
from policies.replay import MemoryConsents, entry_sha256
from policies.rules import NEWEST_RULES, make_rules_word
from queries.price.cost import nano_rho
from queries.replay import replay
from queries.rounds import messages as m
from queries.rounds.admission import make_admit, offer, plan_of, read_question
from queries.rounds.local import combine
from tests.kit.towns.toy_town import (
    ASKED,
    OPERATOR,
    ORIGIN,
    PARTNER,
    START,
    STEWARDS,
    TEXT,
    key_of,
    log_key,
    public,
    scarce,
)
from trust.log.pins import Trust, save_trust
from trust.log.source import FolderLog
from trust.log.tile_folder import TileFolder

QUERY: dict[str, Any] = {
    "v": 1,
    "policy": "mobility",
    "version": 1,
    "from": ["trips"],
    "where": [],
    "group_by": ["ward"],
    "measures": [{"as": "trips", "count": "rows"}, {"as": "fare", "sum": "fare"}],
    "spend": {"epsilon": "0.3"},
}


def consent_id(number: int) -> str:
    """Return the consent identifier of a number."""
    return hashlib.sha256(b"consent %d" % number).hexdigest()


class LogBuilder:
    """A town's log in memory. Times run on by one second with each entry, unless told otherwise."""

    def __init__(self, witnesses: Sequence[str] = ("wit_a", "wit_b"), quorum: int = 1) -> None:
        self.entries: list[bytes] = []
        self.state = State()
        self.at = START
        self.shares: dict[int, dict[str, str]] = {}
        """For each released ``admit``: the holders' signed shares."""
        self._seen = MemoryConsents()
        self._witnesses = tuple(witnesses)
        self._quorum = quorum
        self._folders: dict[Path, TileFolder] = {}
        self._log_names = [(0, "log")]
        self._keys: dict[str, str] = {}

    @property
    def log_key(self) -> VerifierKey:
        """The log's verifier key."""
        return log_key()

    @property
    def witness_policy(self) -> WitnessPolicy:
        """Which witnesses count."""
        known = {
            name: PolicyWitness(VerifierKey.cosignature(f"{name}.example", bytes(key_of(name).verify_key)))
            for name in self._witnesses
        }
        if not known:
            return WitnessPolicy(logs=(PolicyLog(self.log_key),))
        groups = {"quorum": PolicyGroup(self._quorum, tuple(known))}
        return WitnessPolicy(logs=(PolicyLog(self.log_key),), witnesses=known, groups=groups, quorum="quorum")

    @property
    def trust(self) -> Trust:
        """The pins of this town."""
        return Trust(
            origin=ORIGIN,
            log_key=str(self.log_key),
            genesis_sha256=entry_sha256(self.entries[0]),
            witness_policy=self.witness_policy.format(),
        )

    # Entries.

    def append(self, entry: e.AnyEntry | bytes) -> int:
        """Append anything, unchecked; return its index. The state does not follow."""
        self.entries.append(entry if isinstance(entry, bytes) else e.encode(entry))
        return len(self.entries) - 1

    def add(self, entry: e.AnyEntry) -> int:
        """Append an entry that is right; return its index."""
        data = e.encode(entry)
        replay(self.state, len(self.entries), data, self._seen)
        self.entries.append(data)
        return len(self.entries) - 1

    def now(self) -> int:
        """Let a second pass; return the time."""
        self.at += 1
        return self.at

    def genesis(self, rules: int | UnsetType = UNSET) -> int:
        """Append the genesis entry: three stewards, two of whom must sign; the first rules, unless told."""
        stewards = [e.Steward(alias=name, title=TEXT, key=public(name)) for name in STEWARDS]
        return self.add(
            e.Genesis(
                at=self.now(),
                origin=ORIGIN,
                title=TEXT,
                log_key=str(self.log_key),
                time_zone="Asia/Tokyo",
                stewards=stewards,
                quorum=2,
                rules=rules,
            )
        )

    def make_rules(
        self,
        number: int = NEWEST_RULES,
        *,
        readers: Mapping[str, str] | None = None,
        signers: Sequence[str] = STEWARDS[:2],
    ) -> e.Rules:
        """Make the entry that brings other rules: each active holder's word by its key, signed by some stewards."""
        body = e.RulesBody(number=number)
        if readers is None:
            holders = [member.alias for member in self.state.members_with("holder")]
            readers = {
                each: make_rules_word(self.key_now(each), log=ORIGIN, holder=each, number=number) for each in holders
            }
        signed = [approve("rules", body, log=ORIGIN, steward=name, key=key_of(name)) for name in signers]
        return e.Rules(at=self.now(), rules=body, readers=dict(readers), signatures=signed)

    def rules(self, number: int = NEWEST_RULES) -> int:
        """Append other rules."""
        return self.add(self.make_rules(number))

    def key_now(self, alias: str) -> SigningKey:
        """Return a member's signing key of today."""
        return key_of(self._keys.get(alias, alias))

    def make_member(
        self, alias: str, *roles: e.Role, signers: Sequence[str] = STEWARDS[:2], number: int = 1, key: str = ""
    ) -> e.Member:
        """Make a member entry, signed by some stewards; ``key`` names another key than the member's first."""
        body = e.MemberBody(
            alias=alias,
            number=number,
            status="active",
            roles=list(roles),
            title=TEXT,
            key=public(key or alias),
            sealing_key=public(f"{alias} sealing"),
        )
        signed = [approve("member", body, log=ORIGIN, steward=name, key=key_of(name)) for name in signers]
        return e.Member(at=self.now(), member=body, signatures=signed)

    def member(self, alias: str, *roles: e.Role) -> int:
        """Append a member."""
        return self.add(self.make_member(alias, *roles))

    def change_key(self, alias: str, key: str) -> int:
        """Append a member's change to another signing key, that of the name ``key``."""
        now = self.state.members[alias]
        self._keys[alias] = key
        return self.add(self.make_member(alias, *now.roles, number=now.number + 1, key=key))

    def make_log_key(self, name: str, number: int = 2, signers: Sequence[str] = STEWARDS[:2]) -> e.LogKey:
        """Make the entry that has the log sign with the key of a name, signed by some stewards."""
        keys = LogKeys(log_key(name))
        body = make_log_key_body(number, keys)
        signed = [approve("log-key", body, log=ORIGIN, steward=each, key=key_of(each)) for each in signers]
        return e.LogKey(at=self.now(), log_key=body, signatures=signed)

    def change_log_key(self, name: str) -> int:
        """Append a change of the log's key; from its tree on, checkpoints are signed with the key of that name."""
        index = self.add(self.make_log_key(name, len(self._log_names) + 1))
        self._log_names.append((index, name))
        return index

    def make_policy(self, policy: Policy | None = None, signers: Sequence[str] = STEWARDS[:2]) -> e.PolicyEntry:
        """Make a policy entry, signed by some stewards."""
        document = policy or scarce()
        signed = [approve("policy", document, log=ORIGIN, steward=name, key=key_of(name)) for name in signers]
        return e.PolicyEntry(at=self.now(), policy=Raw(encode(document)), signatures=signed)

    def policy(self, policy: Policy | None = None) -> int:
        """Append a policy version."""
        return self.add(self.make_policy(policy))

    def make_grant(self, number: int, **changes: Any) -> e.Grant:
        """Make the grant of consent ``number`` for the current version."""
        record = self.state.policies["mobility"]
        grant = e.Grant(
            at=self.now(),
            consent=consent_id(number),
            policy="mobility",
            version=record.document.version,
            policy_sha256=record.sha256,
            until="2028-03-31",
            yearly_cap=1_000_000_000,
            commitment=hashlib.sha256(b"commitment %d" % number).hexdigest(),
        )
        return msgspec.structs.replace(grant, **changes)

    def grant(self, number: int, **changes: Any) -> int:
        """Append a grant."""
        return self.add(self.make_grant(number, **changes))

    def revoke(self, grant: int) -> int:
        """Append the revocation of a grant."""
        return self.add(self.make_revoke(grant))

    def make_revoke(self, grant: int, reason: e.RevokeReason = "withdrawn", at: int | None = None) -> e.Revoke:
        """Make the revocation of a grant."""
        commitment = hashlib.sha256(b"revocation %d" % grant).hexdigest()
        return e.Revoke(at=self.now() if at is None else at, grant=grant, reason=reason, commitment=commitment)

    def replace(self, grants: Sequence[int], entry: e.Grant) -> int:
        """Append a grant in place of the last of some others, and before it their revocations; return its index."""
        for grant in grants:
            self.add(self.make_revoke(grant, "replaced", entry.at))
        return self.add(msgspec.structs.replace(entry, replaces=grants[-1]))

    def ask(self, **changes: Any) -> str:
        """Sign a question as the partner; ``changes`` are made to its query."""
        self._asked = getattr(self, "_asked", 0) + 1
        question = m.Question(
            from_=PARTNER,
            log=ORIGIN,
            id=hashlib.sha256(b"question %d" % self._asked).hexdigest(),
            at=self.at,
            fresh=True,
            query=Raw(encode(QUERY | changes)),
        )
        return jws.sign(question, key_of(PARTNER))

    def make_admit(self, token: str | None = None, **changes: Any) -> e.Admit:
        """Make the admit entry of a question for the next index; ``changes`` are made to the entry."""
        at = self.now()
        asked = read_question(self.state, token or self.ask(), at)
        admit = make_admit(self.state, asked, offer(self.state, asked, at), at)
        return msgspec.structs.replace(admit, **changes)

    def admit(self, token: str | None = None) -> int:
        """Append an admit."""
        return self.add(self.make_admit(token))

    def make_shares(self, admit: int) -> dict[str, str]:
        """Make both holders' signed shares of one round."""
        opened = self.state.rounds[admit]
        length = plan_of(self.state, opened.admit).length
        shares = [
            m.Share(
                from_=alias,
                log=ORIGIN,
                admit=admit,
                admit_sha256=opened.entry_sha256,
                transcript_sha256=hashlib.sha256(b"transcript %d" % admit).hexdigest(),
                kind="local",
                vector=[100 * place + cell for cell in range(length)],
            )
            for place, alias in enumerate(opened.admit.participants)
        ]
        return {share.from_: jws.sign(share, key_of(share.from_)) for share in shares}

    def make_release(self, admit: int, shares: dict[str, str] | None = None, **changes: Any) -> e.Release:
        """Make the release of a round from its shares."""
        tokens = shares or self.make_shares(admit)
        self.shares[admit] = tokens
        opened = [jws.read_unverified(token, m.Share) for token in tokens.values()]
        vector = combine(plan_of(self.state, self.state.rounds[admit].admit), opened)
        hashes = {alias: m.token_sha256(token) for alias, token in tokens.items()}
        release = e.Release(at=self.now(), admit=admit, vector=vector, shares=hashes)
        return msgspec.structs.replace(release, **changes)

    def release(self, admit: int, shares: dict[str, str] | None = None) -> int:
        """Append a release."""
        return self.add(self.make_release(admit, shares))

    def make_refund(self, admit: int, signer: str | None = None) -> e.Refund:
        """Make the refund of a round; every word is signed by its holder, or all by ``signer``."""
        opened = self.state.rounds[admit]
        words = {
            alias: jws.sign(
                m.Word(from_=alias, log=ORIGIN, admit=admit, admit_sha256=opened.entry_sha256), key_of(signer or alias)
            )
            for alias in opened.admit.participants
        }
        return e.Refund(at=self.now(), admit=admit, words=words)

    def make_lost(self, admit: int, sent: Sequence[str] = ASKED[:1], stepped_out: Sequence[str] = ASKED[1:]) -> e.Lost:
        """Make the entry that gives a round up, once its ``last`` has come; who is not named was silent."""
        opened = self.state.rounds[admit]
        self.at = max(self.at, last_of(opened.admit) - 1)
        tokens = self.make_shares(admit)
        self.shares[admit] = {alias: tokens[alias] for alias in sent}
        words = self.make_refund(admit).words
        return e.Lost(
            at=self.now(),
            admit=admit,
            shares={alias: m.token_sha256(tokens[alias]) for alias in sent},
            words={alias: words[alias] for alias in stepped_out},
            silent=sorted(set(opened.admit.participants) - set(sent) - set(stepped_out)),
        )

    def lost(self, admit: int, **how: Any) -> int:
        """Append the entry that gives a round up."""
        return self.add(self.make_lost(admit, **how))

    def refund(self, admit: int) -> int:
        """Append a refund."""
        return self.add(self.make_refund(admit))

    def found(self, policy: Policy | None = None, *, operator: bool = False, rules: int | UnsetType = UNSET) -> int:
        """Append what a town begins with: genesis, two holders, a partner, an operator if wanted, a policy."""
        self.genesis(rules)
        for alias in ASKED:
            self.member(alias, "holder")
        self.member(PARTNER, "partner")
        if operator:
            self.member(OPERATOR, "operator")
        return self.policy(policy)

    def town(self, grants: int = 20) -> "LogBuilder":
        """Append a whole small town: members, a policy, grants, revocations, an answer, a refund and an open round."""
        self.found()
        first = len(self.entries)
        for number in range(grants):
            self.grant(number, yearly_cap=(5_000_000, 1_000_000_000)[number % 2])
        self.revoke(first + 3)
        self.release(self.admit())
        self.add(e.Erase(at=self.now(), index=first + 4, reason="requested"))
        self.refund(self.admit())
        self.grant(3)  # a consent used before: void for ever
        self.admit()
        return self

    # Publishing.

    def checkpoint(
        self,
        size: int,
        root: bytes,
        *,
        at: int | None = None,
        cosigners: Sequence[str] | None = None,
        signer: str | None = None,
    ) -> bytes:
        """Return a checkpoint signed by the log and cosigned by some witnesses (all, unless told) at a time.

        ``signer`` names the key that signs instead of the log's own of that size.
        """
        own = next(name for index, name in reversed(self._log_names) if index < size or index == 0)
        signed = sign_checkpoint(Checkpoint(ORIGIN, size, root), key_of(signer or own))
        note = parse_note(signed)
        names = self._witnesses if cosigners is None else tuple(cosigners)
        lines = [cosign(note.text, f"{name}.example", key_of(name), at or self.at) for name in names]
        return format_note(Note(note.text, (*note.signatures, *lines)))

    def make_erase(self, index: int, reason: e.EraseReason = "requested", signers: Sequence[str] = ()) -> e.Erase:
        """Make the erasure of a record, with the order that some stewards signed for it, if any did."""
        order = ErasureOrder(log=ORIGIN, index=index)
        signed = [approve("erasure", order, log=ORIGIN, steward=name, key=key_of(name)) for name in signers]
        return e.Erase(at=self.now(), index=index, reason=reason, approvals=signed or UNSET)

    def make_refuse(self, rule: e.RefuseRule = "query-invalid", **changes: Any) -> e.Refuse:
        """Make the refusal of the partner's question; for a budget, right for ``asked`` of all that may be asked."""
        refuse = e.Refuse(
            at=self.now(),
            query_sha256=hashlib.sha256(b"query").hexdigest(),
            by=PARTNER,
            policy="mobility",
            rule=rule,
            account="",
            asked=0,
            left=0,
        )
        if rule == "budget-exceeded":
            policy = self.state.policies["mobility"].document
            charges = charges_for(policy, PARTNER, refuse.at, self.state.trust_root.time_zone)
            least = tightest(self.state.accounts, charges)
            spent = {"asked": policy.limits.charge, "left": left(self.state.accounts, least)}
            refuse = msgspec.structs.replace(refuse, account=least.account, **spent)
        return msgspec.structs.replace(refuse, **changes)

    def make_useless(self, factor: int = 10, **changes: Any) -> e.Admit:
        """Make the admit of a question with so many times the noise that was signed for, rightly charged for that."""
        admit = self.make_admit(self.ask(**changes))
        noise = [msgspec.structs.replace(part, scale=f"{float(part.scale) * factor:.4f}") for part in admit.noise]
        return self.charged(msgspec.structs.replace(admit, noise=noise))

    def charged(self, admit: e.Admit) -> e.Admit:
        """Return an admit for the next index with the charge that its noise costs, and the root that goes with it."""
        parts = zip(plan_of(self.state, admit).primitives, admit.noise, strict=True)
        charge = len(admit.participants) * sum(nano_rho(each.squared_sensitivity, part.scale) for each, part in parts)
        root = self.state.in_force_root(admit.policy_sha256, admit.at, charge)
        return msgspec.structs.replace(admit, charge=charge, in_force_root=root)

    def publish(self, folder: Path, entries: Sequence[bytes] | None = None, **how: Any) -> None:
        """Write a log folder of these entries (the builder's own, unless told) and ``trust.json`` beside it."""
        chosen = list(self.entries if entries is None else entries)
        appender = TileAppender()
        files = TileFolder(folder)
        files.write_tiles(appender.append(chosen))
        files.write_checkpoint(self.checkpoint(len(chosen), appender.root(), **how))
        save_trust(self.trust, folder / "trust.json")


def receipt_of(town: LogBuilder, folder: Path, index: int) -> Receipt:
    """Return an entry's receipt, made from the log that was published into a folder."""
    note = (folder / "checkpoint").read_bytes()
    size = int(note.split(b"\n", 2)[1])
    return Receipt(
        index=index, proof=prove_inclusion(index, size, TileReader(FolderLog(folder).read_tile, size)), checkpoint=note
    )

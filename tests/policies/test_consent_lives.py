"""Consents from grant to end, entry by entry through the ledger's replay, beside a model that is as plain as can be."""

import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec import UNSET, Raw, structs

from ledger import entries as e
from ledger.errors import ProofInvalid
from policies.in_force.chunk_tree import ChunkTree
from policies.in_force.sets import check_in_force, indices_in_force, prove_in_force
from policies.policy_document import Policy, document_sha256
from policies.replay import step
from tests.kit.amounts import amount
from tests.kit.logs.histories import Frozen, freeze, thaw
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import PARTNER, START, scarce

UNTILS = ["2026-10-31", "2027-03-31", "2028-03-31"]
CAPS = [30, 60, 200]
PER_WINDOW, LIFE, PER_PARTNER = 300, 900, 250


def document(version: int) -> Policy:
    """Return the town's policy with small caps."""
    budget = structs.replace(scarce().budget, per_window=PER_WINDOW, life=LIFE, per_partner=PER_PARTNER)
    return scarce(version=version, until=UNTILS, yearly_caps=CAPS, budget=budget)


@cache
def founded(rules: int) -> tuple[Frozen, tuple[e.PolicyEntry, ...]]:
    """Return a town with members and version 1, and signed entries of the versions after it."""
    builder = LogBuilder()
    builder.found(document(1), rules=rules)
    return freeze(builder.state, builder._seen), tuple(builder.make_policy(document(number)) for number in (2, 3, 4))


def tokyo_day(at: int) -> str:
    """Return the date in Japan."""
    return (datetime.fromtimestamp(at, UTC) + timedelta(hours=9)).date().isoformat()


@dataclass
class Life:
    """One grant in the model."""

    index: int
    version: int
    until: str
    cap: int
    void: bool
    first: int
    """Where its chain begins: its own index, unless it took another's place."""
    ended: bool = False


@dataclass
class Asked:
    """One admitted question in the model."""

    index: int
    version: int
    at: int
    charge: int
    state: str = "open"


@dataclass
class Model:
    """The model: two lists and a clock."""

    size: int
    at: int
    rules: int
    version: int = 1
    lives: list[Life] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    erased: set[int] = field(default_factory=set)
    replaceable: list[Life] = field(default_factory=list)
    """What the entries right before have ended for another to take its place, all at ``last_at``."""
    last_at: int = 0

    def counts(self, life: Life, charge: int) -> bool:
        """Ask one grant whether it counts for a charge now."""
        day = tokyo_day(self.at)
        spent = sum(
            asked.charge
            for asked in self.asked
            if asked.state != "refunded" and asked.index > life.first and tokyo_day(asked.at)[:4] == day[:4]
        )
        standing = life.version == self.version and not life.void and not life.ended
        return standing and life.until >= day and spent + charge <= life.cap

    def fits(self, charge: int) -> bool:
        """Ask whether the accounts take a charge now; they belong to the policy, not to its version."""
        standing = [asked for asked in self.asked if asked.state != "refunded"]
        month = sum(each.charge for each in standing if tokyo_day(each.at)[:7] == tokyo_day(self.at)[:7])
        life = sum(each.charge for each in standing)
        return month + charge <= min(PER_WINDOW, PER_PARTNER) and life + charge <= LIFE


def plain_root(bits: set[int]) -> str:
    """Return the root of a set that fits one chunk."""
    chunk = bytearray(512)
    for bit in bits:
        chunk[bit // 8] |= 1 << bit % 8
    return hashlib.sha256(b"\x00" + bytes(chunk)).hexdigest()


class ConsentLives(RuleBasedStateMachine):
    """Grants, replayed consents, revocations, erasures, questions, refunds, new versions and passing years."""

    @initialize(rules=st.sampled_from([1, 2, 2]))
    def found(self, rules: int) -> None:
        """Begin with the town founded."""
        frozen, self.versions = founded(rules)
        self.state, self.seen = thaw(frozen)
        self.model = Model(size=self.state.size, at=START + 100, rules=rules)
        for consent, cap in enumerate(CAPS):
            self.grant(UNTILS[consent], cap, consent, old=False)

    def _place(self, pick: int) -> int:
        """Return mostly a grant's index, sometimes any other."""
        lives = self.model.lives
        return lives[pick % len(lives)].index if lives and pick < 80 else pick - 80

    def _try(self, entry: e.AnyEntry, *, good: bool) -> bool:
        """Apply an entry; it passes exactly when the model says so, and a refused one changes nothing at all.

        A wrong ``erase`` halts nobody under rules number 2; it changes nothing either.
        """
        index, model = self.model.size, self.model
        is_harmless = model.rules == 2 and isinstance(entry, e.Erase) and entry.at >= self.state.at
        if good or is_harmless:
            step(self.state, index, entry, e.encode(entry), self.seen)
            assert bool(self.state.finding) != good
            model.size += 1
            if not (isinstance(entry, e.Revoke) and entry.reason == "replaced") or entry.at != model.last_at:
                model.replaceable = []
            model.last_at = entry.at
        else:
            before = freeze(self.state, self.seen)
            with pytest.raises(ProofInvalid):
                step(self.state, index, entry, e.encode(entry), self.seen)
            assert freeze(self.state, self.seen) == before
        assert self.state.size == self.model.size
        return good

    @rule(
        until=st.sampled_from(UNTILS),
        cap=st.sampled_from(CAPS),
        consents=st.lists(st.integers(0, 12), min_size=1, max_size=3),
        old=st.booleans(),
    )
    def grants(self, until: str, cap: int, consents: list[int], old: bool) -> None:
        """Hand in some grants at once; a consent may come twice in one sitting."""
        for consent in consents:
            self.grant(until, cap, consent, old=old)

    def grant(self, until: str, cap: int, consent: int, *, old: bool, replaces: int | None = None) -> None:
        """A fresh consent comes into force; one that was used before, in any version, stands and never counts."""
        version = self.model.version - 1 if old and self.model.version > 1 else self.model.version
        name = hashlib.sha256(b"%d" % consent).hexdigest()
        entry = e.Grant(
            at=self.model.at,
            consent=name,
            policy="mobility",
            version=version,
            policy_sha256=document_sha256(document(version)),
            until=until,
            yearly_cap=cap,
            commitment="00" * 32,
            replaces=UNSET if replaces is None else replaces,
        )
        void = bytes.fromhex(name) in self.seen._seen
        before = self.model.replaceable if self.model.last_at == self.model.at else []
        old_one = next((life for life in before if life.index == replaces), None)
        fits = replaces is None or (self.model.rules == 2 and old_one is not None)
        if self._try(entry, good=version == self.model.version and until >= tokyo_day(self.model.at) and fits):
            index = self.model.size - 1
            first = index if old_one is None else old_one.first
            self.model.lives.append(Life(index, version, until, cap, void, first))

    @rule(
        pick=st.integers(0, 130),
        until=st.sampled_from(UNTILS),
        cap=st.sampled_from(CAPS),
        consent=st.integers(0, 40),
        others=st.integers(0, 2),
        lie=st.sampled_from(["", "", "", "", "nothing ended", "withdrawn", "another", "later", "between", "twice"]),
    )
    def replace(self, pick: int, until: str, cap: int, consent: int, others: int, lie: str) -> None:
        """Some grants end, and one takes the place of one of them: only where it is right after, and only once.

        What it names may stand in any version; a grant that names what was not ended so is refused.
        """
        standing = [life for life in self.model.lives if not life.void and not life.ended]
        if not standing:
            return
        chosen = standing[pick % len(standing) :][: others + 1]
        for life in chosen if lie != "nothing ended" else []:
            self.end(life.index, "withdrawn" if lie == "withdrawn" else "replaced")
        if lie == "later":
            self.model.at += 1
        if lie == "between":
            self.erase(0)
        names = chosen[pick % len(chosen)].index if lie != "another" else self._place(pick)
        for number in range(2 if lie == "twice" else 1):
            self.grant(until, cap, consent + number, old=False, replaces=names)

    @rule(pick=st.integers(0, 130), reason=st.sampled_from(["withdrawn", "lost-device", "replaced"]))
    def revoke(self, pick: int, reason: str) -> None:
        """Only a grant that stands can be revoked: no void or ended one, nothing else, nothing to come; and once."""
        self.end(self._place(pick), reason)

    def end(self, index: int, reason: str) -> None:
        """Revoke whatever stands at an index."""
        life = next((life for life in self.model.lives if life.index == index), None)
        good = life is not None and not life.void and not life.ended and (reason != "replaced" or self.model.rules == 2)
        entry = e.Revoke(at=self.model.at, grant=index, reason=reason, commitment="00" * 32)  # type: ignore[arg-type]
        if self._try(entry, good=good) and life is not None:
            life.ended = True
            if reason == "replaced":
                self.model.replaceable.append(life)

    @rule(pick=st.integers(0, 130))
    def erase(self, pick: int) -> None:
        """A record is erased once, and an erased grant does not count."""
        index = self._place(pick)
        good = index < self.model.size and index not in self.model.erased
        if self._try(e.Erase(at=self.model.at, index=index, reason="requested"), good=good):
            self.model.erased.add(index)
            for life in self.model.lives:
                life.ended = life.ended or life.index == index

    @rule(
        charge=st.sampled_from([0, 1, 5, 10, 15, 29, 30, 31, 60, 61]),
        lie=st.sampled_from(["", "", "", "more", "fewer", "size"]),
    )
    def admit(self, charge: int, lie: str) -> None:
        """The root is that of exactly the grants that count; one grant more or less and the entry is refused."""
        model = self.model
        counting = {life.index for life in model.lives if model.counts(life, charge)}
        sha256 = document_sha256(document(model.version))
        chunks = self.state.eligible(sha256, model.at, charge)
        assert indices_in_force(chunks) == sorted(counting)
        root = plain_root(counting)
        for life in model.lives:
            proof = prove_in_force(ChunkTree(chunks), model.size, life.index)
            assert check_in_force(proof, root, index=life.index, size=model.size) == (life.index in counting)
        said = set(counting)
        others = [life.index for life in model.lives if life.index not in counting]
        if lie == "more":
            said |= {others[0]} if others else {0}
        elif lie == "fewer" and said:
            said.remove(max(said))
        elif lie == "size":
            said |= {model.size}
        entry = e.Admit(
            at=model.at,
            question=f"question {model.size}",
            query=Raw(b"{}"),
            query_sha256="00" * 32,
            by=PARTNER,
            policy="mobility",
            version=model.version,
            policy_sha256=sha256,
            in_force_root=plain_root(said),
            noise=[e.Noise(primitive="rows", scale="10")],
            participants=["bus_co", "clinic"],
            charge=charge,
            expires=model.at + 600,
        )
        good = said == counting and model.fits(charge) and max(UNTILS) >= tokyo_day(model.at)
        if self._try(entry, good=good):
            model.asked.append(Asked(model.size - 1, model.version, model.at, charge))

    @rule(pick=st.integers(0, 60), refund=st.booleans(), missing=st.booleans())
    def close_any(self, pick: int, refund: bool, missing: bool) -> None:
        """Only an open round closes, once, with every participant named."""
        asked = self.model.asked
        self._close(asked[pick % len(asked)].index if asked else pick, refund=refund, missing=missing)

    @precondition(lambda self: any(asked.state == "open" for asked in self.model.asked))
    @rule(data=st.data(), refund=st.booleans())
    def close_open(self, data: st.DataObject, refund: bool) -> None:
        """Release or refund an open round, also one of an older version."""
        asked = data.draw(st.sampled_from([asked for asked in self.model.asked if asked.state == "open"]))
        self._close(asked.index, refund=refund, missing=False)

    def _close(self, index: int, *, refund: bool, missing: bool) -> None:
        asked = next((each for each in self.model.asked if each.index == index and each.state == "open"), None)
        named = ["bus_co"] if missing else ["bus_co", "clinic"]
        entry: e.AnyEntry = (
            e.Refund(at=self.model.at, admit=index, words=dict.fromkeys(named, "word"))
            if refund
            else e.Release(at=self.model.at, admit=index, vector=[1], shares=dict.fromkeys(named, "00" * 32))
        )
        if self._try(entry, good=asked is not None and not missing) and asked is not None:
            asked.state = "refunded" if refund else "released"

    @rule(number=st.integers(2, 4))
    def new_version(self, number: int) -> None:
        """A version comes right after the last, once; consents to the old one count for nothing, accounts run on."""
        entry = structs.replace(self.versions[number - 2], at=self.model.at)
        if self._try(entry, good=number == self.model.version + 1):
            self.model.version = number

    @rule(seconds=st.sampled_from([1, 3_600, 86_400, 20 * 86_400, 70 * 86_400]))
    def wait(self, seconds: int) -> None:
        """Let days, windows and years pass."""
        self.model.at += seconds

    @rule()
    def back_in_time(self) -> None:
        """No entry is older than the one before."""
        entry = e.Erase(at=self.state.at - 1, index=0, reason="requested")
        self._try(entry, good=False)


TestConsentLives = ConsentLives.TestCase
TestConsentLives.settings = settings(max_examples=amount(40, 400), stateful_step_count=45, deadline=None)

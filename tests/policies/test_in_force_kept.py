"""The in-force sets that are kept between questions, beside a model that makes each set and its root anew."""

import hashlib
import pickle
from collections.abc import Iterable

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import policies.in_force.chunk_tree
from ledger.entries import Grant
from ledger.hashing import leaf_hash, node_hash
from policies.in_force.chunk_tree import CHUNK_BITS, ChunkTree
from policies.in_force.sets import KEPT_SETS, InForce, check_in_force, indices_in_force

UNTILS = ("2026-12-31", "2027-03-31", "2028-03-31")
CAPS = (10, 25, 60)
DAYS = ("2026-06-01", "2026-12-31", "2027-01-01", "2027-03-31", "2027-04-01", "2028-03-31", "2028-04-01")
H32 = "00" * 32


def plain_root(bits: Iterable[int], size: int) -> str:
    """The root, from single bits, with a recursive tree: RFC 6962 as it is written."""
    chunks = [bytearray(512) for _ in range(-(-size // 4096))]
    for bit in bits:
        chunks[bit // 4096][bit % 4096 // 8] |= 1 << bit % 8

    def tree(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        split = 1
        while split * 2 < len(leaves):
            split *= 2
        return hashlib.sha256(b"\x01" + tree(leaves[:split]) + tree(leaves[split:])).digest()

    if not chunks:
        return hashlib.sha256(b"").hexdigest()
    return tree([hashlib.sha256(b"\x00" + chunk).digest() for chunk in chunks]).hex()


def grant(until: str, cap: int) -> Grant:
    """Return a grant of that group."""
    return Grant(
        at=0, consent=H32, policy="p", version=1, policy_sha256=H32, until=until, yearly_cap=cap, commitment=H32
    )


class Histories(RuleBasedStateMachine):
    """Everything that can happen to one policy's grants, with questions of every kind in between."""

    @initialize(first=st.integers(0, 3 * CHUNK_BITS))
    def begin(self, first: int) -> None:
        """The policy version stands somewhere in the log."""
        self.real = InForce()
        self.size = self.first = first
        self.day = 0
        self.grants: dict[int, tuple[str, int]] = {}
        self.firsts: dict[int, int] = {}
        """Where the chains of the replacing grants begin."""
        self.ended: dict[int, int] = {}
        self.charges: list[tuple[int, int, int]] = []
        self.refunded: dict[int, int] = {}

    @rule(until=st.sampled_from(UNTILS), cap=st.sampled_from(CAPS), count=st.sampled_from([1, 1, 3, 700]))
    def give(self, until: str, cap: int, count: int) -> None:
        """Consents come in."""
        for _ in range(count):
            self.real.add(self.size, grant(until, cap))
            self.grants[self.size] = (until, cap)
            self.size += 1

    @rule(
        until=st.sampled_from(UNTILS),
        cap=st.sampled_from(CAPS),
        pick=st.integers(0, 10**6),
        apart=st.sampled_from([0, 0, CHUNK_BITS]),
    )
    def replace(self, until: str, cap: int, pick: int, apart: int) -> None:
        """One of them ends, and another takes its place, at the first index of its chain; it may be of long ago."""
        if not (left := sorted(set(self.grants) - set(self.ended))):
            return
        old = left[pick % len(left)]
        assert self.real.end(old)
        self.ended[old] = self.size
        self.size += 1 + apart
        first = self.firsts.get(old, old)
        self.real.add(self.size, grant(until, cap), first)
        self.grants[self.size], self.firsts[self.size] = (until, cap), first
        self.size += 1

    @rule(cap=st.sampled_from(CAPS))
    def replace_of_an_older_version(self, cap: int) -> None:
        """The chain begins before this policy version stands in the log."""
        self.real.add(self.size, grant(UNTILS[2], cap), self.first // 2)
        self.grants[self.size], self.firsts[self.size] = (UNTILS[2], cap), self.first // 2
        self.size += 1

    @rule(pick=st.integers(0, 10**6))
    def take_back(self, pick: int) -> None:
        """One of them ends; ending it once more changes nothing."""
        if not self.grants:
            return
        index = sorted(self.grants)[pick % len(self.grants)]
        assert self.real.end(index) == (index not in self.ended)
        self.ended.setdefault(index, self.size)
        self.size += 1

    @rule(charge=st.integers(0, 20))
    def charge(self, charge: int) -> None:
        """A question is let in."""
        self.real.charge(self.size, int(DAYS[self.day][:4]), charge)
        self.charges.append((self.size, int(DAYS[self.day][:4]), charge))
        self.size += 1

    @rule(pick=st.integers(0, 10**6))
    def refund(self, pick: int) -> None:
        """A question's charge is given back."""
        admit = self.charges[pick % len(self.charges)][0] if self.charges else -1
        if self.charges and admit not in self.refunded:
            self.real.refund(admit)
            self.refunded[admit] = self.size
            self.size += 1

    @rule(entries=st.sampled_from([1, 100, CHUNK_BITS, 5 * CHUNK_BITS]))
    def others_write(self, entries: int) -> None:
        """The log grows by what is not about this policy."""
        self.size += entries

    @rule()
    def time_passes(self) -> None:
        """A later day comes, perhaps one after a group's last."""
        self.day = min(self.day + 1, len(DAYS) - 1)

    @rule()
    def freeze_and_thaw(self) -> None:
        """What is kept to save time is no part of what is known."""
        self.real = pickle.loads(pickle.dumps(self.real))  # noqa: S301 - we froze it ourselves

    def counting(self, size: int, day: str, charge: int) -> set[int]:
        """Return what counts at a tree size, asking each grant by itself."""
        found = set()
        for index, (until, cap) in self.grants.items():
            spent = sum(
                nano
                for admit, year, nano in self.charges
                if self.firsts.get(index, index) < admit < size
                and year == int(day[:4])
                and self.refunded.get(admit, size) >= size
            )
            if index < size <= self.ended.get(index, size) and until >= day and spent + charge <= cap:
                found.add(index)
        return found

    @rule(charge=st.sampled_from([0, 0, 5, 11, 26, 61]), pick=st.integers(0, 10**6))
    def ask(self, charge: int, pick: int) -> None:
        """Same set, same count, same root as made anew, and a proof of any bit."""
        day = DAYS[self.day]
        counting = self.counting(self.size, day, charge)
        root = plain_root(counting, self.size)
        assert self.real.root(day, charge, self.size) == root
        assert self.real.count(day, charge) == len(counting)
        if self.size:
            index = sorted(self.grants)[pick % len(self.grants)] if self.grants else pick % self.size
            proof = self.real.prove(day, charge, self.size, index)
            assert check_in_force(proof, root, index=index, size=self.size) == (index in counting)

    @invariant()
    def what_stands_was_given_and_not_ended(self) -> None:
        """Nodes count by the newest that stands."""
        if hasattr(self, "real"):
            assert indices_in_force(self.real.standing) == sorted(set(self.grants) - set(self.ended))

    @rule(share=st.integers(0, 100), charge=st.sampled_from([0, 5, 11]), step=st.integers(0, 9_000))
    def look_back(self, share: int, charge: int, step: int) -> None:
        """The set of an earlier tree size, made from this history, and moved on to a later size in one step."""
        past, before, year = InForce(), self.first, DAYS[self.day][:4]
        early = self.first + (self.size - self.first) * share // 100
        for size in (early, min(self.size, early + step)):
            past.copy_grants(self.real, before, size)
            for index, ended in self.ended.items():
                if before <= ended < size:
                    assert past.end(index)
            for admit, in_year, nano in self.charges:
                if before <= admit < size:
                    past.charge(admit, in_year, nano)
            for admit, at in self.refunded.items():
                if before <= at < size:
                    past.refund(admit)
            for day in (f"{year}-01-15", DAYS[self.day]):
                assert past.root(day, charge, size) == plain_root(self.counting(size, day, charge), size)
            before = size

    @invariant()
    def few_sets_are_kept(self) -> None:
        """Memory is bounded."""
        if hasattr(self, "real"):
            assert len(self.real._kept) <= KEPT_SETS


TestHistories = Histories.TestCase
TestHistories.settings = settings(max_examples=80, stateful_step_count=40, deadline=None)


@pytest.mark.parametrize("chunks", [1, 2, 3, 1_000, 2_441])
def test_one_grant_costs_one_chunk_and_its_path(chunks: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However large the log: one leaf, and at most twice the tree's height of inner hashes, path and root together."""
    tree = ChunkTree(dict.fromkeys(range(chunks), (1 << CHUNK_BITS) - 1))
    tree.root(chunks * CHUNK_BITS)
    leaves: list[bytes] = []
    nodes: list[bytes] = []

    def counted_leaf(data: bytes) -> bytes:
        leaves.append(leaf_hash(data))
        return leaves[-1]

    def counted_node(left: bytes, right: bytes) -> bytes:
        nodes.append(node_hash(left, right))
        return nodes[-1]

    monkeypatch.setattr(policies.in_force.chunk_tree, "leaf_hash", counted_leaf)
    monkeypatch.setattr(policies.in_force.chunk_tree, "node_hash", counted_node)
    tree.put(chunks // 2, 7)
    assert tree.root(chunks * CHUNK_BITS) == ChunkTree(dict(tree.chunks)).root(chunks * CHUNK_BITS)
    del leaves[len(leaves) - chunks :], nodes[:]  # those of the tree made anew
    assert len(leaves) == 1
    tree.put(0, 1)
    tree.root(chunks * CHUNK_BITS)
    assert len(nodes) <= chunks.bit_length()
    nodes.clear()
    tree.root(chunks * CHUNK_BITS + 50 * CHUNK_BITS)
    assert len(nodes) <= 7, "a log that grows costs nothing but levels on top"

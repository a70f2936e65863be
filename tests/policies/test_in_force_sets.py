"""The in-force set and its root, beside a model that asks each grant by itself."""

import hashlib
import pickle
from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ledger.entries import Grant
from ledger.errors import ProofInvalid
from policies.in_force.chunk_tree import CHUNK_BITS, ChunkTree
from policies.in_force.sets import (
    InForce,
    InForceProof,
    check_in_force,
    indices_in_force,
    prove_in_force,
)

UNTILS = ("2026-12-31", "2027-03-31", "2028-03-31")
CAPS = (10, 25, 60)
H32 = "00" * 32


@dataclass
class OneGrant:
    """One grant of the naive model: it watches every charge pass by."""

    index: int
    until: str
    cap: int
    ended: bool = False
    seen: list[tuple[int, int, int]] = field(default_factory=list)

    def counts(self, day: str, charge: int) -> bool:
        """Return whether a new charge may count this grant."""
        spent = sum(nano for _, year, nano in self.seen if year == int(day[:4]))
        return not self.ended and self.until >= day and spent + charge <= self.cap


def naive_root(bits: set[int], size: int) -> str:
    """The root, from single bits, with a recursive tree."""

    def tree(leaves: list[bytes]) -> bytes:
        if len(leaves) == 1:
            return leaves[0]
        split = 1
        while split * 2 < len(leaves):
            split *= 2
        return hashlib.sha256(b"\x01" + tree(leaves[:split]) + tree(leaves[split:])).digest()

    leaves = []
    for first in range(0, size, 4096):
        chunk = bytearray(512)
        for bit in range(4096):
            if first + bit in bits:
                chunk[bit // 8] |= 1 << bit % 8
        leaves.append(hashlib.sha256(b"\x00" + bytes(chunk)).digest())
    return tree(leaves).hex()


def grant(until: str, cap: int) -> Grant:
    """Return a grant of that group."""
    return Grant(
        at=0, consent=H32, policy="p", version=1, policy_sha256=H32, until=until, yearly_cap=cap, commitment=H32
    )


steps = st.lists(
    st.one_of(
        st.tuples(st.just("grant"), st.sampled_from(UNTILS), st.sampled_from(CAPS)),
        st.tuples(st.just("grants"), st.sampled_from(UNTILS), st.sampled_from(CAPS)),
        st.tuples(st.just("end"), st.integers(0, 400), st.none()),
        st.tuples(st.just("charge"), st.sampled_from(["2026", "2027"]), st.integers(0, 20)),
        st.tuples(st.just("refund"), st.integers(0, 10), st.none()),
        st.tuples(st.just("skip"), st.integers(1, 5_000), st.none()),
    ),
    min_size=3,
    max_size=40,
)


@settings(max_examples=60, deadline=None)
@given(
    steps, st.sampled_from(["2026-06-01", "2026-12-31", "2027-01-01", "2027-03-31", "2027-04-01"]), st.integers(0, 30)
)
def test_the_set_is_what_each_grant_says_of_itself(
    steps: list[tuple[str, object, object]], day: str, charge: int
) -> None:
    """Over grants, endings, charges, refunds and gaps of whole chunks: same bits, same root, a proof of each bit."""
    real, model, size, admits = InForce(), list[OneGrant](), 1, list[int]()
    years = sorted(str(first) for kind, first, _ in steps if kind == "charge")  # the ledger's time only runs on
    for kind, first, second in steps:
        if kind in {"grant", "grants"}:
            for _ in range(1 if kind == "grant" else 150):
                real.add(size, grant(str(first), int(str(second))))
                model.append(OneGrant(size, str(first), int(str(second))))
                size += 1
        elif kind == "end" and model:
            one = model[int(str(first)) % len(model)]
            assert real.holds(one.index) != one.ended
            assert real.end(one.index) != one.ended
            one.ended = True
            assert not real.holds(one.index)
            size += 1
        elif kind == "charge":
            year = int(years.pop(0))
            real.charge(size, year, int(str(second)))
            admits.append(size)
            for one in model:
                one.seen.append((size, year, int(str(second))))
            size += 1
        elif kind == "refund" and admits:
            gone = admits.pop(int(str(first)) % len(admits))
            real.refund(gone)
            for one in model:
                one.seen = [seen for seen in one.seen if seen[0] != gone]
            size += 1
        elif kind == "skip":
            size += int(str(first))
    chunks = real.eligible(day, charge)
    expected = {one.index for one in model if one.counts(day, charge)}
    assert indices_in_force(chunks) == sorted(expected)
    assert real.count(day, charge) == len(expected)
    root = ChunkTree(chunks).root(size)
    assert root == naive_root(expected, size)
    for one in model[:: max(1, len(model) // 8)]:
        proof = prove_in_force(ChunkTree(chunks), size, one.index)
        assert check_in_force(proof, root, index=one.index, size=size) == (one.index in expected)


def test_asking_for_the_set_changes_nothing() -> None:
    real = InForce()
    for index in range(1, 50):
        real.add(index, grant(UNTILS[index % 3], CAPS[index % 2]))
    before, root = pickle.dumps(real), real.root("2026-06-01", 5, 50)
    chunks = real.eligible("2026-06-01", 5)
    chunks.clear()
    assert pickle.dumps(real) == before
    assert real.root("2026-06-01", 5, 50) == root != InForce().root("2026-06-01", 5, 50)


@settings(max_examples=60, deadline=None)
@given(st.sets(st.integers(0, 5 * CHUNK_BITS - 1), max_size=50), st.integers(1, 5 * CHUNK_BITS), st.data())
def test_no_proof_shows_a_flipped_bit(bits: set[int], size: int, data: st.DataObject) -> None:
    """Any change to chunk, path, index or size is refused, or proves the same, true bit."""
    bits = {bit for bit in bits if bit < size}
    chunks: dict[int, int] = {}
    for bit in bits:
        chunks[bit // CHUNK_BITS] = chunks.get(bit // CHUNK_BITS, 0) | 1 << bit % CHUNK_BITS
    root, index = ChunkTree(chunks).root(size), data.draw(st.integers(0, size - 1))
    right = prove_in_force(ChunkTree(chunks), size, index)
    assert check_in_force(right, root, index=index, size=size) == (index in bits)
    raw = bytearray.fromhex(right.chunk)
    spot = data.draw(st.sampled_from([index % CHUNK_BITS, data.draw(st.integers(0, CHUNK_BITS - 1))]))
    raw[spot // 8] ^= 1 << spot % 8
    wrong = [
        structs.replace(right, chunk=raw.hex()),
        structs.replace(right, chunk=right.chunk[2:]),
        structs.replace(right, chunk=right.chunk + "00"),
        structs.replace(right, chunk="zz" + right.chunk[2:]),
        structs.replace(right, chunk=f"{right.chunk[:2]} {right.chunk[2:]}"),
        structs.replace(right, path=[*right.path, H32]),
        structs.replace(right, path=[H32, *right.path]),
        structs.replace(right, index=index + 1),
        structs.replace(right, index=-1),
        structs.replace(right, size=size + 1),
        *(structs.replace(right, path=right.path[:place]) for place in range(len(right.path))),
    ]
    for proof in wrong:
        with pytest.raises(ProofInvalid):
            check_in_force(proof, root, index=index, size=size)
    with pytest.raises(ProofInvalid):
        check_in_force(right, hashlib.sha256(bytes.fromhex(root)).hexdigest(), index=index, size=size)


@pytest.mark.parametrize(("true_chunks", "claimed_chunks"), [(3, 2), (5, 2), (5, 3), (6, 4), (7, 4)])
def test_a_proof_that_lies_about_the_size_is_refused(true_chunks: int, claimed_chunks: int) -> None:
    """At the right edge a path of a smaller tree leads to the same root, with the last chunk in another's place.

    Everybody of the last chunk is in force and nobody else; the liar "proves" a grant of another chunk with it.
    """
    size, last = true_chunks * CHUNK_BITS, true_chunks - 1
    chunks = {last: (1 << CHUNK_BITS) - 1}
    root = ChunkTree(chunks).root(size)
    right = prove_in_force(ChunkTree(chunks), size, last * CHUNK_BITS)
    index = (claimed_chunks - 1) * CHUNK_BITS
    lie = structs.replace(right, index=index, size=claimed_chunks * CHUNK_BITS)
    with pytest.raises(ProofInvalid):
        check_in_force(lie, root, index=index, size=size)
    honest = prove_in_force(ChunkTree(chunks), size, index)
    assert check_in_force(honest, root, index=index, size=size) is False


def test_there_is_no_proof_outside_the_set() -> None:
    for index in (-1, 10, 11):
        with pytest.raises(ProofInvalid):
            prove_in_force(ChunkTree({}), 10, index)
    proof = InForceProof(index=10, size=10, chunk="00" * 512, path=[])
    with pytest.raises(ProofInvalid):
        check_in_force(proof, ChunkTree({}).root(10), index=10, size=10)


def test_the_cap_is_reached_and_not_passed() -> None:
    """Two charges of 5 fit a cap of 10; a third does not; one nano-rho more than the cap never does."""
    real = InForce()
    real.add(1, grant(UNTILS[2], 10))
    real.charge(2, 2026, 5)
    assert indices_in_force(real.eligible("2026-06-01", 5)) == [1]
    assert indices_in_force(real.eligible("2026-06-01", 6)) == []
    real.charge(3, 2026, 5)
    assert indices_in_force(real.eligible("2026-06-01", 0)) == [1]
    assert indices_in_force(real.eligible("2026-06-01", 1)) == []
    assert indices_in_force(real.eligible("2027-01-01", 10)) == [1]
    assert indices_in_force(real.eligible("2027-01-01", 11)) == []


@pytest.mark.parametrize(("day", "counts"), [("2026-12-31", True), ("2027-01-01", False)])
def test_a_grant_counts_through_its_last_day(day: str, counts: bool) -> None:
    real = InForce()
    real.add(1, grant("2026-12-31", 10))
    assert bool(real.eligible(day, 1)) is counts

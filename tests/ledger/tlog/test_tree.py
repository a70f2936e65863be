"""The tree against two oracles: twenty naive lines of RFC 6962, and merkletools."""

import warnings
from collections.abc import Sequence
from hashlib import sha256

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import Malformed, NotFound, ProofInvalid
from ledger.hashing import EMPTY_ROOT, leaf_hash, node_hash
from ledger.tlog.proofs import check_consistency, check_inclusion
from ledger.tlog.tree import Frontier, merkle_root, prove_consistency, prove_inclusion, root_hash
from tests.kit.logs.small_trees import merkle_path

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message="sha3 is not working!")
    import merkletools


def naive_root(entries: Sequence[bytes]) -> bytes:
    """MTH of RFC 6962, section 2.1, as it is written there."""
    if not entries:
        return sha256(b"").digest()
    if len(entries) == 1:
        return sha256(b"\x00" + entries[0]).digest()
    k = 1
    while 2 * k < len(entries):
        k *= 2
    return sha256(b"\x01" + naive_root(entries[:k]) + naive_root(entries[k:])).digest()


def naive_path(m: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH of RFC 6962, section 2.1.1."""
    if len(entries) <= 1:
        return []
    k = 1
    while 2 * k < len(entries):
        k *= 2
    if m < k:
        return [*naive_path(m, entries[:k]), naive_root(entries[k:])]
    return [*naive_path(m - k, entries[k:]), naive_root(entries[:k])]


def naive_subproof(m: int, entries: Sequence[bytes], b: bool) -> list[bytes]:
    """SUBPROOF of RFC 6962, section 2.1.2."""
    n = len(entries)
    if m == n:
        return [] if b else [naive_root(entries)]
    k = 1
    while 2 * k < n:
        k *= 2
    if m <= k:
        return [*naive_subproof(m, entries[:k], b), naive_root(entries[k:])]
    return [*naive_subproof(m - k, entries[k:], False), naive_root(entries[:k])]


class ListReader:
    """Complete subtrees hashed from a list of entries, naively."""

    def __init__(self, entries: Sequence[bytes]) -> None:
        self.entries = entries

    def read_hashes(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:  # noqa: D102 - see HashReader
        parts = [self.entries[index << level : (index + 1) << level] for level, index in nodes]
        assert all(len(part) == 1 << level for part, (level, _) in zip(parts, nodes, strict=True))
        return [naive_root(part) for part in parts]


def some_entries(size: int) -> list[bytes]:
    return [b"entry %d" % i for i in range(size)]


def test_the_published_empty_and_leaf_hashes_are_those_of_rfc_6962() -> None:
    assert EMPTY_ROOT.hex() == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert leaf_hash(b"").hex() == "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d"
    assert node_hash(bytes(32), bytes(32)) == sha256(b"\x01" + bytes(64)).digest()


@pytest.mark.parametrize("size", range(35))
def test_every_root_path_and_consistency_proof_of_small_trees_is_the_naive_one_and_checks(size: int) -> None:
    entries = some_entries(size)
    root, reader = naive_root(entries), ListReader(entries)
    leaves = [leaf_hash(entry) for entry in entries]
    assert root_hash(size, reader) == merkle_root(leaves) == root
    for index in range(size):
        path = prove_inclusion(index, size, reader)
        assert path == merkle_path(leaves, index) == naive_path(index, entries)
        check_inclusion(leaves[index], index, size, path, root)
    for old in range(1, size + 1):
        proof = prove_consistency(old, size, reader)
        assert proof == naive_subproof(old, entries, True)
        check_consistency(old, size, naive_root(entries[:old]), root, proof)


@pytest.mark.parametrize("size", [*range(1, 70), 127, 128, 129, 199])
def test_merkletools_with_node_prefixes_gives_the_same_root_and_paths(size: int) -> None:
    leaves = [leaf_hash(entry) for entry in some_entries(size)]
    tree = merkletools.MerkleTools()
    tree.hash_function = lambda data: sha256(b"\x01" + data)
    tree.add_leaf([leaf.hex() for leaf in leaves], False)
    tree.make_tree()
    assert tree.get_merkle_root() == merkle_root(leaves).hex()
    for index in {0, size // 2, size - 1}:
        theirs = [next(iter(step.values())) for step in tree.get_proof(index)]
        assert theirs == [each.hex() for each in merkle_path(leaves, index)]


@given(st.lists(st.lists(st.binary(max_size=8), max_size=40), max_size=6))
def test_a_frontier_fed_in_any_batches_has_the_naive_root_after_each(batches: list[list[bytes]]) -> None:
    frontier, entries = Frontier(), []
    for batch in batches:
        before = frontier.copy()
        entries += batch
        frontier.append(leaf_hash(entry) for entry in batch)
        assert (frontier.size, frontier.root()) == (len(entries), naive_root(entries))
        assert before.root() == naive_root(entries[: len(entries) - len(batch)])
        frontier = msgspec.json.decode(msgspec.json.encode(frontier), type=Frontier)


@given(st.integers(0, 2**20), st.lists(st.binary(max_size=33), max_size=5))
def test_a_stored_frontier_that_cannot_be_is_refused(size: int, hashes: list[bytes]) -> None:
    fits = len(hashes) == size.bit_count() and all(len(each) == 32 for each in hashes)
    if not fits:
        with pytest.raises(Malformed):
            Frontier(size, hashes)


def test_a_frontier_of_a_new_process_does_not_share_its_hashes_with_another() -> None:
    first = Frontier()
    first.append([bytes(32)])
    assert Frontier().root() == EMPTY_ROOT


@given(st.data())
def test_a_proof_for_any_other_leaf_index_size_root_or_path_does_not_verify(data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 60))
    index = data.draw(st.integers(0, size - 1))
    entries = some_entries(size)
    leaf, root = leaf_hash(entries[index]), naive_root(entries)
    path = naive_path(index, entries)
    check_inclusion(leaf, index, size, path, root)
    bad_hash = data.draw(st.binary(max_size=40))
    place = data.draw(st.integers(0, len(path)))
    other_index = data.draw(st.integers(-2, 130).filter(lambda i: i != index))
    attempts = [
        (bad_hash, index, size, path, root),
        (leaf, index, size, [*path[:place], bad_hash, *path[place:]], root),
        (leaf, index, size, [*path[:place], bad_hash, *path[place + 1 :]], root),
        (leaf, index, size, path, bad_hash),
        (leaf, other_index, size, path, root),
        *([(leaf, index, size, path[:-1], root), (leaf, index, size, path[1:], root)] if path else []),
    ]
    for attempt in attempts:
        with pytest.raises(ProofInvalid):
            check_inclusion(*attempt)


@given(st.data())
def test_a_consistency_proof_for_other_roots_or_hashes_does_not_verify(data: st.DataObject) -> None:
    new = data.draw(st.integers(2, 60))
    old = data.draw(st.integers(1, new - 1))
    entries = some_entries(new)
    old_root, new_root = naive_root(entries[:old]), naive_root(entries)
    proof = naive_subproof(old, entries, True)
    bad_hash = data.draw(st.binary(max_size=40))
    place = data.draw(st.integers(0, len(proof) - 1))
    attempts = [
        (old, new, bad_hash, new_root, proof),
        (old, new, old_root, bad_hash, proof),
        (old, new, new_root, old_root, proof),
        (new, old, new_root, old_root, proof),
        (old, new, old_root, new_root, [*proof[:place], bad_hash, *proof[place + 1 :]]),
        (old, new, old_root, new_root, [*proof[:place], bad_hash, *proof[place:]]),
        (old, new, old_root, new_root, proof[:-1]),
        (old, new, old_root, new_root, [*proof, new_root]),
        (0, new, EMPTY_ROOT, new_root, []),
        (new, new, old_root, new_root, []),
        (new, new, new_root, new_root, proof),
    ]
    for attempt in attempts:
        with pytest.raises(ProofInvalid):
            check_consistency(*attempt)


@given(st.integers(1, 40), st.binary(min_size=32, max_size=32))
def test_a_proof_longer_than_its_tree_does_not_verify_even_against_a_root_made_for_it(size: int, extra: bytes) -> None:
    entries = some_entries(size)
    root = naive_root(entries)
    for made in (node_hash(extra, root), node_hash(root, extra)):
        with pytest.raises(ProofInvalid):
            check_inclusion(leaf_hash(entries[0]), 0, size, [*naive_path(0, entries), extra], made)
        for old in range(1, size):
            old_root, proof = naive_root(entries[:old]), naive_subproof(old, entries, True)
            for first in (old_root, node_hash(extra, old_root), node_hash(old_root, extra)):
                with pytest.raises(ProofInvalid):
                    check_consistency(old, size, first, made, [*proof, extra])


@given(st.binary(max_size=70).filter(lambda data: len(data) != 32))
def test_a_hash_of_another_length_does_not_verify_even_against_roots_made_for_it(odd: bytes) -> None:
    good = leaf_hash(b"good")
    with pytest.raises(ProofInvalid):
        check_inclusion(odd, 0, 2, [good], node_hash(odd, good))
    with pytest.raises(ProofInvalid):
        check_inclusion(good, 0, 2, [odd], node_hash(good, odd))
    with pytest.raises(ProofInvalid):
        check_consistency(1, 2, odd, node_hash(odd, good), [good])
    with pytest.raises(ProofInvalid):
        check_consistency(1, 2, good, node_hash(good, odd), [odd])


@settings(max_examples=30)
@given(st.integers(0, 40), st.integers(-3, 60))
def test_a_proof_for_what_the_tree_does_not_have_is_not_found(size: int, asked: int) -> None:
    reader = ListReader(some_entries(size))
    if not 0 <= asked < size:
        with pytest.raises(NotFound):
            prove_inclusion(asked, size, reader)
        with pytest.raises(NotFound):
            merkle_path(reader.entries, asked)
    if asked > size or asked < 0:
        with pytest.raises(NotFound):
            prove_consistency(asked, size, reader)
    assert prove_consistency(0, size, reader) == prove_consistency(size, size, reader) == []

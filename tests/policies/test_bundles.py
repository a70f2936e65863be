"""A bundle shows each holder its own leaf, at its own place, and nothing else."""

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ledger.canonical import encode
from ledger.errors import MusubiError, ProofInvalid
from policies.consents.bundle import (
    NONE,
    Bundle,
    DisclosedLeaf,
    Leaf,
    _commit,
    check_disclosed,
    commitment,
    disclose,
    leaf_digest,
    root_of_path,
)

bodies = st.text("abcXYZ019._-", min_size=1, max_size=40) | st.just(NONE)
leaves = st.builds(lambda salt, body: Leaf(salt=salt.hex(), body=body), st.binary(min_size=32, max_size=32), bodies)
bundles = st.lists(leaves, min_size=2, max_size=33, unique_by=lambda leaf: leaf.salt).map(
    lambda found: Bundle(leaves=found)
)


def naive_root(digests: list[bytes]) -> bytes:
    """RFC 6962, section 2.1, word for word."""
    if len(digests) == 1:
        return digests[0]
    split = 1
    while split * 2 < len(digests):
        split *= 2
    return hashlib.sha256(b"\x01" + naive_root(digests[:split]) + naive_root(digests[split:])).digest()


def refused(disclosed: DisclosedLeaf, expected: str) -> bool:
    """Return whether the check raises."""
    try:
        check_disclosed(disclosed, expected)
    except MusubiError:
        return True
    return False


@given(bundles)
def test_the_commitment_is_the_rfc_6962_root_bound_to_the_leaf_count(bundle: Bundle) -> None:
    digests = [
        hashlib.sha256(b"\x00" + bytes.fromhex(leaf.salt) + leaf.body.encode()).digest() for leaf in bundle.leaves
    ]
    count = len(digests).to_bytes(4, "big")
    assert commitment(bundle) == hashlib.sha256(b"musubi/consent/v1" + count + naive_root(digests)).hexdigest()


@given(bundles)
def test_every_holder_can_check_its_leaf(bundle: Bundle) -> None:
    expected = commitment(bundle)
    for place, leaf in enumerate(bundle.leaves):
        disclosed = disclose(bundle, place)
        check_disclosed(disclosed, expected)
        assert disclosed.leaf == leaf


@given(bundles, st.data())
def test_a_disclosed_leaf_holds_no_other_leafs_salt_body_or_bare_hash_of_the_body(
    bundle: Bundle, data: st.DataObject
) -> None:
    place = data.draw(st.integers(0, len(bundle.leaves) - 1))
    shown = encode(structs.replace(disclose(bundle, place), leaf=bundle.leaves[place])).decode()
    own = bundle.leaves[place]
    for other in bundle.leaves:
        if other.salt != own.salt:
            assert other.salt not in shown
        if other != own:
            assert hashlib.sha256(other.body.encode()).hexdigest() not in shown


@given(bundles, st.data())
def test_a_leaf_fits_no_other_position_count_path_or_commitment(bundle: Bundle, data: st.DataObject) -> None:
    """Every single change to what is disclosed is refused."""
    count, expected = len(bundle.leaves), commitment(bundle)
    place = data.draw(st.integers(0, count - 1))
    right = disclose(bundle, place)
    for position in range(33):
        if position != place:
            assert refused(structs.replace(right, position=position), expected)
    for other in range(2, 34):
        if other != count:
            assert refused(structs.replace(right, count=other), expected)
    for cut in range(len(right.path)):
        assert refused(structs.replace(right, path=right.path[:cut]), expected)
        flipped = list(right.path)
        flipped[cut] = hashlib.sha256(bytes.fromhex(flipped[cut])).hexdigest()
        assert refused(structs.replace(right, path=flipped), expected)
    assert refused(structs.replace(right, path=[*right.path, "00" * 32]), expected)
    assert refused(structs.replace(right, path=["00" * 32, *right.path]), expected)
    assert refused(structs.replace(right, leaf=structs.replace(right.leaf, body=right.leaf.body + "x")), expected)
    assert refused(structs.replace(right, leaf=structs.replace(right.leaf, salt="ab" * 32)), expected)
    assert refused(right, hashlib.sha256(expected.encode()).hexdigest())


@given(bundles)
def test_a_none_leaf_cannot_take_the_place_of_a_sub_grant(bundle: Bundle) -> None:
    expected = commitment(bundle)
    for place, leaf in enumerate(bundle.leaves):
        if leaf.body != NONE:
            right = disclose(bundle, place)
            assert refused(structs.replace(right, leaf=Leaf(salt=leaf.salt, body=NONE)), expected)


@given(st.binary(min_size=32, max_size=32))
def test_a_small_tree_never_passes_for_a_large_one(root: bytes) -> None:
    """The count is hashed with the root: 32 counts of one root give 32 commitments."""
    assert len({_commit(count, root) for count in range(2, 34)}) == 32


def test_an_inner_node_does_not_pass_for_a_leaf() -> None:
    """The two inner nodes of a four-leaf tree have the same root as two leaves, but no leaf hashes to them."""
    four = Bundle(leaves=[Leaf(salt=f"{place:064x}", body="body") for place in range(4)])
    right = disclose(four, 0)
    inner = structs.replace(right, count=2, path=right.path[1:])
    assert refused(inner, commitment(four))
    assert root_of_path(inner) != root_of_path(right)


def test_a_path_that_is_too_short_or_too_long_says_so() -> None:
    bundle = Bundle(leaves=[Leaf(salt=f"{place:064x}", body="body") for place in range(5)])
    right = disclose(bundle, 2)
    with pytest.raises(ProofInvalid, match="too short"):
        check_disclosed(structs.replace(right, path=right.path[:-1]), commitment(bundle))
    with pytest.raises(ProofInvalid, match="too long"):
        check_disclosed(structs.replace(right, path=[*right.path, "00" * 32]), commitment(bundle))


def test_two_leaves_with_one_body_have_different_hashes() -> None:
    """The salt keeps a reader of hashes from telling that two holders were both not chosen."""
    assert leaf_digest(Leaf(salt="00" * 32, body=NONE)) != leaf_digest(Leaf(salt="01" * 32, body=NONE))

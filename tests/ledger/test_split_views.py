"""Split views: two signed checkpoints convict a log exactly where they cannot both be true."""

from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from ledger.errors import Malformed, MusubiError, ProofInvalid, SignatureInvalid, TooLarge
from ledger.evidence import SplitView, check_split_view, make_split_view, parting, split_view_of_refused
from ledger.hashing import leaf_hash
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.note import VerifierKey
from ledger.tlog.tree import merkle_root, prove_consistency

ORIGIN = "log.example/town"
KEY, OTHER = SigningKey(bytes(range(32))), SigningKey(bytes(32))
LOG_KEY = VerifierKey.ed25519(ORIGIN, bytes(KEY.verify_key))
OTHER_KEY = VerifierKey.ed25519(ORIGIN, bytes(OTHER.verify_key))
MOST = 70


class Tree:
    """A tree in memory, and its signed checkpoint of any size."""

    def __init__(self, leaves: Sequence[bytes]) -> None:
        self.leaves = list(leaves)

    def read_hashes(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
        """Hash each complete subtree anew."""
        return [merkle_root(self.leaves[i << level : (i + 1) << level]) for level, i in nodes]

    def note(self, size: int, key: SigningKey = KEY) -> bytes:
        """Return the signed checkpoint of the first leaves."""
        return sign_checkpoint(Checkpoint(ORIGIN, size, merkle_root(self.leaves[:size])), key)


HONEST = Tree([leaf_hash(b"%d" % number) for number in range(MOST)])


def forked(at: int) -> Tree:
    """Return a tree whose first difference to the honest one is at an index."""
    return Tree([*HONEST.leaves[:at], *(leaf_hash(b"other %d" % number) for number in range(at, MOST))])


sizes = st.integers(0, MOST)


@given(sizes, sizes)
def test_two_checkpoints_of_an_honest_log_never_give_evidence(one: int, two: int) -> None:
    first, second = HONEST.note(one), HONEST.note(two)
    assert make_split_view(first, second, [LOG_KEY], HONEST) is None
    old, new = min(one, two), max(one, two)
    proof = prove_consistency(old, new, HONEST)
    assert split_view_of_refused(HONEST.note(old), HONEST.note(new), proof, [LOG_KEY]) is None


@given(st.integers(0, MOST - 1), st.integers(1, MOST), st.integers(1, MOST), st.booleans())
def test_a_fork_gives_evidence_exactly_where_the_smaller_tree_reaches_past_it(
    at: int, one: int, two: int, swapped: bool
) -> None:
    """Whichever of the two histories is the larger tree: only that one's hashes are asked for."""
    fork = forked(at)
    tree = HONEST if one > two else fork
    first, second = HONEST.note(one), fork.note(two)
    if swapped:
        first, second = second, first
    evidence = make_split_view(first, second, [LOG_KEY], tree)
    assert (evidence is not None) == (min(one, two) > at)
    if evidence is None:
        return
    assert SplitView.parse(evidence.format()) == evidence
    convicted = check_split_view(evidence, [LOG_KEY])
    assert (convicted.origin, convicted.log_keys, convicted.pinned) == (ORIGIN, [str(LOG_KEY)], True)
    assert not check_split_view(evidence).pinned
    with pytest.raises(SignatureInvalid):
        check_split_view(evidence, [OTHER_KEY])
    assert check_split_view(evidence, [OTHER_KEY, LOG_KEY]).pinned


@given(st.integers(0, MOST - 1), st.integers(1, MOST))
def test_the_first_entry_that_differs_is_named(at: int, size: int) -> None:
    assert parting(size, HONEST, forked(at)) == (at if at < size else None)


@given(st.integers(0, MOST - 1), st.integers(1, MOST - 1), st.data())
def test_a_refused_witness_request_convicts_by_the_logs_own_proof(at: int, old: int, data: st.DataObject) -> None:
    """Not where the old size is a power of two (then the proof leaves out what it would show), and never by guesses."""
    new = data.draw(st.integers(old + 1, MOST))
    fork = forked(at)
    proof = prove_consistency(old, new, fork)
    evidence = split_view_of_refused(HONEST.note(old), fork.note(new), proof, [LOG_KEY])
    assert (evidence is not None) == (old > at and old.bit_count() > 1)
    if evidence is not None:
        check_split_view(evidence, [LOG_KEY])
    place = data.draw(st.integers(0, len(proof) - 1))
    wrong = [*proof[:place], bytes(32), *proof[place + 1 :]]
    for bad in (wrong, proof[1:], [*proof, bytes(32)], []):
        assert split_view_of_refused(HONEST.note(old), fork.note(new), bad, [LOG_KEY]) is None
    assert split_view_of_refused(HONEST.note(old, OTHER), fork.note(new), proof, [LOG_KEY]) is None


def test_an_empty_tree_with_a_root_of_its_own_is_a_second_history_too() -> None:
    lie = sign_checkpoint(Checkpoint(ORIGIN, 0, bytes(32)), KEY)
    for other in (HONEST.note(0), HONEST.note(5)):
        evidence = make_split_view(lie, other, [LOG_KEY])
        assert evidence is not None
        check_split_view(evidence, [LOG_KEY])


def test_checkpoints_under_an_old_and_a_new_key_of_one_log_contradict_each_other_by_both_keys() -> None:
    evidence = make_split_view(HONEST.note(9), forked(3).note(9, OTHER), [LOG_KEY, OTHER_KEY])
    assert evidence is not None
    assert check_split_view(evidence).log_keys == [str(LOG_KEY), str(OTHER_KEY)]
    for one in (LOG_KEY, OTHER_KEY):
        with pytest.raises(SignatureInvalid):
            check_split_view(evidence, [one])


_FOUND = make_split_view(HONEST.note(13), forked(5).note(50), [LOG_KEY], forked(5))
assert _FOUND is not None
GOOD: SplitView = _FOUND


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"prefix": merkle_root(HONEST.leaves[:13])}, ProofInvalid),
        ({"prefix": bytes(32)}, ProofInvalid),
        ({"proof": GOOD.proof[:-1]}, ProofInvalid),
        ({"proof": [*GOOD.proof, bytes(32)]}, ProofInvalid),
        ({"proof": []}, ProofInvalid),
        ({"smaller": GOOD.larger, "larger": GOOD.smaller}, ProofInvalid),
        ({"smaller": GOOD.larger}, ProofInvalid),
        ({"smaller": HONEST.note(14).decode()}, ProofInvalid),
        ({"smaller": HONEST.note(13, OTHER).decode()}, SignatureInvalid),
        ({"smaller": GOOD.smaller.replace("\n13\n", "\n12\n")}, SignatureInvalid),
        ({"larger": GOOD.larger.replace("log.example", "lag.example", 1)}, SignatureInvalid),
        ({"larger": "not a note"}, Malformed),
        ({"log_keys": [str(OTHER_KEY)]}, SignatureInvalid),
        ({"log_keys": [str(VerifierKey.cosignature(ORIGIN, bytes(KEY.verify_key)))]}, Malformed),
        ({"log_keys": [str(LOG_KEY), str(VerifierKey.ed25519("a", bytes(32)))]}, Malformed),
        ({"log_keys": ["key"]}, Malformed),
    ],
    ids=str,
)
def test_evidence_with_any_part_exchanged_does_not_convict(change: dict[str, Any], error: type[MusubiError]) -> None:
    assert check_split_view(GOOD).kind == "split-view"
    with pytest.raises(error):
        check_split_view(msgspec.structs.replace(GOOD, **change))


def test_evidence_of_one_honest_log_with_anothers_notes_or_of_two_agreeing_trees_does_not_convict() -> None:
    agreeing = SplitView(
        log_keys=[str(LOG_KEY)],
        smaller=HONEST.note(13).decode(),
        larger=HONEST.note(50).decode(),
        prefix=merkle_root(HONEST.leaves[:13]),
        proof=prove_consistency(13, 50, HONEST),
    )
    with pytest.raises(ProofInvalid, match="agree"):
        check_split_view(agreeing, [LOG_KEY])


@given(st.data())
def test_no_change_to_a_file_about_an_honest_log_ever_convicts_it(data: st.DataObject) -> None:
    """The forger may put together any notes that the honest log signed, any hashes of its tree, any bytes of his."""
    pool = [*HONEST.leaves[:8], *(merkle_root(HONEST.leaves[:n]) for n in (1, 2, 3, 7, 13, 20, 50)), bytes(32)]
    hashes = st.sampled_from(pool) | st.binary(min_size=32, max_size=32)
    one, two = data.draw(sizes), data.draw(sizes)
    true_proof = prove_consistency(min(one, two), max(one, two), HONEST)
    proof = data.draw(st.just(true_proof) | st.lists(st.sampled_from(true_proof or pool) | hashes, max_size=12))
    forged = SplitView(
        log_keys=[str(LOG_KEY)],
        smaller=HONEST.note(one).decode(),
        larger=HONEST.note(two).decode(),
        prefix=data.draw(hashes),
        proof=proof,
    )
    with pytest.raises((ProofInvalid, SignatureInvalid)):
        check_split_view(forged, [LOG_KEY])


@given(st.data())
def test_any_bytes_are_the_one_form_of_a_split_view_or_refused(data: st.DataObject) -> None:
    """A flipped byte may leave good evidence only where nothing that counts was changed: a line that nobody knows."""
    text = bytearray(GOOD.format())
    place = data.draw(st.integers(0, len(text) - 1))
    text[place] ^= 1 << data.draw(st.integers(0, 7))
    try:
        read = SplitView.parse(bytes(text))
        assert read.format() == bytes(text)
        check_split_view(read, [LOG_KEY])
    except MusubiError:
        return
    assert (read.prefix, read.proof) == (GOOD.prefix, GOOD.proof)
    assert (read.smaller.split("\n\n")[0], read.larger.split("\n\n")[0]) == (
        GOOD.smaller.split("\n\n")[0],
        GOOD.larger.split("\n\n")[0],
    )


def test_a_file_past_its_size_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge):
        SplitView.parse(bytes(8_000_001))

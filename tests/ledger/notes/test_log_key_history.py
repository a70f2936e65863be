"""Which key signs which size: the history of a log's keys."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from ledger.errors import Malformed, ProofInvalid, SignatureInvalid
from ledger.notes import ml_dsa
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.log_keys import LogKeyHistory, LogKeys
from ledger.notes.note import VerifierKey

ORIGIN = "example.town/log"
PRIVATE = [SigningKey(bytes([number]) * 32) for number in range(6)]
KEYS = [LogKeys(VerifierKey.ed25519(ORIGIN, bytes(key.verify_key))) for key in PRIVATE]
PQ = VerifierKey.ml_dsa_44(ORIGIN, ml_dsa.public_bytes(ml_dsa.key_from_seed(bytes(32))))


def history_of(indices: list[int]) -> LogKeyHistory:
    """A history that changes to the next key at each index."""
    history = LogKeyHistory.of(KEYS[0])
    for number, index in enumerate(sorted(indices), 1):
        history = history.after(index, KEYS[number])
    return history


@given(st.lists(st.integers(1, 30), max_size=5, unique=True), st.integers(0, 40))
def test_exactly_one_key_signs_a_size_and_every_other_is_refused_for_it(indices: list[int], size: int) -> None:
    history = history_of(indices)
    right = sum(index < size for index in indices)  # the changes that the tree holds
    checkpoint = Checkpoint(ORIGIN, size, bytes(32))
    for number, key in enumerate(PRIVATE):
        data = sign_checkpoint(checkpoint, key)
        if number == right:
            assert history.open(data)[0] == checkpoint
        else:
            with pytest.raises(SignatureInvalid):
                history.open(data)


def test_the_first_tree_that_holds_the_entry_is_the_first_that_the_new_key_signs() -> None:
    history = history_of([10])
    assert [history.at(size) for size in (0, 9, 10)] == [KEYS[0]] * 3
    assert [history.at(size) for size in (11, 12, 10**9)] == [KEYS[1]] * 3


def test_a_key_that_was_laid_down_says_so() -> None:
    with pytest.raises(SignatureInvalid, match="does not sign trees of this size"):
        history_of([10]).open(sign_checkpoint(Checkpoint(ORIGIN, 11, bytes(32)), PRIVATE[0]))


def test_a_change_goes_on_and_never_back() -> None:
    history = history_of([10])
    other = LogKeys(VerifierKey.ed25519("other.example/log", bytes(PRIVATE[2].verify_key)))
    for index, keys in ((10, KEYS[2]), (9, KEYS[2]), (11, KEYS[1]), (11, KEYS[0]), (11, other)):
        with pytest.raises(ProofInvalid):
            history.after(index, keys)
    with_pq = LogKeys(KEYS[1].key, PQ)  # one of the two may stay
    assert history.after(11, with_pq).newest == with_pq
    without = history.after(11, with_pq).after(12, KEYS[2])
    with pytest.raises(ProofInvalid):
        without.after(13, LogKeys(KEYS[3].key, PQ))


def test_a_logs_keys_are_of_the_right_types_under_one_name() -> None:
    key = KEYS[0].key
    wrong: tuple[Callable[[], LogKeys], ...] = (
        lambda: LogKeys(PQ),
        lambda: LogKeys(VerifierKey.cosignature(ORIGIN, key.public_key)),
        lambda: LogKeys(key, KEYS[1].key),
        lambda: LogKeys(key, VerifierKey.ml_dsa_44("other.example", PQ.public_key)),
    )
    for make in wrong:
        with pytest.raises(Malformed):
            make()
    assert LogKeys.parse(str(key), str(PQ)) == LogKeys(key, PQ)

"""Receipts: strict reading, printing as its inverse, and what they prove."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from nacl.signing import SigningKey

from ledger.errors import Malformed, MusubiError, ProofInvalid, SignatureInvalid, TooLarge
from ledger.hashing import leaf_hash
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.cosignatures import cosign
from ledger.notes.note import VerifierKey
from ledger.notes.receipts import Receipt, check_receipt
from ledger.notes.witness_policy import PolicyWitness, WitnessPolicy
from ledger.tlog.tree import merkle_root
from tests.kit.logs.small_trees import merkle_path

LOG, WITNESS = SigningKey(bytes(32)), SigningKey(bytes([1]) * 32)
LOG_KEY = VerifierKey.ed25519("example.town/log", bytes(LOG.verify_key))
WITNESS_KEY = VerifierKey.cosignature("w.example", bytes(WITNESS.verify_key))
POLICY = WitnessPolicy(witnesses={"w": PolicyWitness(WITNESS_KEY)}, quorum="w")
ENTRIES = [b"entry %d" % n for n in range(11)]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
CHECKPOINT = Checkpoint("example.town/log", 11, merkle_root(LEAVES))
SIGNED = sign_checkpoint(CHECKPOINT, LOG)
COSIGNED = SIGNED + f"{cosign(CHECKPOINT.text, 'w.example', WITNESS, 1_790_000_000)}\n".encode()


@given(
    st.builds(
        Receipt,
        index=st.integers(0, 2**63 - 1),
        proof=st.lists(st.binary(min_size=32, max_size=32), max_size=63),
        checkpoint=st.sampled_from([SIGNED, COSIGNED]),
        extra=st.none() | st.binary(min_size=1, max_size=50),
    )
)
def test_a_receipt_reads_back_as_it_was_written(receipt: Receipt) -> None:
    assert Receipt.parse(receipt.format()) == receipt


def test_a_receipt_has_the_bytes_of_the_specification() -> None:
    receipt = Receipt(3, [bytes(32), bytes(31) + b"\x01"], SIGNED, b"extra")
    assert receipt.format() == (
        b"c2sp.org/tlog-proof@v1\nextra ZXh0cmE=\nindex 3\n" + b"A" * 43 + b"=\n" + b"A" * 42 + b"E=\n\n" + SIGNED
    )


@pytest.mark.parametrize("index", range(11))
def test_a_receipt_proves_its_entry_with_and_without_witnesses(index: int) -> None:
    receipt = Receipt(index, merkle_path(LEAVES, index), COSIGNED)
    assert check_receipt(receipt, ENTRIES[index], LOG_KEY, POLICY) == CHECKPOINT
    assert check_receipt(replace(receipt, checkpoint=SIGNED), ENTRIES[index], LOG_KEY, None) == CHECKPOINT


def test_a_receipt_for_another_entry_index_path_log_or_too_few_witnesses_proves_nothing() -> None:
    receipt = Receipt(3, merkle_path(LEAVES, 3), COSIGNED)
    other_log = VerifierKey.ed25519("example.town/log", bytes(WITNESS.verify_key))
    attempts: list[tuple[Receipt, bytes, VerifierKey, type[MusubiError]]] = [
        (receipt, ENTRIES[4], LOG_KEY, ProofInvalid),
        (replace(receipt, index=4), ENTRIES[3], LOG_KEY, ProofInvalid),
        (replace(receipt, index=11), ENTRIES[3], LOG_KEY, ProofInvalid),
        (replace(receipt, proof=receipt.proof[:-1]), ENTRIES[3], LOG_KEY, ProofInvalid),
        (replace(receipt, proof=[*receipt.proof, bytes(32)]), ENTRIES[3], LOG_KEY, ProofInvalid),
        (receipt, ENTRIES[3], other_log, SignatureInvalid),
        (replace(receipt, checkpoint=SIGNED), ENTRIES[3], LOG_KEY, ProofInvalid),
        (replace(receipt, checkpoint=COSIGNED.replace(b"\n11\n", b"\n12\n")), ENTRIES[3], LOG_KEY, SignatureInvalid),
    ]
    for attempt, entry, key, error in attempts:
        with pytest.raises(error):
            check_receipt(attempt, entry, key, POLICY)


GOOD = Receipt(3, merkle_path(LEAVES, 3), SIGNED, b"extra").format()


@st.composite
def damaged_receipts(draw: st.DrawFn) -> bytes:
    data = bytearray(GOOD)
    for _ in range(draw(st.integers(0, 3))):
        at = draw(st.integers(0, len(data)))
        data[at : at + draw(st.integers(0, 2))] = draw(st.binary(max_size=2) | st.sampled_from([b"\n", b" ", b"0"]))
    return bytes(data)


@given(st.binary(max_size=100) | damaged_receipts())
@example(GOOD.replace(b"@v1", b"@v2"))
@example(GOOD.replace(b"index 3", b"index 03"))
@example(GOOD.replace(b"index 3\n", b""))
@example(GOOD.replace(b"extra ZXh0cmE=", b"extra "))
@example(GOOD.replace(b"extra ZXh0cmE=", b"extra ZXh0cmF="))
@example(GOOD.replace(b"extra ZXh0cmE=\n", b"extra ZXh0cmE=\nextra ZXh0cmE=\n"))
@example(GOOD.replace(b"\n", b"\r\n"))
@example(b"c2sp.org/tlog-proof@v1\n\n")
@example(b"c2sp.org/tlog-proof@v1\nextra ZXh0cmE=\n\n")
def test_any_bytes_are_the_one_form_of_a_receipt_or_refused_and_checking_never_crashes(data: bytes) -> None:
    try:
        receipt = Receipt.parse(data)
    except (Malformed, TooLarge):
        return
    assert receipt.format() == data
    try:
        assert check_receipt(receipt, ENTRIES[3], LOG_KEY, None) == CHECKPOINT
        # Only what the receipt does not sign, the extra data, may have changed.
        assert replace(receipt, extra=None) == replace(Receipt.parse(GOOD), extra=None)
    except MusubiError:
        assert data != GOOD


@pytest.mark.parametrize(
    "fields",
    [
        {"index": -1},
        {"index": 2**63},
        {"proof": [bytes(31)]},
        {"proof": [bytes(32)] * 64},
        {"extra": b""},
        {"checkpoint": b""},
    ],
)
def test_a_receipt_that_could_not_be_read_back_is_not_made(fields: dict[str, Any]) -> None:
    with pytest.raises(Malformed):
        replace(Receipt(3, [], SIGNED), **fields)


def test_a_receipt_past_its_size_is_refused_before_it_is_read() -> None:
    with pytest.raises(TooLarge):
        Receipt.parse(bytes(2_000_001))

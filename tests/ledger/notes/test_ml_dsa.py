"""ML-DSA-44 cosignatures (type 0x06): against a second implementation, the specification's bytes, and tampering.

``ml_dsa_44/`` holds a checkpoint that was cosigned by dilithium-py 1.5.1, a pure Python FIPS 204 of its own, with
deterministic signing and the seed 000102…1f. Nothing of ours had a hand in it.
"""

import base64
from hashlib import sha256
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from ledger.errors import Malformed, ProofInvalid, SignatureInvalid
from ledger.notes import ml_dsa
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.cosignatures import check_cosignature, cosign
from ledger.notes.log_keys import LogKeyHistory, LogKeys
from ledger.notes.note import Note, NoteSignature, VerifierKey, format_note, parse_note, verify_note
from ledger.notes.witness_policy import WitnessPolicy

VECTOR = Path(__file__).parent / "ml_dsa_44"
ORIGIN, NAME = "example.town/log", "witness.example/pq"
KEY = ml_dsa.key_from_seed(bytes(range(32)))
VKEY = VerifierKey.ml_dsa_44(NAME, ml_dsa.public_bytes(KEY))
ED = SigningKey(bytes(32))
ED_VKEY = VerifierKey.cosignature(NAME, bytes(ED.verify_key))
LOG_ED = VerifierKey.ed25519(ORIGIN, bytes(ED.verify_key))
LOG_PQ = VerifierKey.ml_dsa_44(ORIGIN, ml_dsa.public_bytes(KEY))
TREE = Checkpoint(ORIGIN, 7, bytes(range(32)))


def test_a_cosignature_by_another_implementation_verifies_and_its_key_is_ours_of_the_same_seed() -> None:
    key = VerifierKey.parse((VECTOR / "vkey.txt").read_text())
    note = parse_note((VECTOR / "note.txt").read_bytes())
    assert key == VKEY
    assert key.algorithm == "ML-DSA-44"
    assert sha256(key.public_key).hexdigest() == "9f107644c1084526af3bc8098680b05499a2325a644e388fb4f970e058d19d46"
    signature = note.signatures[0].signature[8:]
    assert sha256(signature).hexdigest() == "1505f62fb7942b07d44a7b9ed4db0bed1e3b04c36df7989a4d0d511c4fe457c6"
    assert check_cosignature(note, key) == 1679315147


def test_any_changed_byte_of_the_other_implementations_note_spoils_it() -> None:
    note = parse_note((VECTOR / "note.txt").read_bytes())
    line = note.signatures[0]
    for place in (0, 7, 8, 9, 1_000, len(line.signature) - 1):
        broken = bytearray(line.signature)
        broken[place] ^= 1
        with pytest.raises(SignatureInvalid):
            check_cosignature(Note(note.text, (NoteSignature(line.name, line.key_id, bytes(broken)),)), VKEY)
    for text in (note.text.replace("4711", "4712"), note.text.replace("town", "tovn"), note.text + "more\n"):
        with pytest.raises(SignatureInvalid):
            check_cosignature(Note(text, (line,)), VKEY)


@settings(max_examples=20)
@given(st.integers(1, 2**63 - 1), st.integers(0, 2**63 - 1), st.binary(min_size=32, max_size=32))
def test_what_is_signed_is_the_message_of_the_specification(time: int, size: int, root: bytes) -> None:
    text = Checkpoint(ORIGIN, size, root).text
    name, origin = NAME.encode(), ORIGIN.encode()
    message = b"subtree/v1\n\x00" + bytes([len(name)]) + name + time.to_bytes(8, "big")
    message += bytes([len(origin)]) + origin + bytes(8) + size.to_bytes(8, "big") + root
    assert ml_dsa.cosigned_message(NAME, time, text) == message
    line = cosign(text, NAME, KEY, time)
    assert len(line.signature) == 8 + 2_420
    ml_dsa.check(message, line.signature[8:], VKEY.public_key)
    assert check_cosignature(Note(text, (line,)), VKEY) == time


def test_signing_is_hedged_so_two_signatures_differ_and_both_are_good() -> None:
    lines = [cosign(TREE.text, NAME, KEY, 5) for _ in range(2)]
    assert lines[0].signature != lines[1].signature
    assert check_cosignature(Note(TREE.text, tuple(lines)), VKEY) == 5


def test_names_have_at_most_255_bytes_and_only_checkpoints_are_signed() -> None:
    longest = "n" * 255
    assert ml_dsa.cosigned_message(longest, 1, Checkpoint(longest, 1, bytes(32)).text)
    for name, text in (
        ("n" * 256, TREE.text),
        (NAME, Checkpoint("n" * 256, 1, bytes(32)).text),
        (NAME, "no checkpoint\n"),
        (NAME, TREE.text + "extension\n"),
    ):
        with pytest.raises(Malformed):
            ml_dsa.cosigned_message(name, 1, text)
    with pytest.raises(Malformed):
        ml_dsa.cosigned_message(NAME, 2**63, TREE.text)


def test_a_signature_of_one_kind_is_none_of_the_other_and_a_cosigners_is_none_of_anothers() -> None:
    both = [cosign(TREE.text, NAME, ED, 5), cosign(TREE.text, NAME, KEY, 6)]
    note = Note(TREE.text, tuple(both))
    assert (check_cosignature(note, ED_VKEY), check_cosignature(note, VKEY)) == (5, 6)
    other = VerifierKey.ml_dsa_44("other.example", VKEY.public_key)
    for line, key in ((both[0], VKEY), (both[1], ED_VKEY), (both[1], other)):
        with pytest.raises(SignatureInvalid):
            check_cosignature(Note(TREE.text, (NoteSignature(key.name, key.key_id, line.signature),)), key)


def test_a_log_with_both_keys_signs_with_both_and_a_reader_who_pins_both_asks_for_both() -> None:
    data = sign_checkpoint(TREE, ED, KEY)
    keys = LogKeys(LOG_ED, LOG_PQ)
    assert LogKeyHistory.of(keys).open(data)[0] == TREE
    assert LogKeyHistory.of(LOG_ED).open(data)[0] == TREE  # a reader who knows nothing of type 6
    note = parse_note(data)
    stripped = format_note(Note(note.text, note.signatures[:1]))
    assert LogKeyHistory.of(LOG_ED).open(stripped)[0] == TREE
    for one in (note.signatures[:1], note.signatures[1:]):
        with pytest.raises(SignatureInvalid):
            LogKeyHistory.of(keys).open(format_note(Note(note.text, one)))
        assert LogKeyHistory.of(keys).open(format_note(Note(note.text, one)), of_witness=True)[0] == TREE


def test_a_bad_line_by_a_known_post_quantum_key_spoils_the_note_and_by_an_unknown_one_does_not() -> None:
    note = parse_note(sign_checkpoint(TREE, ED, KEY))
    bad = NoteSignature(ORIGIN, LOG_PQ.key_id, bytes(8 + 2_420))
    spoiled = Note(note.text, (note.signatures[0], bad))
    assert verify_note(spoiled, [LOG_ED]) == [LOG_ED]
    with pytest.raises(SignatureInvalid):
        verify_note(spoiled, [LOG_ED, LOG_PQ])
    for cut in (bytes(2_420), bytes(8 + 64), b"short"):
        with pytest.raises(SignatureInvalid):
            verify_note(Note(note.text, (NoteSignature(ORIGIN, LOG_PQ.key_id, cut),)), [LOG_PQ])


@pytest.mark.parametrize(("rule", "wants"), [("any", [{"c"}, {"q"}, {"c", "q"}]), ("all", [{"c", "q"}])])
def test_a_witness_with_two_keys_counts_once_by_either_or_only_by_both(rule: str, wants: list[set[str]]) -> None:
    policy = WitnessPolicy.parse(
        f"log {LOG_ED}\nwitness c {ED_VKEY} https://w\nwitness q {VKEY} https://w\ngroup w {rule} c q\nquorum w\n"
    )
    assert WitnessPolicy.parse(policy.format()) == policy
    lines = {"c": cosign(TREE.text, NAME, ED, 5), "q": cosign(TREE.text, NAME, KEY, 6)}
    signed = parse_note(sign_checkpoint(TREE, ED))
    for names in (set(), {"c"}, {"q"}, {"c", "q"}):
        note = Note(TREE.text, (*signed.signatures, *(lines[name] for name in sorted(names))))
        if names in wants:
            assert set(policy.check(note)) == names
        else:
            with pytest.raises(ProofInvalid):
                policy.check(note)


def test_a_post_quantum_public_key_that_is_none_checks_nothing() -> None:
    nonsense = VerifierKey.ml_dsa_44(NAME, b"\xff" * 1_312)
    line = cosign(TREE.text, NAME, KEY, 5)
    with pytest.raises(SignatureInvalid):
        check_cosignature(Note(TREE.text, (NoteSignature(NAME, nonsense.key_id, line.signature),)), nonsense)
    assert str(nonsense).endswith(base64.b64encode(b"\x06" + b"\xff" * 1_312).decode())

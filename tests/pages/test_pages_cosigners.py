"""How many witnesses the public page counts."""

from nacl.signing import SigningKey

from ledger.notes import ml_dsa
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.cosignatures import cosign
from ledger.notes.note import Note, VerifierKey
from ledger.notes.witness_policy import WitnessPolicy
from trust.service.pages.town.gather import cosigners_of
from trust.service.pages.town.model import Cosigner

TREE = Checkpoint("example.town/log", 7, bytes(range(32)))


def test_a_witness_that_signs_with_two_keys_is_one_witness() -> None:
    first, second, pq = SigningKey(bytes(32)), SigningKey(b"2" * 32), ml_dsa.key_from_seed(bytes(range(32)))
    keys = [
        VerifierKey.cosignature("town.example", bytes(first.verify_key)),
        VerifierKey.ml_dsa_44("town.example", ml_dsa.public_bytes(pq)),
        VerifierKey.cosignature("other.example", bytes(second.verify_key)),
    ]
    names = ["town", "town_pq", "other"]
    lines = [f"witness {name} {key}" for name, key in zip(names, keys, strict=True)]
    policy = WitnessPolicy.parse("\n".join([*lines, "group all any town town_pq other", "quorum all", ""]))
    signatures = (
        cosign(TREE.text, "town.example", first, 100),
        cosign(TREE.text, "town.example", pq, 101),
        cosign(TREE.text, "other.example", second, 102),
    )
    expected = (Cosigner(name="town", time=100), Cosigner(name="other", time=102))
    assert cosigners_of(Note(TREE.text, signatures), policy) == expected
    assert cosigners_of(Note(TREE.text, signatures[1:2]), policy) == (Cosigner(name="town_pq", time=101),)
    assert cosigners_of(Note(TREE.text, ()), policy) == ()

"""Who cosigned a note, each witness once: what the public page counts."""

from nacl.signing import SigningKey

from ledger.notes import ml_dsa
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.cosignatures import cosign
from ledger.notes.note import Note, VerifierKey
from ledger.notes.witness_policy import WitnessPolicy, cosigners_of

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
    policy = WitnessPolicy.parse(
        "\n".join([*lines, "group town_any any town town_pq", "group both all town_any other", "quorum both", ""])
    )
    signatures = (
        cosign(TREE.text, "town.example", first, 100),
        cosign(TREE.text, "town.example", pq, 101),
        cosign(TREE.text, "other.example", second, 102),
    )
    assert list(cosigners_of(Note(TREE.text, signatures), policy).items()) == [("town", 100), ("other", 102)]
    assert cosigners_of(Note(TREE.text, signatures[1:2]), policy) == {"town_pq": 101}
    assert cosigners_of(Note(TREE.text, ()), policy) == {}

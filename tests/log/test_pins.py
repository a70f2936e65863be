"""Pins are read strictly and written whole, and no log begins with another entry than the pinned one."""

from pathlib import Path

import msgspec
import pytest
from nacl.signing import SigningKey

from ledger import entries as e
from ledger.errors import Malformed, NotFound, ProofInvalid, TooLarge, Unavailable
from ledger.notes.note import VerifierKey
from policies.replay import entry_sha256
from trust.log.pins import Trust, decode_trust, load_trust, open_genesis, pins_of, save_trust

KEY = VerifierKey.ed25519("log.example/town", bytes(SigningKey(bytes(32)).verify_key))
OTHER = VerifierKey.ed25519("other.example/log", bytes(SigningKey(bytes(32)).verify_key))
TRUST = Trust(
    origin="log.example/town",
    log_key=str(KEY),
    genesis_sha256="ab" * 32,
    witness_policy=f"log {KEY}\nquorum none\n",
)
GENESIS = e.Genesis(
    at=0,
    origin="log.example/town",
    title={"en": "A town"},
    log_key=str(KEY),
    time_zone="Asia/Tokyo",
    stewards=[e.Steward(alias="city", title={"en": "The city"}, key="ab" * 32)],
    quorum=1,
)


def test_a_trust_file_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "trust.json"
    save_trust(TRUST, path)
    save_trust(TRUST, path)
    assert load_trust(path) == TRUST
    assert path.read_bytes() == msgspec.json.encode(TRUST, order="sorted") + b"\n"
    assert [each.name for each in path.parent.iterdir()] == ["trust.json"]
    assert (load_trust(path).verifier, load_trust(path).witnesses.quorum) == (KEY, "none")


@pytest.mark.parametrize(
    "change",
    [
        {"log_key": str(OTHER)},
        {"log_key": "nonsense"},
        {"log_key": str(VerifierKey.cosignature("log.example/town", KEY.public_key))},
        {"witness_policy": ""},
        {"witness_policy": f"log {OTHER}\nquorum none\n"},
        {"genesis_sha256": "AB" * 32},
        {"v": 2},
    ],
)
def test_a_trust_file_whose_parts_do_not_fit_is_malformed(change: dict[str, object]) -> None:
    data = msgspec.json.encode(msgspec.to_builtins(TRUST) | change, order="sorted")
    with pytest.raises(Malformed):
        decode_trust(data)


def test_a_trust_file_that_is_absent_huge_or_not_canonical_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        load_trust(tmp_path / "trust.json")
    with pytest.raises(TooLarge):
        decode_trust(b"x" * 1_300_000)
    with pytest.raises(Malformed):
        decode_trust(msgspec.json.format(msgspec.json.encode(TRUST, order="sorted")))
    with pytest.raises(Unavailable):
        load_trust(tmp_path)


def test_the_pins_of_a_genesis_entry_open_that_entry_and_no_other() -> None:
    pins = pins_of(GENESIS, f"log {KEY}\nquorum none\n")
    assert decode_trust(msgspec.json.encode(pins, order="sorted")) == pins
    assert open_genesis(e.encode(GENESIS), pins.genesis_sha256) == GENESIS
    with pytest.raises(ProofInvalid, match="genesis entry is not the pinned one"):
        open_genesis(e.encode(e.stamp(GENESIS, 1)), pins.genesis_sha256)


def test_an_entry_that_is_no_genesis_is_not_opened_even_where_its_hash_is_pinned() -> None:
    data = e.encode(e.Erase(at=0, index=0, reason="requested"))
    with pytest.raises(ProofInvalid, match="genesis entry is not the pinned one"):
        open_genesis(data, entry_sha256(data))

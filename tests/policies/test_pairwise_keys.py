"""One seed, one unrelated key for each holder."""

import hashlib
import hmac

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from policies.pairwise_keys import SERVICE, pairwise_key, public_hex

seeds = st.binary(min_size=32, max_size=32)
aliases = st.from_regex(r"[a-z][a-z0-9_]{0,31}", fullmatch=True)


def plain_hkdf(seed: bytes, info: bytes) -> bytes:
    """RFC 5869 with SHA-256, no salt, one block, from the standard library's HMAC alone."""
    extracted = hmac.digest(bytes(32), seed, "sha256")
    return hmac.digest(extracted, info + b"\x01", "sha256")


def test_the_hkdf_beside_which_ours_is_held_gives_the_published_answer() -> None:
    """RFC 5869, appendix A.3: SHA-256, zero-length salt and info; its first 32 bytes."""
    assert plain_hkdf(b"\x0b" * 22, b"").hex() == "8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d"


@settings(deadline=None)
@given(seeds, aliases)
def test_a_pairwise_key_is_hkdf_of_the_seed_and_the_holders_alias(seed: bytes, alias: str) -> None:
    secret = plain_hkdf(seed, b"musubi/v1/sign/" + alias.encode())
    assert bytes(pairwise_key(seed, alias)) == secret
    public = Ed25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    assert public_hex(pairwise_key(seed, alias)) == public.hex()


def test_a_known_seed_gives_the_known_keys_for_ever() -> None:
    """Worked out once with the standard library's HMAC and with cryptography's Ed25519; a device keeps its keys."""
    seed = hashlib.sha256(b"known answer").digest()
    known = {alias: public_hex(pairwise_key(seed, alias)) for alias in (SERVICE, "bus_co", "health_app")}
    assert known == {
        "service": "fe27e7689fcea0af60a648b18bffaf8b589488780a69fa13b7cd78ff8089a2bd",
        "bus_co": "4e63d4ee75ad891f1ba0515d8f5bdbafb5aa6377bc3f463d3306a38a29ff993e",
        "health_app": "f4813b7cb07ffdbf78fa4360fdf41a2fbe45b09262561b59ed58df09351933f0",
    }


@settings(deadline=None)
@given(seeds, st.lists(aliases, min_size=2, max_size=6, unique=True))
def test_no_two_holders_see_the_same_key(seed: bytes, holders: list[str]) -> None:
    assert len({public_hex(pairwise_key(seed, holder)) for holder in holders}) == len(holders)


@settings(deadline=None)
@given(st.lists(seeds, min_size=2, max_size=6, unique=True), aliases)
def test_no_two_residents_have_the_same_key_at_one_holder(residents: list[bytes], holder: str) -> None:
    assert len({public_hex(pairwise_key(seed, holder)) for seed in residents}) == len(residents)


@pytest.mark.parametrize("length", [0, 16, 31, 33, 64])
def test_a_seed_is_32_bytes(length: int) -> None:
    with pytest.raises(ValueError, match="32 bytes"):
        pairwise_key(bytes(length), "bus_co")

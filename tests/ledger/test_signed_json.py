"""Our JWS is everybody's JWS: joserfc reads what we sign and we read what joserfc signs; and nothing else is taken."""

import base64
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from joserfc import jws as jose
from joserfc.errors import BadSignatureError
from joserfc.jwk import OKPKey
from nacl.signing import SigningKey

from ledger import canonical, ed25519, jws
from ledger.errors import Malformed, MusubiError, SignatureInvalid

ALGORITHMS = ["Ed25519"]
payloads = st.dictionaries(
    st.text("abcdefgh_", min_size=1, max_size=8),
    st.integers(-(2**53) + 1, 2**53 - 1) | st.text(max_size=30) | st.booleans() | st.none(),
    max_size=5,
)
seeds = st.binary(min_size=32, max_size=32)
KEY = SigningKey(bytes(range(32)))
PUBLIC = bytes(KEY.verify_key)
TOKEN = jws.sign({"for": "test", "v": 1}, KEY)


def b64(data: bytes) -> str:
    """Return base64url without padding, by the standard library."""
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def okp(key: SigningKey, *, private: bool = True) -> OKPKey:
    """Return the same key as joserfc has it."""
    fields: dict[str, str | list[str]] = {"kty": "OKP", "crv": "Ed25519", "x": b64(bytes(key.verify_key))}
    return OKPKey.import_key(fields | ({"d": b64(bytes(key))} if private else {}))


@settings(deadline=None)
@given(payloads, seeds)
def test_joserfc_verifies_what_we_sign(payload: dict[str, Any], seed: bytes) -> None:
    key = SigningKey(seed)
    read = jose.deserialize_compact(jws.sign(payload, key), okp(key, private=False), algorithms=ALGORITHMS)
    assert read.payload == canonical.encode(payload)
    assert read.headers() == {"alg": "Ed25519"}


@settings(deadline=None)
@given(payloads, seeds)
def test_we_verify_what_joserfc_signs_and_the_tokens_are_equal(payload: dict[str, Any], seed: bytes) -> None:
    key = SigningKey(seed)
    token = jose.serialize_compact({"alg": "Ed25519"}, canonical.encode(payload), okp(key), algorithms=ALGORITHMS)
    assert jws.verify(token, bytes(key.verify_key), dict[str, Any]) == payload
    assert token == jws.sign(payload, key)


@settings(deadline=None)
@given(seeds, seeds)
def test_both_refuse_anothers_signature(seed: bytes, other: bytes) -> None:
    if seed == other:
        return
    token = jws.sign({"v": 1}, SigningKey(seed))
    with pytest.raises(SignatureInvalid):
        jws.verify(token, bytes(SigningKey(other).verify_key), dict[str, Any])
    with pytest.raises(BadSignatureError):
        jose.deserialize_compact(token, okp(SigningKey(other)), algorithms=ALGORITHMS)


@settings(max_examples=300, deadline=None)
@given(st.integers(0, len(TOKEN) - 1), st.characters(max_codepoint=0x7F) | st.sampled_from("é結"))
def test_no_token_with_one_changed_character_is_taken(spot: int, char: str) -> None:
    """Not even in the unused bits of the last character of a part."""
    changed = TOKEN[:spot] + char + TOKEN[spot + 1 :]
    if changed != TOKEN:
        with pytest.raises(MusubiError):
            jws.verify(changed, PUBLIC, dict[str, Any])


def other_header(header: dict[str, Any]) -> str:
    """Return a token with another header, rightly signed over it."""
    signed = f"{b64(json.dumps(header, separators=(',', ':')).encode())}.{TOKEN.split('.')[1]}"
    return f"{signed}.{b64(KEY.sign(signed.encode()).signature)}"


@pytest.mark.parametrize(
    "header",
    [
        {"alg": "none"},
        {"alg": "EdDSA"},
        {"alg": "HS256"},
        {"alg": "Ed25519", "typ": "JWT"},
        {"alg": "Ed25519", "crit": ["b64"], "b64": False},
        {"alg": "Ed25519", "jwk": {"kty": "OKP"}},
        {"alg": "ed25519"},
        {},
    ],
)
def test_no_other_header_is_taken_even_well_signed(header: dict[str, Any]) -> None:
    assert other_header({"alg": "Ed25519"}) == TOKEN
    with pytest.raises(Malformed):
        jws.verify(other_header(header), PUBLIC, dict[str, Any])


def test_a_token_is_three_parts_of_base64url_and_no_more() -> None:
    header, payload, signature = TOKEN.split(".")
    for token in (
        "",
        "..",
        f"{header}.{payload}",
        f"{header}..{signature}",
        f"{header}.{payload}.",
        f"{TOKEN}.",
        f"{TOKEN}\n",
        f" {TOKEN}",
        f"{TOKEN}==",
        f"{header}.{payload}=.{signature}",
        f"{header}.{payload}.{signature[:-1]}",
        f"{header}.{payload}.{signature}A",
        f"{header}.{payload}.{payload}.{signature}",
        json.dumps({"protected": header, "payload": payload, "signature": signature}),
    ):
        with pytest.raises(Malformed):
            jws.verify(token, PUBLIC, dict[str, Any])


def test_a_well_signed_payload_that_is_not_canonical_is_malformed() -> None:
    """The signature is over the bytes received, but what is taken has one form."""
    for payload in (b'{"b":1,"a":2}', b'{"a": 1}', b"{}\n", b"\xff", b""):
        token = jose.serialize_compact({"alg": "Ed25519"}, payload, okp(KEY), algorithms=ALGORITHMS)
        with pytest.raises(Malformed):
            jws.verify(token, PUBLIC, dict[str, Any])


# Points of small order (RFC 7748, section 6.1; RFC 8032's curve): with such a "key" one signature fits many messages.
SMALL_ORDER = [
    "0100000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000000",
    "0000000000000000000000000000000000000000000000000000000000000080",
    "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
    "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05",
    "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a",
    "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
]


@pytest.mark.parametrize("key", SMALL_ORDER)
def test_a_key_of_small_order_verifies_nothing(key: str) -> None:
    """R = identity and S = 0 is a "signature" of everything under the identity key, in a careless verifier."""
    identity = bytes.fromhex(SMALL_ORDER[0])
    for first in (identity, bytes.fromhex(key)):
        with pytest.raises(SignatureInvalid):
            ed25519.check(b"anything", first + bytes(32), bytes.fromhex(key))


def test_a_signature_has_one_form() -> None:
    """S + L is the same signature to a careless verifier (RFC 8032, section 5.1.7 says to refuse it)."""
    order = 2**252 + 27742317777372353535851937790883648493
    signed, _, signature = jws.parts(TOKEN)
    ed25519.check(signed, signature, PUBLIC)
    shifted = int.from_bytes(signature[32:], "little") + order
    with pytest.raises(SignatureInvalid):
        ed25519.check(signed, signature[:32] + shifted.to_bytes(32, "little"), PUBLIC)


@pytest.mark.parametrize("length", [0, 1, 63, 65, 128])
def test_a_signature_of_another_length_is_refused(length: int) -> None:
    signed, _, signature = jws.parts(TOKEN)
    with pytest.raises(SignatureInvalid):
        ed25519.check(signed, (signature * 2)[:length], PUBLIC)


def test_bytes_shifted_from_the_message_into_the_signature_are_refused() -> None:
    """The library takes the two joined, so the border between them must not move."""
    signed, _, signature = jws.parts(TOKEN)
    for shift in (1, 10):
        with pytest.raises(SignatureInvalid):
            ed25519.check(signed[shift:], signature + signed[:shift], PUBLIC)


@given(st.binary(max_size=80))
def test_base64url_is_that_of_the_standard_library(data: bytes) -> None:
    assert jws.b64url(data) == b64(data)
    assert jws.unb64url(b64(data)) == data


@given(st.text(max_size=12))
def test_only_the_one_base64url_of_its_bytes_is_read(text: str) -> None:
    try:
        data = jws.unb64url(text)
    except Malformed:
        return
    assert b64(data) == text

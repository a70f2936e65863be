"""Signed JSON: JWS compact serialisation (RFC 7515) with ``alg: "Ed25519"`` (RFC 9864), and nothing else.

A token is ``<header>.<payload>.<signature>``, each part base64url without padding. The header is always exactly
``{"alg":"Ed25519"}``, so there is nothing to negotiate and nothing to confuse. The payload is canonical JSON
(``ledger.canonical``). The signature is checked over the bytes received, never over a re-encoding. Who signed is
said inside the payload, and the verifier brings the key.

Example header: ``eyJhbGciOiJFZDI1NTE5In0``.
"""

import binascii
import re
from base64 import urlsafe_b64encode
from binascii import a2b_base64
from collections.abc import Sequence
from typing import TypeVar

from nacl.bindings import crypto_sign
from nacl.signing import SigningKey

from ledger import canonical, ed25519
from ledger.errors import Malformed, SignatureInvalid

T = TypeVar("T")

HEADER = "eyJhbGciOiJFZDI1NTE5In0"
"""``{"alg":"Ed25519"}`` in base64url: the only header taken."""

_TOKEN = re.compile(rf"{HEADER}\.([A-Za-z0-9_-]+)\.([A-Za-z0-9_-]{{86}})", re.ASCII)


def b64url(data: bytes) -> str:
    """Encode as base64url without padding (RFC 7515, section 2)."""
    return urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


_TO_STANDARD = bytes.maketrans(b"-_+/=", b"+/!!!")  # what is no base64url becomes what is no base64 either
_PADDING = (b"", None, b"==", b"=")
_LAST = (None, None, frozenset("AQgw"), frozenset("AEIMQUYcgkosw048"))
"""The last characters, by length modulo 4, whose unused bits are zero: no other encodes the same bytes."""


def unb64url(text: str) -> bytes:
    """Decode base64url without padding; raise Malformed unless it is the one encoding of its bytes."""
    rest = len(text) % 4
    padding, last = _PADDING[rest], _LAST[rest]
    if padding is None or (last is not None and text[-1] not in last):
        raise Malformed("A base64url part is not in its one canonical encoding.")
    try:
        return a2b_base64(text.encode("ascii").translate(_TO_STANDARD) + padding, strict_mode=True)
    except (binascii.Error, UnicodeEncodeError):
        raise Malformed("A base64url part is not base64url.") from None


def sign(payload: object, key: SigningKey) -> str:
    """Sign the canonical JSON of ``payload``; return the compact token."""
    signed_part = f"{HEADER}.{b64url(canonical.encode(payload))}"
    signature = crypto_sign(signed_part.encode("ascii"), key._signing_key)[:64]  # noqa: SLF001 - the binding wants the 64-byte secret
    return f"{signed_part}.{b64url(signature)}"


def parts(token: str) -> tuple[bytes, bytes, bytes]:
    """Split a token into (signed bytes, payload bytes, 64-byte signature) without checking the signature.

    Raises Malformed when the token is not compact JWS with the one header.
    """
    match = _TOKEN.fullmatch(token)
    if match is None:
        raise Malformed('The signed message is not a compact JWS with the header {"alg":"Ed25519"}.')
    payload, signature = match.groups()
    return token[: match.end(1)].encode("ascii"), unb64url(payload), unb64url(signature)


def read_unverified(token: str, type_: type[T], what: str = "signed message") -> T:
    """Decode the payload without checking the signature, to learn which key to check it with."""
    return canonical.decode(parts(token)[1], type_, what)


def verify(token: str, public_key: bytes, type_: type[T], what: str = "signed message") -> T:
    """Check the signature with a 32-byte Ed25519 key and decode the payload.

    Raises Malformed or SignatureInvalid.
    """
    signed_part, payload, signature = parts(token)
    ed25519.check(signed_part, signature, public_key)
    return canonical.decode(payload, type_, what)


def verify_any(token: str, public_keys: Sequence[bytes], type_: type[T], what: str = "signed message") -> T:
    """Check the signature with each of several keys in turn and decode the payload, if one of them is its signer's.

    Raises Malformed, or SignatureInvalid where none is.
    """
    for key in public_keys[:-1]:
        try:
            return verify(token, key, type_, what)
        except SignatureInvalid:
            continue
    if not public_keys:
        raise SignatureInvalid("There is no key to check the signature with.")
    return verify(token, public_keys[-1], type_, what)

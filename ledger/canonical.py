"""Canonical JSON (RFC 8785), for the part of JSON that Musubi uses.

Values are objects, arrays, strings, booleans, null and integers of at most 2^53 - 1; there are no floating-point
numbers anywhere in a signed thing. Object keys hold no character above U+FFFF (beyond it, RFC 8785's order by UTF-16
units and ours by UTF-8 bytes differ). For that part, msgspec's sorted encoding *is* RFC 8785
(a test holds it against the ``rfc8785`` package), and it is some fifty times faster.

Decoding is strict: what is decoded must encode to the same bytes again. That one rule refuses duplicate keys,
stray white space, unusual escapes, unknown fields and numbers in another notation.
"""

from typing import Any, TypeVar

import msgspec

from ledger.errors import Malformed

T = TypeVar("T")

_encoder = msgspec.json.Encoder(order="sorted")
_decoders: dict[Any, msgspec.json.Decoder[Any]] = {}


def encode(value: object) -> bytes:
    """Return the canonical bytes of a msgspec Struct or of plain JSON data without floats."""
    return _encoder.encode(value)


def decode(data: bytes, type_: type[T], what: str = "message") -> T:
    """Decode canonical JSON bytes into ``type_``.

    Raises Malformed when the bytes are not UTF-8 JSON of that shape, or not the canonical form of what they say.
    The error names the place, never the value.
    """
    decoder = _decoders.get(type_)
    if decoder is None:
        decoder = _decoders[type_] = msgspec.json.Decoder(type_)
    try:
        value: T = decoder.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        place = str(error).partition(" - at ")[2]
        raise Malformed(f"The {what} is not of its format" + (f" at {place}." if place else ".")) from None
    if _encoder.encode(value) != data:
        raise Malformed(f"The {what} is not canonical JSON (RFC 8785): sorted keys, no white space, no repeated keys.")
    return value

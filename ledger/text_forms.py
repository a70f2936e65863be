"""How the C2SP formats write bytes and numbers as text. Each value has one text, and any other text is refused.

Bytes are standard base64 with padding (RFC 4648, section 4) and zero spare bits. Numbers are ASCII decimals without
sign or leading zeros, below 2^63.
"""

import re
from base64 import b64decode, b64encode

from ledger.errors import Malformed
from ledger.hashing import HASH_BYTES

MAX_SIZE = 2**63 - 1
"""The largest tree size, index or time: it fits a signed 64-bit integer everywhere."""

_DECIMAL = re.compile(r"0|[1-9][0-9]{0,18}", re.ASCII)


def to_base64(data: bytes) -> str:
    """Return the standard base64 of ``data``, with padding."""
    return b64encode(data).decode("ascii")


def from_base64(text: str, what: str) -> bytes:
    """Return the bytes of a base64 text; raise Malformed unless it is their one encoding. ``what`` names the field."""
    try:
        data = b64decode(text, validate=True)
    except ValueError:  # also what a non-ASCII text raises
        raise Malformed(f"The {what} is not base64.") from None
    if to_base64(data) != text:
        raise Malformed(f"The {what} is not in its one base64 encoding: standard alphabet, padded, spare bits zero.")
    return data


def to_hash(text: str, what: str) -> bytes:
    """Return the 32 bytes of a base64 hash; raise Malformed otherwise."""
    data = from_base64(text, what)
    if len(data) != HASH_BYTES:
        raise Malformed(f"The {what} is not 32 bytes long.")
    return data


def to_number(text: str, what: str) -> int:
    """Return the number that a decimal text says, 0 to 2^63 - 1; raise Malformed otherwise."""
    if _DECIMAL.fullmatch(text) is None:
        raise Malformed(f"The {what} is not a decimal number without sign or leading zeros.")
    number = int(text)
    if number > MAX_SIZE:
        raise Malformed(f"The {what} is larger than 2^63 - 1.")
    return number

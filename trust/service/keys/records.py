"""The records behind grants and revocations: bundles, each encrypted with a key of its own.

XSalsa20-Poly1305 (NaCl secretbox). Destroying the 32-byte key (``trust.service.keys.record_keys``) destroys the record
wherever copies of it are.
"""

from nacl.secret import SecretBox
from nacl.utils import random as random_bytes

from ledger import canonical
from policies.consents.bundle import Bundle
from trust.service.keys.record_keys import KEY_BYTES


def seal_record(bundle: bytes) -> tuple[bytes, bytes]:
    """Encrypt a bundle's canonical JSON with a fresh key; return (key, sealed bytes)."""
    key = random_bytes(KEY_BYTES)
    return key, bytes(SecretBox(key).encrypt(bundle))


def open_record(key: bytes, sealed: bytes) -> Bundle:
    """Decrypt a bundle."""
    return canonical.decode(SecretBox(key).decrypt(sealed), Bundle, "stored record")

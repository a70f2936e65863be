"""A resident's keys: one 32-byte seed on the device, and from it one unrelated Ed25519 key for each holder.

HKDF-SHA256 (RFC 5869) without salt, info ``musubi/v1/sign/<alias>``, 32 bytes out: the seed of an Ed25519 key
(RFC 8032). The alias ``service`` gives the key for the service. Whoever sees the keys at two holders cannot tell that
they belong together, unless HKDF-SHA256 is not a pseudorandom function.
"""

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from nacl.signing import SigningKey

SEED_BYTES = 32
SERVICE = "service"
"""The alias whose key signs what the service itself must be able to check."""


def pairwise_key(seed: bytes, alias: str) -> SigningKey:
    """Derive the resident's signing key for one holder, or for ``SERVICE``."""
    if len(seed) != SEED_BYTES:
        raise ValueError("A resident's seed is 32 bytes.")
    info = b"musubi/v1/sign/" + alias.encode("ascii")
    return SigningKey(HKDF(algorithm=SHA256(), length=SEED_BYTES, salt=None, info=info).derive(seed))


def public_hex(key: SigningKey) -> str:
    """Return the key's public half in hexadecimal."""
    return bytes(key.verify_key).hex()

r"""Post-quantum cosignatures (C2SP tlog-cosignature, signature type 0x06): ML-DSA-44 (FIPS 204) over a checkpoint.

The signature of such a line is ``uint64be(time) || 2,420 bytes`` of ML-DSA-44, without context string, over::

    "subtree/v1\n\0"                12 bytes
    uint8 length || cosigner name   1 to 255 bytes, UTF-8
    uint64be time                   seconds since 1970; 0 says nothing about when, or that the tree was the largest
    uint8 length || log origin      1 to 255 bytes, UTF-8
    uint64be start                  0 for a checkpoint
    uint64be end                    the checkpoint's tree size
    root                            32 bytes

A public key is 1,312 bytes, a private key here its 32-byte seed. Signing is hedged: the library mixes fresh randomness
in, so two signatures of one message differ and both are good. The checkpoint has its three lines and no more, because
the message would not cover further ones.

Ed25519 falls to a large quantum computer, and with it every signature that was ever made with it. A checkpoint that
bears both kinds stays good as long as one of the two does.
"""

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey

from ledger.errors import Malformed, SignatureInvalid
from ledger.text_forms import MAX_SIZE, to_hash, to_number

PUBLIC_KEY_BYTES = 1_312
SIGNATURE_BYTES = 2_420

_LABEL = b"subtree/v1\n\0"
_MAX_NAME_BYTES = 255


def key_from_seed(seed: bytes) -> MLDSA44PrivateKey:
    """Return the private key of a 32-byte seed."""
    return MLDSA44PrivateKey.from_seed_bytes(seed)


def public_bytes(key: MLDSA44PrivateKey) -> bytes:
    """Return the 1,312 bytes of a private key's public half."""
    return key.public_key().public_bytes_raw()


def cosigned_message(cosigner: str, time: int, checkpoint_text: str) -> bytes:
    """Return the bytes that ``cosigner`` signs at ``time`` for a checkpoint's text; Malformed if there are none."""
    lines = checkpoint_text.split("\n")
    if len(lines) != 4 or lines[3]:
        raise Malformed("An ML-DSA-44 cosignature is for a checkpoint of three lines: origin, tree size and root hash.")
    if not 0 <= time <= MAX_SIZE:
        raise Malformed("A cosignature's time is 0 to 2^63 - 1 seconds.")
    size, root = to_number(lines[1], "checkpoint's size"), to_hash(lines[2], "checkpoint's root")
    return b"".join(
        (
            _LABEL,
            _short(cosigner),
            time.to_bytes(8, "big"),
            _short(lines[0]),
            (0).to_bytes(8, "big"),
            size.to_bytes(8, "big"),
            root,
        )
    )


def _short(text: str) -> bytes:
    data = text.encode()
    if not 0 < len(data) <= _MAX_NAME_BYTES:
        raise Malformed("The names in an ML-DSA-44 cosignature have 1 to 255 bytes.")
    return bytes([len(data)]) + data


def check(message: bytes, signature: bytes, public_key: bytes) -> None:
    """Raise SignatureInvalid unless ``signature`` is ``public_key``'s over ``message``."""
    if len(signature) != SIGNATURE_BYTES:
        raise SignatureInvalid("An ML-DSA-44 signature is 2,420 bytes long.")
    try:
        MLDSA44PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        raise SignatureInvalid("The ML-DSA-44 signature is not by the key that the message names.") from None

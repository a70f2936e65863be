"""Ed25519 signatures (RFC 8032), checked as libsodium does: small-order keys and second encodings are refused.

Signed JSON (``ledger.jws``) and signed notes (``ledger.notes.note``) both rest on this one check.
"""

from nacl.bindings import crypto_sign_open
from nacl.exceptions import BadSignatureError

from ledger.errors import SignatureInvalid


def check(message: bytes, signature: bytes, public_key: bytes) -> None:
    """Raise SignatureInvalid unless ``signature`` is ``public_key``'s over ``message`` (RFC 8032, libsodium)."""
    if len(signature) != 64:  # libsodium takes signature and message joined: another length would shift the two
        raise SignatureInvalid("The signature is not 64 bytes long.")
    try:
        crypto_sign_open(signature + message, public_key)
    except (BadSignatureError, ValueError, TypeError):
        raise SignatureInvalid("The signature is not by the key that the message names.") from None

"""Private keys on disk: a file of one hexadecimal line, mode 0600, written whole or not at all."""

import os
import secrets
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from nacl.signing import SigningKey

from ledger.errors import Malformed, NotFound, NotPermitted
from ledger.notes import ml_dsa


def write_secret(path: Path, secret: bytes) -> None:
    """Write a new secret file; raise NotPermitted if one is there. A crash leaves it whole, or no file of that name."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(secret.hex().encode("ascii") + b"\n")
            file.flush()
            os.fsync(file.fileno())
        os.link(temporary, path)  # fails where the name is taken, unlike a rename
    except FileExistsError:
        raise NotPermitted(f"The key file '{path.name}' is there already; keys are never overwritten.") from None
    finally:
        temporary.unlink()  # also where the disk was full: no part of a secret stays behind
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)  # a key that is in use must not be gone after a power cut
    finally:
        os.close(folder)


def read_secret(path: Path) -> bytes:
    """Read a 32-byte secret; refuse a file that others may read."""
    try:
        if path.stat().st_mode & 0o077:
            raise NotPermitted(f"The key file '{path.name}' may be read by others; run chmod 600 on it.")
        secret = bytes.fromhex(path.read_text("ascii").strip())
    except FileNotFoundError:
        raise NotFound(f"The key file '{path.name}' is not there; make it with `musubi keys new`.") from None
    except ValueError:
        raise Malformed(f"The key file '{path.name}' is not hexadecimal.") from None
    if len(secret) != 32:
        raise Malformed(f"The key file '{path.name}' does not hold 32 bytes.")
    return secret


def new_key(path: Path) -> SigningKey:
    """Make and write a new Ed25519 key."""
    key = SigningKey.generate()
    write_secret(path, bytes(key))
    return key


def read_key(path: Path) -> SigningKey:
    """Read an Ed25519 key."""
    return SigningKey(read_secret(path))


def new_post_quantum_key(path: Path) -> MLDSA44PrivateKey:
    """Make and write a new ML-DSA-44 key: its 32-byte seed."""
    key = MLDSA44PrivateKey.generate()
    write_secret(path, key.private_bytes_raw())
    return key


def read_post_quantum_key(path: Path) -> MLDSA44PrivateKey:
    """Read an ML-DSA-44 key."""
    return ml_dsa.key_from_seed(read_secret(path))

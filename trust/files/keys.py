"""Private keys on disk: a file of one hexadecimal line, mode 0600, written whole or not at all."""

from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from nacl.signing import SigningKey

from ledger.errors import Malformed, NotFound, NotPermitted, Unavailable
from ledger.notes import ml_dsa
from trust.files.durable import write_new


def write_secret(path: Path, secret: bytes) -> None:
    """Write a new secret file; raise NotPermitted if one is there. A crash leaves it whole, or no file of that name."""
    try:
        write_new(path, secret.hex().encode("ascii") + b"\n")
    except FileExistsError:
        if not path.parent.is_dir():
            raise  # it is the folder's name that is taken, by a file
        raise NotPermitted(f"The key file '{path.name}' is there already; keys are never overwritten.") from None


def read_secret(path: Path) -> bytes:
    """Read a 32-byte secret; refuse a file that others may read.

    Raises NotPermitted, NotFound, Malformed or Unavailable.
    """
    try:
        if path.stat().st_mode & 0o077:
            raise NotPermitted(f"The key file '{path.name}' may be read by others; run chmod 600 on it.")
        secret = bytes.fromhex(path.read_text("ascii").strip())
    except FileNotFoundError:
        raise NotFound(f"The key file '{path.name}' is not there; make it with `musubi keys new`.") from None
    except OSError:
        raise Unavailable(f"The key file '{path.name}' cannot be read; check that it is a file that you own.") from None
    except ValueError:
        secret = b""
    if len(secret) != 32:
        raise Malformed(f"The key file '{path.name}' is not one line of 64 hexadecimal digits; bring your copy back.")
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

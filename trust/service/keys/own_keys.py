"""The service's own private keys, of which the ledger says which one to use.

The folder ``keys/`` may hold several of each kind: ``log.key``, ``log-2.key`` … (Ed25519), ``log.pq.key`` …
(ML-DSA-44) and ``operator.key``, ``operator-2.key`` …. The next one is put there before the stewards sign it into the
ledger; from its entry on it is the one that is used, without a restart, and the ones before it are not.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from nacl.signing import SigningKey

from ledger.errors import NotFound
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.log_keys import LogKeyHistory, LogKeys
from ledger.notes.ml_dsa import public_bytes
from policies.ledger_state import State
from trust.files.keys import read_key, read_post_quantum_key

Key = TypeVar("Key", SigningKey, MLDSA44PrivateKey)
POST_QUANTUM = ".pq.key"


class _KeyFiles(Generic[Key]):
    """Private keys of one kind by their public bytes; the folder is looked at again where one is not known yet."""

    def __init__(
        self, files: Callable[[], list[Path]], read: Callable[[Path], Key], public: Callable[[Key], bytes]
    ) -> None:
        self._files = files
        self._read: Callable[[Path], Key] = read
        self._public: Callable[[Key], bytes] = public
        self._keys: dict[bytes, Key] = {}

    def find(self, public_key: bytes) -> Key | None:
        """Return the private half of a public key, or None where no file holds it."""
        if public_key not in self._keys:
            self._keys = {self._public(key): key for key in map(self._read, self._files())}
        return self._keys.get(public_key)


def _public(key: SigningKey) -> bytes:
    return bytes(key.verify_key)


class LogSigner:
    """Signs checkpoints with the keys that the log has at their size."""

    def __init__(self, folder: Path) -> None:
        def named(post_quantum: bool) -> list[Path]:
            return [
                path for path in sorted(folder.glob("log*.key")) if path.name.endswith(POST_QUANTUM) == post_quantum
            ]

        self._keys = _KeyFiles(lambda: named(post_quantum=False), read_key, _public)
        self._post_quantum = _KeyFiles(lambda: named(post_quantum=True), read_post_quantum_key, public_bytes)

    def holds(self, keys: LogKeys) -> bool:
        """Return whether the private half of each of these keys is there."""
        return self._keys.find(keys.key.public_key) is not None and (
            keys.post_quantum is None or self._post_quantum.find(keys.post_quantum.public_key) is not None
        )

    def sign(self, checkpoint: Checkpoint, history: LogKeyHistory) -> bytes:
        """Return the signed note; raise NotFound where the keys of that size are not in the folder."""
        keys = history.at(checkpoint.size)
        key = self._keys.find(keys.key.public_key)
        post_quantum = None
        if keys.post_quantum is not None:
            post_quantum = self._post_quantum.find(keys.post_quantum.public_key)
        if key is None or (keys.post_quantum is not None and post_quantum is None):
            raise NotFound("The key that the log signs with now is not in the service's folder 'keys'; put it there.")
        return sign_checkpoint(checkpoint, key, post_quantum)


class OperatorSigner:
    """The operator's signing key: the one that the ledger has for it."""

    def __init__(self, folder: Path, alias: str) -> None:
        self._alias = alias
        self._first = read_key(folder / "operator.key")
        self._keys = _KeyFiles(lambda: sorted(folder.glob("operator*.key")), read_key, _public)

    def key(self, state: State) -> SigningKey:
        """Return the key in force; ``operator.key`` while the operator is no member yet.

        Raises NotFound where the ledger's key is not in the folder: nothing is to be signed with any other.
        """
        member = state.members.get(self._alias)
        if member is None:
            return self._first
        key = self._keys.find(bytes.fromhex(member.key))
        if key is None:
            raise NotFound(
                "The operator's key that the ledger has is not in the service's folder 'keys'; put it there."
            )
        return key

"""A second opinion on the whole log's root, by ``merkletools``: other people's code over the same leaf hashes.

With SHA-256 over ``0x01 || node`` as its hash function and leaves added ready-hashed, its roots are those of RFC 6962
(a test holds the two together). It builds the whole tree in memory, so there is a limit: ``MAX_LEAVES``, for which it
takes some 2 s and 300 MB. Its proof checking is never used.
"""

import hashlib
import warnings

from ledger.hashing import EMPTY_ROOT, HASH_BYTES, NODE_PREFIX

with warnings.catch_warnings():
    # merkletools looks for SHA-3, which we do not use, and warns where it is not found.
    warnings.filterwarnings("ignore", message="sha3 is not working!")
    from merkletools import MerkleTools

MAX_LEAVES = 1_000_000


class SecondOpinion:
    """Collects leaf hashes, 32 bytes each, and lets merkletools make their root."""

    def __init__(self) -> None:
        self._leaves = bytearray()
        self.leaves = 0

    @property
    def is_too_large(self) -> bool:
        """Whether the log has more leaves than this is for; ``root`` must not be asked then."""
        return self.leaves > MAX_LEAVES

    def add(self, leaf_hashes: list[bytes]) -> None:
        """Add leaf hashes in order; past the limit they are only counted."""
        self.leaves += len(leaf_hashes)
        if self.is_too_large:
            self._leaves.clear()
        else:
            self._leaves += b"".join(leaf_hashes)

    def root(self) -> bytes:
        """Return merkletools' root of all leaves."""
        if self.leaves == 0:
            return EMPTY_ROOT
        tools = MerkleTools()
        tools.hash_function = lambda data: hashlib.sha256(NODE_PREFIX + data)
        # Set directly: add_leaf would hash or convert from hexadecimal, one leaf at a time.
        tools.leaves = [bytes(self._leaves[at : at + HASH_BYTES]) for at in range(0, len(self._leaves), HASH_BYTES)]
        tools.make_tree()
        root: str = tools.get_merkle_root()
        return bytes.fromhex(root)

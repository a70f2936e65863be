"""RFC 6962 hashing: SHA-256 with a different first byte for leaves and for nodes.

A leaf is ``SHA-256(0x00 || entry)``, a node ``SHA-256(0x01 || left || right)``, the empty tree ``SHA-256("")``.
The first byte keeps a node from being passed off as an entry (RFC 6962, section 2.1).
"""

from hashlib import sha256

HASH_BYTES = 32
"""Length of every hash in the log."""

EMPTY_ROOT: bytes = sha256(b"").digest()
"""Root of the tree without entries."""

LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"


def leaf_hash(entry: bytes) -> bytes:
    """Return the 32-byte hash of one entry as a leaf (RFC 6962, section 2.1)."""
    return sha256(LEAF_PREFIX + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the 32-byte hash of the node above two 32-byte hashes (RFC 6962, section 2.1)."""
    return sha256(NODE_PREFIX + left + right).digest()

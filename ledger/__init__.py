"""The Merkle log: bytes, hashes, notes, proofs. Pure: no sockets, disk, clock or randomness."""

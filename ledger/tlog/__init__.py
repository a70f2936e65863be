"""The tree itself (RFC 6962, C2SP tlog-tiles): hashes, proofs, tiles."""

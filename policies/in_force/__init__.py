"""Which consents are in force at a place of the ledger, as a set with short proofs."""

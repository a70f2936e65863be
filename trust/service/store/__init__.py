"""The committed ledger and the state that follows from it: one way to append, one elected writer."""

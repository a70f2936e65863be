"""What a node keeps of its own reading of the ledger, and the check of it in the background."""

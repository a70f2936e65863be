"""What lies on disk beside the ledger: keys, evidence, backups."""

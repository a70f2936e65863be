"""Every process: the service, the holder's node, the auditor, the witness and the command line."""

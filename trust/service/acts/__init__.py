"""What the service may do, one file for each act: gather, decide, apply."""

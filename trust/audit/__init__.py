"""The auditor and the witness: they check, trust nobody, and never import the service."""

"""Consents, policy documents, budgets, in-force sets and replay. Pure: no sockets, disk, clock or randomness."""

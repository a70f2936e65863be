"""A holder's data: where it is read from, bounded, kept as views, and counted."""

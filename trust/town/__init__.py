"""Whole towns on one machine: loading, laying out and running."""

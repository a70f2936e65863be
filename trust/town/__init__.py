"""Whole towns on one machine: loading, running, and telling their story."""

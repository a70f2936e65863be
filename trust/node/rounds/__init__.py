"""The way of one question through a node."""

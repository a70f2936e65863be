"""Engines outside the node that bounded views may be computed in, and how each is asked."""

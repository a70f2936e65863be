"""A partner and its questions."""

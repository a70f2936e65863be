"""Commands for residents."""

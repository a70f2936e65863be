"""Commands for stewards."""

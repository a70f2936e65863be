"""A resident's own device: what it signs, what it keeps, and what it checks."""

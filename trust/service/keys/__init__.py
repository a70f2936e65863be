"""The service's own keys, and the keys under which residents' records lie."""

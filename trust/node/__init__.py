"""A holder's node: next to its data, outbound only, checking everything itself."""

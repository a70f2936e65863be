"""Commands of the demo: a whole town on one machine."""

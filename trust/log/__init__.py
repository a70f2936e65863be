"""A log as its readers see it: where it is read from, what of it is pinned, and how it is followed."""

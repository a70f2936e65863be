"""The town's public page."""

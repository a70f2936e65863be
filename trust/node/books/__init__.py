"""A node's own durable books."""

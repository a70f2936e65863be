"""How every role that calls the service does it."""

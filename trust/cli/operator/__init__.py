"""Commands for whoever runs a process: the service, a node, a witness."""

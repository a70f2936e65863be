"""Addresses on this machine that nothing else listens at."""

import socket


def free_port() -> int:
    """Return a port that nothing listens at."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def free_neighbours() -> int:
    """Return a port that nothing listens at, nor at the next one: a town's service and its witness."""
    while True:
        port = free_port()
        with socket.socket() as probe, socket.socket() as neighbour:
            try:
                probe.bind(("127.0.0.1", port))
                neighbour.bind(("127.0.0.1", port + 1))
            except (OSError, OverflowError):
                continue
            return port

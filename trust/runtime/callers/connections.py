"""Connections have a number for each address, also those that ask for nothing.

The server below (granian 2.8) takes so many connections in all and knows no addresses: one stranger who opens them all
and says nothing would keep everybody out until the deadline for headers, and again after it. So once a second, where
many are open, this process looks at its own sockets, and shuts down what an address has above its number: those first
that have no request under way, and of these those that have been silent for longest. The server then meets an ordinary
end of the connection. Trusted proxies, who bring many people, have no number.

Nothing is kept between two looks, and no address leaves this module. Where a system does not tell a process of its own
open files in ``/proc`` or ``/dev/fd``, nothing is shut down.
"""

import asyncio
import os
import socket
import struct
from collections.abc import Callable
from contextlib import suppress

from msgspec import Struct

from trust.runtime.callers.bounds import counted_as

EVERY_SECONDS = 1.0
CONNECTIONS_EACH = 512
"""What one address may have open: more than it may have places, so that nobody who is being answered is cut off."""
MANY = 1_024
"""So many open files, and the sockets are looked at."""
_FOLDERS = ("/proc/self/fd", "/dev/fd")
_TCP_INFO_BYTES = 64
_LAST_DATA_RECEIVED = 52
"""Where Linux's ``tcp_info`` has ``tcpi_last_data_recv``, in milliseconds (linux/tcp.h)."""

Peer = tuple[str, int]


class _Open(Struct, frozen=True):
    """One connection: our own duplicate of it, so that it is this one that is shut down, whatever happens to it."""

    connection: socket.socket
    peer: Peer
    silent: int


def shut_surplus(
    port: int, busy: frozenset[Peer], is_trusted: Callable[[str], bool], each: int = CONNECTIONS_EACH
) -> int:
    """Shut down what each address has open at ``port`` above its number; return how many connections that were.

    ``busy`` are the other ends that a request is under way from; those are never shut down.
    """
    by_address: dict[str, list[_Open]] = {}
    shut = 0
    try:
        for opened in _connections(port):
            by_address.setdefault(counted_as(opened.peer[0], None, ()), []).append(opened)
        for theirs in by_address.values():
            surplus = len(theirs) - each
            if surplus <= 0 or is_trusted(theirs[0].peer[0]):
                continue
            idle = sorted((one for one in theirs if one.peer not in busy), key=lambda one: -one.silent)
            for one in idle[:surplus]:
                with suppress(OSError):  # it has ended by itself
                    one.connection.shutdown(socket.SHUT_RDWR)
                    shut += 1
    finally:
        for theirs in by_address.values():
            for one in theirs:
                one.connection.close()
    return shut


async def keep_few(
    port: int, busy: Callable[[], frozenset[Peer]], is_trusted: Callable[[str], bool], shut: Callable[[int], None]
) -> None:
    """Do so for ever; ``shut`` is told how many."""
    while True:
        await asyncio.sleep(EVERY_SECONDS)
        if len(_open_files() or ()) >= MANY:
            shut(await asyncio.to_thread(shut_surplus, port, busy(), is_trusted))


def _open_files() -> list[str] | None:
    for folder in _FOLDERS:
        with suppress(OSError):
            return os.listdir(folder)  # noqa: PTH208 - the names alone, of what may be gone by then
    return None


def _connections(port: int) -> list[_Open]:
    """Return this process's connections that came in at ``port``."""
    found: dict[Peer, _Open] = {}  # once each: a number of the list may be one of our duplicates by now
    for name in _open_files() or ():
        with suppress(OSError):  # no socket, or closed meanwhile
            copied = os.dup(int(name))
            try:
                connection = socket.socket(fileno=copied)
            except OSError:
                os.close(copied)
                continue
            try:
                is_ours = connection.family in {socket.AF_INET, socket.AF_INET6} and (
                    connection.type == socket.SOCK_STREAM and connection.getsockname()[1] == port
                )
                peer = connection.getpeername() if is_ours else ("", 0)
                if is_ours and (peer[0], peer[1]) not in found:
                    found[peer[0], peer[1]] = _Open(connection, (peer[0], peer[1]), _silent(connection))
                    continue
            except OSError:
                connection.close()
                raise
            connection.close()
    return list(found.values())


def _silent(connection: socket.socket) -> int:
    """Return for how many milliseconds nothing has come; 0 where the system does not say."""
    if not hasattr(socket, "TCP_INFO"):
        return 0
    told = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO_BYTES)
    fits = len(told) >= _LAST_DATA_RECEIVED + 4
    return int(struct.unpack_from("=I", told, _LAST_DATA_RECEIVED)[0]) if fits else 0

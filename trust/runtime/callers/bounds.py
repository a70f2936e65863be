"""What strangers can hold has a time and a sum: places, bodies and bytes of a serving process.

Every request takes a *place* in the lane of its route before anything of it is read, and gives it back at its end. A
lane has so many places in all and so many for one address, so that strangers who fill one lane leave the others whole:
nodes, revocations and whoever looks whether the process is well have lanes of their own. A body is read here, whole,
before the application is called: within a time, within its route's size, and within a sum over all requests. Where a
lane is full, whoever has waited longest there for its own body makes room, and where the sum is, whoever holds most of
it and has not brought all: so many addresses that send nothing, or much, do not keep out one that has little to say.

granian 2.8 has a deadline for headers only, and pulls a body only as it is asked for; so whatever is held is held here.
No address leaves this module, neither into a metric nor into an error.
"""

import asyncio
import ipaddress
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Literal

from litestar.types import Receive, Scope
from msgspec import Struct

from ledger.errors import Malformed, MusubiError, RateLimited, TooLarge, Unavailable

BODY_SECONDS = 10
"""How long a body may take before its first byte counts for anything."""
BODY_BYTES_PER_SECOND = 64 * 1024
"""What a slow line must bring on average after that: so many bytes earn one more second."""
BYTES_IN_FLIGHT = 32 * 1024 * 1024
"""Bytes of bodies held at once, over all requests of the lanes without a sum of their own; one address has half."""
MAX_PROXIES = 16
"""Entries of a proxies' header that are looked at, from its end; a longer one is no trusted proxy's."""

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
Turned = Literal["places", "bytes", "slow", "large", "silent"]
ProxyHeader = Literal["x-forwarded-for", "forwarded"]


class Lane(Struct, frozen=True, kw_only=True):
    """A kind of request with capacity of its own: which paths it takes, and how much of it may be held at once.

    ``own_bytes`` is what its bodies may hold together; None: they share the sum of all such lanes.
    """

    name: str
    paths: tuple[str, ...]
    places: int
    places_each: int
    body_bytes: int
    own_bytes: int | None = None


class _Place(Struct, eq=False):
    """What one request holds."""

    lane: Lane
    address: str
    bytes: int = 0
    reading: asyncio.Timeout | None = None
    """The deadline of its body, while that is read."""
    is_taken: bool = True


def read_networks(proxies: Sequence[str]) -> tuple[Network, ...]:
    """Return the addresses or networks of trusted proxies. Raises Malformed."""
    try:
        return tuple(ipaddress.ip_network(each) for each in proxies)
    except ValueError:
        raise Malformed("A trusted proxy is an IP address or a network, such as 10.0.0.5 or 10.0.0.0/24.") from None


def counted_as(peer: str, header: str | None, proxies: tuple[Network, ...]) -> str:
    """Return whom a request counts for: an IPv4 address, or the /64 of an IPv6 one.

    ``header`` is a comma-separated list of addresses, the nearest last. It is believed as far as trusted proxies wrote
    it: from the end on, until the first address that is none. What cannot be read ends the walk at the proxy that
    passed it on, so that a forged header gains nothing.
    """
    nearest = _parsed(peer)
    if nearest is None:
        return "unknown"
    for said in reversed((header or "").split(",")[-MAX_PROXIES:]):
        if not any(nearest in network for network in proxies):
            break
        further = _parsed(said)
        if further is None:
            break
        nearest = further
    if isinstance(nearest, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((nearest, 64), strict=False))
    return str(nearest)


def _parsed(said: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    said = said.strip().strip('"')
    if said.startswith("["):
        said = said[1:].partition("]")[0]
    elif said.count(":") == 1:
        said = said.partition(":")[0]
    try:
        address = ipaddress.ip_address(said.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


class Bounds:
    """The places and bytes of one process. For one event loop."""

    def __init__(
        self,
        lanes: tuple[Lane, ...],
        *,
        proxies: tuple[Network, ...] = (),
        proxy_header: ProxyHeader = "x-forwarded-for",
        turned_away: Callable[[str, Turned], None] = lambda _lane, _why: None,
        body_seconds: float = BODY_SECONDS,
    ) -> None:
        """``lanes``: the first one that a path begins with is its lane; the last one takes all others.

        ``turned_away`` is told the lane and the reason of each refusal. ``body_seconds`` stand in for BODY_SECONDS.
        """
        self._body_seconds = body_seconds
        self._lanes = lanes
        self._proxies = proxies
        self._header = proxy_header
        self._turned_away = turned_away
        self._taken: Counter[str] = Counter()
        self._taken_each: Counter[tuple[str, str]] = Counter()
        self._reading: dict[str, dict[_Place, None]] = {lane.name: {} for lane in lanes}
        """The places whose bodies are still awaited, the oldest first."""
        self._bytes: Counter[str] = Counter()
        self._bytes_each: Counter[tuple[str, str]] = Counter()

    def is_trusted(self, peer: str) -> bool:
        """Whether a connection's other end is a configured proxy, which brings many people."""
        address = _parsed(peer)
        return address is not None and any(address in network for network in self._proxies)

    def count_shut(self, count: int) -> None:
        """Count connections that were shut down: their address had too many, and no request on these."""
        for _ in range(count):
            self._turned_away("connections", "silent")

    def take(self, scope: Scope) -> _Place:
        """Take a place for a request, and name its client in ``scope`` by who it counts for.

        Raises RateLimited where one address has its places already, Unavailable where the lane is full.
        """
        client = scope.get("client")
        address = counted_as(client[0] if client else "", self._said(scope), self._proxies)
        scope["client"] = (address, client[1] if client else 0)
        path = scope["path"]
        lane = next((each for each in self._lanes if path.startswith(each.paths)), self._lanes[-1])
        if self._taken_each[lane.name, address] >= lane.places_each:
            self._turned_away(lane.name, "places")
            raise RateLimited("Too many requests of yours are open at once; try again when some have ended.")
        if self._taken[lane.name] >= lane.places and not self._make_room(lane):
            self._turned_away(lane.name, "places")
            raise Unavailable("Too many requests are open at once; try again in a few seconds.")
        self._taken[lane.name] += 1
        self._taken_each[lane.name, address] += 1
        return _Place(lane=lane, address=address)

    def _make_room(self, lane: Lane) -> bool:
        """End the request that has waited longest for its body; return whether there was one."""
        oldest = next(iter(self._reading[lane.name]), None)
        if oldest is not None:
            self._end(oldest)
        return oldest is not None

    def _make_bytes(self, place: _Place, more: int) -> bool:
        """End the request that holds most of the sum and is not whole, if that is more than ``place`` is to hold."""
        purse = _purse(place)
        others = (each for reading in self._reading.values() for each in reading if _purse(each) == purse)
        largest = max(others, key=lambda each: each.bytes, default=place)
        if largest is place or largest.bytes <= place.bytes + more:
            return False
        self._end(largest)
        return True

    def _end(self, place: _Place) -> None:
        """Take a request's place while its body is awaited: it is told that this did not come in time."""
        if place.reading is not None and not place.reading.expired():
            place.reading.reschedule(asyncio.get_running_loop().time())
        self.leave(place)

    def leave(self, place: _Place) -> None:
        """Give a place back with all the bytes that it holds; it may have lost it before."""
        if not place.is_taken:
            return
        place.is_taken = False
        self._reading[place.lane.name].pop(place, None)
        self._taken[place.lane.name] -= 1
        self._bytes[_purse(place)] -= place.bytes
        for counter, key, amount in (
            (self._taken_each, (place.lane.name, place.address), 1),
            (self._bytes_each, (_purse(place), place.address), place.bytes),
        ):
            counter[key] -= amount
            if counter[key] <= 0:
                del counter[key]  # whoever has come once is not remembered
        place.bytes = 0

    async def read(self, place: _Place, scope: Scope, receive: Receive) -> Receive:
        """Read a request's body whole; return what gives it to the application, in one piece.

        Raises TooLarge for the route, Unavailable where it does not come in time or too many bytes are held already
        (RateLimited where by the same address).
        """
        said = dict(scope["headers"]).get(b"content-length", b"")
        if said.isdigit() and int(said) > place.lane.body_bytes:
            raise self._refused(place, "large", _too_large(place.lane))
        self._reading[place.lane.name][place] = None
        try:
            return await self._read(place, receive)
        finally:
            self._reading[place.lane.name].pop(place, None)

    async def _read(self, place: _Place, receive: Receive) -> Receive:
        parts: list[bytes] = []
        begun = asyncio.get_running_loop().time()
        more = True
        while more:
            try:
                async with asyncio.timeout_at(
                    begun + self._body_seconds + place.bytes / BODY_BYTES_PER_SECOND
                ) as reading:
                    place.reading = reading
                    message: Any = await receive()
            except TimeoutError:
                raise self._late(place) from None
            finally:
                place.reading = None
            if not place.is_taken:  # it had to make room just now
                raise self._late(place)
            if message["type"] != "http.request":
                return _once(message, receive)
            part = message.get("body", b"")
            more = message.get("more_body", False)
            self._hold(place, len(part))
            parts.append(part)
        whole = b"".join(parts) if len(parts) != 1 else parts[0]
        return _once({"type": "http.request", "body": whole, "more_body": False}, receive)

    def _late(self, place: _Place) -> MusubiError:
        return self._refused(place, "slow", Unavailable("The request's body did not come in time; send it again."))

    def _hold(self, place: _Place, more: int) -> None:
        purse = _purse(place)
        if place.bytes + more > place.lane.body_bytes:
            raise self._refused(place, "large", _too_large(place.lane))
        most = max(place.lane.own_bytes or BYTES_IN_FLIGHT, place.lane.body_bytes)
        while self._bytes[purse] + more > most and self._make_bytes(place, more):
            pass
        if self._bytes[purse] + more > most:
            error: MusubiError = Unavailable("Too many large requests are being read; try again in a few seconds.")
            raise self._refused(place, "bytes", error)
        if self._bytes_each[purse, place.address] + more > max(most // 2, place.lane.body_bytes):
            raise self._refused(place, "bytes", RateLimited("Too many large requests of yours are being read."))
        place.bytes += more
        self._bytes[purse] += more
        self._bytes_each[purse, place.address] += more

    def _refused(self, place: _Place, why: Turned, error: MusubiError) -> MusubiError:
        self._turned_away(place.lane.name, why)
        return error

    def _said(self, scope: Scope) -> str | None:
        """Return the proxies' header as one list of addresses, or None."""
        wanted = self._header.encode()
        values = [value.decode("latin-1") for name, value in scope["headers"] if name.lower() == wanted]
        if not values:
            return None
        joined = ",".join(values)
        if self._header == "x-forwarded-for":
            return joined
        return ",".join(_forwarded_for(each) for each in joined.split(","))


def _purse(place: _Place) -> str:
    return place.lane.name if place.lane.own_bytes is not None else ""


def _forwarded_for(element: str) -> str:
    """Return the ``for`` of one element of RFC 7239's header; what has none is no address."""
    pairs = (pair.strip().partition("=") for pair in element.split(";"))
    return next((value for name, _, value in pairs if name.strip().lower() == "for"), "")


def _too_large(lane: Lane) -> TooLarge:
    return TooLarge(f"A body here has at most {lane.body_bytes} bytes.")


def _once(message: Any, receive: Callable[[], Awaitable[Any]]) -> Receive:
    """Return what gives ``message`` first, and then whatever else comes, which is the connection's end."""
    waiting = [message]

    async def give() -> Any:
        return waiting.pop() if waiting else await receive()

    return give


ORDINARY = (Lane(name="all", paths=(), places=1_000, places_each=200, body_bytes=16 * 1024 * 1024),)
"""Where a process names no lanes."""

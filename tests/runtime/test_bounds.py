"""Who a request counts for, and what is held at once."""

import asyncio
from typing import Any

import pytest

from ledger.errors import Malformed, RateLimited, TooLarge, Unavailable
from trust.runtime.callers.bounds import Bounds, Lane, ProxyHeader, counted_as, read_networks

PROXIES = read_networks(["10.0.0.0/8", "fd00::/8"])


@pytest.mark.parametrize(
    ("peer", "header", "client"),
    [
        ("203.0.113.9", None, "203.0.113.9"),
        ("203.0.113.9", "198.51.100.1", "203.0.113.9"),  # a stranger's own word
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("10.0.0.1", "192.0.2.7, 198.51.100.1", "198.51.100.1"),  # the first was the client's own word
        ("10.0.0.1", "198.51.100.1, 10.0.0.2", "198.51.100.1"),
        ("10.0.0.1", "198.51.100.1:4711", "198.51.100.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "198.51.100.1, ", "10.0.0.1"),
        ("10.0.0.1", None, "10.0.0.1"),
        ("10.0.0.1", "[2001:db8:1:2:3::4]:80", "2001:db8:1:2::/64"),
        ("2001:db8:1:2::9", None, "2001:db8:1:2::/64"),
        ("2001:db8:1:2:ffff::1", None, "2001:db8:1:2::/64"),
        ("::ffff:203.0.113.9", None, "203.0.113.9"),
        ("::ffff:10.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("", None, "unknown"),
    ],
)
def test_a_request_counts_for_whom_trusted_proxies_name_and_nobody_else_is_believed(
    peer: str, header: str | None, client: str
) -> None:
    assert counted_as(peer, header, PROXIES) == client


@pytest.mark.parametrize(
    ("reads", "headers", "client"),
    [
        ("forwarded", [(b"forwarded", b'for=192.0.2.7;proto=https, FOR="[2001:db8::1]:80"')], "2001:db8::/64"),
        ("forwarded", [(b"x-forwarded-for", b"198.51.100.1")], "10.0.0.1"),
        ("x-forwarded-for", [(b"forwarded", b"for=198.51.100.1")], "10.0.0.1"),
        (
            "x-forwarded-for",
            [(b"x-forwarded-for", b"192.0.2.7"), (b"x-forwarded-for", b"198.51.100.1")],
            "198.51.100.1",
        ),
    ],
)
def test_only_the_header_that_the_proxy_writes_is_read(
    reads: ProxyHeader, headers: list[tuple[bytes, bytes]], client: str
) -> None:
    bounds = Bounds(
        (Lane(name="all", paths=(), places=1, places_each=1, body_bytes=1),), proxies=PROXIES, proxy_header=reads
    )
    scope = scope_of("10.0.0.1", headers=headers)
    bounds.take(scope)
    assert scope["client"][0] == client


def test_what_is_no_network_is_no_trusted_proxy() -> None:
    with pytest.raises(Malformed):
        read_networks(["proxy.example"])


def scope_of(address: str, path: str = "/", headers: list[tuple[bytes, bytes]] | None = None) -> Any:
    return {"type": "http", "client": (address, 1), "path": path, "headers": headers or []}


LANES = (
    Lane(name="own", paths=("/own",), places=2, places_each=1, body_bytes=10, own_bytes=20),
    Lane(name="rest", paths=(), places=3, places_each=2, body_bytes=10),
)


def test_one_address_has_a_part_of_a_lane_and_a_full_lane_leaves_the_others_whole() -> None:
    turned: list[tuple[str, str]] = []
    bounds = Bounds(LANES, turned_away=lambda lane, why: turned.append((lane, why)))
    first, _ = bounds.take(scope_of("192.0.2.1")), bounds.take(scope_of("192.0.2.1"))
    with pytest.raises(RateLimited):
        bounds.take(scope_of("192.0.2.1"))
    bounds.take(scope_of("192.0.2.2"))
    with pytest.raises(Unavailable):
        bounds.take(scope_of("192.0.2.3"))
    bounds.take(scope_of("192.0.2.1", "/own"))
    bounds.leave(first)
    bounds.take(scope_of("192.0.2.3"))
    assert turned == [("rest", "places"), ("rest", "places")]


def bringing(*parts: bytes, stalls: bool) -> tuple[Any, asyncio.Event]:
    """Return what gives a body's parts, the last or not, and what is set once all are given and more is awaited."""
    messages = [{"type": "http.request", "body": part, "more_body": True} for part in parts]
    messages[-1:] = [{**message, "more_body": stalls} for message in messages[-1:]]
    awaited = asyncio.Event()

    async def receive() -> Any:
        if not messages:
            awaited.set()
            await asyncio.Event().wait()
        return messages.pop(0)

    return receive, awaited


def test_in_a_full_lane_whoever_waits_longest_for_its_body_makes_room() -> None:
    async def all_of_it() -> None:
        bounds = Bounds(LANES)
        idle = [scope_of(f"192.0.2.{number}", "/own") for number in (1, 2)]
        reading = []
        for scope in idle:
            receive, awaited = bringing(stalls=True)
            reading.append(asyncio.ensure_future(bounds.read(bounds.take(scope), scope, receive)))
            await awaited.wait()
        place = bounds.take(scope_of("192.0.2.3", "/own"))
        with pytest.raises(Unavailable, match="in time"):
            await reading[0]
        assert not reading[1].done()
        bounds.take(scope_of("192.0.2.4", "/own"))
        with pytest.raises(Unavailable, match="in time"):
            await reading[1]
        with pytest.raises(Unavailable, match="at once"):
            bounds.take(scope_of("192.0.2.5", "/own"))
        bounds.leave(place)
        bounds.take(scope_of("192.0.2.5", "/own"))

    asyncio.run(all_of_it())


def test_where_the_sum_is_full_a_small_body_takes_the_room_of_the_largest_that_is_not_whole() -> None:
    lanes = (Lane(name="own", paths=(), places=9, places_each=9, body_bytes=10, own_bytes=20),)

    async def all_of_it() -> None:
        bounds = Bounds(lanes)
        stalled = []
        for number, size in ((1, 9), (2, 10)):
            scope = scope_of(f"192.0.2.{number}")
            receive, awaited = bringing(bytes(size), stalls=True)
            stalled.append(asyncio.ensure_future(bounds.read(bounds.take(scope), scope, receive)))
            await awaited.wait()
        scope = scope_of("192.0.2.3")
        given = await bounds.read(bounds.take(scope), scope, bringing(b"123", stalls=False)[0])
        message: Any = await given()
        assert message["body"] == b"123"
        with pytest.raises(Unavailable, match="in time"):
            await stalled[1]
        assert not stalled[0].done()
        stalled[0].cancel()

    asyncio.run(all_of_it())


def test_a_body_is_held_whole_within_its_route_and_the_sum_and_given_back() -> None:
    async def read(bounds: Bounds, address: str, *parts: bytes) -> tuple[Any, bytes]:
        scope = scope_of(address, "/own")
        place = bounds.take(scope)
        messages = [{"type": "http.request", "body": each, "more_body": True} for each in parts]
        messages.append({"type": "http.request", "body": b"", "more_body": False})

        async def receive() -> Any:
            return messages.pop(0)

        try:
            given = await bounds.read(place, scope, receive)
        except Exception:
            bounds.leave(place)
            raise
        message: Any = await given()
        return place, message["body"]

    async def all_of_it() -> None:
        bounds = Bounds(LANES)
        one, body = await read(bounds, "192.0.2.1", b"12345", b"67890")
        assert body == b"1234567890"
        with pytest.raises(TooLarge):
            await read(bounds, "192.0.2.2", b"12345", b"678901")
        two, _ = await read(bounds, "192.0.2.2", bytes(10))
        bounds.leave(one)
        bounds.leave(two)
        await read(bounds, "192.0.2.3", bytes(10))

    asyncio.run(all_of_it())

"""What the service's callers may hold at once, by kind of route (``trust.runtime.callers.bounds``).

Nodes, revocations and whoever looks whether the service is well have capacity of their own: strangers who fill all the
rest leave them theirs. A stranger can knock at these routes too; one address has only a part of their places.
"""

from collections.abc import Callable

from litestar.types import ASGIApp, Receive, Scope, Send

from trust.client import paths
from trust.runtime.callers.bounds import Bounds, Lane, Turned, read_networks
from trust.runtime.callers.per_minute import PerMinute
from trust.service import metrics
from trust.service.settings import ServiceSettings

HEALTH = (paths.HEALTH, paths.READY, paths.METRICS)
ENDINGS = (paths.REVOCATIONS, paths.STOPS)
NOT_COUNTED = (paths.LOG, "/static/", paths.NODE, *HEALTH, *ENDINGS)
"""What these paths begin with is outside the limit of requests a minute: stopping is never too often."""
_KIB = 1024


def lanes_of(options: ServiceSettings) -> tuple[Lane, ...]:
    """Return the service's lanes. Places are requests at once, sizes bytes."""
    largest = options.max_body_bytes
    small = min(largest, 1_024 * _KIB)
    return (
        Lane(name="health", paths=HEALTH, places=64, places_each=16, body_bytes=_KIB, own_bytes=64 * _KIB),
        Lane(name="endings", paths=ENDINGS, places=128, places_each=32, body_bytes=small, own_bytes=8_192 * _KIB),
        Lane(
            name="nodes",
            paths=(paths.NODE,),
            places=256,
            places_each=64,
            body_bytes=largest,
            own_bytes=32_768 * _KIB,
        ),
        Lane(name="polls", paths=(paths.ROUNDS,), places=512, places_each=128, body_bytes=_KIB, own_bytes=512 * _KIB),
        Lane(
            name="log", paths=(paths.LOG, "/static/"), places=256, places_each=64, body_bytes=_KIB, own_bytes=256 * _KIB
        ),
        Lane(name="large", paths=(paths.GRANTS, paths.ENROLMENTS), places=256, places_each=64, body_bytes=largest),
        Lane(name="others", paths=(), places=512, places_each=128, body_bytes=small),
    )


def bounds_of(options: ServiceSettings) -> Bounds:
    """Return what the service's callers may hold. Raises Malformed for a trusted proxy that is no network."""
    return Bounds(
        lanes_of(options),
        proxies=read_networks(options.trusted_proxies),
        proxy_header=options.proxy_header,
        turned_away=_count,
    )


def limit_addresses(most: int) -> Callable[[ASGIApp], ASGIApp]:
    """Return what lets so many requests a minute of one address through to the application, and refuses the others.

    The framework's own limit keeps the time of each request and reads them all for the next one, and it never forgets
    an address.
    """
    addresses = PerMinute(most)

    def around(app: ASGIApp) -> ASGIApp:
        async def limited(scope: Scope, receive: Receive, send: Send) -> None:
            if str(scope["type"]) == "http" and not scope["path"].startswith(NOT_COUNTED):
                client = scope.get("client")
                addresses.count(client[0] if client else "unknown")
            await app(scope, receive, send)

        return limited

    return around


def _count(lane: str, why: Turned) -> None:
    metrics.turned_away.labels(lane=lane, why=why).inc()

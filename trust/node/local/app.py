"""The local interface of a node as one web application: the door, the holder's page, and links from the holder's site.

It is a process of its own beside the node (``musubi node local``, which ``musubi node`` starts where ``node.toml`` says
so): whatever is sent to it, and however long it looks through a file, the node's own work goes on. It reads the node's
folder and writes only into ``links/``; it has none of the node's signing keys in memory.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import structlog
from litestar import Litestar, Response
from litestar.exceptions import HTTPException
from litestar.types import Scope, Send

from ledger import canonical
from ledger.errors import Malformed, MusubiError, NotFound, Unavailable
from trust.files.sole_process import sole_process
from trust.log.pins import TRUST_FILE, load_trust
from trust.node.local.door import Door, forget_ticket
from trust.node.local.holder_page import render_shut_door
from trust.node.local.linking_routes import LocalRequest, linking_routes
from trust.node.local.local_paths import API
from trust.node.local.look import Looking
from trust.node.local.page_routes import holder_routes
from trust.node.local.site_links import SiteLinks
from trust.node.settings import LOCAL_LOCK, LocalInterface, NodeSettings
from trust.pages.csp import page_policy, security_headers
from trust.pages.translations import choose_language
from trust.runtime.callers.bounds import Bounds, Lane
from trust.runtime.clock import Clock, Ticks, system_clock, system_ticks
from trust.runtime.problems import MEDIA_TYPE, headers_of, kind_of, problem
from trust.runtime.serving import serve

MOST_BYTES = 64 * 1024
HEAD_MILLISECONDS, BODY_SECONDS = 10_000, 3
"""How long the head and the body of a request may take: what comes from this machine comes at once."""
LANES = (
    Lane(name="site", paths=(API,), places=64, places_each=65, body_bytes=MOST_BYTES),
    Lane(name="holder", paths=(), places=32, places_each=33, body_bytes=1_024),
)
"""What the site and the holder's browser may hold at once.

All are this machine, so an address tells nobody apart. None has a number of its own below the lane's, and where a lane
is full, whoever has waited longest there for its own body makes room: another program that holds all places by sending
slowly is let go as soon as the holder or the site comes. The door lets nobody else hold one.
"""
logger = structlog.get_logger()


class LocalApp(Litestar):
    """The application behind its door: what may not come in reaches no route, and learns of none."""

    door: Door

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer a request that may come in; refuse all others alike."""
        if scope["type"] == "http":
            try:
                self.door.check(scope)
            except MusubiError as error:
                await _send_refusal(scope, error, send)
                return
        await super().__call__(scope, receive, send)


def create_local_app(
    folder: Path,
    settings: NodeSettings,
    local: LocalInterface,
    clock: Clock = system_clock,
    ticks: Ticks = system_ticks,
) -> LocalApp:
    """Return the application for a node's folder. Raises what the node's own keys and pins do where they lack."""
    door = Door(folder, local, clock, ticks)
    looking = Looking(folder, settings, clock)
    links = SiteLinks(folder, settings.alias, clock)
    town = load_trust(folder / TRUST_FILE).origin
    app = LocalApp(
        route_handlers=[*linking_routes(links), holder_routes(door, looking, settings.alias, town)],
        lifespan=[partial(_alone, folder, looking)],
        exception_handlers={MusubiError: _problem, HTTPException: _framework_problem, Exception: _fault},
        request_max_body_size=MOST_BYTES,
        openapi_config=None,
        logging_config=None,
        debug=False,
    )
    app.door = door
    return app


@asynccontextmanager
async def _alone(folder: Path, looking: Looking, app: Litestar) -> AsyncIterator[None]:
    """Be the one local interface of the folder, which begins once its port was seen to be free.

    By the lock ``musubi node page`` knows that nobody else stands at the port; the folder for looks is one, too.
    """
    try:
        with sole_process(folder / LOCAL_LOCK, "local interface", "Two would take each other's tickets and files."):
            forget_ticket(folder)
            looking.open()
            try:
                yield
            finally:
                looking.close()
    except Unavailable as error:
        app.state.failed = error  # for whoever started the process (``trust.runtime.serving``)
        raise


def run_local(app: LocalApp, local: LocalInterface) -> None:
    """Serve it on this machine until SIGTERM or SIGINT.

    Raises Unavailable where the port is taken, or another one is at work in the folder.
    """
    bounds = Bounds(LANES, body_seconds=BODY_SECONDS)
    serve(app, local.host, local.port, bounds, head_milliseconds=HEAD_MILLISECONDS)


async def _send_refusal(scope: Scope, error: MusubiError, send: Send) -> None:
    """Answer in the form of the part that was asked for."""
    status = kind_of(error).status
    headers = headers_of(status) | security_headers(page_policy())
    if scope["path"].startswith(API):
        body, media_type = canonical.encode(problem(error)), MEDIA_TYPE
    else:
        said = dict(scope["headers"]).get(b"accept-language", b"").decode("latin-1")
        body, media_type = render_shut_door(choose_language(None, None, said)).encode(), "text/html; charset=utf-8"
    headers |= {"Content-Type": media_type, "Content-Length": str(len(body))}
    sent = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    await send({"type": "http.response.start", "status": status, "headers": sent})
    await send({"type": "http.response.body", "body": body, "more_body": False})


def _problem(_: LocalRequest, error: MusubiError) -> Response[bytes]:
    status = kind_of(error).status
    return Response(
        canonical.encode(problem(error)), status_code=status, media_type=MEDIA_TYPE, headers=headers_of(status)
    )


def _framework_problem(request: LocalRequest, error: HTTPException) -> Response[bytes]:
    """Answer the framework's own refusals: there is no such path, or the request is not in its form."""
    if error.status_code in {404, 405}:
        return _problem(request, NotFound("There is nothing at this address."))
    return _problem(request, Malformed("The request is not in its form."))


def _fault(_: LocalRequest, error: Exception) -> Response[bytes]:
    """Answer a fault of our own without saying anything about it; the log names its kind and nothing of its data."""
    logger.error("fault", kind=type(error).__name__)
    said = {
        "title": "Fault",
        "status": 500,
        "detail": "Something in the node's local interface failed.",
        "code": "fault",
    }
    return Response(canonical.encode(said), status_code=500, media_type=MEDIA_TYPE, headers=headers_of(500))

"""The holder's page over HTTP: coming in with a ticket, looking at it, having files looked through, leaving.

The page needs no script and has none. Nothing of it may be kept by a cache or a browser (``no-store``).
"""

import asyncio

from litestar import Response, Router, get, post
from litestar.datastructures import Cookie

from trust.node.local.door import SESSION_SECONDS, Door
from trust.node.local.holder_page import HolderPage, render_holder_page
from trust.node.local.linking_routes import LocalRequest
from trust.node.local.local_paths import ENTER, LEAVE, LOOK, PAGE
from trust.node.local.look import Looking
from trust.pages.csp import page_policy, security_headers
from trust.pages.shared_routes import in_language, static_routes

NOT_KEPT = {"Cache-Control": "no-store"}
PAGE_HEADERS = {**security_headers(page_policy()), "Referrer-Policy": "same-origin"}
"""By ``no-referrer`` a browser sends the page's own forms with ``Origin: null``, which the door refuses."""


def holder_routes(door: Door, looking: Looking, holder: str, town: str) -> Router:
    """Return the routes of the page. Who may call them is the door's to say."""

    @get(ENTER)
    async def enter(request: LocalRequest) -> Response[bytes]:
        """Take a ticket in exchange for a cookie, and go to the page: the address there has no secret in it."""
        cookie = door.enter(request.query_params.get("ticket", ""))  # not on a thread: two could take it at once
        response = _to_page()
        response.set_cookie(
            Cookie(key=door.cookie, value=cookie, path="/", max_age=SESSION_SECONDS, httponly=True, samesite="strict")
        )
        return response

    @get(PAGE)
    async def page(request: LocalRequest) -> Response[str]:
        """Show the page."""
        shown = HolderPage(
            holder=holder,
            town=town,
            zone=looking.zone,
            looked=looking.last,
            since=looking.since,
            record=await asyncio.to_thread(looking.record),
        )
        response = in_language(request, lambda language: render_holder_page(shown, language))
        response.headers |= NOT_KEPT
        return response

    @post(LOOK)
    async def look() -> Response[bytes]:
        """Begin to look through the files; the page says when that is done."""
        looking.begin()
        return _to_page()

    @post(LEAVE)
    async def leave(request: LocalRequest) -> Response[bytes]:
        """Have the browser's cookie be good no longer."""
        door.leave(request.cookies.get(door.cookie, ""))
        return _to_page()

    return Router(
        path="/",
        route_handlers=[enter, page, look, leave, *static_routes()],
        response_headers=PAGE_HEADERS,
    )


def _to_page() -> Response[bytes]:
    return Response(b"", status_code=303, headers={**NOT_KEPT, "Location": PAGE})

"""The pages over HTTP. Handlers only translate: they choose the language, ask for the page's model, and answer.

Pages carry no script and no style of their own, and say so in their Content-Security-Policy (CSP level 3). The one
exception is the page that checks receipts on its reader's device (``verify_page``): its policy names its script and style by
hash, and allows no connection. Choosing a language is an ordinary link, ``/?lang=en``, which also sets the cookie ``lang``:
a language tag and nothing else.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar import Request, Response, Router, get
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler

from trust.pages.cards import TownPage
from trust.pages.interface import list_operations
from trust.pages.languages import LANGUAGES, choose_language, load_language
from trust.pages.render import STATIC_FILES, render_interface, render_town, static_tag
from trust.pages.verify_page import FILE_NAME, VERIFY_PAGE, VERIFY_POLICY, VERIFY_SHA256

PageRequest = Request[Any, Any, Any]
LANGUAGE_COOKIE = "lang"
YEAR = 366 * 86_400

SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'none'; style-src 'self'; img-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=(), payment=(), usb=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
"""Sent with every page and static file here."""

MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def page_routes(gather: Callable[[], Awaitable[TownPage]]) -> Router:
    """Return the routes of the public page and of its static files; ``gather`` is awaited for each view of ``/``."""
    for language in LANGUAGES:
        load_language(language)

    @get("/")
    async def town(request: PageRequest) -> Response[str]:
        """Show the town's public page in the reader's language."""
        page = await gather()
        return _in_language(request, lambda language: render_town(page, language))

    @get("/interface", sync_to_thread=False)
    def interface(request: PageRequest) -> Response[str]:
        """Show the HTTP interface (OpenAPI) as a page."""
        operations = list_operations(request.app.openapi_schema.to_schema())
        return _in_language(request, lambda language: render_interface(operations, language))

    return Router(
        path="/",
        route_handlers=[town, interface, _verify, _verify_file, *(_static_route(name) for name in STATIC_FILES)],
        response_headers=SECURITY_HEADERS,
        include_in_schema=False,
    )


VERIFY_TAG = f'"{VERIFY_SHA256}"'
VERIFY_HEADERS = {
    "Content-Security-Policy": f"{VERIFY_POLICY}; frame-ancestors 'none'",
    "Cache-Control": "no-cache",
    "ETag": VERIFY_TAG,
}


def _send_verify(request: PageRequest, headers: dict[str, str]) -> Response[bytes]:
    if request.headers.get("If-None-Match") == VERIFY_TAG:
        return Response(b"", status_code=304, headers=headers, media_type="text/html")
    return Response(VERIFY_PAGE, headers=headers, media_type="text/html")


@get("/verify", sync_to_thread=False)
def _verify(request: PageRequest) -> Response[bytes]:
    """Show the page that checks receipts, on its reader's own device."""
    return _send_verify(request, VERIFY_HEADERS)


@get(f"/verify/{FILE_NAME}", sync_to_thread=False)
def _verify_file(request: PageRequest) -> Response[bytes]:
    """Give the same page to save."""
    return _send_verify(request, VERIFY_HEADERS | {"Content-Disposition": f'attachment; filename="{FILE_NAME}"'})


def _in_language(request: PageRequest, render: Callable[[str], str]) -> Response[str]:
    """Answer with a page in the reader's language, and keep the language if it was chosen just now."""
    lang = request.query_params.get("lang")
    language = choose_language(lang, request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language"))
    headers = {
        "Content-Language": language,
        "Vary": "Accept-Language, Cookie",
        "Cache-Control": "private, no-cache",
    }
    response = Response(render(language), media_type="text/html", headers=headers)
    if lang in LANGUAGES:
        response.set_cookie(
            Cookie(key=LANGUAGE_COOKIE, value=language, path="/", max_age=YEAR, samesite="lax", httponly=True)
        )
    return response


def _static_route(name: str) -> HTTPRouteHandler:
    """Return the route of one static file, from memory: a path that is not a file's name reaches nothing."""
    tag = f'"{static_tag(name)}"'
    headers = {"Cache-Control": "public, max-age=86400", "ETag": tag}
    media_type = MEDIA_TYPES[name[name.rindex(".") :]]

    @get(f"/static/{name}", name=f"static:{name}", sync_to_thread=False)
    def static_file(request: PageRequest) -> Response[bytes]:
        """Send the file, or say that the reader has it already."""
        if request.headers.get("If-None-Match") == tag:
            return Response(b"", status_code=304, headers=headers, media_type=media_type)
        return Response(STATIC_FILES[name], headers=headers, media_type=media_type)

    return static_file

"""What every process with pages serves alike: pages in the reader's language, static files, and the two shared pages.

Choosing a language is an ordinary link, ``?lang=en``, which also sets the cookie ``lang``: a language tag and nothing
else. A process puts its own handlers beside these::

    @get("/")
    async def front(request: PageRequest) -> Response[str]:
        return in_language(request, lambda language: TEMPLATES.render("front.html", load_language(language)))

    pages = Router("/", route_handlers=[front, *static_routes()], response_headers=security_headers(page_policy()))
"""

from collections.abc import Callable
from typing import Any

from litestar import Request, Response, get
from litestar.datastructures import Cookie
from litestar.handlers import HTTPRouteHandler

from policies.languages import PAGE_LANGUAGES
from trust.pages.csp import NO_FRAMES
from trust.pages.interface import list_operations
from trust.pages.render import render_interface
from trust.pages.static_files import STATIC_FILES, static_tag
from trust.pages.translations import choose_language
from trust.pages.verify.page import FILE_NAME, verify_page

PageRequest = Request[Any, Any, Any]
LANGUAGE_COOKIE = "lang"
YEAR = 366 * 86_400
MEDIA_TYPES = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}


def in_language(request: PageRequest, render: Callable[[str], str]) -> Response[str]:
    """Answer with a page in the reader's language, and keep the language if it was chosen just now."""
    lang = request.query_params.get("lang")
    language = choose_language(lang, request.cookies.get(LANGUAGE_COOKIE), request.headers.get("Accept-Language"))
    headers = {
        "Content-Language": language,
        "Vary": "Accept-Language, Cookie",
        "Cache-Control": "private, no-cache",
    }
    response = Response(render(language), media_type="text/html", headers=headers)
    if lang in PAGE_LANGUAGES:
        response.set_cookie(
            Cookie(key=LANGUAGE_COOKIE, value=language, path="/", max_age=YEAR, samesite="lax", httponly=True)
        )
    return response


def static_routes() -> list[HTTPRouteHandler]:
    """Return a route for each static file, from memory: a path that is not a file's name reaches nothing."""
    return [_static_route(name) for name in STATIC_FILES]


def _static_route(name: str) -> HTTPRouteHandler:
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


@get("/interface", sync_to_thread=False)
def interface_route(request: PageRequest) -> Response[str]:
    """Show the process's HTTP interface (OpenAPI) as a page."""
    rendered: dict[str, str] = request.app.state.setdefault("interface", {})  # it is the same as long as we run

    def show(language: str) -> str:
        if language not in rendered:
            rendered[language] = render_interface(list_operations(request.app.openapi_schema.to_schema()), language)
        return rendered[language]

    return in_language(request, show)


def _send_verify(request: PageRequest, **headers: str) -> Response[bytes]:
    page = verify_page()
    headers |= {
        "Content-Security-Policy": f"{page.policy}; {NO_FRAMES}",
        "Cache-Control": "no-cache",
        "ETag": f'"{page.sha256}"',
    }
    if request.headers.get("If-None-Match") == headers["ETag"]:
        return Response(b"", status_code=304, headers=headers, media_type="text/html")
    return Response(page.html, headers=headers, media_type="text/html")


@get("/verify", sync_to_thread=True)
def verify_route(request: PageRequest) -> Response[bytes]:
    """Show the page that checks receipts, on its reader's own device."""
    return _send_verify(request)


@get(f"/verify/{FILE_NAME}", sync_to_thread=True)
def verify_file_route(request: PageRequest) -> Response[bytes]:
    """Give the same page to save."""
    return _send_verify(request, **{"Content-Disposition": f'attachment; filename="{FILE_NAME}"'})

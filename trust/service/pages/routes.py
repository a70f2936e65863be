"""The service's pages over HTTP. Handlers only translate: they ask for the page's model, and answer in its language.

Pages carry no script and no style of their own, and say so in their Content-Security-Policy; the one exception is the
page that checks receipts on its reader's device, whose policy names its script and style by hash (``trust.pages.csp``).
"""

from collections.abc import Awaitable, Callable

from litestar import Response, Router, get

from policies.languages import PAGE_LANGUAGES
from trust.pages.csp import page_policy, security_headers
from trust.pages.shared_routes import (
    PageRequest,
    in_language,
    interface_route,
    static_routes,
    verify_file_route,
    verify_route,
)
from trust.pages.translations import load_language
from trust.service.pages.town.model import TownPage
from trust.service.pages.town.render import render_town


def page_routes(gather: Callable[[], Awaitable[TownPage]]) -> Router:
    """Return the routes of the public page and of its static files; ``gather`` is awaited for each view of ``/``.

    What it gives is rendered anew only where it is another object.
    """
    for language in PAGE_LANGUAGES:
        load_language(language)
    shown: dict[str, tuple[TownPage, str]] = {}
    """The page as last shown in each language, with the model that it shows."""

    @get("/")
    async def town(request: PageRequest) -> Response[str]:
        """Show the town's public page in the reader's language."""
        page = await gather()

        def show(language: str) -> str:
            if language not in shown or shown[language][0] is not page:
                shown[language] = (page, render_town(page, language))
            return shown[language][1]

        return in_language(request, show)

    return Router(
        path="/",
        route_handlers=[town, interface_route, verify_route, verify_file_route, *static_routes()],
        response_headers=security_headers(page_policy()),
        include_in_schema=False,
    )

"""OPTIONS says every method that a path takes (RFC 9110, sections 9.3.7 and 10.2.1).

Litestar 2.25 makes the handler of OPTIONS with the first handler of a path and keeps it when others are added, so where
GET and POST are two handlers its ``Allow`` names one of them.
"""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from litestar import HttpMethod, Response, route
from litestar.handlers import HTTPRouteHandler


def allowed_methods(handlers: Sequence[HTTPRouteHandler]) -> list[Any]:
    """Return a handler of OPTIONS for each path that these take."""
    by_path: dict[str, set[str]] = defaultdict(lambda: {HttpMethod.OPTIONS.value})
    for handler in handlers:
        for path in handler.paths:
            by_path[path] |= {str(method) for method in handler.http_methods}
    return [_options(path, sorted(methods)) for path, methods in by_path.items()]


def _options(path: str, methods: list[str]) -> Any:
    @route(path, http_method=HttpMethod.OPTIONS, include_in_schema=False, status_code=204, sync_to_thread=False)
    def options() -> Response[None]:
        return Response(None, status_code=204, headers={"Allow": ", ".join(methods)})

    return options

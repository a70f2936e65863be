"""A process with one page of its own, built on what every process with pages shares; run it to see that it works.

It is started alone, with the folder of its templates, and prints what ``test_shared_pages`` asks about.
"""

import json
import sys
from pathlib import Path

from litestar import Litestar, Response, Router, get
from litestar.testing import TestClient

from policies.languages import PAGE_LANGUAGES
from trust.pages.csp import page_policy, security_headers
from trust.pages.render import Templates
from trust.pages.shared_routes import (
    PageRequest,
    in_language,
    interface_route,
    static_routes,
    verify_file_route,
    verify_route,
)
from trust.pages.translations import load_language

TEMPLATES = Templates(Path(sys.argv[1]))


@get("/", sync_to_thread=False)
def desk(request: PageRequest) -> Response[str]:
    """Show the desk's only page."""
    return in_language(
        request,
        lambda language: TEMPLATES.render("desk.html", load_language(language), open_until=1_795_338_120),
    )


pages = Router(
    "/",
    route_handlers=[desk, interface_route, verify_route, verify_file_route, *static_routes()],
    response_headers=security_headers(page_policy(script="'self'")),
)

if __name__ == "__main__":
    with TestClient(Litestar([pages])) as client:
        shown = {}
        for tag in PAGE_LANGUAGES:
            answer = client.get("/", params={"lang": tag})
            shown[tag] = {"headers": dict(answer.headers), "text": answer.text}
        codes = {path: client.get(path).status_code for path in ("/interface", "/verify", "/static/style.css")}
    print(json.dumps({"shown": shown, "codes": codes, "modules": sorted(sys.modules)}))  # noqa: T201

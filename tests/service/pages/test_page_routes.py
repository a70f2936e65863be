"""Over HTTP the page comes with strict headers, in the reader's language, and never reaches another file."""

from collections.abc import Iterator

import pytest
from litestar import Litestar
from litestar.testing import TestClient

from tests.service.pages.town_sample import sample_town
from trust.service.pages.routes import page_routes
from trust.service.pages.town.model import TownPage


async def _gather() -> TownPage:
    return sample_town()


@pytest.fixture
def client() -> Iterator[TestClient[Litestar]]:
    with TestClient(Litestar([page_routes(_gather)])) as client:
        yield client


def test_page_and_static_files_forbid_script_and_everything_from_elsewhere(client: TestClient[Litestar]) -> None:
    for path in ("/", "/static/style.css", "/static/musubi.svg"):
        headers = client.get(path).headers
        policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
        assert policy == {
            "default-src": "'none'",
            "script-src": "'none'",
            "style-src": "'self'",
            "img-src": "'self'",
            "base-uri": "'none'",
            "form-action": "'self'",
            "frame-ancestors": "'none'",
        }
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        assert "geolocation=()" in headers["permissions-policy"]


def test_the_page_is_html_in_the_browsers_language_and_says_what_it_varies_on(client: TestClient[Litestar]) -> None:
    answer = client.get("/", headers={"Accept-Language": "en-US,en;q=0.8"})
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert answer.headers["content-language"] == "en"
    assert {name.strip() for name in answer.headers["vary"].split(",")} == {"Accept-Language", "Cookie"}
    assert answer.headers["cache-control"] == "private, no-cache"
    assert "set-cookie" not in answer.headers
    assert '<html lang="en" dir="ltr">' in answer.text
    assert '<html lang="ja" dir="ltr">' in client.get("/").text


def test_the_language_link_works_without_script_and_is_remembered(client: TestClient[Litestar]) -> None:
    answer = client.get("/?lang=en", headers={"Accept-Language": "ja"})
    cookie = answer.headers["set-cookie"].lower()
    assert cookie.startswith("lang=en;")
    assert "samesite=lax" in cookie
    assert "httponly" in cookie
    assert '<html lang="en" dir="ltr">' in answer.text
    assert '<html lang="en" dir="ltr">' in client.get("/", headers={"Accept-Language": "ja"}).text
    assert '<html lang="ja" dir="ltr">' in client.get("/?lang=ja").text
    assert '<html lang="ja" dir="ltr">' in client.get("/", headers={"Accept-Language": "en"}).text


def test_a_language_that_is_not_ours_changes_nothing_and_sets_nothing(client: TestClient[Litestar]) -> None:
    answer = client.get("/", params={"lang": "en\r\nX: y" + "z" * 5000}, headers={"Accept-Language": "en"})
    assert answer.status_code == 200
    assert "set-cookie" not in answer.headers
    assert '<html lang="en" dir="ltr">' in answer.text


def test_a_static_file_is_cached_by_its_content(client: TestClient[Litestar]) -> None:
    first = client.get("/static/style.css")
    assert first.headers["content-type"] == "text/css; charset=utf-8"
    assert first.headers["cache-control"] == "public, max-age=86400"
    again = client.get("/static/style.css", headers={"If-None-Match": first.headers["etag"]})
    assert again.status_code == 304
    assert again.content == b""
    assert f"/static/style.css?v={first.headers['etag'].strip(chr(34))}" in client.get("/").text


@pytest.mark.parametrize(
    "path",
    ["/static/", "/static/nothing.css", "/static/../render.py", "/static/%2e%2e/render.py", "/static/..%2frender.py"],
)
def test_no_other_file_can_be_reached(client: TestClient[Litestar], path: str) -> None:
    assert client.get(path).status_code == 404

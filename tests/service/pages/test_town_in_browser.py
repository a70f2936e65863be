"""In a real Chromium the page has no accessibility fault, at every width, in both languages, light and dark."""

from collections.abc import Callable, Iterator
from itertools import product
from urllib.parse import urlsplit

import pytest
from litestar import Litestar, get
from litestar.testing import TestClient
from playwright.sync_api import Browser, Page, Route

from policies.languages import BY_TAG, PAGE_LANGUAGES
from tests.kit.machine.chromium import new_context, violations
from tests.service.pages.town_sample import empty_town, sample_town
from trust.service.pages.routes import page_routes
from trust.service.pages.town.model import TownPage

TOWN = "http://localhost:8000"
UNFOLD = "document.querySelectorAll('details').forEach(part => part.open = true)"

Opener = Callable[..., Page]
pytestmark = pytest.mark.slow  # each test opens the page in a browser


@get("/v1/example", sync_to_thread=False)
def example() -> str:
    """Give an example of an operation."""
    return "example"


@pytest.fixture
def open_town(browser: Browser) -> Iterator[Opener]:
    """Open the town page in a fresh browser context whose every request the app answers; nothing else is reached.

    Whatever the browser complains of (a refused style or script, a missing file) fails the test.
    """
    contexts = []
    complaints: list[str] = []

    def open_(
        width: int,
        *,
        language: str = "ja",
        scheme: str = "light",
        town: Callable[[], TownPage] = sample_town,
        path: str = "/",
    ) -> Page:
        async def gather() -> TownPage:
            return town()

        client = TestClient(Litestar([page_routes(gather), example]))

        def answer(route: Route) -> None:
            assert route.request.url.startswith(TOWN + "/")
            path = route.request.url.removeprefix(TOWN)
            sent = client.get(path, headers=route.request.all_headers())
            client.cookies.clear()
            if sent.status_code >= 400:
                complaints.append(f"{path}: {sent.status_code}")
            route.fulfill(status=sent.status_code, headers=dict(sent.headers), body=sent.content)

        context = new_context(
            browser,
            viewport={"width": width, "height": 1000},
            color_scheme="dark" if scheme == "dark" else "light",
            locale=BY_TAG[language].formats.replace("_", "-"),
        )
        contexts.append(context)
        context.route("**/*", answer)
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.goto(TOWN + path)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []


SIGHTS = list(product((320, 768, 1280), PAGE_LANGUAGES, ("light", "dark")))
SOON = {(320, "ja", "light"), (768, "en", "light"), (1280, "ja", "dark"), (320, "en", "dark")}
"""Each width, each language in each scheme; all of them together take minutes."""


@pytest.mark.parametrize(
    ("width", "language", "scheme"),
    [pytest.param(*sight, marks=() if sight in SOON else pytest.mark.long) for sight in SIGHTS],
)
def test_axe_finds_no_fault_at_any_width_folded_or_open(
    open_town: Opener, width: int, language: str, scheme: str
) -> None:
    page = open_town(width, language=language, scheme=scheme)
    assert page.locator("html").get_attribute("lang") == language
    if width != 768:
        page.evaluate(UNFOLD)
    assert violations(page) == []


def test_every_width_and_every_language_in_every_scheme_is_looked_at_soon() -> None:
    assert set(SIGHTS) > SOON
    assert {width for width, _, _ in SOON} == {width for width, _, _ in SIGHTS}
    assert {sight[1:] for sight in SOON} == {sight[1:] for sight in SIGHTS}


@pytest.mark.parametrize("language", PAGE_LANGUAGES)
def test_axe_finds_no_fault_in_a_town_where_nothing_happened_yet(open_town: Opener, language: str) -> None:
    assert violations(open_town(768, language=language, town=empty_town)) == []


@pytest.mark.parametrize("language", PAGE_LANGUAGES)
def test_axe_finds_no_fault_in_the_page_of_the_interface(open_town: Opener, language: str) -> None:
    page = open_town(320, language=language, path="/interface")
    assert page.locator("tbody tr").count() >= 1
    assert violations(page) == []


def test_axe_would_find_a_fault(open_town: Opener) -> None:
    page = open_town(768)
    page.evaluate("document.documentElement.removeAttribute('lang')")
    assert any(fault.startswith("html-has-lang") for fault in violations(page))


@pytest.mark.parametrize("language", PAGE_LANGUAGES)
@pytest.mark.parametrize("width", [320, 768, 1280])
def test_nothing_makes_the_page_scroll_sideways_and_the_type_is_large(
    open_town: Opener, language: str, width: int
) -> None:
    page = open_town(width, language=language)
    page.evaluate(UNFOLD)
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.evaluate("parseFloat(getComputedStyle(document.documentElement).fontSize)") >= 18
    smallest = page.evaluate(
        "Math.min(...[...document.querySelectorAll('main *, header *, footer *')].map(e => parseFloat(getComputedStyle(e).fontSize)))"
    )
    assert smallest >= 16


@pytest.mark.parametrize("width", [320, 768])
def test_every_word_of_every_chart_stays_inside_its_chart_and_off_its_neighbours(open_town: Opener, width: int) -> None:
    page = open_town(width)
    page.evaluate(UNFOLD)
    faults = page.evaluate(
        """() => [...document.querySelectorAll('svg.chart')].flatMap(chart => {
            const edge = chart.getBoundingClientRect();
            const boxes = [...chart.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
            const outside = boxes.filter(([, b]) => b.left < edge.left - 1 || b.right > edge.right + 1).map(([t]) => 'outside: ' + t);
            const touching = boxes.flatMap(([t, a], i) => boxes.slice(i + 1)
                .filter(([, b]) => a.left < b.right - 1 && b.left < a.right - 1 && a.top < b.top + 1 && b.top < a.top + 1)
                .map(([u]) => t + ' touches ' + u));
            return [...outside, ...touching];
        })"""
    )
    assert faults == []
    assert page.locator("svg.chart").count() == 9


def test_the_language_switch_works_by_keyboard_with_script_off_and_is_remembered(open_town: Opener) -> None:
    page = open_town(768)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.getAttribute('href')") == "#main"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?lang=en")
    assert page.locator("html").get_attribute("lang") == "en"
    page.goto(TOWN + "/")
    assert page.locator("html").get_attribute("lang") == "en"
    assert urlsplit(page.url).query == ""


def test_targets_are_large_enough_for_a_finger(open_town: Opener) -> None:
    page = open_town(320)
    heights = page.evaluate(
        "[...document.querySelectorAll('nav a, summary')].map(e => e.getBoundingClientRect().height)"
    )
    assert min(heights) >= 44

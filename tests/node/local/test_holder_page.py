"""The holder's page in a browser: what node check shows, by keyboard, at every size, and nowhere but there."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from msgspec.structs import replace
from playwright.sync_api import Browser, Page

from ledger import entries as e
from tests.kit.machine.chromium import launch, new_context, violations
from tests.kit.towns.town_of_two import TownOfTwo, town_of_two
from tests.kit.waiting import until
from tests.node.local.conftest import Interface, interface_of
from trust.cli import main
from trust.node.check.own_record import look_up_questions, read_own_books
from trust.node.settings import load_node_settings
from trust.pages.cards import QuestionCard

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path_factory.mktemp("town") / "pair") as made:
        made.end_of(made.ask())
        yield made


@pytest.fixture(scope="module")
def interface(town: TownOfTwo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interface]:
    with interface_of(town.layout.node(town.holders[0]), tmp_path_factory.mktemp("log") / "log") as made:
        yield made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from launch()


def look(page: Page, button: str) -> None:
    """Have the files looked through, by keyboard, and wait until that is done."""
    page.get_by_role("button", name=button).focus()
    with page.expect_navigation():
        page.keyboard.press("Enter")

    def is_done() -> bool:
        page.goto(page.url.partition("#")[0])
        return page.locator(".status-running").count() == 0

    until(is_done)


SIZES = {"wide": 1280, "at 200% zoom": 640, "narrow": 320}


@pytest.mark.parametrize("width", SIZES.values(), ids=SIZES.keys())
@pytest.mark.parametrize(
    ("locale", "button", "linked", "answered"),
    [
        ("ja-JP", "今ファイルを調べる", "つながっている会員", "答えが出ました"),
        ("en-GB", "Look through the files now", "Linked customers", "Answered"),
    ],
)
def test_the_holder_sees_its_files_questions_and_books(
    interface: Interface,
    browser: Browser,
    width: int,
    locale: str,
    button: str,
    linked: str,
    answered: str,
    tmp_path: Path,
) -> None:
    with new_context(browser, locale=locale, viewport={"width": width, "height": 800}) as context:
        page = context.new_page()
        page.goto(interface.link())
        assert page.url == f"{interface.url}/"  # no ticket in it
        look(page, button)
        said = page.locator("main").inner_text()
        assert linked in said
        assert answered in said
        assert "data/" in said
        for bound in ("1", "2", "5", "10", "20"):
            assert page.get_by_role("rowheader", name=bound).count() > 0
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.screenshot(path=tmp_path / "page.png", full_page=True)
        assert context.request.get(f"{interface.url}/").headers["cache-control"] == "no-store"


def test_the_page_has_no_script_and_loads_nothing_from_elsewhere(interface: Interface, browser: Browser) -> None:
    with new_context(browser, java_script_enabled=False) as context:
        page = context.new_page()
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        page.goto(interface.link())
        assert page.locator("script").count() == 0
        assert page.locator("h1").count() == 1
        assert all(url.startswith(interface.url) for url in asked)
        policy = context.request.get(f"{interface.url}/").headers["content-security-policy"]
        assert "script-src 'none'" in policy
        assert "default-src 'none'" in policy


def test_who_has_no_link_sees_how_to_get_one_and_nothing_of_the_node(interface: Interface, browser: Browser) -> None:
    for locale, words in (("ja-JP", "データをお持ちの方"), ("en-GB", "holder of the data")):
        with new_context(browser, locale=locale) as context:
            page = context.new_page()
            answer = page.goto(interface.url)
            assert answer is not None
            assert answer.status == 403
            assert words in page.locator("h1").inner_text()
            assert "musubi node page" in page.inner_text("body")
            assert interface.folder.name not in page.content()
            assert violations(page) == []


def test_whoever_closes_the_page_has_closed_it(interface: Interface, browser: Browser) -> None:
    with new_context(browser, locale="en-GB") as context:
        page = context.new_page()
        page.goto(interface.link())
        page.get_by_role("button", name="Close this page").click()
        assert "holder of the data" in page.locator("h1").inner_text()


def test_node_check_shows_the_same_and_what_it_took_part_in(interface: Interface, town: TownOfTwo) -> None:
    node = ["node", "check", "--dir", str(interface.folder)]
    found = json.loads(CliRunner().invoke(main, [*node, "--json"]).stdout)
    (question,) = found["questions"]
    assert (question["part"], question["status"], found["unread"], found["shrunk"]) == ("sent", "answered", "", [])
    released = town.client.prove(question["release"]).entry
    assert isinstance(released, e.Release)
    assert released.admit == question["admit"]
    assert len(question["cells"]) > 1
    account, of_source = found["accounts"]
    assert of_source["account"].startswith(f"data/{found['sources'][0]['source']}/")
    assert account["account"].startswith("data/")
    assert account["spent"] > 0
    assert account["left"] == account["cap"] - account["spent"]
    assert found["links"] == found["sources"][0]["linked"] > 0
    said = CliRunner().invoke(main, node).output
    for words in ("customers have linked", account["account"], "sent", " ± "):
        assert words in said


def test_where_the_ledger_cannot_be_read_the_books_are_shown_all_the_same(interface: Interface, tmp_path: Path) -> None:
    settings = load_node_settings(interface.folder)
    cards: dict[int, QuestionCard] = {}
    unread = look_up_questions(interface.folder, replace(settings, service="http://127.0.0.1:1"), cards)
    record = read_own_books(interface.folder, cards, unread)
    assert record.unread.endswith(".")
    assert [question.card for question in record.questions] == [None]
    assert record.accounts[0].spent > 0
    assert read_own_books(tmp_path, {}).questions == []


def test_none_of_its_numbers_is_in_a_log_line(interface: Interface, town: TownOfTwo) -> None:
    logs = interface.log.read_text() + "".join(path.read_text() for path in town.layout.logs.glob("*.log"))
    assert '"rows"' not in logs
    assert "linked_here" not in logs
    assert not (interface.folder / "local.tmp").exists() or not list((interface.folder / "local.tmp").iterdir())

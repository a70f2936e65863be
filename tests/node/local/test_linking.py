"""Linking through a node's local interface and its commands: a real town, a real node, a real resident's device."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner, Result
from playwright.sync_api import Browser, Page

from ledger.errors import ConsentMismatch, Malformed, Replayed, SignatureInvalid
from policies.consents.attestation import make_link
from policies.consents.link_challenge import read_link_challenge
from tests.kit.machine.chromium import launch, new_context, violations
from tests.kit.machine.ports import free_port
from tests.kit.towns.running import refused
from tests.kit.towns.town_of_two import TownOfTwo, town_of_two
from tests.kit.waiting import PATIENCE
from tests.node.local.conftest import Interface, interface_of
from trust.cli import main
from trust.node.local.local_paths import CHALLENGES, LINKS, STATUS

pytestmark = pytest.mark.slow
SITE = Path(__file__).parents[3] / "towns" / "momijidai" / "member_site" / "member_site.py"


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TownOfTwo]:
    with town_of_two(tmp_path_factory.mktemp("town") / "pair") as made:
        yield made


@pytest.fixture(scope="module")
def interface(town: TownOfTwo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Interface]:
    """The local interface of the first holder's node, which runs."""
    with interface_of(town.layout.node(town.holders[0]), tmp_path_factory.mktemp("log") / "log") as made:
        yield made


@pytest.fixture
def device(town: TownOfTwo, tmp_path: Path) -> list[str]:
    """A new resident's place; the words that begin this device's commands."""
    place = tmp_path / "device"
    pins = str(town.layout.folder / "trust.json")
    said = musubi("place", "init", "--url", town.layout.url, "--pins", pins, "--resident", str(place))
    assert said.exit_code == 0, said.output
    return ["resident", "--place", str(place)]


def musubi(*words: str, given: str = "") -> Result:
    return CliRunner().invoke(main, list(words), input=given)


def done(*words: str, given: str = "") -> str:
    said = musubi(*words, given=given)
    assert said.exit_code == 0, said.output
    return said.stdout.strip()


def ask(interface: Interface, path: str, **body: str) -> httpx.Response:
    return httpx.post(interface.url + path, json=body, headers=interface.bearer, timeout=PATIENCE)


def answered(interface: Interface, customer: str, seed: bytes) -> str:
    asked = read_link_challenge(ask(interface, CHALLENGES, customer=customer).json()["challenge"])
    return make_link(seed, asked.holder, asked.challenge, asked.asked_at)


def test_a_site_links_its_customer_with_a_residents_own_device(interface: Interface, device: list[str]) -> None:
    assert ask(interface, STATUS, customer="新-0001").json() == {"linked": False}
    challenge = ask(interface, CHALLENGES, customer="新-0001").json()
    assert challenge["expires_at"] == read_link_challenge(challenge["challenge"]).asked_at + 900
    link = done(*device, "link", challenge["challenge"])
    assert ask(interface, LINKS, customer="新-0001", link=link).json() == {"linked": True}
    assert ask(interface, STATUS, customer="新-0001").json() == {"linked": True}
    assert ask(interface, LINKS, customer="新-0001", link=link).json() == {"linked": True}  # the same again is the same
    assert not list((interface.folder / "links").iterdir())


def test_what_does_not_check_is_refused_with_why_and_links_nobody(interface: Interface) -> None:
    link = answered(interface, "a-1", b"a" * 32)
    refused(ask(interface, LINKS, customer="a-2", link=link), ConsentMismatch.code)
    refused(ask(interface, LINKS, customer="a-1", link="a.b.c"), Malformed.code)
    head, payload, signature = link.split(".")
    refused(
        ask(interface, LINKS, customer="a-1", link=f"{head}.{payload}.{'A' * len(signature)}"), SignatureInvalid.code
    )
    old = read_link_challenge(ask(interface, CHALLENGES, customer="a-1").json()["challenge"])
    refused(
        ask(interface, LINKS, customer="a-1", link=make_link(b"a" * 32, old.holder, old.challenge, 1)),
        ConsentMismatch.code,
    )
    for customer in ("a-1", "a-2"):
        assert ask(interface, STATUS, customer=customer).json() == {"linked": False}
    assert "a-1" not in interface.log.read_text()


def test_a_key_that_is_another_customers_links_nobody_and_the_site_is_told(interface: Interface) -> None:
    assert ask(interface, LINKS, customer="b-1", link=answered(interface, "b-1", b"b" * 32)).json() == {"linked": True}
    refused(ask(interface, LINKS, customer="b-2", link=answered(interface, "b-2", b"b" * 32)), Replayed.code)
    assert ask(interface, STATUS, customer="b-2").json() == {"linked": False}
    assert ask(interface, LINKS, customer="b-1", link=answered(interface, "b-1", b"B" * 32)).json() == {"linked": True}
    refused(ask(interface, LINKS, customer="b-1", link=answered(interface, "b-1", b"b" * 32)), Replayed.code)


def test_the_commands_do_the_same(interface: Interface, device: list[str], tmp_path: Path) -> None:
    node = ("--dir", str(interface.folder))
    challenge = done("node", "link", "challenge", *node, given="c-1\n")
    (tmp_path / "answer.jws").write_text(done(*device, "link", challenge))
    assert done("node", "link", "status", *node, given="c-1\n") == "Not linked."
    assert done("node", "link", "take", str(tmp_path / "answer.jws"), *node, given="c-1\n") == "Linked."
    assert json.loads(done("node", "link", "status", *node, "--json", given="c-1\n")) == {"linked": True}
    other = musubi("node", "link", "take", str(tmp_path / "answer.jws"), *node, given="c-2\n")
    assert (other.exit_code, "c-2" in other.output) == (18, False)


def test_a_challenge_that_is_none_is_refused_by_the_device(device: list[str]) -> None:
    for text in ("", "musubi-link:x", "musubi-link:Bus:1:" + "0" * 64, "musubi-link:bus:01:" + "0" * 64):
        assert musubi(*device, "link", text).exit_code == 10


# The sample member site


@pytest.fixture(scope="module")
def site(interface: Interface) -> Iterator[str]:
    """The sample site, as a process of its own that imports nothing of ours."""
    port = free_port()
    command = [sys.executable, "-I", str(SITE), "--node", interface.url, "--port", str(port)]
    process = subprocess.Popen(
        [*command, "--secret", str(interface.folder / "keys" / "site.key")], cwd="/", stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        yield process.stdout.readline().decode().strip()
    finally:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    yield from launch()


@contextlib.contextmanager
def visit(browser: Browser, url: str, **how: object) -> Iterator[Page]:
    with new_context(browser, **how) as context:
        page = context.new_page()
        page.goto(url)
        yield page


def test_the_sample_site_uses_nothing_but_pythons_own_library() -> None:
    imported = {
        line.split()[1].partition(".")[0]
        for line in SITE.read_text("utf-8").splitlines()
        if line.startswith(("import ", "from "))
    }
    assert imported <= sys.stdlib_module_names


@pytest.mark.parametrize(
    ("locale", "link", "linked"), [("ja-JP", "つなぐ", "つながりました"), ("en-GB", "Link", "You are linked")]
)
def test_a_customer_links_on_the_sample_site_by_keyboard_at_twice_the_size(
    site: str, browser: Browser, device: list[str], locale: str, link: str, linked: str, tmp_path: Path
) -> None:
    """At 200% zoom a window of 1280 pixels shows 640 CSS pixels."""
    with visit(browser, site, locale=locale, viewport={"width": 640, "height": 512}, device_scale_factor=2) as page:
        page.get_by_role("textbox").focus()
        page.keyboard.type(f"site-{locale}")
        page.keyboard.press("Enter")
        button = page.get_by_role("button", name=link, exact=True)
        button.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector("#challenge")
        assert violations(page) == []
        challenge = page.input_value("#challenge")
        page.get_by_role("textbox").last.focus()
        page.keyboard.insert_text(done(*device, "link", challenge))
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        page.wait_for_selector("[role=status]")
        assert page.get_by_role("status").inner_text() == linked
        assert violations(page) == []
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
        page.screenshot(path=tmp_path / "linked.png", full_page=True)


def test_the_sample_site_says_why_an_answer_does_not_hold(site: str, browser: Browser) -> None:
    with visit(browser, site, locale="ja-JP") as page:
        page.get_by_role("textbox").fill("site-wrong")
        page.keyboard.press("Enter")
        page.get_by_role("button", name="つなぐ", exact=True).click()
        page.locator("#link").fill("a.b.c")
        page.get_by_role("button", name="送る").click()
        assert page.get_by_role("alert").inner_text() == "つながりませんでした"

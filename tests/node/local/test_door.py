"""The door of a node's local interface: from this machine, at its own name, from no other site, with the secret."""

import contextlib
import json
import os
import pty
import select
import socket
import stat
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import Malformed, NotPermitted
from tests.kit.machine.forks import start_musubi
from tests.kit.machine.ports import free_port
from tests.kit.parties.lying_service import staged
from tests.kit.waiting import PATIENCE, until
from tests.node.local.conftest import Interface, interface_of
from trust.cli import main
from trust.node.local.door import SESSION_SECONDS, TICKET_SECONDS, Door, leave_ticket
from trust.node.local.local_paths import CHALLENGES, ENTER, LEAVE, LINKS, LOOK, PAGE, STATUS
from trust.node.settings import LocalInterface, check_loopback, load_node_settings
from trust.runtime.clock import system_clock

FORBIDDEN = httpx.codes.FORBIDDEN
EVERYTHING = [
    ("GET", PAGE), ("GET", ENTER), ("GET", f"{ENTER}?ticket=wrong"), ("POST", LOOK), ("POST", LEAVE),
    ("GET", "/static/style.css"), ("GET", "/nothing"), ("POST", CHALLENGES), ("POST", LINKS), ("POST", STATUS),
    ("GET", LINKS), ("PUT", PAGE), ("OPTIONS", CHALLENGES), ("GET", "/v1/nothing"), ("HEAD", PAGE),
]  # fmt: skip
SENT = {CHALLENGES: {"customer": "c001"}, STATUS: {"customer": "c001"}, LINKS: {"customer": "c001", "link": "a.b.c"}}


def same_site(interface: Interface) -> dict[str, str]:
    return {"Origin": interface.url}


@pytest.mark.parametrize(("method", "path"), EVERYTHING)
def test_without_a_secret_everything_is_refused_alike(interface: Interface, method: str, path: str) -> None:
    answer = httpx.request(method, interface.url + path, json=SENT.get(path), headers=same_site(interface))
    assert answer.status_code == FORBIDDEN
    assert answer.headers["cache-control"] == "no-store"
    assert "c00" not in answer.text
    assert interface.folder.name not in answer.text


@pytest.mark.parametrize("said", ["", "Bearer", "Bearer 00", f"Bearer {'0' * 64}", f"Basic {'0' * 64}"])
def test_another_bearer_secret_opens_nothing(interface: Interface, said: str) -> None:
    answer = httpx.post(interface.url + CHALLENGES, json=SENT[CHALLENGES], headers={"Authorization": said})
    assert answer.status_code == FORBIDDEN
    assert answer.json()["code"] == NotPermitted.code


def test_each_secret_opens_its_own_part_and_not_the_others(interface: Interface) -> None:
    assert httpx.post(interface.url + STATUS, json=SENT[STATUS], headers=interface.bearer).json() == {"linked": True}
    assert httpx.get(interface.url + PAGE, headers=interface.bearer).status_code == FORBIDDEN
    with interface.holder() as browser:
        assert browser.get(PAGE).status_code == httpx.codes.OK
        assert browser.post(STATUS, json=SENT[STATUS]).status_code == FORBIDDEN


@pytest.mark.parametrize("path", [f"/{STATUS}", f"/%2F{STATUS[1:]}", STATUS.replace("/links", "//links")])
def test_a_path_that_could_be_told_in_two_ways_is_no_ones_part(interface: Interface, path: str) -> None:
    """A router that takes two strokes for one would find the site's part where the door saw the holder's."""
    with interface.holder() as browser:
        for headers in (same_site(interface), interface.bearer):
            answer = browser.post(interface.url + path, json=SENT[STATUS], headers=headers)
            assert answer.status_code == FORBIDDEN


def test_a_site_whose_secret_was_changed_has_to_show_the_new_one(interface: Interface) -> None:
    path = interface.folder / "keys" / "site.key"
    old, kept = interface.bearer, path.read_bytes()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_bytes(b"11" * 32 + b"\n")
    assert httpx.post(interface.url + STATUS, json=SENT[STATUS], headers=old).status_code == FORBIDDEN
    assert httpx.post(interface.url + STATUS, json=SENT[STATUS], headers=interface.bearer).status_code == httpx.codes.OK
    path.write_bytes(kept)


@pytest.mark.parametrize(
    "host",
    ["musubi.example", "127.0.0.1", "localhost", "127.0.0.1:1", "127.0.0.1.nip.io:{port}", "[::1]:{port}", "0:{port}"],
)
def test_whoever_asks_for_another_name_is_refused_with_every_secret(interface: Interface, host: str) -> None:
    named = {"Host": host.format(port=interface.port)}
    answer = httpx.post(interface.url + STATUS, json=SENT[STATUS], headers=interface.bearer | named)
    assert answer.status_code == FORBIDDEN
    with interface.holder() as browser:
        assert browser.get(PAGE, headers=named).status_code == FORBIDDEN


ELSEWHERE = [
    {"Origin": "https://musubi.example"},
    {"Origin": "null"},
    {"Origin": "http://127.0.0.1:1"},
    {"Sec-Fetch-Site": "cross-site"},
    {"Sec-Fetch-Site": "same-site"},
]


@pytest.mark.parametrize("headers", ELSEWHERE, ids=lambda each: " ".join(map(str, each.items())))
def test_what_another_sites_page_sends_is_refused_with_every_secret(
    interface: Interface, headers: dict[str, str]
) -> None:
    answer = httpx.post(interface.url + STATUS, json=SENT[STATUS], headers=interface.bearer | headers)
    assert answer.status_code == FORBIDDEN
    with interface.holder() as browser:
        assert browser.get(PAGE, headers=headers).status_code == FORBIDDEN
        assert browser.post(LOOK, headers=headers).status_code == FORBIDDEN


def test_a_change_on_the_page_has_to_come_from_the_page(interface: Interface) -> None:
    with interface.holder() as browser:
        assert browser.post(LOOK).status_code == FORBIDDEN
        assert browser.post(LEAVE, headers=same_site(interface)).status_code == httpx.codes.SEE_OTHER
        assert browser.get(PAGE).status_code == FORBIDDEN  # it has left


def test_a_link_is_good_once_and_its_cookie_is_for_this_page_alone(interface: Interface) -> None:
    link = interface.link()
    kept = json.loads((interface.folder / "local.ticket").read_bytes())
    assert stat.S_IMODE((interface.folder / "local.ticket").stat().st_mode) == 0o600
    assert kept["sha256"] not in link
    answer = httpx.get(link)
    assert (answer.status_code, answer.headers["location"]) == (httpx.codes.SEE_OTHER, "/")
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert cookie.startswith(f"musubi_holder_{interface.port}=")
    assert not (interface.folder / "local.ticket").exists()
    assert httpx.get(link).status_code == FORBIDDEN


AHEAD = [
    ("HEAD", {}),
    ("GET", {"Sec-Purpose": "prefetch"}),
    ("GET", {"Sec-Purpose": "prefetch;prerender"}),
    ("GET", {"Purpose": "prefetch"}),
    ("GET", {"X-Purpose": "preview"}),
    ("GET", {"X-Moz": "prefetch"}),
]


@pytest.mark.parametrize(("method", "headers"), AHEAD, ids=str)
def test_what_only_looks_at_a_link_does_not_use_it_up(
    interface: Interface, method: str, headers: dict[str, str]
) -> None:
    link = interface.link()
    looked = httpx.request(method, link, headers=headers)
    assert (looked.status_code, "set-cookie" in looked.headers) == (FORBIDDEN, False)
    assert httpx.get(link).status_code == httpx.codes.SEE_OTHER


def test_no_link_is_printed_where_another_program_could_take_it_and_none_outlives_the_interface(
    tmp_path: Path,
) -> None:
    """While the local interface does not run, anybody on the machine may listen at its port."""
    with staged(people=0, reads=False) as stage:
        with interface_of(stage.folder, tmp_path / "log") as first:
            left = first.link()
            command = ["node", "page", "--dir", str(stage.folder), "--port", str(first.port)]
        said = CliRunner().invoke(main, command)
        assert (said.exit_code, "ticket=" in said.output) == (26, False)
        leave_ticket(stage.folder, system_clock())
        (stage.folder / "keys" / "site.key").unlink()
        with interface_of(stage.folder, tmp_path / "log") as second:
            assert not (stage.folder / "local.ticket").exists()
            at_second = left.replace(f":{first.port}/", f":{second.port}/")
            assert httpx.get(at_second).status_code == FORBIDDEN
            assert httpx.get(second.link()).status_code == httpx.codes.SEE_OTHER


def test_a_second_local_interface_of_a_folder_is_refused(interface: Interface, tmp_path: Path) -> None:
    log = tmp_path / "log"
    words = ["node", "local", "--dir", str(interface.folder), "--port", str(free_port())]
    process = start_musubi(*words, log=log)
    process.join(PATIENCE)
    assert process.exitcode == 26, log.read_text()
    assert "Another local interface is at work" in log.read_text()
    with interface.holder() as browser:
        assert browser.get(PAGE).status_code == httpx.codes.OK


def test_a_newer_link_takes_the_older_ones_place(interface: Interface) -> None:
    older, newer = interface.link(), interface.link()
    assert httpx.get(older).status_code == FORBIDDEN
    assert httpx.get(newer).status_code == httpx.codes.SEE_OTHER


class _Time:
    def __init__(self) -> None:
        self.now = 1_795_338_120

    def __call__(self) -> int:
        return self.now


def test_links_and_cookies_are_good_for_their_time(tmp_path: Path) -> None:
    time = _Time()
    door = Door(tmp_path, LocalInterface(port=1), time, time)
    own, kept = door.new_ticket(), leave_ticket(tmp_path, time())
    time.now += TICKET_SECONDS + 1
    for late in (own, kept):
        with pytest.raises(NotPermitted):
            door.enter(late)
    cookie = door.enter(door.new_ticket())
    assert door._session_of(cookie)
    time.now += SESSION_SECONDS
    assert door._session_of(cookie) is None


NAMES = [b"host", b"origin", b"cookie", b"authorization", b"sec-fetch-site", b"accept-language"]
SAID = st.sampled_from(
    [b"127.0.0.1:8790", b"localhost:8790", b"http://127.0.0.1:8790", b"same-origin", b"none", b"Bearer ", b"musubi_holder_8790=", b"", b"=;=", b"\xff\xfe"]
) | st.binary(max_size=60)  # fmt: skip
HEADERS = st.lists(st.tuples(st.sampled_from(NAMES), SAID), max_size=8)


@given(
    headers=HEADERS,
    method=st.sampled_from(["GET", "POST", "HEAD", "OPTIONS", "X"]),
    path=st.sampled_from([PAGE, LOOK, LEAVE, CHALLENGES, LINKS, "/v1/../", "/static/style.css", "/enter/", "//enter"]),
    client=st.sampled_from([None, ("127.0.0.1", 1), ("127.0.0.1", 0), ("", 1), ("::1", 1), ("127.0.0.1/8", 1)]),
)
def test_whatever_else_is_sent_opens_nothing(
    headers: list[tuple[bytes, bytes]],
    method: str,
    path: str,
    client: tuple[str, int] | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    door = Door(tmp_path_factory.getbasetemp(), LocalInterface(port=8790))
    door.enter(door.new_ticket())
    with pytest.raises(NotPermitted):
        door.check({"method": method, "path": path, "headers": headers, "client": client})  # type: ignore[typeddict-item]


def test_a_request_of_another_machine_is_refused_with_every_secret(tmp_path: Path) -> None:
    door = Door(tmp_path, LocalInterface(port=8790))
    cookie = f"{door.cookie}={door.enter(door.new_ticket())}".encode()
    scope = {"method": "GET", "path": PAGE, "headers": [(b"host", b"127.0.0.1:8790"), (b"cookie", cookie)]}
    door.check({**scope, "client": ("127.0.0.1", 5)})  # type: ignore[typeddict-item]
    for peer in ("192.0.2.7", "10.0.0.5", "2001:db8::/64", "unknown"):
        with pytest.raises(NotPermitted):
            door.check({**scope, "client": (peer, 5)})  # type: ignore[typeddict-item]
    with pytest.raises(NotPermitted):
        door.check({**scope, "client": None})  # type: ignore[typeddict-item]


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.5", "::", "localhost", "example.test", ""])  # noqa: S104 - it is refused
def test_an_address_that_another_machine_reaches_is_refused_before_anything_listens(host: str) -> None:
    with pytest.raises(Malformed):
        check_loopback(host)
    with staged(people=0, reads=False) as stage:
        stage.set(10**12, f'[local]\nport = 8790\nhost = "{host}"\n')
        with pytest.raises(Malformed):
            load_node_settings(stage.folder)


def test_it_listens_on_this_machines_own_address_alone(interface: Interface) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        assert probe.connect_ex(("127.0.0.2", interface.port)) != 0


def test_a_body_that_is_too_large_is_not_read(interface: Interface) -> None:
    large = {"customer": "c" * 70_000}
    answer = httpx.post(interface.url + STATUS, json=large, headers=interface.bearer)
    assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    with interface.holder() as browser:
        answer = browser.post(LOOK, content=b"x" * 2_000, headers=same_site(interface))
        assert answer.status_code == httpx.codes.REQUEST_ENTITY_TOO_LARGE


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'{"customer": 5}',
        b'{"customer": ""}',
        b'{"customer": "c001", "admin": true}',
        b"\xff",
        b"[" * 5_000,
    ],
)
def test_a_body_of_another_form_is_refused_without_repeating_it(interface: Interface, body: bytes) -> None:
    answer = httpx.post(interface.url + STATUS, content=body, headers=interface.bearer)
    assert answer.json()["code"] == Malformed.code
    assert "c001" not in answer.text


def test_no_secret_no_ticket_and_no_customer_is_in_a_log_line(interface: Interface) -> None:
    link = interface.link()
    with interface.holder() as browser:
        httpx.post(interface.url + STATUS, json=SENT[STATUS], headers=interface.bearer)
        httpx.post(interface.url + LINKS, json=SENT[LINKS], headers=interface.bearer)
        httpx.get(interface.url + "/v1/links/c001?customer=c001", headers=interface.bearer)
        httpx.get(link)
        secrets = [*browser.cookies.jar]
    logged = interface.log.read_text()
    for secret in (
        link.rpartition("=")[2],
        interface.bearer["Authorization"][7:],
        "c001",
        *(str(each.value) for each in secrets),
    ):
        assert secret not in logged


def test_at_a_terminal_a_link_is_printed_once_and_elsewhere_none(tmp_path: Path) -> None:
    with staged(people=0, reads=False) as stage:
        port = free_port()
        command = [sys.executable, "-m", "trust.cli", "node", "local", "--dir", str(stage.folder), "--port", str(port)]
        ours, theirs = pty.openpty()
        with (tmp_path / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=theirs, stderr=log)
        os.close(theirs)
        said = ""
        try:
            while "ticket=" not in said or not said.endswith("\n"):
                assert select.select([ours], [], [], PATIENCE)[0]
                said += os.read(ours, 4_096).decode()
            link = said.split()[-1]

            def enters() -> bool:
                with contextlib.suppress(httpx.TransportError):
                    return httpx.get(link).status_code == httpx.codes.SEE_OTHER
                return False

            until(enters)
            assert httpx.get(link).status_code == FORBIDDEN
            process.terminate()
            assert process.wait(PATIENCE) == 0
        finally:
            process.kill()
            process.wait()
            os.close(ours)
        assert said.count("ticket=") == 1
        assert link.rpartition("=")[2] not in (tmp_path / "log").read_text()
        assert not (stage.folder / "local.ticket").exists()


def test_where_output_is_no_terminal_no_link_is_in_it(interface: Interface) -> None:
    assert "ticket" not in interface.log.read_text()

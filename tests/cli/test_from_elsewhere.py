"""Every role's command from a place alone: over https by an authority of the office's own, through the office's proxy.

The service's name is resolved by nobody but the proxy, so what arrives went through it. Nothing of the town's own
folder may be opened meanwhile: an audit hook of Python sees to that.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner
from msgspec import structs

from ledger import entries as e
from ledger.errors import MusubiError, NotPermitted, ProofInvalid, Unavailable
from tests.kit.machine.ways import NAME, Authority, Proxy, tls_front
from tests.kit.towns.town_of_two import FOLDER, TownOfTwo, town_of_two
from tests.kit.towns.toy_town import PARTNER
from trust.cli import main
from trust.log.pins import load_trust, save_trust
from trust.runtime.problems import KINDS

pytestmark = pytest.mark.slow
SQL = "SELECT COUNT(DISTINCT resident) AS people FROM everyone.people"
PERSON = 4

_closed: list[Path] = []
"""Folders that may not be looked into now."""


def _look(event: str, arguments: tuple[object, ...]) -> None:
    if _closed and event in {"open", "os.listdir", "os.scandir", "os.chdir"}:
        path = arguments[0]
        text = path.decode() if isinstance(path, bytes) else str(path)
        assert not any(text.startswith(str(folder)) for folder in _closed), (event, text)


sys.addaudithook(_look)
NARROW = ("--holder", "west", "--until", "2028-03-31", "--cap", "1000000000", "--yes")


@dataclass
class Elsewhere:
    """A machine elsewhere, in its own folder, and its way to a running town."""

    town: TownOfTwo
    folder: Path
    proxy: Proxy
    proxy_url: str
    port: int

    @property
    def url(self) -> str:
        """The service's address, which only the proxy can reach."""
        return f"https://{NAME}:{self.port}"

    @property
    def ca_file(self) -> Path:
        """The authority's certificates."""
        return self.folder / "office-ca.pem"

    @property
    def pins(self) -> Path:
        """What a steward handed out."""
        return self.folder / "trust.json"

    def place(self, owner: str | int) -> Path:
        """Return a place of a member, steward or resident, as it was carried here: the folder, its secret, no more."""
        folder = self.folder / str(owner)
        if not folder.exists():
            shutil.copytree(self.town.place(owner), folder)
            shutil.copy(self.ca_file, folder / "ca.pem")
            alias = "" if isinstance(owner, int) else f'alias = "{owner}"\n'
            way = f'service = "{self.url}"\nca_file = "ca.pem"\nproxy = "{self.proxy_url}"\n'
            (folder / "place.toml").write_text(alias + way)
        return folder

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Close the town's folder for as long as this lasts."""
        _closed.append(self.town.layout.folder)
        try:
            yield
        finally:
            _closed.clear()

    def run(self, *words: object, code: int = 0, env: dict[str, str] | None = None) -> str:
        """Run a command here, without the town's folder; return what it printed."""
        with self.alone():
            done = CliRunner(env=env).invoke(main, [str(word) for word in words])
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        assert done.exit_code == code, done.output
        return done.stdout if code == 0 else done.stderr

    def resident(self, *words: object) -> str:
        """Run a resident's command."""
        return self.run("resident", "--place", self.place(PERSON), *words)

    def refused(self, error: type[MusubiError], *words: object, env: dict[str, str] | None = None) -> str:
        """Run a command that is refused; return its sentence."""
        return self.run(*words, code=KINDS[error].exit_code, env=env)


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Elsewhere]:
    folder = tmp_path_factory.mktemp("elsewhere")
    authority, proxy = Authority(), Proxy()
    with (
        town_of_two(tmp_path_factory.mktemp("pair") / "town") as town,
        tls_front(town.layout.settings.port, authority.server(folder)) as port,
        proxy.running() as proxy_url,
    ):
        (folder / "office-ca.pem").write_bytes(authority.pem)
        shutil.copy(town.layout.folder / "trust.json", folder / "trust.json")
        yield Elsewhere(town, folder, proxy, proxy_url, port)


def test_a_partner_asks_from_a_real_process_in_its_own_folder(here: Elsewhere) -> None:
    closed = str(here.town.layout.folder)
    hook = f"lambda event, found: 1 / 0 if event == 'open' and str(found[0]).startswith({closed!r}) else None"
    program = f"import sys; sys.addaudithook({hook}); from trust.cli import main; main()"
    before = len(here.proxy.asked)
    done = subprocess.run(
        [sys.executable, "-c", program, "ask", SQL, "--epsilon", "0.1", "--json"],
        cwd=here.place(PARTNER),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["status"] == "released"
    assert isinstance(here.town.client.prove(said["closed_by"]).entry, e.Release)
    assert set(here.proxy.asked[before:]) == {f"CONNECT {NAME}:{here.port}"}


def test_show_says_how_each_owner_stands_in_the_ledger(here: Elsewhere) -> None:
    for owner, said in (
        (PARTNER, f"'{PARTNER}' is registered with this key (partner)"),
        ("city", "'city' is a steward, with this key"),
        (PERSON, "its log is the pinned one"),
    ):
        shown = here.run("place", "show", "--place", here.place(owner))
        assert said in shown
        assert here.url in shown
    where = here.folder / "new"
    how = ["--url", here.url, "--pins", here.pins, "--ca-file", here.ca_file, "--proxy", here.proxy_url]
    printed = here.run("place", "init", *how, "--as", "library", where).splitlines()[-1]
    shown = json.loads(here.run("place", "show", "--place", where, "--json"))
    assert shown == {
        "service": here.url,
        "log": here.town.town.origin,
        "alias": "library",
        "public_key": printed,
        "answers": True,
        "standing": "'library' is not registered yet",
    }
    other = here.folder / "other.json"
    save_trust(msgspec.structs.replace(load_trust(here.pins), genesis_sha256="00" * 32), other)
    here.run("place", "init", *how, "--pins", other, "--resident", here.folder / "other-town")
    here.run("place", "show", "--place", here.folder / "other-town", code=23)


def test_a_resident_does_everything_from_a_place(here: Elsewhere, tmp_path: Path) -> None:
    mine = json.loads(here.resident("show", "--json"))
    (index,) = [each["index"] for each in mine if each["policy"] == "everyone"]
    admit = json.loads(here.run("ask", SQL, "--place", here.place(PARTNER), "--epsilon", "0.1", "--fresh", "--json"))
    uses = json.loads(here.resident("uses", "--json"))
    assert admit["admit"] in {use["admit"] for use in uses}
    assert "could be counted" in here.resident("in-force", index, "--size", admit["admit"])
    assert "trust.json" in here.resident("receipt", index, "--out", tmp_path / "receipts")
    given = json.loads(here.resident("grant", "everyone", *NARROW, "--json"))
    assert (given["replaced"], given["doubt"]) == ([index], "")
    index = given["index"]
    ended = json.loads(here.resident("revoke", index, "--json"))
    assert ended["doubt"] == ""
    assert len(list((here.place(PERSON) / "promises").glob("*.json"))) == 2
    assert "Kept." in here.resident("check-promises")
    assert f"Your consent {index} ended at {ended['index']}, on 2" in here.resident("stopped", index)
    assert "in force" in here.resident("show")
    here.resident("erase", index, "--yes")
    assert "Erased at the service: the ledger says so at" in here.resident("erased", index)
    here.refused(NotPermitted, "resident", "--place", here.place("city"), "show")


def test_stewards_sign_and_publish_from_their_places(here: Elsewhere, tmp_path: Path) -> None:
    text = (FOLDER / "policies" / "hasty.toml").read_text()
    policy = tmp_path / "hasty.toml"
    policy.write_text(text.replace("version = 1", "version = 2"))
    city, firms = here.place("city"), here.place("firms")

    def signed(command: str, body: Path) -> list[Path]:
        files = []
        for place in (city, firms):
            files.append(tmp_path / f"{body.stem}.{place.name}.jws")
            files[-1].write_text(here.run(command, "sign", body, "--place", place))
        return files

    index = json.loads(here.run("policy", "publish", policy, *signed("policy", policy), "--place", city, "--json"))
    assert isinstance(here.town.client.prove(index["index"]).entry, e.PolicyEntry)

    (index,) = [
        each["index"]
        for each in json.loads(here.run("resident", "--place", here.place(9), "show", "--json"))
        if each["policy"] == "everyone"
    ]
    order = tmp_path / "order.jws"
    order.write_text(here.run("erase", index, "--place", firms, "--print"))
    assert here.refused(NotPermitted, "erase", index, "--place", city)  # one is no quorum
    erased = json.loads(here.run("erase", index, "--place", city, "--signature", order, "--json"))["erased"]
    assert [each["index"] for each in erased] == [index]

    log_key = tmp_path / "log-key.json"
    done = CliRunner().invoke(main, ["keys", "rotate-log", str(log_key), "--dir", str(here.town.layout.service)])
    assert done.exit_code == 0, done.output
    files = signed("log-key", log_key)
    assert "approval of 2 stewards" in here.refused(
        NotPermitted, "log-key", "publish", log_key, files[0], "--place", city
    )

    public = here.run("keys", "new", tmp_path / "next.key").strip()
    body = tmp_path / "planner.json"
    body.write_text(here.run("member", "change", PARTNER, "--key", public, "--place", here.place(PARTNER)))
    here.run("member", "register", body, *signed("member", body), "--place", here.place(PARTNER))
    assert "registered with another key" in here.run("place", "show", "--place", here.place(PARTNER))
    for place in (here.place(PARTNER), here.town.place(PARTNER)):
        shutil.copy(tmp_path / "next.key", place / "signing.key")
    here.run("ask", SQL, "--place", here.place(PARTNER), "--epsilon", "0.1", "--preview")


def test_anybody_with_a_place_exports_the_log_and_the_operator_from_its_folder_alike(
    here: Elsewhere, tmp_path: Path
) -> None:
    here.run("log", "export", "--place", here.place("city"), tmp_path / "theirs")
    done = CliRunner().invoke(main, ["log", "export", "--dir", str(here.town.layout.service), str(tmp_path / "own")])
    assert done.exit_code == 0, done.output
    own = {
        path.relative_to(tmp_path / "own"): path.read_bytes()
        for path in (tmp_path / "own").rglob("*")
        if path.is_file()
    }
    assert {"checkpoint", "log.vkey", "trust.json", "shares"} <= {path.parts[0] for path in own}
    for path, data in own.items():
        assert (tmp_path / "theirs" / path).read_bytes() == data
    audited = json.loads(
        here.run("audit", tmp_path / "own", "--trust", here.pins, "--state", tmp_path / "state", "--json")
    )
    assert (audited["verdict"], audited["shares_checked"]) == ("ok", audited["kinds"].get("release", 0))


def test_without_the_authority_or_the_proxy_a_sentence_says_what_is_missing(here: Elsewhere, tmp_path: Path) -> None:
    def place(name: str, *words: object) -> Path:
        folder = tmp_path / name
        here.run("place", "init", "--pins", here.pins, "--as", "library", *words, folder)
        return folder

    own = f"https://localhost:{here.port}"
    stranger = tmp_path / "stranger.pem"
    stranger.write_bytes(Authority().pem)
    for name, words, said in (
        ("unknown", ["--url", own], "by no authority that is trusted here"),
        ("other", ["--url", own, "--ca-file", stranger], "by no authority that is trusted here"),
        ("no-way", ["--url", here.url, "--ca-file", here.ca_file], "does not answer"),
    ):
        assert said in here.refused(Unavailable, "place", "show", "--place", place(name, *words))
    direct = place("direct", "--url", own, "--ca-file", here.ca_file)
    assert "is not registered yet" in here.run("place", "show", "--place", direct)
    here.proxy.refuses = True
    try:
        assert "The proxy does not let the call through" in here.refused(
            Unavailable, "place", "show", "--place", here.place("city")
        )
    finally:
        here.proxy.refuses = False


def test_where_the_ledgers_first_entry_is_not_the_pinned_one_nothing_is_asked_signed_or_handed_in(
    here: Elsewhere, tmp_path: Path
) -> None:
    def elsewhere(name: str | int) -> Path:
        folder = Path(shutil.copytree(here.place(name), tmp_path / str(name)))
        trust = load_trust(folder / "trust.json")
        save_trust(structs.replace(trust, genesis_sha256="0" * 64), folder / "trust.json")
        return folder

    partner, steward, resident = elsewhere(PARTNER), elsewhere("city"), elsewhere(PERSON)
    policy = tmp_path / "hasty.toml"
    policy.write_text((FOLDER / "policies" / "hasty.toml").read_text())
    signature = tmp_path / "city.jws"
    signature.write_text(here.run("policy", "sign", policy, "--place", steward))  # offline, by the key alone
    for words in (
        ["ask", SQL, "--place", partner, "--epsilon", "0.1"],
        ["ask", SQL, "--place", partner, "--epsilon", "0.1", "--preview"],
        ["policy", "publish", policy, signature, "--place", steward],
        ["erase", 1, "--place", steward],
        ["resident", "--place", resident, "grant", "everyone", *NARROW],
        ["resident", "--place", resident, "show"],
        ["place", "show", "--place", resident],
    ):
        assert "is not the pinned one" in here.refused(ProofInvalid, *words), words


def test_the_environments_proxy_and_authorities_count_where_the_place_names_none(
    here: Elsewhere, tmp_path: Path
) -> None:
    environment = {"SSL_CERT_FILE": str(here.ca_file), "HTTPS_PROXY": here.proxy_url, "HTTP_PROXY": here.proxy_url}
    for url in (here.url, f"http://{NAME}:{here.town.layout.settings.port}"):  # a tunnel, and a plain request
        folder = tmp_path / url.partition(":")[0]
        here.run("place", "init", "--url", url, "--pins", here.pins, "--as", "library", folder)
        before = len(here.proxy.asked)
        here.run("place", "show", "--place", folder, env=environment)
        assert len(here.proxy.asked) > before
        here.refused(Unavailable, "place", "show", "--place", folder)


def test_a_log_is_read_by_the_way_that_the_environment_names(here: Elsewhere, tmp_path: Path) -> None:
    """As polls are: what is called by nobody but this reads nothing but the log."""
    environment = {"SSL_CERT_FILE": str(here.ca_file), "HTTPS_PROXY": here.proxy_url, "HTTP_PROXY": here.proxy_url}
    for url in (here.url, f"http://{NAME}:{here.town.layout.settings.port}"):
        words = ("audit", url, "--trust", here.pins, "--state", tmp_path / url.partition(":")[0])
        before = len(here.proxy.asked)
        assert "Verdict: ok" in here.run(*words, env=environment)
        assert len(here.proxy.asked) > before
        here.refused(Unavailable, *words)


def test_what_is_on_this_machine_is_called_without_the_environments_proxy(here: Elsewhere, tmp_path: Path) -> None:
    environment = {"HTTP_PROXY": "http://127.0.0.1:1", "ALL_PROXY": "http://127.0.0.1:1"}
    url = here.town.layout.url
    assert "Verdict: ok" in here.run("audit", url, "--trust", here.pins, "--state", tmp_path, env=environment)


def test_a_node_works_through_the_proxy_too(here: Elsewhere) -> None:
    node = here.town.layout.node("west")
    here.town.processes.stop("west")
    settings = (node / "node.toml").read_text()
    shutil.copy(here.ca_file, node / "ca.pem")
    way = f'service = "{here.url}"\nca_file = "ca.pem"\nproxy = "{here.proxy_url}"'
    (node / "node.toml").write_text(settings.replace(f'service = "{here.town.layout.url}"', way))
    before = len(here.proxy.asked)
    here.town.processes.start_node("west")
    assert isinstance(here.town.end_of(here.town.ask()).entry, e.Release)
    assert set(here.proxy.asked[before:]) == {f"CONNECT {NAME}:{here.port}"}

"""One bad answer is nobody's finding: every reader gets it again, past the caches. What stays bad is not taken."""

import re
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from msgspec import Raw, structs

from ledger import canonical, jws
from ledger import entries as e
from ledger.errors import MusubiError, OldView, UpgradeNeeded
from policies.consents.erasure import ErasedWord
from policies.replay import entry_sha256
from queries.answers.uses import InForceAt
from queries.rounds.admission import plan_of
from tests.kit.logs.log_builder import LogBuilder, receipt_of
from tests.kit.machine.web import served
from tests.kit.towns.toy_town import ASKED, ORIGIN, key_of
from tests.resident.test_resident_stopped import FIRST, answer_of, signed
from tests.resident.test_resident_uses import Service, consent
from trust.audit.auditor import audit
from trust.client import paths
from trust.client.service import ServiceClient
from trust.client.service_shares import ServiceShares
from trust.client.wire import ErasureAnswer, PublishedPolicy, SignedShares
from trust.log.export import export_log
from trust.log.follower import LogFollower
from trust.log.proven_keys import ProvenLogKeys
from trust.log.source import FolderLog, HttpLog, StaticLog, open_log
from trust.partner.answer_sum import check_sum
from trust.resident.erasure import check_erased
from trust.resident.receipts import save_receipts
from trust.resident.stopped import check_stopped
from trust.resident.uses import check_as_of, find_uses
from trust.service.upkeep.restore import _catch_up

Fault = Callable[[bytes, bytes], tuple[int, bytes]]
"""What comes in place of a good answer, given that and the good answer to another question of the same kind."""
FAULTS: dict[str, Fault] = {
    "cut short": lambda data, _: (200, data[: len(data) // 2]),
    "a page": lambda *_: (200, b"<html>Welcome</html>"),
    "one bit wrong": lambda data, _: (
        200,
        data[: len(data) // 2] + bytes([data[len(data) // 2] ^ 1]) + data[len(data) // 2 + 1 :],
    ),
    "another one": lambda _, other: (200, other),
}


class Town:
    """A town's log and what a service says of it, at an address; something on the way spoils what a test names."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = LogBuilder()
        self.log.town()
        self.ended = self.log.revoke(FIRST + 7)
        self.stopped = answer_of(
            self.log, self.ended, [signed(self.log, each, self.ended + 1) for each in ASKED], self.log.at
        )
        self.older = folder / "older"
        self.log.publish(self.older)
        self.log.admit()
        self.log.publish(folder)
        self.admits = [i for i, data in enumerate(self.log.entries) if b'"kind":"admit"' in data]
        self.erased = next(i for i, data in enumerate(self.log.entries) if b'"kind":"erase"' in data)
        self.release = next(i for i, data in enumerate(self.log.entries) if b'"kind":"release"' in data)
        self.sha256 = self.log.state.policies["mobility"].sha256
        self.spoilt, self.fault, self.is_lasting = "", "", False
        self.seen: set[str] = set()
        self.spoils = 0

    def _good(self, path: str) -> bytes | None:
        """Return what is true."""
        plain = path.partition("?")[0]
        if plain.startswith("/log/"):
            files = [folder / plain.removeprefix("/log/") for folder in (self.folder, self.older)]
            return next((file.read_bytes() for file in files if file.is_file()), None)
        number = int((re.findall(r"/(\d+)\b", plain) or ["0"])[-1])
        if plain.startswith(("/v1/receipts/", "/v1/entries/")):
            if number >= len(self.log.entries):
                return None
            return (
                receipt_of(self.log, self.folder, number).format() if "receipts" in plain else self.log.entries[number]
            )
        return self._said(path, plain, number)

    def _said(self, path: str, plain: str, number: int) -> bytes | None:
        answer: Any = None
        if plain == "/v1/policies":
            found = self.log.state.policies.values()
            answer = [
                PublishedPolicy(index=p.index, sha256=p.sha256, policy=Raw(canonical.encode(p.document))) for p in found
            ]
        elif plain.startswith("/v1/policies/"):
            record = self.log.state.versions.get(plain.rsplit("/", 1)[1])
            answer = record.document if record else None
        elif plain == "/v1/trust":
            answer = self.log.trust
        elif plain.endswith("/shares") and number in self.log.shares:
            answer = SignedShares(shares=self.log.shares[number], members=self.log.state.member_entries)
        elif plain.startswith(("/v1/log/uses", "/v1/log/in-force")):
            answer = Service(self.log).get(path, InForceAt)
        elif plain.startswith("/v1/log/stopped"):
            answer = self.stopped
        elif plain.startswith("/v1/erasures"):
            answer = ErasureAnswer(index=FIRST + 4, entry=self.erased, holders=self.words(), approvals=[])
        elif plain == paths.OWN_CONSENTS:
            answer = [consent(self.log, 1)]
        elif plain == "/v1/log-keys":
            answer = ProvenLogKeys(genesis=Raw(self.log.entries[0]), changes=[])
        return None if answer is None else canonical.encode(answer)

    def words(self) -> dict[str, str | None]:
        """Each holder's word that an erased consent is gone."""
        sha256 = entry_sha256(self.log.entries[self.erased])
        return {
            each: jws.sign(
                ErasedWord(
                    from_=each, log=ORIGIN, index=FIRST + 4, entry=self.erased, entry_sha256=sha256, at=self.log.at
                ),
                key_of(each),
            )
            for each in ASKED
        }

    def answer(self, path: str, *, is_fresh: bool) -> tuple[int, bytes]:
        """Answer a GET, spoilt the first time, or always."""
        good = self._good(path)
        if good is None:
            return 404, b""
        if (
            not self.fault
            or not path.startswith(self.spoilt)
            or (not self.is_lasting and (is_fresh or path in self.seen))
        ):
            return 200, good
        self.seen.add(path)
        self.spoils += 1
        return FAULTS[self.fault](good, self._other(path) or good)

    def _other(self, path: str) -> bytes | None:
        """Return an older checkpoint, or what is true of another entry."""
        if path == "/log/checkpoint":
            return (self.older / "checkpoint").read_bytes()
        if path == paths.OWN_CONSENTS:
            return canonical.encode([structs.replace(consent(self.log, 1), consent=consent(self.log, 2).consent)])
        return self._good(re.sub(r"(\d+)(?=(/shares)?$)", lambda found: str(max(0, int(found[1]) - 1)), path))


@dataclass
class Reading:
    """One reader's means."""

    town: Town
    url: str
    client: ServiceClient
    out: Path

    def log(self) -> HttpLog:
        """The log."""
        return HttpLog(self.url)

    def follower(self) -> LogFollower:
        """A follower that sees the log for the first time."""
        trust = self.town.log.trust
        return LogFollower(self.log(), trust.log_keys, trust.witnesses, clock=lambda: self.town.log.at + 5)

    def audited(self, *, with_pins: bool = True, compare: bool = False) -> object:
        """The audit of the service, or of the log's folder against the service."""
        place = str(self.town.folder) if compare else self.url
        others = [self.url] if compare else []
        trust = self.town.log.trust if with_pins else None
        report = audit(place, trust=trust, compare_with=others, clock=lambda: self.town.log.at + 5)
        return report.verdict, report.shares_checked, report.is_ok

    def exported(self) -> object:
        """What a copy has."""
        done = export_log(self.log(), self.town.log.trust, self.out / "copy", shares=ServiceShares(self.log()))
        assert done.shares is not None
        return done.shares.copied, done.shares.lacking  # an older checkpoint is a true one: so much is copied then

    def summed(self) -> object:
        """The partner's sum."""
        closing = self.client.prove(self.town.release)
        assert isinstance(closing.entry, e.Release)
        admit = self.client.prove(closing.entry.admit)
        assert isinstance(admit.entry, e.Admit)
        check_sum(self.client, plan_of(self.town.log.state, admit.entry), admit, closing.entry)
        return closing.index

    def saved(self) -> object:
        """A second receipt into one folder, with a question's proof."""
        first = receipt_of(self.town.log, self.town.older, FIRST)
        (self.out / f"receipt-{FIRST}.tlog-proof").write_bytes(first.format())
        paths = save_receipts(self.client, self.log(), FIRST + 1, self.out, self.town.admits[-1])
        return [(path.name, path.read_bytes()) for path in paths]


READERS: dict[str, tuple[str, Callable[[Reading], object]]] = {
    "an entry": ("/v1/entries/6", lambda here: here.client.prove(6)),
    "a receipt": ("/v1/receipts/6", lambda here: here.client.prove(6)),
    "the first entry": ("/v1/entries/0", lambda here: here.client.genesis()),
    "the log's keys": ("/v1/log-keys", lambda here: here.client.log_keys()),
    "all policies": ("/v1/policies", lambda here: here.client.policies()),
    "a policy": ("/v1/policies/", lambda here: here.client.policy(here.town.sha256)),
    "uses": ("/v1/log/uses", lambda here: find_uses(here.client, here.follower(), lambda: [consent(here.town.log, 1)])),
    "one's own consents": (
        paths.OWN_CONSENTS,
        lambda here: find_uses(here.client, here.follower(), lambda: here.client.my_consents(bytes(32))),
    ),
    "in force at a question": (
        "/v1/log/in-force",
        lambda here: check_as_of(here.client, here.follower(), here.town.sha256, FIRST, here.town.admits[0]),
    ),
    "in force by a replay": (
        "/v1/log/in-force",
        lambda here: check_as_of(here.client, here.follower(), here.town.sha256, FIRST, here.town.admits[0] + 1),
    ),
    "stopped": (
        "/v1/log/stopped",
        lambda here: check_stopped(here.client, here.follower(), here.town.ended, FIRST + 7),
    ),
    "erased": ("/v1/erasures", lambda here: check_erased(here.client, here.follower(), FIRST + 4)),
    "a partner's sum": ("/v1/rounds", Reading.summed),
    "a use beside receipts": ("/v1/log/in-force", Reading.saved),
    "the history beside receipts": ("/log/tile", Reading.saved),
    "keys beside receipts": ("/v1/log-keys", Reading.saved),
    "an audit's shares": ("/v1/rounds", Reading.audited),
    "an audit's log": ("/log/", Reading.audited),
    "an audit's first pins": ("/v1/trust", lambda here: here.audited(with_pins=False)),
    "a comparison": ("/log/checkpoint", lambda here: here.audited(compare=True)),
    "a copy's shares": ("/v1/rounds", Reading.exported),
    "a copy's log": ("/log/", Reading.exported),
}
UNPROVEN = {"an audit's first pins": {"one bit wrong"}, "stopped": {"one bit wrong"}}
"""What nothing vouches for cannot be told from a lie: pins believed on first use, and when a holder was last heard."""


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Town, str]]:
    town = Town(tmp_path_factory.mktemp("town"))

    class Handler(BaseHTTPRequestHandler):
        """Answers as the town does."""

        def do_POST(self) -> None:
            """Answer; what was asked is read, and nobody's to judge here."""
            self.rfile.read(int(self.headers["content-length"]))
            self.do_GET()

        def do_GET(self) -> None:
            """Answer."""
            status, body = town.answer(self.path, is_fresh=self.headers.get("cache-control") == "no-cache")
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with served(Handler) as url:
        yield town, url


@pytest.fixture
def at(
    service: tuple[Town, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> Iterator[Callable[[str, str], Reading]]:
    monkeypatch.setattr("trust.client.service.PAUSES", (0, 0, 0))
    assert StaticLog.__init__.__kwdefaults__ is not None
    monkeypatch.setitem(StaticLog.__init__.__kwdefaults__, "pauses", (0, 0, 0))
    town, url = service
    clients: list[ServiceClient] = []

    def make(spoilt: str, fault: str) -> Reading:
        town.spoilt, town.fault, town.seen, town.is_lasting, town.spoils = spoilt, fault, set(), False, 0
        clients.append(ServiceClient(url, town.log.trust))
        out = tmp_path / str(len(clients))
        out.mkdir()
        return Reading(town, url, clients[-1], out)

    yield make
    for client in clients:
        client.__exit__(None, None, None)


@pytest.mark.parametrize("reader", READERS)
def test_one_bad_answer_changes_nothing_that_a_reader_finds_and_one_that_stays_is_not_taken(
    at: Callable[[str, str], Reading], reader: str
) -> None:
    spoilt, read = READERS[reader]
    right = read(at("", ""))
    for fault in sorted(set(FAULTS) - UNPROVEN.get(reader, set())):
        here = at(spoilt, fault)
        assert read(here) == right, fault
        assert here.town.spoils, fault
    for fault in ("cut short", "a page"):
        here = at(spoilt, fault)
        here.town.is_lasting = True
        with suppress(MusubiError):
            assert read(here) != right, fault


def test_an_older_checkpoint_out_of_a_cache_is_no_old_view_to_a_copy_that_has_more_and_one_that_stays_is(
    at: Callable[[str, str], Reading],
) -> None:
    here = at("", "")
    before = export_log(here.log(), here.town.log.trust, here.out)
    for is_lasting in (False, True):
        again = at("/log/checkpoint", "another one")
        again.town.is_lasting = is_lasting
        if is_lasting:
            with pytest.raises(OldView):
                export_log(again.log(), again.town.log.trust, here.out)
        else:
            assert export_log(again.log(), again.town.log.trust, here.out).size == before.size
        assert again.town.spoils


@pytest.mark.parametrize("fault", ["a page", "cut short"])
def test_a_mirror_whose_checkpoint_is_bad_once_is_restored_from(at: Callable[[str, str], Reading], fault: str) -> None:
    here = at("/log/checkpoint", fault)
    _catch_up(here.out, here.town.log.trust, [here.url])
    assert FolderLog(here.out / "log").read_checkpoint() == (here.town.folder / "checkpoint").read_bytes()
    assert here.town.spoils
    here = at("/log/checkpoint", fault)
    here.town.is_lasting = True
    with pytest.raises(MusubiError):
        _catch_up(here.out, here.town.log.trust, [here.url])


def test_a_log_at_an_address_is_a_services_also_where_one_answer_says_that_it_is_not_there(
    at: Callable[[str, str], Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, said = at("", ""), []

    def answer(path: str, *, is_fresh: bool) -> tuple[int, bytes]:
        said.append((path, is_fresh))
        if path == "/checkpoint":
            return 200, b"<html>Welcome</html>"
        return (404, b"") if not is_fresh else (200, b"note")

    monkeypatch.setattr(here.town, "answer", answer)
    with_log = open_log(here.url)
    assert isinstance(with_log, HttpLog)
    with_log.close()
    assert said == [("/log/checkpoint", False), ("/checkpoint", False), ("/log/checkpoint", True)]


def test_an_audit_that_has_pins_asks_the_logs_keeper_for_none(
    at: Callable[[str, str], Reading], tmp_path: Path
) -> None:
    here = at("", "")
    clock = lambda: here.town.log.at + 5  # noqa: E731 - read twice
    first = audit(here.url, trust=here.town.log.trust, state_folder=tmp_path / "state", clock=clock)
    here = at("/v1/trust", "a page")
    here.town.is_lasting = True
    again = audit(here.url, state_folder=tmp_path / "state", clock=clock)
    assert (first.is_ok, again.is_ok, here.town.spoils) == (True, True, 0)


def of_a_form_to_come(data: bytes, _: bytes) -> tuple[int, bytes]:
    """Return policies with a kind of column that nobody knows yet, each under its own hash."""
    policies = canonical.decode(data, list[PublishedPolicy], "answer")
    bodies = [bytes(each.policy).replace(b'"type":"range"', b'"type":"tide"') for each in policies]
    told = [
        PublishedPolicy(index=each.index, sha256=entry_sha256(body), policy=Raw(body))
        for each, body in zip(policies, bodies, strict=True)
    ]
    return 200, canonical.encode(told)


def test_a_policy_of_a_form_to_come_asks_for_an_upgrade_and_is_nobodys_fault(
    at: Callable[[str, str], Reading], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(FAULTS, "of a form to come", of_a_form_to_come)
    here = at("/v1/policies", "of a form to come")
    with pytest.raises(UpgradeNeeded, match="install a newer Musubi"):
        here.client.policies()
    assert here.town.spoils == 1

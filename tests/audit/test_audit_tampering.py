"""The auditor notices any change to a log's files, and any history that does not go on from the one it saw before."""

import shutil
from pathlib import Path

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import jws
from ledger.errors import NotFound, Unavailable
from ledger.evidence import SplitView
from ledger.notes.note import VerifierKey
from ledger.tlog.tiles import Tile
from queries.rounds import messages as m
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import ORIGIN, key_of
from trust.audit import auditor
from trust.audit.auditor import audit
from trust.audit.report import AuditReport
from trust.audit.second_opinion import SecondOpinion
from trust.files.evidence import check_evidence, read_evidence
from trust.log.source import HttpLog

GRANTS = 600


@pytest.fixture(scope="module")
def town(tmp_path_factory: pytest.TempPathFactory) -> tuple[LogBuilder, Path]:
    log = LogBuilder().town(GRANTS)
    folder = tmp_path_factory.mktemp("town") / "log"
    log.publish(folder)
    return log, folder


def check(log: LogBuilder, folder: Path, state: Path | None = None) -> AuditReport:
    return audit(str(folder), trust=log.trust, state_folder=state, clock=lambda: log.at + 5)


def test_a_sound_log_is_ok_and_every_kind_of_entry_is_counted(town: tuple[LogBuilder, Path]) -> None:
    log, folder = town
    report = check(log, folder)
    assert report.verdict == "ok"
    assert report.first_fault is None
    assert report.entries == report.size == len(log.entries) == sum(report.kinds.values())
    assert report.kinds["grant"] == GRANTS + 1
    assert report.open_rounds == sorted(log.state.rounds)
    assert set(report.cosigners) == {"wit_a", "wit_b"}
    account = log.state.accounts["policy/mobility/life"]
    assert (report.spent, report.reserved) == ({"mobility": account.spent}, {"mobility": account.reserved})
    assert any("Shares not checked" in note for note in report.notes)
    assert msgspec.json.decode(report.to_json())["verdict"] == "ok"


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_one_flipped_bit_in_any_file_is_noticed(town: tuple[LogBuilder, Path], data: st.DataObject) -> None:
    """And where it is in an entry, the verdict names that entry.

    In the checkpoint, a flipped bit in a witness's name leaves a line by someone unknown, which is passed over: that
    witness is then missing from the report, and the quorum decides.
    """
    log, folder = town
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.name != "trust.json")
    path = data.draw(st.sampled_from(files))
    original = path.read_bytes()
    place = data.draw(st.integers(0, len(original) - 1))
    changed = bytearray(original)
    changed[place] ^= 1 << data.draw(st.integers(0, 7))
    path.write_bytes(changed)
    try:
        report = check(log, folder)
    finally:
        path.write_bytes(original)
    relative = path.relative_to(folder).as_posix()
    assert report.verdict != "ok" or (relative == "checkpoint" and len(report.cosigners) == 1), relative
    if "entries" in relative:
        index, end = Tile.parse(relative).index * 256, 0
        while (end := end + 2 + len(log.entries[index])) <= place:
            index += 1
        assert report.first_fault == index
        assert report.verdict.startswith(f"Entry {index}")
    elif relative.startswith("tile/0/"):
        assert report.first_fault == Tile.parse(relative).index * 256 + place // 32
    elif relative != "checkpoint":
        assert report.first_fault is not None


@pytest.mark.parametrize("path", ["checkpoint", "tile/entries/000", "tile/0/000", "tile/1/000.p/2"])
def test_a_missing_or_cut_file_is_noticed(town: tuple[LogBuilder, Path], tmp_path: Path, path: str) -> None:
    log, folder = town
    copy = tmp_path / "log"
    shutil.copytree(folder, copy)
    (copy / path).write_bytes((copy / path).read_bytes()[:-1])
    assert check(log, copy).verdict != "ok"
    (copy / path).unlink()
    if path == "checkpoint":
        with pytest.raises(NotFound):
            check(log, copy)
    else:
        assert check(log, copy).verdict != "ok"


def test_entries_rewritten_with_all_their_tiles_do_not_fit_the_signed_root(
    town: tuple[LogBuilder, Path], tmp_path: Path
) -> None:
    log, folder = town
    entries = list(log.entries)
    entries[300] = entries[300].replace(b'"grant"', b'"erase"')
    log.publish(tmp_path, entries)
    shutil.copy(folder / "checkpoint", tmp_path / "checkpoint")
    report = check(log, tmp_path)
    assert "do not hash to the signed checkpoint's root" in report.verdict
    assert report.rule == "proof-invalid"


def test_a_log_with_another_genesis_entry_than_the_pinned_one_is_another_log(town: tuple[LogBuilder, Path]) -> None:
    log, folder = town
    trust = msgspec.structs.replace(log.trust, genesis_sha256="00" * 32)
    report = audit(str(folder), trust=trust, clock=lambda: log.at)
    assert (report.rule, report.first_fault) == ("history-forked", 0)


def test_a_checkpoint_by_another_key_is_refused(town: tuple[LogBuilder, Path]) -> None:
    log, folder = town
    key = VerifierKey.ed25519(ORIGIN, bytes(key_of("operator").verify_key))
    trust = msgspec.structs.replace(log.trust, log_key=str(key), witness_policy=f"log {key}\nquorum none\n")
    assert audit(str(folder), trust=trust, clock=lambda: log.at).rule == "signature-invalid"


@pytest.mark.parametrize(
    ("quorum", "cosigners", "is_ok"), [(2, ["wit_a"], False), (2, ["wit_a", "wit_b"], True), (1, [], False)]
)
def test_the_quorum_of_witnesses_must_have_cosigned(
    tmp_path: Path, quorum: int, cosigners: list[str], is_ok: bool
) -> None:
    log = LogBuilder(quorum=quorum).town()
    log.publish(tmp_path, cosigners=cosigners)
    assert (check(log, tmp_path).verdict == "ok") is is_ok


def test_without_any_witness_in_the_policy_the_log_alone_is_believed(tmp_path: Path) -> None:
    log = LogBuilder(witnesses=()).town()
    log.publish(tmp_path)
    assert check(log, tmp_path).verdict == "ok"


def test_a_log_that_went_on_is_ok_at_the_second_audit(tmp_path: Path) -> None:
    log = LogBuilder().town(300)
    log.publish(tmp_path / "log", log.entries[:200])
    assert check(log, tmp_path / "log", tmp_path / "state").entries == 200
    log.publish(tmp_path / "log")
    report = check(log, tmp_path / "log", tmp_path / "state")
    assert (report.verdict, report.entries) == ("ok", len(log.entries))
    assert (tmp_path / "state" / "checkpoint").stat().st_mode & 0o777 == 0o600


def test_a_rolled_back_log_is_noticed_and_its_note_is_set_aside(tmp_path: Path) -> None:
    log = LogBuilder().town(300)
    log.publish(tmp_path / "long")
    log.publish(tmp_path / "short", log.entries[:200])
    assert check(log, tmp_path / "long", tmp_path / "state").verdict == "ok"
    report = check(log, tmp_path / "short", tmp_path / "state")
    assert "rolled back" in report.verdict
    assert report.evidence == []  # an old copy contradicts nothing
    (aside,) = (tmp_path / "state" / "set-aside").iterdir()
    assert aside.read_bytes() == (tmp_path / "short" / "checkpoint").read_bytes()
    assert str(aside) in report.notes[-1]
    assert check(log, tmp_path / "long", tmp_path / "state").verdict == "ok"


@pytest.mark.parametrize("further", [0, 1, 40])
def test_a_forked_log_is_noticed_and_convicted_by_one_file(tmp_path: Path, further: int) -> None:
    log, fork = LogBuilder().town(), LogBuilder().town()
    for number in range(30):
        log.grant(1_000 + number)
        fork.grant(2_000 + number)
    for number in range(further):
        fork.grant(3_000 + number)
    log.publish(tmp_path / "log")
    fork.publish(tmp_path / "fork")
    assert check(fork, tmp_path / "fork").verdict == "ok"
    assert check(log, tmp_path / "log", tmp_path / "state").verdict == "ok"
    report = check(fork, tmp_path / "fork", tmp_path / "state")
    assert report.rule == "history-forked"
    (file,) = report.evidence
    evidence = read_evidence(Path(file))
    assert isinstance(evidence, SplitView)
    assert evidence.smaller == (tmp_path / "log" / "checkpoint").read_text()
    assert evidence.larger == (tmp_path / "fork" / "checkpoint").read_text()
    assert check_evidence(evidence, [log.log_key]).pinned
    assert check(log, tmp_path / "log", tmp_path / "state").verdict == "ok"


def test_pins_are_believed_on_first_use_and_said_so_and_others_later_are_a_fork(tmp_path: Path) -> None:
    log = LogBuilder().town()
    log.publish(tmp_path / "log")
    first = audit(str(tmp_path / "log"), state_folder=tmp_path / "state", clock=lambda: log.at)
    assert first.verdict == "ok"
    assert any("first use" in note for note in first.notes)
    again = audit(str(tmp_path / "log"), state_folder=tmp_path / "state", clock=lambda: log.at)
    assert not any("first use" in note for note in again.notes)
    other = LogBuilder()
    other.now()
    other.town()
    other.publish(tmp_path / "other")
    report = audit(str(tmp_path / "other"), state_folder=tmp_path / "state", clock=lambda: other.at)
    assert report.rule == "history-forked"
    given = audit(str(tmp_path / "other"), trust=other.trust, state_folder=tmp_path / "state", clock=lambda: other.at)
    assert given.rule == "history-forked"


def test_a_damaged_state_folder_is_not_blamed_on_the_log(tmp_path: Path) -> None:
    log = LogBuilder().town()
    log.publish(tmp_path / "log")
    check(log, tmp_path / "log", tmp_path / "state")
    for name in ("checkpoint", "trust.json"):
        (tmp_path / "state" / name).write_bytes(b"nonsense\n")
        with pytest.raises(Unavailable):
            check(log, tmp_path / "log", tmp_path / "state")


def test_merkletools_is_asked_and_its_answer_counts(
    town: tuple[LogBuilder, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, folder = town
    monkeypatch.setattr(SecondOpinion, "root", lambda _: bytes(32))
    assert "merkletools" in check(log, folder).verdict
    monkeypatch.setattr("trust.audit.second_opinion.MAX_LEAVES", 10)
    report = check(log, folder)
    assert report.verdict == "ok"
    assert any("No second opinion" in note for note in report.notes)


# Over HTTP: the same log from a service that gives shares, too.


def over_http(
    log: LogBuilder, folder: Path, shares: dict[int, dict[str, str]], monkeypatch: pytest.MonkeyPatch
) -> AuditReport:
    def answer(request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path.startswith("/log/"):
            file = folder / path.removeprefix("/log/")
            return httpx.Response(200, content=file.read_bytes()) if file.is_file() else httpx.Response(404)
        if path.startswith("/v1/rounds/"):
            admit = int(path.split("/")[3])
            return httpx.Response(200, json={"shares": shares[admit]}) if admit in shares else httpx.Response(404)
        return httpx.Response(404)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(auditor, "open_log", lambda place: HttpLog(place, client))
    return audit("http://service.example", trust=log.trust, clock=lambda: log.at + 5)


@pytest.fixture
def answered(tmp_path: Path) -> tuple[LogBuilder, Path, int]:
    log = LogBuilder().town()
    admit = log.admit()
    log.release(admit)
    log.publish(tmp_path / "answered")
    return log, tmp_path / "answered", admit


def test_over_http_every_sum_is_done_again(
    answered: tuple[LogBuilder, Path, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    log, folder, _ = answered
    report = over_http(log, folder, log.shares, monkeypatch)
    assert (report.verdict, report.shares_checked) == ("ok", 2)


@pytest.mark.parametrize("how", ["withheld", "one missing", "swapped", "other bytes"])
def test_shares_that_are_not_the_ones_named_are_noticed(
    answered: tuple[LogBuilder, Path, int], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    log, folder, admit = answered
    good = log.shares[admit]
    bad: dict[str, str] = {
        "withheld": {},
        "one missing": {"clinic": good["clinic"]},
        "swapped": {"clinic": good["bus_co"], "bus_co": good["clinic"]},
        "other bytes": {**good, "clinic": good["clinic"][:-1]},
    }[how]
    shares = {**log.shares, admit: bad} if bad else {k: v for k, v in log.shares.items() if k != admit}
    report = over_http(log, folder, shares, monkeypatch)
    assert report.first_fault == len(log.entries) - 1
    assert "(release)" in report.verdict


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"transcript_sha256": "ab" * 32}, "different transcripts"),
        ({"admit_sha256": "ab" * 32}, "another round"),
        ({"vector": [9, 9]}, "of the length"),
        ({"from_": "bus_co"}, "another round"),
    ],
)
def test_shares_that_the_log_names_but_that_do_not_fit_are_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, object], says: str
) -> None:
    """An operator who names bad shares in the log is found out by whoever opens them."""
    log = LogBuilder().town()
    admit = log.admit()
    good = log.make_shares(admit)
    share = msgspec.structs.replace(jws.read_unverified(good["clinic"], m.Share), **change)
    bad = {**good, "clinic": jws.sign(share, key_of("clinic"))}
    hashes = {alias: m.token_sha256(token) for alias, token in bad.items()}
    index = log.add(msgspec.structs.replace(log.make_release(admit, good), shares=hashes))
    log.shares[admit] = bad
    log.publish(tmp_path)
    report = over_http(log, tmp_path, log.shares, monkeypatch)
    assert report.first_fault == index
    assert says in report.verdict


def test_an_answer_that_is_not_the_sum_of_its_shares_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = LogBuilder().town()
    release = log.make_release(log.admit())
    index = log.add(msgspec.structs.replace(release, vector=[release.vector[0] + 1, *release.vector[1:]]))
    log.publish(tmp_path)
    assert check(log, tmp_path).verdict == "ok"  # a copy has no shares to add up
    report = over_http(log, tmp_path, log.shares, monkeypatch)
    assert report.first_fault == index
    assert "do not add up" in report.verdict


def test_a_share_signed_by_someone_else_is_noticed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogBuilder().town()
    admit = log.admit()
    good = log.make_shares(admit)
    share = jws.read_unverified(good["clinic"], m.Share)
    forged = {**good, "clinic": jws.sign(share, key_of("operator"))}
    index = log.release(admit, forged)
    log.publish(tmp_path)
    report = over_http(log, tmp_path, log.shares, monkeypatch)
    assert (report.first_fault, report.rule) == (index, "signature-invalid")


@pytest.mark.parametrize("how", ["right", "withheld", "another's", "of another round"])
def test_what_a_lost_round_names_as_shares_are_shares_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    log = LogBuilder().town()
    log.rules(2)
    other, admit = log.admit(), log.admit()
    lost = log.make_lost(admit)
    (holder,) = lost.shares
    good = log.shares[admit][holder]
    bad = {
        "right": good,
        "withheld": "",
        "another's": jws.sign(jws.read_unverified(good, m.Share), key_of("operator")),
        "of another round": log.make_shares(other)[holder],
    }[how]
    shares = {**log.shares, admit: {holder: bad} if bad else {}}
    index = log.add(msgspec.structs.replace(lost, shares={holder: m.token_sha256(bad or good)}))
    log.publish(tmp_path)
    report = over_http(log, tmp_path, shares, monkeypatch)
    if how == "right":
        assert report.verdict == "ok"
    else:
        assert report.first_fault == index
        assert "(lost)" in report.verdict


def test_a_service_that_cannot_be_reached_gives_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    log = LogBuilder().town()

    def refuse(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("no", request=request)

    client = httpx.Client(transport=httpx.MockTransport(refuse))
    monkeypatch.setattr(auditor, "open_log", lambda place: HttpLog(place, client))
    with pytest.raises(Unavailable):
        audit("http://service.example", trust=log.trust)


def test_a_flipped_bit_in_the_auditors_own_memory_accuses_nobody(tmp_path: Path) -> None:
    log = LogBuilder().town()
    log.publish(tmp_path / "log")
    assert check(log, tmp_path / "log", tmp_path / "state").is_ok
    kept = tmp_path / "state" / "checkpoint"
    note = kept.read_bytes()
    damaged = 0
    for place in range(len(note)):
        flipped = bytearray(note)
        flipped[place] ^= 1 if place % 2 else 128
        kept.write_bytes(flipped)
        damaged += not looks_well(log, tmp_path)
    assert damaged > len(note) // 2


def looks_well(log: LogBuilder, folder: Path) -> bool:
    """Audit with what is kept; return False where that is said to be damaged, which is all that may be said."""
    try:
        report = check(log, folder / "log", folder / "state")
    except Unavailable as error:
        return "damaged" not in error.message and pytest.fail(error.message)
    return report.is_ok or pytest.fail(report.verdict)

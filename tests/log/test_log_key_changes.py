"""A log changes its key: readers follow the change by its own entry, and the old key is worth nothing afterwards."""

from collections.abc import Callable
from pathlib import Path

import httpx
import msgspec
import pytest
from click.testing import CliRunner

from ledger import entries as e
from ledger.errors import MusubiError, NotPermitted, ProofInvalid, SignatureInvalid, Unavailable
from ledger.evidence import make_split_view
from ledger.notes.note import VerifierKey
from ledger.notes.receipts import check_receipt
from ledger.tlog.tiles import TileAppender, TileReader
from tests.kit.logs.log_builder import LogBuilder, receipt_of
from tests.kit.towns.toy_town import key_of
from trust.audit.auditor import audit
from trust.cli import main
from trust.client.service import ServiceClient
from trust.files.evidence import keep_evidence
from trust.log.export import export_log
from trust.log.follower import LogFollower
from trust.log.proven_keys import ProvenChange, ProvenLogKeys, check_log_keys, decode_log_keys
from trust.log.source import FolderLog


@pytest.fixture
def town() -> LogBuilder:
    return LogBuilder().town()


def follower_of(town: LogBuilder, folder: Path, latest: bytes | None = None) -> LogFollower:
    return LogFollower(
        FolderLog(folder), town.trust.log_keys, town.trust.witnesses, latest=latest, clock=lambda: town.at + 1
    )


def read_all(follower: LogFollower) -> list[bytes]:
    return [entry for batch in follower.follow() for entry in batch.entries]


def verdict(town: LogBuilder, folder: Path, state: Path) -> str:
    return audit(str(folder), trust=town.trust, state_folder=state, clock=lambda: town.at + 1).verdict


def test_readers_follow_the_log_over_two_changes_of_its_key_from_any_point_on(town: LogBuilder, tmp_path: Path) -> None:
    town.publish(tmp_path / "log")
    early, state = follower_of(town, tmp_path / "log"), tmp_path / "state"
    assert read_all(early) == town.entries
    assert verdict(town, tmp_path / "log", state) == "ok"
    for name in ("second", "third"):
        size, before = len(town.entries), early.history
        town.change_log_key(name)
        town.grant(100 + size)
        town.publish(tmp_path / "log")
        assert read_all(early) == town.entries[size:]
        assert len(early.history.changes) == len(before.changes) + 1
        assert read_all(follower_of(town, tmp_path / "log")) == town.entries
        note = (tmp_path / "log" / "checkpoint").read_bytes()
        assert read_all(follower_of(town, tmp_path / "log", latest=note)) == town.entries  # a restart, with pins alone
        assert follower_of(town, tmp_path / "log").fetch().checkpoint.size == len(town.entries)
        assert verdict(town, tmp_path / "log", state) == "ok"
        assert verdict(town, tmp_path / "log", tmp_path / f"state of {name}") == "ok"
    assert early.history.newest.key.public_key == bytes(key_of("third").verify_key)


@pytest.mark.parametrize("has_followed", [False, True])
def test_the_old_key_cannot_extend_the_log_for_anybody_who_reads_it(
    town: LogBuilder, tmp_path: Path, *, has_followed: bool
) -> None:
    change = town.change_log_key("second")
    town.publish(tmp_path / "log")
    follower = follower_of(town, tmp_path / "log")
    if has_followed:
        read_all(follower)
        assert verdict(town, tmp_path / "log", tmp_path / "state") == "ok"
    town.grant(200)
    town.publish(tmp_path / "log", signer="log")  # the thief has the old key, and even the witnesses still help
    history = follower.history
    with pytest.raises(SignatureInvalid if has_followed else ProofInvalid) as caught:
        read_all(follower)
    assert has_followed or caught.value.details["index"] == change
    assert follower.history is history
    assert verdict(town, tmp_path / "log", tmp_path / "state") != "ok"
    assert verdict(town, tmp_path / "log", tmp_path / "fresh") != "ok"


@pytest.mark.parametrize("has_exported", [False, True])
def test_the_old_key_cannot_extend_the_log_in_anybodys_copy_of_it(
    town: LogBuilder, tmp_path: Path, *, has_exported: bool
) -> None:
    """Neither in a new copy nor in one from after the change, which lies in a part that is not copied again."""
    log, out = tmp_path / "log", tmp_path / "out"
    town.change_log_key("second")
    for number in range(300, 600):
        town.grant(number)
    town.publish(log)
    if has_exported:
        assert export_log(FolderLog(log), town.trust, out).key.public_key == bytes(key_of("second").verify_key)
    honest = (out / "checkpoint").read_bytes() if has_exported else None
    town.grant(700)
    town.publish(log, signer="log")  # the thief has the old key, and even the witnesses still help
    with pytest.raises(ProofInvalid):
        export_log(FolderLog(log), town.trust, out)
    assert ((out / "checkpoint").read_bytes() if (out / "checkpoint").exists() else None) == honest
    town.publish(tmp_path / "true")
    assert export_log(FolderLog(tmp_path / "true"), town.trust, out).size == len(town.entries)


def test_the_new_key_signs_no_tree_before_its_entry(town: LogBuilder, tmp_path: Path) -> None:
    change = town.change_log_key("second")
    town.publish(tmp_path / "log", town.entries[:change], signer="second")
    with pytest.raises(SignatureInvalid):
        read_all(follower_of(town, tmp_path / "log"))


@pytest.mark.parametrize("signers", [(), ("city",), ("city", "city")])
def test_an_entry_without_the_quorum_changes_no_key(town: LogBuilder, tmp_path: Path, signers: tuple[str, ...]) -> None:
    town.publish(tmp_path / "log")
    follower = follower_of(town, tmp_path / "log")
    read_all(follower)
    size = follower.frontier.size
    town.append(town.make_log_key("second", signers=signers))
    for signer in ("second", "log"):
        town.publish(tmp_path / "log", signer=signer)
        fresh = follower_of(town, tmp_path / "log")
        if signer == "second":
            for each in (follower, fresh):
                with pytest.raises(SignatureInvalid):
                    read_all(each)
            assert follower.frontier.size == size
        else:
            assert read_all(fresh) == town.entries  # what it means is for the replay, which refuses it
        assert len(fresh.history.changes) == 1
        assert "log-key" in verdict(town, tmp_path / "log", tmp_path / signer) or signer == "second"
        assert verdict(town, tmp_path / "log", tmp_path / signer) != "ok"


def quorumless(town: LogBuilder, folder: Path) -> None:
    town.publish(folder, cosigners=())


def forked(town: LogBuilder, folder: Path) -> None:
    grants = [place for place, data in enumerate(town.entries) if b'"kind":"grant"' in data]
    entries = list(town.entries)
    entries[grants[0]], entries[grants[1]] = entries[grants[1]], entries[grants[0]]
    town.publish(folder, entries)


def smaller(town: LogBuilder, folder: Path) -> None:
    town.publish(folder.parent / "small", town.entries[:4], signer="second")
    (folder / "checkpoint").write_bytes((folder.parent / "small" / "checkpoint").read_bytes())


@pytest.mark.parametrize("lie", [quorumless, forked, smaller])
def test_a_changed_key_is_believed_whole_or_not_at_all(
    town: LogBuilder, tmp_path: Path, lie: Callable[[LogBuilder, Path], None]
) -> None:
    town.publish(tmp_path / "log")
    follower = follower_of(town, tmp_path / "log")
    read_all(follower)
    kept = (follower.history, follower.latest, follower.frontier.size)
    town.change_log_key("second")
    lie(town, tmp_path / "log")
    with pytest.raises(MusubiError):
        read_all(follower)
    assert (follower.history, follower.latest, follower.frontier.size) == kept
    town.publish(tmp_path / "log")
    assert read_all(follower) == town.entries[kept[2] :]


def test_another_genesis_entry_changes_no_key(tmp_path: Path) -> None:
    honest = LogBuilder()
    honest.genesis()
    forger = LogBuilder()
    forger.now()  # another time, so another genesis entry; the stewards are the same
    forger.genesis()
    forger.change_log_key("second")
    forger.publish(tmp_path / "log")
    follower = LogFollower(FolderLog(tmp_path / "log"), honest.trust.log_keys, clock=lambda: forger.at)
    with pytest.raises(SignatureInvalid):
        read_all(follower)


def test_a_kept_checkpoint_that_is_signed_by_nobody_is_found_out_once_the_keys_are_known(
    town: LogBuilder, tmp_path: Path
) -> None:
    town.change_log_key("second")
    town.publish(tmp_path / "log", signer="thief")
    kept = (tmp_path / "log" / "checkpoint").read_bytes()
    town.publish(tmp_path / "log")
    with pytest.raises(Unavailable, match="damaged"):
        read_all(follower_of(town, tmp_path / "log", latest=kept))


# Receipts.


def proven(town: LogBuilder, folder: Path, *changes: int) -> ProvenLogKeys:
    made = [
        ProvenChange(
            index=index,
            entry=msgspec.Raw(town.entries[index]),
            receipt=receipt_of(town, folder, index).format().decode(),
        )
        for index in changes
    ]
    return ProvenLogKeys(genesis=msgspec.Raw(town.entries[0]), changes=made)


def test_old_receipts_stay_good_and_new_ones_need_the_proven_change(town: LogBuilder, tmp_path: Path) -> None:
    log = tmp_path / "log"
    town.publish(log)
    old = receipt_of(town, log, 5)
    change = town.change_log_key("second")
    town.publish(log)
    new = receipt_of(town, log, 5)
    pinned, witnesses = town.trust.log_keys, town.trust.witnesses
    with pytest.raises(SignatureInvalid):
        check_receipt(new, town.entries[5], pinned.history, witnesses)
    document = decode_log_keys(msgspec.json.Encoder(order="sorted").encode(proven(town, log, change)))
    history = check_log_keys(document, pinned, witnesses)
    for receipt in (old, new):
        check_receipt(receipt, town.entries[5], history, witnesses)
    town.publish(log, signer="log")  # a receipt for the same size, made by a thief of the old key
    with pytest.raises(SignatureInvalid):
        check_receipt(receipt_of(town, log, 5), town.entries[5], history, witnesses)


def test_a_key_history_is_proven_whole_or_refused(town: LogBuilder, tmp_path: Path) -> None:
    log, pinned, witnesses = tmp_path / "log", town.trust.log_keys, town.trust.witnesses
    first, second = town.change_log_key("second"), town.change_log_key("third")
    town.publish(log)
    good = proven(town, log, first, second)
    assert check_log_keys(good, pinned, witnesses).newest.key.public_key == bytes(key_of("third").verify_key)
    other = LogBuilder()
    other.now()
    other.genesis()
    unsigned = msgspec.Raw(e.encode(town.make_log_key("fourth", 4, signers=("city",))))
    replace = msgspec.structs.replace
    bad: list[tuple[ProvenLogKeys, type[MusubiError]]] = [
        (replace(good, genesis=msgspec.Raw(other.entries[0])), ProofInvalid),
        (replace(good, changes=good.changes[:1]), SignatureInvalid),  # the checkpoint is signed with the third key
        (replace(good, changes=good.changes[1:]), ProofInvalid),
        (replace(good, changes=[*good.changes, replace(good.changes[1], entry=unsigned)]), NotPermitted),
        (replace(good, changes=[replace(good.changes[0], index=first - 1), good.changes[1]]), ProofInvalid),
        (
            replace(good, changes=[replace(good.changes[0], receipt=good.changes[1].receipt), good.changes[1]]),
            ProofInvalid,
        ),
    ]
    for document, error in bad:
        with pytest.raises(error):
            check_log_keys(document, pinned, witnesses)


def test_a_client_with_pins_from_before_the_change_learns_it_from_the_service(town: LogBuilder, tmp_path: Path) -> None:
    log = tmp_path / "log"
    change = town.change_log_key("second")
    town.publish(log)
    asked = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        match request.url.path.rsplit("/", 1):
            case ["/v1/receipts", index]:
                return httpx.Response(200, content=receipt_of(town, log, int(index)).format())
            case ["/v1/entries", index]:
                return httpx.Response(200, content=town.entries[int(index)])
            case _:
                document = proven(town, log, change)
                return httpx.Response(200, content=msgspec.json.Encoder(order="sorted").encode(document))

    client = ServiceClient("http://service", town.trust)
    client._http = httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer))
    assert client.prove(5).data == town.entries[5]
    assert client.prove(6).data == town.entries[6]
    assert asked.count("/v1/log-keys") == 1  # it remembers
    town.publish(log, signer="log")
    with pytest.raises(SignatureInvalid):
        client.prove(5)


def test_a_fork_after_a_change_of_the_key_convicts_once_the_reader_names_the_present_key(
    town: LogBuilder, tmp_path: Path
) -> None:
    """The pins know the first key only, and the refusal says what is missing."""
    town.change_log_key("second")
    good, fork = TileAppender(), TileAppender()
    good.append(town.entries)
    files = dict(fork.append([*town.entries[:-1], b"{}", b"{}"]))
    notes = [town.checkpoint(each.size, each.root()) for each in (good, fork)]
    key = VerifierKey.ed25519(town.log_key.name, bytes(key_of("second").verify_key))
    evidence = make_split_view(notes[0], notes[1], [key], TileReader(files.__getitem__, fork.size))
    assert evidence is not None
    town.publish(tmp_path)  # and trust.json
    words = [
        "audit",
        "verify-evidence",
        str(keep_evidence(tmp_path, evidence)),
        "--trust",
        str(tmp_path / "trust.json"),
    ]
    refused = CliRunner().invoke(main, words)
    assert refused.exit_code == 12
    assert "--log-key" in refused.output
    assert CliRunner().invoke(main, [*words, "--log-key", str(key)]).exit_code == 0

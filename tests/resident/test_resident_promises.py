"""A promise that a service breaks convicts it, alone and by one file; one that it keeps never does."""

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import entries as e
from ledger.canonical import encode
from ledger.errors import Malformed, MusubiError, NotPermitted, ProofInvalid, SignatureInvalid
from ledger.notes.cosignatures import cosign
from ledger.notes.note import Note, VerifierKey, format_note, parse_note
from policies.consents.bundle import commitment
from policies.consents.promises import PROMISE_SECONDS, BrokenPromise, Included, Promise, are_late, check_broken_promise
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.promise_town import WITNESSES, PromiseTown, quorum_policy
from tests.kit.towns.toy_town import ORIGIN, key_of
from trust.cli import main
from trust.client.place import make_place
from trust.client.wire import RevokeRequest
from trust.files.evidence import check_evidence, keep_evidence, read_evidence
from trust.log.pins import load_trust
from trust.log.source import FolderLog
from trust.resident.promises import KeptPromise, PromiseCheck, PromiseFolder, PromiseState

replace = msgspec.structs.replace


@pytest.fixture
def town(tmp_path: Path) -> PromiseTown:
    return PromiseTown(tmp_path)


def look(town: PromiseTown, promise: str, operator: int | None = None) -> tuple[PromiseState, BrokenPromise | None]:
    """Hold one promise against the log as it is published now."""
    check = PromiseCheck(FolderLog(town.folder / "log"), town.trust, clock=lambda: town.now)
    return check.check(KeptPromise(promise=promise, operator=town.operator if operator is None else operator))


def test_a_promise_that_was_kept_is_kept_and_gives_no_evidence(town: PromiseTown) -> None:
    index = len(town.log.entries)
    promise = town.promise(town.grants[0], index)
    town.log.append(town.revocation(town.grants[0]))
    town.now += 30
    town.publish()
    state, evidence = look(town, promise)
    assert (state.state, state.grant, state.index, evidence) == ("kept", town.grants[0], index, None)
    town.now += 100_000
    assert look(town, promise)[0].state == "kept"


@pytest.mark.parametrize("instead", ["another revocation", "a grant", "no entry at all", "an entry of 0 bytes"])
def test_another_entry_at_the_promised_index_convicts_at_once(town: PromiseTown, instead: str) -> None:
    index = len(town.log.entries)
    promise = town.promise(town.grants[0], index)
    entries = {
        "another revocation": town.revocation(town.grants[1]),
        "a grant": e.encode(town.log.make_grant(77)),
        "no entry at all": b"\xff\xfe",
        "an entry of 0 bytes": b"",
    }
    town.log.append(entries[instead])
    appended_late = town.log.append(town.revocation(town.grants[0]))  # elsewhere is not where it was promised
    assert appended_late == index + 1
    for number in range(300):
        town.log.append(b'{"at":%d}' % (town.log.at + number // 10))
    town.publish("wit_a", "wit_b")
    state, evidence = look(town, promise)
    assert state.state == "broken"
    assert evidence is not None
    assert BrokenPromise.parse(evidence.format()) == evidence
    file = keep_evidence(town.folder / "evidence", evidence)
    alone = check_evidence(read_evidence(file))
    assert (alone.kind, alone.origin, alone.pinned) == ("broken-promise", ORIGIN, False)
    assert check_evidence(read_evidence(file), [town.log.log_key], town.log.witness_policy).pinned


def test_a_log_that_goes_no_further_is_convicted_by_its_witnesses_clocks(town: PromiseTown) -> None:
    """The log and its time stand still. The device asks the witnesses to say what time it is."""
    published = town.publish()
    index = len(town.log.entries)
    promise = town.promise(town.grants[0], index)
    with town.witnesses_served():
        town.now += PROMISE_SECONDS + 60
        assert look(town, promise)[0].state == "open"
        town.now += 1
        state, evidence = look(town, promise)
    assert state.state == "broken"
    assert evidence is not None
    assert check_evidence(evidence, [town.log.log_key], town.trust.witnesses).pinned
    newest = parse_note(evidence.checkpoint.encode())
    both = dict.fromkeys((*parse_note(published).signatures, *newest.signatures))
    assert len(both) == len(newest.signatures) + 3
    kept_before = replace(evidence, checkpoint=format_note(Note(newest.text, tuple(both))).decode())
    assert check_evidence(kept_before, [town.log.log_key], town.trust.witnesses).pinned, "both times of each, as of old"
    for trusted in ([], [town.log.log_key]):
        with pytest.raises(ProofInvalid, match=r"trust\.json"):
            check_evidence(evidence, trusted)


def test_witnesses_that_a_file_itself_names_convict_nobody(town: PromiseTown) -> None:
    """A kept promise, an honest checkpoint from before, and a forger's own witness that says a late time."""
    old = town.publish()
    index = len(town.log.entries)
    promise = town.promise(town.grants[0], index)
    check = PromiseCheck(FolderLog(town.folder / "log"), town.trust, clock=lambda: town.now)
    genesis, operator = check._include(0), check._include(town.operator)
    town.log.append(town.revocation(town.grants[0]))
    town.publish()
    assert look(town, promise)[0].state == "kept"
    note = parse_note(old)
    forger = VerifierKey.cosignature("forger.example", bytes(key_of("forger").verify_key))
    late = cosign(note.text, forger.name, key_of("forger"), town.now + 10_000)
    forged = BrokenPromise(
        log_keys=[str(town.log.log_key)],
        checkpoint=format_note(Note(note.text, (*note.signatures, late))).decode(),
        genesis=genesis,
        operator=operator,
        promise=promise,
        instead=None,
        witness_policy=f"witness forger {forger}\nquorum forger\n",
    )
    for trusted, witnesses in [([], None), ([town.log.log_key], None), ([town.log.log_key], town.trust.witnesses)]:
        with pytest.raises(ProofInvalid):
            check_evidence(forged, trusted, witnesses)


def test_while_too_few_witnesses_say_the_time_nothing_is_claimed(town: PromiseTown) -> None:
    """Their addresses are unknown, or they have seen a larger tree: perhaps only an old copy is shown here."""
    old = town.publish()
    index = len(town.log.entries)
    promise = town.promise(town.grants[0], index)
    town.now += 1_000
    state, evidence = look(town, promise)  # nobody can be asked
    assert (state.state, evidence) == ("overdue", None)
    town.log.append(town.revocation(town.grants[0]))
    town.now -= 970
    town.publish("wit_a", "wit_b")  # kept in time; the third witness is behind
    (town.folder / "log" / "checkpoint").write_bytes(old)
    town.now += 970
    with town.witnesses_served():
        state, evidence = look(town, promise)
    assert (state.state, evidence) == ("overdue", None)


@given(st.integers(1, 3), st.sets(st.sampled_from(WITNESSES)), st.sets(st.sampled_from(WITNESSES)))
def test_witnesses_that_convict_leave_no_quorum_that_could_have_cosigned_in_time(
    threshold: int, late: set[str], early: set[str]
) -> None:
    """One forgotten witness, asked again and again for an old tree, never convicts an honest log."""
    policy = quorum_policy(LogBuilder(witnesses=WITNESSES), threshold)
    promise = Promise(log=ORIGIN, grant=1, commitment="00" * 32, index=9, promised_at=100, by=160)
    times = dict.fromkeys(early, 220) | dict.fromkeys(late, 221)
    assert are_late(policy, times, promise) == (len(late) >= threshold and 3 - len(late) < threshold)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"key": "bus_co"}, SignatureInvalid),
        ({"log": "other.example/log"}, ProofInvalid),
    ],
    ids=str,
)
def test_a_promise_that_is_not_the_operators_binds_nobody(
    town: PromiseTown, change: dict[str, str], error: type[MusubiError]
) -> None:
    index = len(town.log.entries)
    town.log.append(town.revocation(town.grants[1]))
    town.publish()
    promise = town.promise(town.grants[0], index, **change)
    state, evidence = look(town, promise)
    assert (state.state, evidence) == ("void", None)
    good = broken(town)
    with pytest.raises(error):
        check_broken_promise(replace(good, promise=promise))
    for operator in (0, 1, 5, 9, 10_000):
        assert look(town, town.promise(town.grants[0], index), operator)[0].state == "void"


def broken(town: PromiseTown) -> BrokenPromise:
    """Return evidence of a promise of the last index, which holds something else."""
    evidence = look(town, town.promise(town.grants[0], len(town.log.entries) - 1))[1]
    assert evidence is not None
    return evidence


def test_evidence_with_any_part_exchanged_does_not_convict(town: PromiseTown) -> None:
    self_made = town.log.make_member("rogue", "operator", signers=["city"])
    town.log.append(self_made)
    rogue = len(town.log.entries) - 1
    town.log.append(town.revocation(town.grants[1]))
    town.publish()
    good = broken(town)
    assert check_broken_promise(good).says
    assert good.instead is not None
    check = PromiseCheck(FolderLog(town.folder / "log"), town.trust, clock=lambda: town.now)
    other_key = VerifierKey.ed25519(ORIGIN, bytes(key_of("thief").verify_key))
    late = town.promise(town.grants[0], len(town.log.entries))
    changes: list[tuple[dict[str, Any], type[MusubiError]]] = [
        ({"instead": None}, ProofInvalid),
        ({"instead": check._include(3)}, ProofInvalid),
        ({"instead": replace(good.instead, entry=b"{}")}, ProofInvalid),
        ({"instead": replace(good.instead, proof=good.instead.proof[:-1])}, ProofInvalid),
        ({"promise": late}, Malformed),  # past the tree: only a time can tell, and no policy says by whom
        ({"promise": late, "witness_policy": town.trust.witness_policy}, ProofInvalid),  # and its time is not past
        ({"promise": late, "witness_policy": "quorum none\n"}, ProofInvalid),
        ({"promise": good.promise[:-1]}, Malformed),
        ({"genesis": check._include(1)}, ProofInvalid),
        ({"genesis": replace(good.genesis, proof=[])}, ProofInvalid),
        ({"operator": check._include(2)}, ProofInvalid),
        ({"operator": check._include(6)}, ProofInvalid),
        ({"operator": check._include(rogue)}, NotPermitted),
        ({"operator": replace(good.operator, index=1)}, ProofInvalid),
        ({"operator": Included(index=4, entry=e.encode(self_made), proof=good.operator.proof)}, ProofInvalid),
        ({"checkpoint": good.checkpoint.replace("\n16\n", "\n15\n")}, SignatureInvalid),
        ({"log_keys": [str(other_key)]}, SignatureInvalid),
    ]
    for change, error in changes:
        changed = replace(good, **change)
        assert changed != good, change
        with pytest.raises(error):
            check_broken_promise(changed)
    with pytest.raises(SignatureInvalid):
        check_broken_promise(good, [other_key])


@settings(max_examples=60)
@given(st.data())
def test_no_file_about_a_promise_that_was_kept_ever_convicts(kept: "Honest", data: st.DataObject) -> None:
    """The forger has each promise, entry, proof and checkpoint of an honest town, and puts them together at will."""
    forged = BrokenPromise(
        log_keys=[str(kept.town.log.log_key)],
        checkpoint=data.draw(st.sampled_from(kept.notes)),
        genesis=data.draw(st.sampled_from(kept.included)),
        operator=data.draw(st.sampled_from(kept.included)),
        promise=data.draw(st.sampled_from(kept.promises)),
        instead=data.draw(st.none() | st.sampled_from(kept.included)),
        witness_policy=kept.town.trust.witness_policy,
    )
    with pytest.raises(MusubiError):
        check_broken_promise(forged, [kept.town.log.log_key], kept.town.trust.witnesses)
    spoilt = bytearray(forged.format())
    spoilt[data.draw(st.integers(0, len(spoilt) - 1))] ^= 1 << data.draw(st.integers(0, 7))
    with pytest.raises(MusubiError):
        check_broken_promise(BrokenPromise.parse(bytes(spoilt)), [kept.town.log.log_key], kept.town.trust.witnesses)


class Honest:
    """An honest town with all that it ever signed."""

    def __init__(self, folder: Path) -> None:
        self.town = PromiseTown(folder)
        self.promises: list[str] = []
        self.notes: list[str] = []
        self.included: list[Included] = []
        for grant in self.town.grants[:4]:
            self.notes.append(self.town.publish().decode())
            self.promises.append(self.town.promise(grant, len(self.town.log.entries)))
            self.town.log.append(self.town.revocation(grant))
            self.town.now += 59
        self.notes.append(self.town.publish().decode())
        self.town.now += 10_000
        self.notes.append(self.town.publish().decode())
        check = PromiseCheck(FolderLog(folder / "log"), self.town.trust, clock=lambda: self.town.now)
        self.included = [check._include(index) for index in range(len(self.town.log.entries))]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Honest:
    return Honest(tmp_path_factory.mktemp("honest"))


# A resident's own device.


def device(town: PromiseTown, url: str) -> list[object]:
    """Lay out a resident's side of the town; return the words that begin its commands."""
    where = town.folder / "mine"
    if where.exists():
        (where / "place.toml").write_text(f'service = "{url}"\n')
    else:
        make_place(where, service=url, trust=load_trust(town.folder / "trust.json"), secret=bytes(32), alias=None)
    return ["resident", "--place", where]


def musubi(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, [str(word) for word in words])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    return done.exit_code, done.stdout, done.stderr


def append_it(town: PromiseTown, wanted: RevokeRequest) -> int:
    """Do what was promised."""
    made = e.Revoke(at=town.log.now(), grant=wanted.grant, reason="withdrawn", commitment=commitment(wanted.bundle))
    index = town.log.append(made)
    town.publish()
    return index


def append_nothing(town: PromiseTown, wanted: RevokeRequest) -> int:
    """Promise, and do nothing."""
    return len(town.log.entries)


def append_another(town: PromiseTown, wanted: RevokeRequest) -> int:
    """Promise an index, and give it to someone else."""
    index = town.log.append(town.log.make_grant(500))
    town.publish()
    return index


def test_a_device_keeps_the_promise_and_sees_it_kept(town: PromiseTown) -> None:
    town.now = int(time.time())
    town.publish()
    with town.service(append_it) as url:
        words = device(town, url)
        assert musubi(*words, "check-promises")[0] == 0
        (promises := PromiseFolder(town.folder / "mine" / "promises")).keep(
            KeptPromise(promise=town.promise(town.grants[0], 10_000_000, by=2**37), operator=town.operator)
        )
        code, out, _ = musubi(*words, "revoke", town.grants[3], "--json")
        # The device takes the consent's end for true only with a receipt, and the promise only with the operator's
        # name.
        assert (code, json.loads(out)["doubt"]) == (0, "")
        code, out, _ = musubi(*words, "check-promises", "--json")
        assert (code, sorted(each["state"] for each in json.loads(out))) == (0, ["kept", "open"])
        assert "Kept." in musubi(*words, "check-promises")[1]
    assert len(promises.all()) == 2
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in promises.folder.glob("*.json"))


@pytest.mark.parametrize("lie", [append_nothing, append_another])
def test_a_service_that_promises_and_lies_is_convicted_by_the_residents_own_device(
    town: PromiseTown, lie: object
) -> None:
    town.publish()
    with town.witnesses_served(), town.service(lie) as url:  # type: ignore[arg-type]
        town.publish()
        words = device(town, url)
        code, _, err = musubi(*words, "revoke", town.grants[3])
        assert code in (14, 23)
        assert "check-promises" in err
        town.now = int(time.time())  # the builder's times are long past: by now every promise is due
        code, out, _ = musubi(*words, "check-promises", "--json")
        (found,) = json.loads(out)
        assert (code, found["state"], found["grant"]) == (23, "broken", town.grants[3])
        assert "verify-evidence" in musubi(*words, "check-promises")[1]
    code, out, _ = musubi("audit", "verify-evidence", found["evidence"], "--trust", town.folder / "trust.json")
    assert code == 0
    assert "promised" in out
    alone = musubi("audit", "verify-evidence", found["evidence"], "--log-key", town.log.log_key)[0]
    assert alone == (0 if lie is append_another else 23)  # past the promised time, only the town's own witnesses tell


def test_a_damaged_promise_is_named_and_hides_no_other(town: PromiseTown) -> None:
    town.publish()
    folder = town.folder / "mine" / "promises"
    PromiseFolder(folder).keep(KeptPromise(promise=town.promise(1, 2), operator=None))
    (folder / "damaged.json").write_bytes(encode({"v": 1}))
    (whole,) = set(folder.glob("*.json")) - {folder / "damaged.json"}
    for place in range(0, len(whole.read_bytes()), 7):
        flipped = bytearray(whole.read_bytes())
        flipped[place] ^= 1
        (folder / "flipped.json").write_bytes(flipped)
        assert len(PromiseFolder(folder).all()) >= 1
    (folder / "flipped.json").unlink()
    assert len(PromiseFolder(folder).all()) == 1
    assert PromiseFolder(folder).damaged() == ["damaged.json"]

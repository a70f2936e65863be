"""Keys change while the service runs: the log's, and those of members of every role.

The old one is refused from then on.
"""

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec import structs
from nacl.signing import SigningKey

from ledger import entries as e
from ledger import jws
from ledger.errors import SignatureInvalid, Unavailable
from ledger.hashing import leaf_hash
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.log_keys import LogKeyHistory, LogKeys
from ledger.notes.ml_dsa import public_bytes
from ledger.notes.note import VerifierKey, parse_note
from ledger.notes.receipts import Receipt, check_receipt
from ledger.notes.witness_protocol import AddCheckpoint, UntrustedSignature
from ledger.tlog.tree import merkle_root
from policies.consents.promises import Promise
from policies.log_key_changes import make_log_key_body
from queries.rounds.messages import Countersign, OfferAnswer, Share, WorkAnswer
from tests.kit.towns.running import Resident, Running, Town, lay_out, query, question, refused, replay_log, run
from trust.audit.witness import open_witness
from trust.audit.witness_folder import change_trusted_keys, trusted_keys
from trust.files.keys import new_key, new_post_quantum_key, write_secret
from trust.log.follower import LogFollower
from trust.log.pins import PinnedLogKeys
from trust.log.proven_keys import check_log_keys, decode_log_keys
from trust.log.source import FolderLog

pytestmark = pytest.mark.anyio
BOTH = ("bus_co", "clinic")


@pytest.fixture
def hamlet(tmp_path: Path) -> Town:
    return lay_out(tmp_path / "town")


@pytest.fixture
async def started(hamlet: Town) -> AsyncIterator[Running]:
    async with run(hamlet) as running:
        yield await running.found()


# The log's key.


def pinned(town: Town) -> PinnedLogKeys:
    data = (town.service / "genesis.json").read_bytes().rstrip(b"\n")
    return PinnedLogKeys(LogKeyHistory.of(town.log_key), hashlib.sha256(data).hexdigest())


def next_keys(town: Town, *, made: bool = True) -> LogKeys:
    """Make the log's next keys in the service's folder, and have the witness trust them."""
    folder = town.service / "keys" if made else town.folder / "elsewhere"
    plain, post_quantum = new_key(folder / "log-2.key"), new_post_quantum_key(folder / "log-2.pq.key")
    keys = LogKeys(
        VerifierKey.ed25519(town.genesis.origin, bytes(plain.verify_key)),
        VerifierKey.ml_dsa_44(town.genesis.origin, public_bytes(post_quantum)),
    )
    change_trusted_keys(town.witness, add=[keys.key], remove=[])
    return keys


def wish(town: Town, keys: LogKeys, stewards: tuple[str, ...] = ("city", "citizens")) -> dict[str, object]:
    body = make_log_key_body(2, keys)
    made = town.approved("log-key", body, stewards)
    return {"log_key": body, "signatures": made["signatures"]}


async def test_the_log_signs_with_its_new_keys_from_the_very_tree_that_holds_the_entry(hamlet: Town) -> None:
    keys = next_keys(hamlet)
    async with run(hamlet) as running:
        await running.found()
        await running.settle()
        before = (await running.receipt(1))[1]
        change = (await running.done("/v1/log-keys", wish(hamlet, keys)))["index"]
        await running.settle()
        answer = await running.client.get("/v1/log-keys")
        history = check_log_keys(decode_log_keys(answer.content), pinned(hamlet), hamlet.witnesses)
        assert history.changes == ((0, LogKeys(hamlet.log_key)), (change, keys))
        entry = (await running.client.get("/v1/entries/1")).content
        after = (await running.client.get("/v1/receipts/1")).content
        for receipt in (before, after):
            check_receipt(Receipt.parse(receipt), entry, history, hamlet.witnesses)
        with pytest.raises(SignatureInvalid):
            check_receipt(Receipt.parse(after), entry, hamlet.log_key, hamlet.witnesses)
        note = parse_note(Receipt.parse(after).checkpoint)
        assert {line.key_id for line in note.signatures} >= {keys.key.key_id, keys.post_quantum.key_id}  # type: ignore[union-attr]
    async with run(hamlet) as running:  # a restart goes on with them
        resident = Resident()
        await running.enrol(resident)
        await running.grant(resident.consent())
        await running.settle()
    follower = LogFollower(FolderLog(hamlet.service / "log"), pinned(hamlet), hamlet.witnesses)
    assert sum(len(batch.entries) for batch in follower.follow()) == change + 2
    assert follower.history.newest == keys


async def test_an_entry_without_the_quorum_or_without_the_private_keys_at_hand_changes_nothing(hamlet: Town) -> None:
    keys = next_keys(hamlet)
    absent = LogKeys(VerifierKey.ed25519(hamlet.genesis.origin, bytes(SigningKey.generate().verify_key)))
    async with run(hamlet) as running:
        await running.found()
        async with running.unchanged():
            refused(await running.post("/v1/log-keys", wish(hamlet, keys, ("city",))), "not-permitted", "2 stewards")
            refused(await running.post("/v1/log-keys", wish(hamlet, absent)), "not-permitted", "keys rotate-log")
            stale = make_log_key_body(3, keys)
            said = hamlet.approved("log-key", stale)
            refused(
                await running.post("/v1/log-keys", {"log_key": stale, "signatures": said["signatures"]}),
                "proof-invalid",
            )
            forged = wish(hamlet, keys) | {"log_key": structs.replace(stale, number=2, key=str(absent.key))}
            refused(await running.post("/v1/log-keys", forged), "signature-invalid")


async def test_a_witness_that_does_not_know_the_new_key_holds_the_log_up_and_one_without_the_old_key_stops_its_thief(
    hamlet: Town,
) -> None:
    keys = next_keys(hamlet)
    change_trusted_keys(hamlet.witness, add=[], remove=[keys.key])
    async with run(hamlet) as running:
        await running.found()
        await running.settle()
        published = running.service.sequencer.size
        await running.done("/v1/log-keys", wish(hamlet, keys))
        with pytest.raises(Unavailable):
            await running.service.sequencer.wait_for(published + 1, 0.5)
        assert running.service.sequencer.size == published
    change_trusted_keys(hamlet.witness, add=[keys.key], remove=[])
    async with run(hamlet) as running:
        await running.settle()
        assert running.service.sequencer.size == published + 1
    change_trusted_keys(hamlet.witness, add=[], remove=[hamlet.log_key])
    assert trusted_keys(hamlet.witness) == [keys.key]
    witness = open_witness(hamlet.witness)
    try:
        tree = Checkpoint(hamlet.genesis.origin, published + 2, merkle_root([leaf_hash(b"forged")] * (published + 2)))
        stolen = sign_checkpoint(tree, hamlet.keys["log"])
        with pytest.raises(UntrustedSignature):
            witness.add_checkpoint(AddCheckpoint(published + 1, [], stolen).format())
    finally:
        witness.close()


# Members' keys.


async def change_key(running: Running, alias: str, roles: list[e.Role]) -> SigningKey:
    """Register a new signing key of a member; return the old one."""
    old = running.town.keys[alias]
    number = running.service.store.state.members[alias].number + 1
    running.town.keys[alias] = SigningKey.generate()
    if alias == "operator":
        write_secret(running.town.service / "keys" / f"operator-{number}.key", bytes(running.town.keys[alias]))
    await running.done("/v1/members", running.town.approved("member", running.town.member(alias, roles, number)))
    return old


async def test_a_partners_old_key_asks_nothing_any_more(started: Running) -> None:
    old = await change_key(started, "planner", ["partner"])
    for path in ("/v1/questions/preview", "/v1/questions"):
        refused(await started.post(path, question(started.town, query(), key=old)), "signature-invalid")
    assert (await started.ask(question(started.town, query()))).admit


async def test_an_identity_providers_old_key_attests_nobody_any_more(started: Running) -> None:
    resident, early = Resident(), Resident().enrolment(started.town)
    await change_key(started, "idp", ["identity"])
    refused(await started.post("/v1/enrolments", {"enrolments": [early]}), "signature-invalid")
    await started.enrol(resident)


async def test_the_operator_signs_with_the_key_in_force_without_a_restart(started: Running) -> None:
    resident = Resident()
    await started.enrol(resident)
    bundle = resident.consent()
    (grant,) = await started.grant(bundle)
    old = await change_key(started, "operator", ["operator"])
    preview = await started.done("/v1/questions/preview", question(started.town, query()))
    jws.verify(preview, bytes(started.town.keys["operator"].verify_key), OfferAnswer)
    with pytest.raises(SignatureInvalid):
        jws.verify(preview, bytes(old.verify_key), OfferAnswer)
    revoked = await started.done("/v1/revocations", resident.revocation(bundle, grant))
    state = started.service.store.state
    key = state.keys_since("operator", revoked["index"])[-1]
    assert key == bytes(started.town.keys["operator"].verify_key)
    assert jws.verify(revoked["promise"], key, Promise).index == revoked["index"]
    assert state.keys_since("operator", grant)[-1] == bytes(old.verify_key)


async def test_a_holders_old_key_is_refused_and_what_it_said_before_in_an_open_round_still_counts(
    started: Running,
) -> None:
    admit = (await started.ask(question(started.town, query(), fresh=True))).admit
    await started.settle()
    bus, data = started.nodes["bus_co"], await started.entry(admit)
    countersigned = bus.countersign(admit, data)
    await started.done("/v1/node/countersign", bus.sign(countersigned))
    old = await change_key(started, "bus_co", ["holder"])
    refused(await started.post("/v1/node/work", bus.sign(bus.work(), old)), "signature-invalid")
    refused(
        await started.post("/v1/node/countersign", bus.sign(bus.countersign(admit, data), old)), "signature-invalid"
    )
    await started.done("/v1/node/countersign", bus.sign(countersigned))  # signed anew, it says the same
    refused(await started.post("/v1/node/countersign", bus.sign(bus.countersign(admit, data))), "replayed")
    await started.countersign(admit, "clinic")
    assert await started.share(admit, "clinic", [20]) is None
    await change_key(started, "clinic", ["holder"])  # its share is in already, under the key that it laid down
    (go,) = [task.go for task in (await started.work("bus_co")).tasks]
    share = bus.share(admit, data, jws.read_unverified(go, dict)["transcript"], [-3])
    refused(await started.post("/v1/node/share", bus.sign(share, old)), "signature-invalid")
    closed = (await started.done("/v1/node/share", bus.sign(share)))["closed_by"]
    await started.settle()
    state, entries = replay_log(started.town)
    release = entries[closed]
    assert isinstance(release, e.Release)
    tokens = (await started.client.get(f"/v1/rounds/{admit}/shares")).json()["shares"]
    for alias, token in tokens.items():
        assert jws.verify_any(token, state.keys_since(alias, admit), Share).vector
    assert len(state.keys_since("clinic", admit)) == len(state.keys_since("bus_co", admit)) == 2
    with pytest.raises(SignatureInvalid):
        jws.verify_any(tokens["clinic"], state.keys_since("clinic", closed), Share)


async def test_a_word_given_under_an_old_key_before_the_change_still_refunds(started: Running) -> None:
    admit = (await started.ask(question(started.town, query(), fresh=True))).admit
    await started.settle()
    assert await started.word(admit, "bus_co") is None
    old = await change_key(started, "bus_co", ["holder"])
    await change_key(started, "clinic", ["holder"])
    clinic, data = started.nodes["clinic"], await started.entry(admit)
    refused(await started.post("/v1/node/word", clinic.sign(clinic.word(admit, data), old)), "signature-invalid")
    closed = await started.word(admit, "clinic")
    await started.settle()
    _, entries = replay_log(started.town)
    assert closed is not None
    assert isinstance(entries[closed], e.Refund)


async def test_a_go_is_signed_anew_when_the_operator_has_changed_its_key(started: Running) -> None:
    admit = (await started.ask(question(started.town, query(), fresh=True))).admit
    await started.settle()
    await started.countersign(admit, *BOTH)
    await started.work("clinic")
    await change_key(started, "operator", ["operator"])
    answer: WorkAnswer = await started.work("clinic")
    (go,) = [task.go for task in answer.tasks]
    said = jws.verify(go, bytes(started.town.keys["operator"].verify_key), dict)
    assert [jws.read_unverified(token, Countersign).from_ for token in said["transcript"]] == list(BOTH)


async def test_a_member_takes_back_no_key_that_it_laid_down_and_nobody_without_the_quorum_changes_one(
    started: Running,
) -> None:
    town = started.town
    old = await change_key(started, "planner", ["partner"])
    async with started.unchanged():
        new = town.keys["planner"]
        body = town.member("planner", ["partner"], 3)
        one = town.approved(
            "member", structs.replace(body, key=bytes(SigningKey.generate().verify_key).hex()), ("city",)
        )
        refused(await started.post("/v1/members", one), "not-permitted")
        town.keys["planner"] = old
        refused(
            await started.post("/v1/members", town.approved("member", town.member("planner", ["partner"], 3))),
            "proof-invalid",
        )
        town.keys["planner"] = new

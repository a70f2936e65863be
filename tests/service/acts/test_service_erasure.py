"""Erasure at the service: who may ask, what goes, what stays; a key gone makes a record's copies unreadable."""

import asyncio
import random
import secrets
import sqlite3
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, structs
from nacl.signing import SigningKey
from sqlalchemy import update

from ledger import entries as e
from ledger import jws
from ledger.errors import Unavailable
from policies.consents.bundle import Bundle
from policies.consents.erasure import ErasedWord, ErasureOrder, Farewell, make_erasure
from policies.pairwise_keys import public_hex
from policies.replay import entry_sha256
from queries.rounds.messages import LeavesAnswer
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import MakeTown, Resident, Running, consent_of, refused, replay_log, run
from tests.kit.towns.toy_town import ORIGIN
from tests.kit.waiting import eventually
from trust.service.acts.retention import sweep, time_come
from trust.service.database import tables as t
from trust.service.keys.record_keys import RecordKeys
from trust.service.keys.records import open_record

pytestmark = pytest.mark.anyio


def wish(resident: Resident, bundle: Bundle, index: int, **changes: Any) -> str:
    """Sign a resident's wish to have one consent erased."""
    how = {"log": ORIGIN, "consent": consent_of(bundle), "grant": index, "said_at": int(time.time())} | changes
    return make_erasure(resident.key, **how)  # type: ignore[arg-type]


async def given_consent(running: Running) -> tuple[Resident, Bundle, int]:
    """Enrol a resident and hand in a consent."""
    resident = Resident()
    await running.enrol(resident)
    bundle = resident.consent()
    (index,) = await running.grant(bundle, key=secrets.token_hex(16))
    return resident, bundle, index


async def leaves_of(running: Running, alias: str, index: int) -> list[int]:
    """Return the indices of the leaves that a holder's node gets around an index."""
    node = running.nodes[alias]
    answer = await running.done("/v1/node/leaves", node.sign(node.leaves(index, index)))
    given_ = jws.verify(answer, bytes(running.town.keys["operator"].verify_key), LeavesAnswer)
    return [held.index for held in given_.leaves]


def everything_in(folder: Path) -> bytes:
    """Return all bytes of all files under a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


async def test_an_erased_consent_ends_and_nothing_of_its_record_is_left(running: Running) -> None:
    resident, bundle, index = await given_consent(running)
    assert await leaves_of(running, "clinic", index) == [index]
    keys = await running.service.keys.find([index])
    ((_, sealed),) = [row for row in await running.rows(t.records) if row[0] == index]
    assert open_record(keys[index], sealed) == bundle

    answer = await running.done("/v1/erasures", wish(resident, bundle, index))
    (erased,) = answer["erased"]
    assert erased["index"] == index
    assert e.decode(await running.entry(erased["entry"])) == e.Erase(
        at=running.service.store.state.at, index=index, reason="requested"
    )
    assert await running.service.keys.find([index]) == {}
    assert keys[index] not in everything_in(running.town.service)
    assert await running.rows(t.records) == []
    assert await running.rows(t.idempotency) == []
    (grant,) = await running.rows(t.grants)
    assert grant[3:] == (None, erased["entry"])  # no resident any more; ended by the erasure
    assert await leaves_of(running, "clinic", index) == []
    assert await running.done("/v1/residents/consents", jws.sign(resident.mine(), resident.key)) == []
    await running.settle()
    state, _ = replay_log(running.town)
    assert index in state.erased
    assert state.eligible(state.policies["mobility"].sha256, state.at, 0) == {}


async def test_the_record_of_the_revocation_goes_with_that_of_the_consent(running: Running) -> None:
    resident, bundle, index = await given_consent(running)
    revoked = (await running.done("/v1/revocations", resident.revocation(bundle, index)))["index"]
    before = await running.service.keys.find([index, revoked])
    assert sorted(before) == [index, revoked]
    answer = await running.done("/v1/erasures", wish(resident, bundle, index))
    assert [each["index"] for each in answer["erased"]] == [index, revoked]
    assert not any(key in everything_in(running.town.service) for key in before.values())
    assert await running.rows(t.records) == []


async def test_an_erasure_whose_keys_could_not_be_destroyed_is_finished_when_it_is_asked_for_again(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident, bundle, index = await given_consent(running)
    ended = (await running.done("/v1/revocations", resident.revocation(bundle, index)))["index"]
    keys = running.service.keys
    with monkeypatch.context() as patched:

        async def full(_: object) -> int:
            raise Unavailable("The disk is full.")

        patched.setattr(keys, "destroy", full)
        refused(await running.post("/v1/erasures", wish(resident, bundle, index)), "unavailable")
    assert set(await keys.find([index, ended])) == {index, ended}
    refused(await running.post("/v1/erasures", wish(resident, bundle, index)), "already-ended")
    assert await keys.find([index, ended]) == {}


async def test_a_consent_is_erased_once_and_never_comes_back(running: Running) -> None:
    resident, bundle, index = await given_consent(running)
    token = wish(resident, bundle, index)
    entry = (await running.done("/v1/erasures", token))["erased"][0]["entry"]
    async with running.unchanged():
        refused(await running.post("/v1/erasures", token), "already-ended")
        refused(await running.post("/v1/revocations", resident.revocation(bundle, index)), "already-ended")
        refused(await running.post("/v1/grants", {"bundles": [bundle]}), "replayed")
    assert entry < running.service.store.size


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"consent": "ab" * 32}, "consent-mismatch"),
        ({"log": "musubi.test/elsewhere"}, "consent-mismatch"),
        ({"grant": 0}, "not-found"),
        ({"grant": 10**6}, "not-found"),
    ],
    ids=["another consent", "another town", "no consent there", "past the end"],
)
async def test_a_wish_for_something_else_changes_nothing(running: Running, changes: dict[str, Any], code: str) -> None:
    resident, bundle, index = await given_consent(running)
    async with running.unchanged():
        refused(await running.post("/v1/erasures", wish(resident, bundle, index, **changes)), code)


async def test_nobody_else_has_a_consent_erased(running: Running) -> None:
    """Neither another enrolled resident, nor the same resident's key at a holder, nor a signature by another key."""
    _, bundle, index = await given_consent(running)
    stranger = Resident()
    await running.enrol(stranger)
    async with running.unchanged():
        refused(await running.post("/v1/erasures", wish(stranger, bundle, index)), "consent-mismatch")
        forged = wish(stranger, bundle, index)[:-4] + "AAAA"
        assert (await running.post("/v1/erasures", forged)).status_code == httpx.codes.UNAUTHORIZED


async def test_an_authority_erases_with_the_quorum_of_stewards_and_its_approvals_are_shown(running: Running) -> None:
    _, _, index = await given_consent(running)
    order = ErasureOrder(log=ORIGIN, index=index)

    def body(stewards: tuple[str, ...], about: ErasureOrder = order, **changes: Any) -> dict[str, Any]:
        signed = running.town.approved("erasure", about, stewards)
        return {"order": about, "signatures": signed["signatures"]} | changes

    async with running.unchanged():
        refused(await running.post("/v1/erasures/ordered", body(("city",))), "not-permitted")
        refused(await running.post("/v1/erasures/ordered", body(("city", "city"))), "not-permitted")
        other = ErasureOrder(log=ORIGIN, index=index + 1)
        swapped = body(("city", "firms"), other, order=order)
        refused(await running.post("/v1/erasures/ordered", swapped), "signature-invalid")
        foreign = ErasureOrder(log="musubi.test/elsewhere", index=index)
        refused(await running.post("/v1/erasures/ordered", body(("city", "firms"), foreign)), "consent-mismatch")
    good = body(("city", "firms"))
    erased = (await running.done("/v1/erasures/ordered", good))["erased"]
    entry = e.decode(await running.entry(erased[0]["entry"]))
    assert isinstance(entry, e.Erase)
    assert (entry.reason, entry.approvals) == ("authority", good["signatures"])
    shown = (await running.client.get(f"/v1/erasures/{index}")).json()
    assert shown["approvals"] == good["signatures"]
    async with running.service.databases.writer.begin() as connection:  # as after a restore from the ledger alone
        await connection.execute(update(t.erasures).values(approvals=None))
    assert (await running.client.get(f"/v1/erasures/{index}")).json() == shown
    refused(await running.post("/v1/erasures/ordered", good), "already-ended")


@pytest.mark.parametrize("rules", [2, 3])
async def test_an_order_is_in_the_ledger_as_far_as_its_rules_know_of_it_and_covers_what_ended_the_consent(
    tmp_path: Path, lay_out_with_tables: MakeTown, rules: int
) -> None:
    async with run(lay_out_with_tables(tmp_path / "town", rules=rules)) as started:
        running = await started.found()
        resident, bundle, index = await given_consent(running)
        end = (await running.done("/v1/revocations", resident.revocation(bundle, index)))["index"]
        order = ErasureOrder(log=ORIGIN, index=index)
        signed = running.town.approved("erasure", order, ("city", "firms"))["signatures"]
        erased = (await running.done("/v1/erasures/ordered", {"order": order, "signatures": signed}))["erased"]
        assert [each["index"] for each in erased] == [index, end]
        await running.settle()
        _, entries = replay_log(running.town)
        said = [entries[each["entry"]] for each in erased]
        assert [each.approvals for each in said if isinstance(each, e.Erase)] == [signed if rules > 2 else UNSET, UNSET]


async def test_each_holders_word_is_kept_and_a_silent_holder_is_named(running: Running) -> None:
    resident, bundle, index = await given_consent(running)
    refused(await running.client.get(f"/v1/erasures/{index}"), "not-found")
    entry = (await running.done("/v1/erasures", wish(resident, bundle, index)))["erased"][0]["entry"]
    sha256 = entry_sha256(await running.entry(entry))

    def word(alias: str, signer: str = "", **changes: Any) -> str:
        said = {"from_": alias, "log": ORIGIN, "at": 1, "index": index, "entry": entry, "entry_sha256": sha256}
        return jws.sign(ErasedWord(**(said | changes)), running.town.keys[signer or alias])

    async with running.unchanged():
        for bad, code in [
            (word("clinic", signer="market"), "signature-invalid"),
            (word("planner"), "signature-invalid"),
            (word("clinic", entry_sha256="00" * 32), "proof-invalid"),
            (word("clinic", entry=entry + 1), "proof-invalid"),
            (word("clinic", log="musubi.test/elsewhere"), "proof-invalid"),
            (word("clinic", index=0), "not-found"),
        ]:
            refused(await running.post("/v1/node/erased", {"words": [word("market"), bad]}), code)
    first = word("clinic")
    assert await running.done("/v1/node/erased", {"words": [first, word("market")]}) == {"new": 2}
    assert await running.done("/v1/node/erased", {"words": [word("clinic", at=2)]}) == {"new": 0}
    shown = (await running.client.get(f"/v1/erasures/{index}")).json()
    assert shown["entry"] == entry
    assert shown["holders"] == {"bus_co": None, "clinic": first, "market": word("market")}


async def test_a_holders_word_with_a_key_that_it_has_laid_down_is_refused(running: Running) -> None:
    """The node says what is still to be said with today's key; whoever stole the old one says nothing in its name."""
    resident, bundle, index = await given_consent(running)
    entry = (await running.done("/v1/erasures", wish(resident, bundle, index)))["erased"][0]["entry"]
    said = ErasedWord(
        from_="clinic",
        log=ORIGIN,
        at=1,
        index=index,
        entry=entry,
        entry_sha256=entry_sha256(await running.entry(entry)),
    )
    old, new = running.town.keys["clinic"], SigningKey.generate()
    body = running.service.store.state.members["clinic"]
    body = structs.replace(body, number=body.number + 1, key=bytes(new.verify_key).hex())
    await running.done("/v1/members", running.town.approved("member", body))
    async with running.unchanged():
        refused(await running.post("/v1/node/erased", {"words": [jws.sign(said, old)]}), "signature-invalid")
    assert await running.done("/v1/node/erased", {"words": [jws.sign(said, new)]}) == {"new": 1}


async def test_an_enrolment_is_forgotten_when_no_consent_is_left_and_not_before(running: Running) -> None:
    resident, bundle, index = await given_consent(running)

    def goodbye(**changes: Any) -> str:
        said: dict[str, Any] = {
            "log": ORIGIN,
            "key": public_hex(resident.key),
            "at": running.clock(),
            "nonce": secrets.token_hex(32),
        }
        return jws.sign(Farewell(**(said | changes)), resident.key)

    refused(await running.post("/v1/residents/farewell", goodbye()), "not-permitted")
    assert len(await running.rows(t.residents)) == 1
    await running.done("/v1/erasures", wish(resident, bundle, index))
    async with running.unchanged():
        refused(await running.post("/v1/residents/farewell", goodbye(at=running.clock() - 3_600)), "clock-skew")
    token = goodbye()
    assert await running.done("/v1/residents/farewell", token) == {"forgotten": True}
    assert await running.rows(t.residents) == []
    refused(await running.post("/v1/residents/farewell", token), "not-enrolled")
    await running.enrol(resident)  # and may begin anew
    refused(await running.post("/v1/residents/farewell", token), "replayed")


async def test_records_are_erased_so_long_after_their_end_and_no_sooner(running: Running) -> None:
    """Three consents: one revoked, one whose last day is past, one that goes on."""
    store = running.service.store
    kept = []
    for until in ("2090-12-31", "2030-03-31", "2090-12-31"):
        resident = Resident()
        await running.enrol(resident)
        bundle = resident.consent(until=until)
        kept.append((resident, bundle, (await running.grant(bundle))[0]))
    resident, bundle, index = kept[0]
    await running.done("/v1/revocations", resident.revocation(bundle, index))
    await sweep(store, 30, running.clock())
    assert store.state.erased == set()
    running.clock.offset += 29 * 86_400
    assert await sweep(store, 30, running.clock()) == 0
    running.clock.offset += 2 * 86_400
    assert await sweep(store, 0, running.clock()) == 0
    assert await sweep(store, 30, running.clock()) == 1
    assert store.state.erased == {index, index + 3}  # the revocation's own record is at the end of the ledger
    assert sorted(await running.service.keys.find(each[2] for each in kept)) == [kept[1][2], kept[2][2]]
    assert await sweep(store, 30, running.clock()) == 0


async def test_a_retention_sweep_says_so_in_the_ledger(running: Running) -> None:
    resident, bundle, index = await given_consent(running)
    await running.done("/v1/revocations", resident.revocation(bundle, index))
    running.clock.offset += 10 * 86_400
    await sweep(running.service.store, 5, running.clock())
    entries = [e.decode(row[1]) for row in await running.rows(t.entries)]
    assert {each.reason for each in entries if isinstance(each, e.Erase)} == {"retention"}


async def test_a_kept_answer_goes_with_the_first_of_its_consents_that_is_erased(running: Running) -> None:
    """It says which consents were handed in together."""
    folk, stranger = Folk(3), Resident()
    await running.enrol(folk, stranger)
    bundles = [folk.consent() for _ in range(3)]
    indices = await running.grant(*bundles, key="one sitting")
    await running.grant(stranger.consent(), key="somebody else")
    await running.done("/v1/erasures", wish(folk.who(bundles[1]), bundles[1], indices[1]))
    left = await running.rows(t.idempotency)
    assert len(left) == 1
    assert str(indices[0]) not in left[0][2].strip("[]").split(",")


async def test_of_an_erased_record_neither_key_nor_salt_nor_signature_is_left_on_the_disk(running: Running) -> None:
    resident, bundle, index = await given_consent(running)
    key = (await running.service.keys.find([index]))[index]
    ((_, sealed),) = await running.rows(t.records)
    assert open_record(key, sealed) == bundle  # so these are the bytes to look for
    await running.done("/v1/erasures", wish(resident, bundle, index))
    disk = everything_in(running.town.service)
    assert key not in disk
    assert not any(key[at : at + 8] in disk for at in range(0, 25, 8))
    for leaf in bundle.leaves:
        assert bytes.fromhex(leaf.salt) not in disk
        assert leaf.salt.encode() not in disk
        assert leaf.body.encode() not in disk


async def test_a_restart_destroys_the_keys_that_a_crash_left_behind(running: Running) -> None:
    """A key without a record, past the end of the ledger; and one whose record was erased just before the crash."""
    resident, bundle, index = await given_consent(running)
    keys, store = running.service.keys, running.service.store
    lost = (await keys.find([index]))[index]
    await running.done("/v1/erasures", wish(resident, bundle, index))
    orphan = secrets.token_bytes(32)
    await keys.keep([(index, lost), (store.size + 5, orphan)])
    await store.stop()
    await store.start()
    assert await keys.find([index, store.size + 5]) == {}
    assert not any(key in everything_in(running.town.service) for key in (lost, orphan))


async def test_a_group_whose_keys_cannot_be_kept_leaves_nothing(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    resident = Folk()
    await running.enrol(resident)

    def fail(*_: Any) -> None:
        raise sqlite3.OperationalError("disk full")

    async with running.unchanged():
        with monkeypatch.context() as patched:
            patched.setattr(RecordKeys, "_insert", fail)
            refused(await running.post("/v1/grants", {"bundles": [resident.consent()]}), "unavailable")
        await eventually(lambda: running.service.store._state is not None)  # it is rebuilt behind the answer
    assert len(await running.grant(resident.consent())) == 1


async def test_a_consent_whose_record_was_lost_can_still_be_taken_back(running: Running) -> None:
    """Whatever befell our disks: the key at the service is enough."""
    resident, bundle, index = await given_consent(running)
    await running.service.keys.destroy([index])
    stranger = Resident()
    await running.enrol(stranger)
    async with running.unchanged():
        refused(await running.post("/v1/revocations", stranger.revocation(bundle, index)), "signature-invalid")
    assert "index" in await running.done("/v1/revocations", resident.revocation(bundle, index))


@given(st.data())
@settings(max_examples=25)
def test_no_destroyed_key_is_left_in_the_file_or_its_log_whatever_went_before(data: st.DataObject) -> None:
    """Keys come and go in any order; the living are found, and of the destroyed not eight bytes are on the disk."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "record-keys.sqlite"
        living: dict[int, bytes] = {}
        destroyed: list[bytes] = []
        places = st.lists(st.integers(0, 3_000), max_size=300, unique=True)

        async def play() -> None:
            keys = RecordKeys(path)
            for _ in range(data.draw(st.integers(1, 5), "rounds")):
                new = {place: secrets.token_bytes(32) for place in data.draw(places, "kept")}
                destroyed.extend(living[place] for place in new if place in living)
                await keys.keep(list(new.items()))
                living.update(new)
                gone = data.draw(places, "destroyed")
                assert await keys.destroy(gone) == len(living.keys() & set(gone))
                destroyed.extend(living.pop(place) for place in gone if place in living)
            await keys.destroy([0])
            destroyed.extend([living.pop(0)] if 0 in living else [])
            assert await keys.find(range(3_001)) == living
            await keys.close()

        asyncio.run(play())
        disk = everything_in(Path(folder))
        assert path.stat().st_mode & 0o777 == 0o600
        assert not any(key[:8] in disk or key[-8:] in disk for key in destroyed)
        assert all(key in disk for key in living.values())


def test_no_destroyed_key_is_left_of_a_large_batch_that_came_shuffled(tmp_path: Path) -> None:
    """A request's consents are shuffled, so their keys come in any order; SQLite splits no page over them."""
    new = [(place, secrets.token_bytes(32)) for place in range(2_000)]
    shuffled = list(new)
    random.Random(6).shuffle(shuffled)

    async def play() -> None:
        keys = RecordKeys(tmp_path / "record-keys.sqlite")
        await keys.keep(shuffled)
        assert await keys.destroy(range(2_000)) == 2_000
        await keys.close()

    asyncio.run(play())
    disk = everything_in(tmp_path)
    assert [place for place, key in new if key[:8] in disk or key[-8:] in disk] == []


async def test_a_clock_that_runs_years_ahead_erases_nothing_early(running: Running) -> None:
    """What the witnesses have not cosigned as come has not come, whatever our own clock says."""
    await running.enrol(Resident())
    await running.settle()
    true_time = running.clock()
    checkpoint = running.service.tiles.read_checkpoint()
    ahead = true_time + 10 * 365 * 86_400
    assert abs(time_come(ahead, checkpoint, running.service.witnesses) - true_time) < 60
    assert time_come(true_time - 3_600, checkpoint, running.service.witnesses) == true_time - 3_600
    assert time_come(ahead, None, running.service.witnesses) == 0

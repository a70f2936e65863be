"""A lost device: the identity provider's word ends what it agreed to, and shuts it out; no entry tells the new one."""

from typing import Any

import pytest
from msgspec import structs

from ledger import entries as e
from ledger import jws
from ledger.jws import unb64url
from policies.consents.bundle import Bundle, commitment
from policies.consents.promises import Promise
from policies.pairwise_keys import public_hex
from policies.replay import grant_in_force
from tests.kit.towns.running import Resident, Running, refused, replay_log
from tests.kit.towns.toy_town import HEALTH, MOBILITY
from trust.service.database import tables as t
from trust.service.keys.records import open_record

pytestmark = pytest.mark.anyio
LOST = "/v1/lost-devices"
WALKS = structs.replace(MOBILITY, id="walks")


async def with_consents(running: Running) -> tuple[Resident, list[Bundle], list[int]]:
    """A resident who agreed to three things."""
    resident = Resident()
    await running.enrol(resident)
    if WALKS.id not in running.service.store.state.policies:
        await running.done("/v1/policies", running.town.approved("policy", WALKS))
    bundles = [resident.consent(), resident.consent(HEALTH), resident.consent(WALKS, holders=["bus_co"])]
    return resident, bundles, await running.grant(*bundles)


def again(resident: Resident) -> Resident:
    """The same person with a new device."""
    return Resident(subject=resident.subject)


def attested(running: Running, new: Resident, **changes: Any) -> dict[str, str]:
    return new.enrolment(running.town, for_="lost-device", **changes)


async def shown(running: Running, resident: Resident) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = await running.done("/v1/residents/consents", jws.sign(resident.mine(), resident.key))
    return found


async def test_after_the_loss_the_old_device_can_do_nothing_and_the_new_one_begins_afresh(running: Running) -> None:
    old, bundles, grants = await with_consents(running)
    other = Resident()
    await running.enrol(other)
    (stays,) = await running.grant(other.consent())
    new = again(old)
    ended = (await running.done(LOST, attested(running, new)))["ended"]
    assert [each["grant"] for each in ended] == sorted(grants)
    state = running.service.store.state
    assert [grant_in_force(state, grant) for grant in grants] == [None] * 3
    assert grant_in_force(state, stays)
    for each in ended:
        key = state.keys_since("operator", each["revoked"]["index"])[-1]
        assert jws.verify(each["revoked"]["promise"], key, Promise).grant == each["grant"]
    async with running.unchanged():
        lost = "reported lost"
        refused(await running.post("/v1/grants", {"bundles": [old.consent()]}), "not-permitted", lost)
        refused(await running.post("/v1/revocations", old.revocation(bundles[0], grants[0])), "not-permitted", lost)
        refused(await running.post("/v1/residents/consents", jws.sign(old.mine(), old.key)), "not-permitted", lost)
        refused(
            await running.post("/v1/enrolments", {"enrolments": [old.enrolment(running.town)]}), "not-permitted", lost
        )
        refused(await running.post(LOST, attested(running, old)), "not-permitted", lost)
    # no time: that of the revocations would tell whose consents they were, also once those are erased
    assert [tuple(row) for row in await running.rows(t.lost_keys)] == [(bytes(old.key.verify_key),)]
    assert {each["index"] for each in await shown(running, new)} == set(grants)
    (fresh,) = await running.grant(new.consent(now=running.clock() + 1))
    assert grant_in_force(running.service.store.state, fresh)
    assert [each["ended_by"] is None for each in await shown(running, new)] == [False, False, False, True]
    await running.settle()
    _, entries = replay_log(running.town)
    reasons = [entry.reason for entry in entries if isinstance(entry, e.Revoke)]
    assert reasons == ["lost-device"] * 3


async def test_nothing_in_the_ledger_holds_the_old_key_the_new_key_the_person_or_one_thing_twice(
    running: Running,
) -> None:
    old, _, grants = await with_consents(running)
    new = again(old)
    request = attested(running, new)
    await running.done(LOST, request)
    await running.grant(*(new.consent(to, now=running.clock() + 1) for to in (MOBILITY, HEALTH)))
    await running.settle()
    _, entries = replay_log(running.town)
    written = b"".join(e.encode(entry) for entry in entries)
    for secret in (public_hex(old.key), public_hex(new.key), old.subject, request["attestation"]):
        assert secret.encode() not in written
    revokes = [entry for entry in entries if isinstance(entry, e.Revoke)]
    assert sorted(entry.grant for entry in revokes) == sorted(grants)
    known = [entry.commitment for entry in entries if isinstance(entry, e.Revoke | e.Grant)]
    assert len(set(known)) == len(known) == 3 + 3 + 2


async def test_the_record_behind_each_revocation_is_the_providers_word(running: Running) -> None:
    _old, _, _ = await with_consents(running)
    new = again(_old)
    request = attested(running, new)
    ended = (await running.done(LOST, request))["ended"]
    sealed = {row[0]: row[1] for row in await running.rows(t.records)}
    for each in ended:
        index = each["revoked"]["index"]
        keys = await running.service.keys.find([index])
        record = open_record(keys[index], bytes(sealed[index]))
        assert record is not None
        assert record.leaves[0].body == request["attestation"]
        entry = e.decode(await running.entry(index))
        assert isinstance(entry, e.Revoke)
        assert entry.commitment == commitment(record)
        assert b"lost-device" in unb64url(record.leaves[0].body.split(".")[1])


async def test_the_same_wish_again_changes_nothing_and_a_second_loss_shuts_out_the_second_device(
    running: Running,
) -> None:
    first, _, _ = await with_consents(running)
    second = again(first)
    request = attested(running, second)
    told = [(each["grant"], each["revoked"]["index"]) for each in (await running.done(LOST, request))["ended"]]
    assert len(told) == 3
    await running.settle()
    async with running.unchanged():  # the answer was lost on its way
        again_told = (await running.done(LOST, request))["ended"]
    assert [(each["grant"], each["revoked"]["index"]) for each in again_told] == told
    (grant,) = await running.grant(second.consent(now=running.clock() + 1))
    third = again(first)
    ended = (await running.done(LOST, attested(running, third)))["ended"]
    assert [each["grant"] for each in ended] == [grant]
    async with running.unchanged():
        for lost in (first, second):
            refused(await running.post("/v1/grants", {"bundles": [lost.consent()]}), "not-permitted", "reported lost")
            refused(await running.post(LOST, request), "not-permitted", "reported lost")  # a thief's copy of a wish
    assert await running.grant(third.consent(now=running.clock() + 2))


async def test_only_the_providers_own_word_for_a_lost_device_and_for_a_person_it_knows_shuts_one_out(
    running: Running,
) -> None:
    old, bundles, grants = await with_consents(running)
    other = Resident()
    await running.enrol(other)
    new = again(old)
    async with running.unchanged():
        ordinary = new.enrolment(running.town)
        refused(await running.post(LOST, ordinary), "consent-mismatch", "lost device")
        refused(await running.post("/v1/enrolments", {"enrolments": [attested(running, new)]}), "consent-mismatch")
        refused(await running.post(LOST, attested(running, Resident())), "not-found", "ordinary way")
        refused(await running.post(LOST, attested(running, with_key_of(new, other))), "replayed")
        refused(await running.post(LOST, attested(running, new, log="other.test/log")), "consent-mismatch")
        forged = new.enrolment(running.town, provider="planner", for_="lost-device", from_="idp")
        refused(await running.post(LOST, forged), "signature-invalid")
        mixed = attested(running, new) | {"enrolment": attested(running, again(old))["enrolment"]}
        refused(await running.post(LOST, mixed), "signature-invalid")
    await running.done("/v1/revocations", old.revocation(bundles[0], grants[0]))  # the device is not lost at all


def with_key_of(person: Resident, key_of: Resident) -> Resident:
    """One person's subject with another's key."""
    return Resident(seed=key_of.seed, subject=person.subject)


async def test_what_was_ended_before_the_loss_is_not_ended_again(running: Running) -> None:
    old, bundles, grants = await with_consents(running)
    await running.done("/v1/revocations", old.revocation(bundles[0], grants[0]))
    ended = (await running.done(LOST, attested(running, again(old))))["ended"]
    assert [each["grant"] for each in ended] == sorted(grants[1:])
    nobody = Resident()
    await running.enrol(nobody)
    assert await running.done(LOST, attested(running, again(nobody))) == {"ended": []}
    refused(await running.post("/v1/grants", {"bundles": [nobody.consent()]}), "not-permitted", "reported lost")

"""A resident has one consent in force for each policy: a further one replaces it, or is refused and changes nothing."""

import asyncio
from typing import Any

import pytest
from msgspec import UNSET, UnsetType, structs

from ledger import entries as e
from ledger import jws
from policies.consents.promises import Promise
from policies.in_force.sets import indices_in_force
from policies.policy_document import document_sha256
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import Resident, Running, Town, refused, replay_log, run
from tests.kit.towns.toy_town import HEALTH, MOBILITY
from trust.service.acts.intake import SMALL

pytestmark = pytest.mark.anyio


async def enrolled(running: Running) -> Resident:
    resident = Resident()
    await running.enrol(resident)
    return resident


def in_force(running: Running) -> list[int]:
    state = running.service.store.state
    return indices_in_force(state.eligible(state.policies["mobility"].sha256, state.at, 1))


async def test_a_narrower_consent_takes_the_place_of_the_older_one_in_one_transaction(running: Running) -> None:
    aoi = await enrolled(running)
    wide = aoi.consent()
    (first,) = await running.grant(wide)
    narrow = aoi.consent(holders=["bus_co"], yearly_cap=MOBILITY.yearly_caps[0], replaces=first)
    body = {"bundles": [narrow], "revocations": [aoi.revocation(wide, first)]}
    answers = [await running.done("/v1/grants", body, "the same key") for _ in range(2)]  # the first answer was lost
    assert answers[0] == answers[1]
    (second,), (revoked,) = answers[0]["indices"], answers[0]["revoked"]
    assert revoked["index"] == second - 1
    key = bytes(running.town.keys["operator"].verify_key)
    assert jws.verify(revoked["promise"], key, Promise).grant == first
    assert in_force(running) == [second]
    _, entries = replay_log(running.town)
    end, grant = entries[second - 1], entries[second]
    assert isinstance(end, e.Revoke)
    assert (end.grant, end.reason, end.at) == (first, "replaced", grant.at)
    assert isinstance(grant, e.Grant)
    assert grant.replaces == first
    shown = await running.done("/v1/residents/consents", jws.sign(aoi.mine(), aoi.key))
    assert [(each["index"], each["ended_by"], each["holders"]) for each in shown] == [
        (first, second - 1, list(MOBILITY.holders)),
        (second, None, ["bus_co"]),
    ]


async def test_whatever_does_not_end_exactly_what_stands_is_refused_and_changes_nothing(running: Running) -> None:
    aoi, ren = await enrolled(running), await enrolled(running)
    given, others = aoi.consent(), ren.consent()
    (mine,), (theirs,) = await running.grant(given), await running.grant(others)
    end = aoi.revocation(given, mine)
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"bundles": [aoi.consent()]}, "consent-stands"),
        ({"bundles": [aoi.consent(replaces=mine)]}, "consent-stands"),
        ({"bundles": [aoi.consent()], "revocations": [end]}, "consent-stands"),
        ({"bundles": [aoi.consent(replaces=theirs)], "revocations": [end]}, "consent-stands"),
        ({"bundles": [aoi.consent(replaces=mine)], "revocations": [end, end]}, "consent-stands"),
        (
            {"bundles": [aoi.consent(replaces=mine)], "revocations": [ren.revocation(others, theirs)]},
            "consent-stands",
        ),
        (
            {"bundles": [aoi.consent(replaces=mine)], "revocations": [end, ren.revocation(others, theirs)]},
            "consent-stands",
        ),
        (
            {"bundles": [aoi.consent(replaces=mine)], "revocations": [ren.revocation(given, mine)]},
            "signature-invalid",
        ),
        (
            {"bundles": [aoi.consent(replaces=mine), aoi.consent(HEALTH)], "revocations": [end]},
            "consent-mismatch",
        ),
        ({"bundles": [aoi.consent(HEALTH, replaces=mine)]}, "already-ended"),
        ({"bundles": [aoi.consent(HEALTH, replaces=mine)], "revocations": [end]}, "already-ended"),
        ({"bundles": [aoi.consent(HEALTH), aoi.consent(HEALTH)]}, "consent-stands"),
        ({"bundles": [aoi.consent(HEALTH)], "revocations": []}, "malformed"),
        ({"bundles": [aoi.consent(HEALTH, dated=False)]}, "consent-stale"),
    ]
    for body, code in wrong:
        async with running.unchanged():
            refused(await running.post("/v1/grants", body), code)
    said = refused(await running.post("/v1/grants", {"bundles": [aoi.consent()]}), "consent-stands", f"name {mine}")
    assert said["in_force"] == [str(mine)]
    assert in_force(running) == [mine, theirs]


async def test_of_many_at_once_each_replaces_one_or_nothing_happens(running: Running) -> None:
    """Twenty devices of one seed race: of those that name the same one, one wins; a chain has no branches."""
    aoi = await enrolled(running)
    given = aoi.consent()
    (first,) = await running.grant(given)
    bodies = [
        {"bundles": [aoi.consent(replaces=first)], "revocations": [aoi.revocation(given, first)]} for _ in range(10)
    ]
    bodies += [{"bundles": [aoi.consent()]} for _ in range(10)]
    answers = await asyncio.gather(*(running.post("/v1/grants", body) for body in bodies))
    won = [answer.json()["indices"][0] for answer in answers if answer.is_success]
    assert len(won) == 1
    for answer in answers:
        if not answer.is_success:
            assert answer.status_code == 409
            assert answer.json()["code"] in {"consent-stands", "already-ended", "consent-stale"}
    assert in_force(running) == won
    await running.settle()
    state, _ = replay_log(running.town)
    assert indices_in_force(state.eligible(document_sha256(MOBILITY), state.at, 1)) == won


async def test_a_consent_to_a_new_version_replaces_the_one_to_the_old(running: Running) -> None:
    aoi = await enrolled(running)
    given = aoi.consent()
    (first,) = await running.grant(given)
    renewed = structs.replace(MOBILITY, version=2)
    await running.done("/v1/policies", running.town.approved("policy", renewed))
    refused(await running.post("/v1/grants", {"bundles": [aoi.consent(renewed)]}), "consent-stands", str(first))
    second = await running.replace(aoi.consent(renewed, replaces=first), aoi.revocation(given, first))
    assert in_force(running) == [second]


async def test_a_copy_that_was_signed_before_a_withdrawal_counts_no_more(running: Running) -> None:
    """In force 5, 4, and still 4."""
    folk, aoi = Folk(4), await enrolled(running)
    await running.enrol(folk)
    await running.grant(*(folk.consent() for _ in range(4)))
    given, copy = aoi.consent(), aoi.consent()
    (first,) = await running.grant(given)
    replacing = aoi.consent(replaces=first)
    assert len(in_force(running)) == 5
    await running.done("/v1/revocations", aoi.revocation(given, first))
    assert len(in_force(running)) == 4
    async with running.unchanged():
        refused(await running.post("/v1/grants", {"bundles": [copy]}), "consent-stale", "read the notice again")
        refused(await running.post("/v1/grants", {"bundles": [replacing]}), "already-ended")
        large = {"bundles": [copy, *(folk.people[0].consent(HEALTH) for _ in range(SMALL))]}
        refused(await running.post("/v1/grants", large), "consent-stale")
    assert len(in_force(running)) == 4
    await running.grant(aoi.consent(now=running.clock() + 1))
    assert len(in_force(running)) == 5


async def test_a_consent_is_taken_for_26_hours_after_its_notice_was_shown(running: Running) -> None:
    aoi, ren = await enrolled(running), await enrolled(running)
    early, late = aoi.consent(), ren.consent()
    running.clock.offset = 26 * 3_600 - 60
    await running.grant(early)
    running.clock.offset = 26 * 3_600 + 60
    async with running.unchanged():
        refused(await running.post("/v1/grants", {"bundles": [late]}), "consent-stale", "26 hours")


async def test_under_the_first_rules_a_consent_replaces_without_saying_so(
    tmp_path: Any, lay_out_with_tables: Any
) -> None:
    """Nodes that read only those would not read a dated sub-grant; so what stands ends by ordinary revocations."""
    town: Town = lay_out_with_tables(tmp_path / "old", rules=UNSET)
    async with run(town) as running:
        await running.found()
        aoi = await enrolled(running)
        given = aoi.consent(dated=False)
        (first,) = await running.grant(given)
        async with running.unchanged():
            refused(await running.post("/v1/grants", {"bundles": [aoi.consent(HEALTH)]}), "consent-mismatch", "rules")
            refused(await running.post("/v1/grants", {"bundles": [aoi.consent(dated=False)]}), "consent-stands")
        second = await running.replace(aoi.consent(dated=False), aoi.revocation(given, first))
        assert in_force(running) == [second]
        _, entries = replay_log(town)
        end, grant = entries[second - 1], entries[second]
        assert isinstance(end, e.Revoke)
        assert isinstance(grant, e.Grant)
        assert end.reason == "withdrawn"
        assert isinstance(grant.replaces, UnsetType)

"""A stop without the key: only the provider that enrolled a person ends their consent; it is shown, and counted."""

import secrets
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec import UNSET

from ledger import canonical, jws
from ledger import entries as e
from policies.consents.attested_stop import read_stop
from policies.consents.bundle import Bundle, commitment
from policies.consents.promises import Promise
from policies.pairwise_keys import public_hex
from policies.replay import grant_in_force
from policies.rules import STOPS
from tests.kit.towns.running import Clock, MakeTown, Resident, Running, Town, refused, replay_log, run
from tests.kit.towns.toy_town import HEALTH, IDENTITY, ORIGIN, key_of
from trust.client.wire import MyConsent
from trust.service.database import tables as t

pytestmark = pytest.mark.anyio
PATH = "/v1/stops"
OTHER = "other_idp"


@pytest.fixture
def town(tmp_path: Path, lay_out_with_tables: MakeTown) -> Town:
    return lay_out_with_tables(tmp_path / "town", rules=STOPS, max_stops_per_hour=12, max_stops_per_person_a_day=8)


@pytest.fixture
async def running(town: Town) -> AsyncIterator[Running]:
    async with run(town) as started:
        yield await started.found()


async def with_consent(running: Running, **how: Any) -> tuple[Resident, Bundle, int]:
    resident = Resident()
    await running.enrol(resident)
    bundle = resident.consent(**how)
    return resident, bundle, (await running.grant(bundle))[0]


async def shown(running: Running, resident: Resident) -> list[MyConsent]:
    answer = await running.post("/v1/residents/consents", jws.sign(resident.mine(at=running.clock()), resident.key))
    return [canonical.decode(canonical.encode(each), MyConsent, "consent") for each in answer.json()]


async def another_provider(running: Running) -> None:
    running.town.keys[OTHER] = key_of(OTHER)
    await running.done("/v1/members", running.town.approved("member", running.town.member(OTHER, ["identity"])))


async def test_the_provider_ends_a_consent_and_the_answer_is_a_promise_like_any_other(running: Running) -> None:
    resident, bundle, grant = await with_consent(running)
    token = resident.stop(running.town, bundle, grant)
    answer = await running.done(PATH, token)
    state = running.service.store.state
    assert grant_in_force(state, grant) is None
    promise = jws.verify(answer["promise"], state.keys_since("operator", answer["index"])[-1], Promise)
    entry = e.decode(await running.entry(answer["index"]))
    assert isinstance(entry, e.Revoke)
    assert (entry.grant, entry.reason, entry.by) == (grant, "attested", IDENTITY)
    assert (promise.grant, promise.index, promise.commitment) == (grant, answer["index"], entry.commitment)
    async with running.unchanged():  # the answer was lost on its way
        again = await running.done(PATH, token)
        assert again["index"] == answer["index"]
    refused(await running.post("/v1/revocations", resident.revocation(bundle, grant)), "already-ended")


async def test_the_person_is_shown_who_stopped_and_checks_it_against_the_ledger(running: Running) -> None:
    resident, bundle, grant = await with_consent(running)
    index = (await running.done(PATH, resident.stop(running.town, bundle, grant)))["index"]
    await running.settle()
    (mine,) = await shown(running, resident)
    assert mine.ended_by == index
    assert mine.attested is not None
    assert mine.attested.record is not None
    entry, member = e.decode(await running.entry(index)), e.decode(await running.entry(mine.attested.member))
    assert isinstance(entry, e.Revoke)
    assert isinstance(member, e.Member)
    stop = read_stop(mine.attested.record, entry, [bytes.fromhex(member.member.key)], log=ORIGIN, consent=mine.consent)
    assert (stop.from_, stop.subject) == (mine.attested.by, resident.subject) == (IDENTITY, resident.subject)
    assert commitment(mine.attested.record) == entry.commitment


async def test_nothing_in_the_ledger_follows_the_person_and_everybody_can_count_the_provider(running: Running) -> None:
    resident = Resident()
    await running.enrol(resident)
    bundles = [resident.consent(), resident.consent(HEALTH)]
    grants = await running.grant(*bundles)
    tokens = [resident.stop(running.town, bundle, grant) for bundle, grant in zip(bundles, grants, strict=True)]
    for token in tokens:
        await running.done(PATH, token)
    await running.settle()
    state, entries = replay_log(running.town)
    assert state.attested_stops == {IDENTITY: 2}
    revokes = [entry for entry in entries if isinstance(entry, e.Revoke)]
    assert len({entry.commitment for entry in revokes}) == 2
    written = b"".join(e.encode(entry) for entry in entries)
    for secret in (public_hex(resident.key), resident.subject, *tokens, *(token.split(".")[1] for token in tokens)):
        assert secret.encode() not in written
    metrics = (await running.client.get("/metrics")).text
    assert f'musubi_attested_stops_total{{provider="{IDENTITY}"}}' in metrics


async def test_nobody_but_the_provider_that_enrolled_this_very_person_stops_anything(running: Running) -> None:
    resident, bundle, grant = await with_consent(running)
    other, others_bundle, others_grant = await with_consent(running)
    await another_provider(running)
    town = running.town

    def stop(at_index: int = grant, **changes: Any) -> str:
        return resident.stop(town, bundle, at_index, **changes)

    async with running.unchanged():
        refused(await running.post(PATH, stop(from_="planner", key="planner")), "signature-invalid", "provider")
        refused(await running.post(PATH, stop(key="planner")), "signature-invalid")
        refused(await running.post(PATH, stop(from_=OTHER, key=OTHER)), "consent-mismatch", "not this person's")
        refused(await running.post(PATH, stop(log="other.test/log")), "consent-mismatch", "another ledger")
        refused(await running.post(PATH, stop(others_grant)), "consent-mismatch", "not this person's")
        refused(await running.post(PATH, resident.stop(town, others_bundle, others_grant)), "consent-mismatch")
        refused(await running.post(PATH, stop(subject=other.subject)), "consent-mismatch")
        refused(await running.post(PATH, stop(consent="00" * 32)), "consent-mismatch")
        refused(await running.post(PATH, stop(0)), "not-found")
        refused(await running.post(PATH, stop(10**6)), "not-found")
        refused(await running.post(PATH, jws.sign(resident.mine(), resident.key)), "malformed")
        for seconds in (-90, 90, -86_400):  # seconds may pass meanwhile
            refused(await running.post(PATH, stop(at=running.clock() + seconds)), "clock-skew")
    assert grant_in_force(running.service.store.state, grant)


async def test_a_nonce_is_good_once_also_after_a_restart_and_also_where_the_stop_was_refused(town: Town) -> None:
    nonces = [secrets.token_hex(32) for _ in range(2)]
    async with run(town) as running:
        await running.found()
        resident, bundle, grant = await with_consent(running)
        second = resident.consent(HEALTH)
        (later,) = await running.grant(second)
        await running.done(PATH, resident.stop(town, bundle, grant, nonce=nonces[0]))
        refused(await running.post(PATH, resident.stop(town, bundle, later, nonce=nonces[1])), "consent-mismatch")
        await running.settle()
    async with run(town) as running:
        for nonce in nonces:
            async with running.unchanged():
                refused(await running.post(PATH, resident.stop(town, second, later, nonce=nonce)), "replayed")
        await running.done(PATH, resident.stop(town, second, later))


async def test_what_is_erased_or_ended_or_whose_person_has_left_is_not_stopped(running: Running) -> None:
    resident, bundle, grant = await with_consent(running)
    await running.done("/v1/revocations", resident.revocation(bundle, grant))
    refused(await running.post(PATH, resident.stop(running.town, bundle, grant)), "already-ended")
    leaving, left_bundle, left_grant = await with_consent(running)
    erasure = {"v": 1, "kind": "erasure", "log": ORIGIN, "consent": jws_consent(left_bundle), "grant": left_grant}
    erasure |= {"key": public_hex(leaving.key), "said_at": running.clock()}
    await running.done("/v1/erasures", jws.sign(erasure, leaving.key))
    await running.settle()
    async with running.unchanged():
        refused(await running.post(PATH, leaving.stop(running.town, left_bundle, left_grant)), "not-found", "erased")
    assert await running.rows(t.stop_attempts)
    farewell = {"v": 1, "kind": "farewell", "log": ORIGIN, "key": public_hex(leaving.key), "at": running.clock()}
    await running.done("/v1/residents/farewell", jws.sign(farewell | {"nonce": secrets.token_hex(32)}, leaving.key))
    kept = [row for row in await running.rows(t.stop_attempts) if row[1] == IDENTITY]
    assert len(kept) == 1  # the other person's: of who has left nothing is kept
    async with running.unchanged():
        refused(await running.post(PATH, leaving.stop(running.town, left_bundle, left_grant)), "not-found")


def jws_consent(bundle: Bundle) -> str:
    return str(jws.read_unverified(bundle.leaves[0].body, dict[str, Any])["consent"])


async def test_a_provider_over_its_limit_is_told_when_it_may_go_on_and_trying_out_counts(town: Town) -> None:
    clock = Clock()
    clock.stand()
    async with run(town, clock) as running:
        await running.found()
        resident, bundle, grant = await with_consent(running, now=clock())
        target, targets_bundle, targets_grant = await with_consent(running, now=clock())

        async def tried(who: Resident) -> Any:
            return await running.post(PATH, who.stop(town, targets_bundle, targets_grant, at=clock()))

        for _ in range(8):  # as a provider would that wants to know whose this is
            refused(await tried(resident), "consent-mismatch")
        told = refused(await tried(resident), "rate-limited", "for this person in a day")
        assert told["again_at"] == clock() + 86_400
        for _ in range(4):
            refused(await tried(Resident()), "consent-mismatch")
        told = refused(await tried(target), "rate-limited", "in an hour")
        assert told["again_at"] == clock() + 3_600
        await running.done("/v1/revocations", resident.revocation(bundle, grant, said_at=clock()))  # one's own key may
        clock.offset += 3_599
        refused(await tried(target), "rate-limited")
        clock.offset += 1
        assert (await tried(target)).status_code == 200
        refused(await tried(resident), "rate-limited", "for this person in a day")
        clock.offset += 86_400 - 3_600
        refused(await tried(resident), "consent-mismatch")
        assert len(await running.rows(t.stop_attempts)) == 2  # nothing older than a day is kept


async def test_a_town_under_older_rules_takes_no_stop_and_says_what_would_change_that(
    tmp_path: Path, lay_out_with_tables: MakeTown
) -> None:
    async with run(lay_out_with_tables(tmp_path / "old", rules=UNSET)) as running:
        await running.found()
        resident, bundle, grant = await with_consent(running, dated=False)
        async with running.unchanged():
            refused(
                await running.post(PATH, resident.stop(running.town, bundle, grant)), "not-permitted", "`musubi rules`"
            )

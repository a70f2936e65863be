"""The service's acts, alone and many at once, on both databases."""

import asyncio
import stat
import time
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
import structlog
from msgspec import structs, to_builtins
from sqlalchemy import update

from ledger import canonical, jws
from ledger import entries as e
from policies.accounts.budgets import charges_for
from policies.consents.consent import check_sub_grant
from policies.consents.promises import Promise
from policies.in_force.sets import indices_in_force
from policies.pairwise_keys import public_hex
from policies.policy_document import Budget, document_sha256
from queries.price.pricing import price
from queries.question.check import make_plan
from queries.question.tree import decode_query
from queries.rounds.messages import LeavesAnswer, OfferAnswer
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import (
    MakeTown,
    Resident,
    Running,
    assert_same,
    lay_out,
    query,
    question,
    refused,
    replay_log,
    run,
)
from tests.kit.towns.toy_town import HEALTH, HOLDERS, MOBILITY, ORIGIN, PARTNERS, policy
from tests.kit.waiting import eventually
from trust.client import paths
from trust.client.wire import Granted
from trust.service.acts.ask import ask
from trust.service.acts.grant import grant
from trust.service.database import tables as t
from trust.service.database.engine import Databases
from trust.service.store.store import Store, Transaction

pytestmark = pytest.mark.anyio


def charge_of(asked: dict[str, Any]) -> int:
    parsed = decode_query(canonical.encode(asked))
    return price(make_plan(parsed, MOBILITY), parsed.spend, MOBILITY.budget).charge


async def hand_to(store: Store, running: Running, body: bytes) -> Granted:
    """Hand consents to one of several stores of one ledger."""
    service = running.service
    return await grant(store, service.workers, body, None, service.operator, service.operator_signer)


async def offer(running: Running, token: str) -> OfferAnswer:
    return jws.read_unverified(await running.done("/v1/questions/preview", token), OfferAnswer)


# Asking twice


async def test_a_request_with_the_same_key_again_gets_the_same_indices_and_changes_nothing(running: Running) -> None:
    resident = Resident()
    await running.enrol(resident)
    bundles = [resident.consent(), resident.consent(HEALTH)]
    indices = await running.grant(*bundles, key="the same key")
    async with running.unchanged():
        assert await running.grant(*bundles, key="the same key") == indices
        other = {"bundles": [resident.consent()]}
        refused(await running.post("/v1/grants", other, "the same key"), "replayed", "another request")


async def test_a_key_is_its_callers_own_so_that_nobody_gets_or_blocks_anothers_answer(running: Running) -> None:
    one, other = Resident(), Resident()
    await running.enrol(one, other)
    hers, theirs = one.consent(), other.consent()
    index = await running.grant(hers, key="the same key")
    assert await running.grant(theirs, key="the same key") == [index[0] + 1]
    assert await running.grant(hers, key="the same key") == index


async def test_one_partners_question_does_not_block_anothers_with_the_same_id(running: Running) -> None:
    first, second = (question(running.town, query(), by=each, id="5a" * 32, fresh=True) for each in PARTNERS)
    one = await running.ask(first)
    forged = question(running.town, query(), id="5a" * 32, key=running.town.keys["bus_co"])
    refused(await running.post("/v1/questions", forged), "signature-invalid")
    assert (await running.ask(second)).admit > one.admit
    assert (await running.ask(first)).admit == one.admit


async def test_one_request_sent_many_times_at_once_is_taken_once(running: Running) -> None:
    resident = Resident()
    await running.enrol(resident)
    bundle = resident.consent()
    before = running.service.store.size
    found = await asyncio.gather(*(running.grant(bundle, key="the same key") for _ in range(16)))
    assert found == [[before]] * 16
    assert running.service.store.size == before + 1


async def test_one_consent_sent_many_times_at_once_without_a_key_is_taken_once(running: Running) -> None:
    resident = Resident()
    await running.enrol(resident)
    body = {"bundles": [resident.consent()]}
    answers = await asyncio.gather(*(running.post("/v1/grants", body) for _ in range(16)))
    taken = [answer for answer in answers if answer.status_code == httpx.codes.OK]
    assert len(taken) == 1
    for answer in answers:
        if answer not in taken:
            refused(answer, "replayed")


async def test_one_revocation_sent_many_times_at_once_ends_the_grant_once(running: Running) -> None:
    """Each gets the same index and the same promise; another revocation of the same grant gets neither."""
    resident = Resident()
    await running.enrol(resident)
    bundle = resident.consent()
    (index,) = await running.grant(bundle)
    body = resident.revocation(bundle, index)
    answers = await asyncio.gather(*(running.post("/v1/revocations", body) for _ in range(8)))
    answers.append(await running.post("/v1/revocations", body))
    assert len({answer.text for answer in answers}) == 1
    taken = answers[0].json()
    promise = jws.verify(taken["promise"], bytes(running.town.keys["operator"].verify_key), Promise)
    assert (promise.grant, promise.index, promise.by - promise.promised_at) == (index, taken["index"], 60)
    entry = e.decode(await running.entry(promise.index))
    assert isinstance(entry, e.Revoke)
    assert (entry.grant, entry.commitment, entry.at) == (index, promise.commitment, promise.promised_at)
    async with running.unchanged():
        other = await running.post("/v1/revocations", resident.revocation(bundle, index))
        assert refused(other, "already-ended")["index"] == promise.index


async def test_enrolments_members_policies_and_questions_sent_again_get_the_same_answers(running: Running) -> None:
    resident = Resident()
    town = running.town
    enrolment = {"enrolments": [resident.enrolment(town)]}
    repeated: list[tuple[str, object]] = [
        ("/v1/enrolments", enrolment),
        ("/v1/members", town.approved("member", town.member("clinic", ["holder", "partner"], 2))),
        ("/v1/policies", town.approved("policy", policy("again", ["clinic"], ["planner"], ["clinic"]))),
        ("/v1/questions", question(town, query())),
        ("/v1/questions", question(town, query(group_by=["salary"]))),
    ]
    for path, body in repeated:
        answers = await asyncio.gather(*(running.post(path, body) for _ in range(4)))
        async with running.unchanged():
            answers.append(await running.post(path, body))
        assert len({answer.text for answer in answers}) == 1, answers[0].text


async def test_a_question_answered_from_before_and_sent_again_is_never_charged(running: Running) -> None:
    """Its first answer was free; that the period is over by the time it is sent again changes nothing."""
    town = running.town
    admit = (await running.ask(question(town, query()))).admit
    await running.countersign(admit, "bus_co", "clinic")
    await running.share(admit, "bus_co", [1])
    await running.share(admit, "clinic", [2])
    again = question(town, query())
    assert (await running.ask(again)).reused
    running.clock.offset += 500
    async with running.service.databases.writer.begin() as connection:
        await connection.execute(update(t.rounds).values(closed_at=0))
    async with running.unchanged():
        assert (await running.ask(again)).admit == admit


# Many at once


async def test_grants_handed_in_at_once_get_distinct_indices_and_every_receipt_verifies(running: Running) -> None:
    residents = [Folk(2) for _ in range(32)]
    await running.enrol(*residents)
    before = running.service.store.size
    found = await asyncio.gather(*(running.grant(each.consent(), each.consent()) for each in residents))
    indices = [index for pair in found for index in pair]
    assert sorted(indices) == list(range(before, before + 64))
    for index in indices:
        assert isinstance(e.decode(await running.entry(index)), e.Grant)
    state, entries = replay_log(running.town)
    assert len(entries) == before + 64
    assert len(indices_in_force(state.eligible(document_sha256(MOBILITY), state.at, 1))) == 64


@pytest.mark.parametrize("partners", [("planner",), ("planner", "campus")])
async def test_questions_asked_at_once_never_pass_a_cap(running: Running, partners: tuple[str, ...]) -> None:
    """A hundred questions of which the policy's window has room for seven, and each partner's account for five."""
    charge = charge_of(query())
    budget = Budget(delta="0.000001", window="day", per_window=8 * charge - 1, life=10**12, per_partner=5 * charge)
    document = structs.replace(MOBILITY, version=2, budget=budget)
    await running.done("/v1/policies", running.town.approved("policy", document))
    tokens = [question(running.town, query(version=2), by) for by in partners for _ in range(100 // len(partners))]
    answers = await asyncio.gather(*(running.post("/v1/questions", token) for token in tokens))
    admitted = [answer for answer in answers if answer.status_code == httpx.codes.OK]
    assert len(admitted) == {1: 5, 2: 7}[len(partners)]
    for answer in answers:
        if answer not in admitted:
            assert refused(answer, "budget-exceeded")["left"] < charge
    await running.settle()
    state, entries = replay_log(running.town)
    assert sum(isinstance(entry, e.Admit) for entry in entries) == len(admitted)
    for partner in partners:
        for account in charges_for(document, partner, state.at, state.trust_root.time_zone):
            assert state.accounts[account.account].charged <= account.account_cap
    window = charges_for(document, "planner", state.at, state.trust_root.time_zone)[0].account
    assert state.accounts[window].charged == len(admitted) * charge


async def test_two_processes_on_one_database_append_one_gapless_log(running: Running) -> None:
    residents = [Resident() for _ in range(24)]
    await running.enrol(*residents)
    first = running.service.store
    before = first.size
    databases = Databases(running.service.settings.database_url)
    second = Store(databases, running.service.keys, running.service.clock)
    await second.start()
    try:

        async def hand_in(number: int) -> list[int]:
            body = canonical.encode({"bundles": [residents[number].consent()]})
            return (await hand_to(first if number % 2 else second, running, body)).indices

        async def put(number: int) -> int:
            token = question(running.town, query(), fresh=True)
            store = first if number % 2 else second
            return (await ask(store, token, max_open=100, max_refusals=10)).admit

        granted, asked = await asyncio.gather(
            asyncio.gather(*(hand_in(n) for n in range(24))), asyncio.gather(*(put(n) for n in range(8)))
        )
        indices = [*(index for each in granted for index in each), *asked]
        assert sorted(indices) == list(range(before, before + 32))
        late = Resident()
        await running.enrol(late)
        (last,) = (await hand_to(first, running, canonical.encode({"bundles": [late.consent()]}))).indices
        assert last == before + 32
        await running.settle()
        state, entries = replay_log(running.town)
        assert len(entries) == before + 33
        assert len(state.rounds) == 8
        charged = [account.charged for name, account in state.accounts.items() if name.endswith("/life")]
        assert charged == [8 * charge_of(query())]
    finally:
        await second.stop()
        await databases.close()


async def test_a_consent_used_at_one_process_is_replayed_at_the_other(running: Running) -> None:
    resident = Resident()
    await running.enrol(resident)
    body = canonical.encode({"bundles": [resident.consent()]})
    databases = Databases(running.service.settings.database_url)
    second = Store(databases, running.service.keys, running.service.clock)
    await second.start()
    try:
        await running.done("/v1/grants", body)
        with pytest.raises(Exception, match="used before"):
            await hand_to(second, running, body)
    finally:
        await second.stop()
        await databases.close()


# Refusals, limits


async def test_refusals_in_the_ledger_are_capped_for_each_partner_and_day(
    tmp_path: Path, lay_out_with_tables: MakeTown
) -> None:
    async with run(lay_out_with_tables(tmp_path / "town", max_refusals_per_day=3)) as running:
        await running.found()
        before = running.service.store.size
        for number in range(5):
            answer = await running.post("/v1/questions", question(running.town, query(group_by=["salary"])))
            assert ("refused_at" in refused(answer, "query-invalid")) == (number < 3)
        assert running.service.store.size == before + 3
        answer = await running.post("/v1/questions", question(running.town, query(group_by=["salary"]), "campus"))
        assert "refused_at" in refused(answer, "query-invalid")
        running.clock.offset = 86_400
        answer = await running.post(
            "/v1/questions", question(running.town, query(group_by=["salary"]), now=running.clock())
        )
        assert "refused_at" in refused(answer, "query-invalid")


async def test_a_refused_question_sent_again_is_refused_alike_and_leaves_no_second_entry(running: Running) -> None:
    """Whoever overhears a signed question cannot fill the ledger, or the partner's day, by sending it again."""
    tight = structs.replace(MOBILITY, version=2, budget=structs.replace(MOBILITY.budget, per_partner=1))
    await running.done("/v1/policies", running.town.approved("policy", tight))
    for asked in (query(version=2), query(group_by=["salary"], version=2), query(policy="health", version=9)):
        token = question(running.town, asked)
        first = (await running.post("/v1/questions", token)).json()
        assert first["refused_at"] == running.service.store.size - 1
        async with running.unchanged():
            answers = await asyncio.gather(*(running.post("/v1/questions", token) for _ in range(5)))
            assert [answer.json() for answer in answers] == [first] * 5


async def test_requests_above_the_rate_are_told_so_and_nodes_and_the_log_are_not_limited(
    tmp_path: Path, lay_out_with_tables: MakeTown
) -> None:
    async with run(lay_out_with_tables(tmp_path / "town", requests_per_minute=20)) as running:
        await running.found()
        for _ in range(30):
            answer = await running.client.get("/v1/policies")
        async with running.unchanged():
            assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS
            assert answer.json()["code"] == "rate-limited"
            assert answer.headers["content-type"].startswith("application/problem+json")
            answer = await running.post("/v1/grants", {"bundles": [Resident().consent()]})
            assert answer.status_code == httpx.codes.TOO_MANY_REQUESTS
        assert (await running.client.get("/log/checkpoint")).status_code == httpx.codes.OK
        assert (await running.work("bus_co")).size == running.service.sequencer.size


async def test_a_partner_has_its_requests_once_from_however_many_addresses_and_another_one_still_has_its_own(
    tmp_path: Path, lay_out_with_tables: MakeTown
) -> None:
    async with run(lay_out_with_tables(tmp_path / "town", requests_per_minute=20)) as running:
        await running.found()

        async def preview_from(number: int, by: str) -> httpx.Response:
            way = httpx.ASGITransport(app=running.client._transport.app, client=(f"198.51.100.{number}", 1))  # type: ignore[attr-defined]
            async with httpx.AsyncClient(transport=way, base_url="http://service") as http:
                return await http.post(paths.PREVIEW, content=question(running.town, query(), by=by))

        first, second = PARTNERS[:2]
        answers = [await preview_from(number, first) for number in range(1, 2 * 20 + 2)]  # a minute may end among them
        assert any(answer.is_success for answer in answers)
        refused(next(answer for answer in answers if not answer.is_success), "rate-limited", "of yours")
        refused(answers[-1], "rate-limited")
        assert (await preview_from(99, second)).is_success


async def test_too_many_open_questions_are_told_so_and_change_nothing(
    tmp_path: Path, lay_out_with_tables: MakeTown
) -> None:
    async with run(lay_out_with_tables(tmp_path / "town", max_open_rounds=2)) as running:
        await running.found()
        for _ in range(2):
            await running.ask(question(running.town, query()))
        async with running.unchanged():
            refused(await running.post("/v1/questions", question(running.town, query())), "rate-limited")


async def test_one_partners_open_questions_do_not_keep_the_others_out(
    tmp_path: Path, lay_out_with_tables: MakeTown
) -> None:
    async with run(lay_out_with_tables(tmp_path / "town", max_open_rounds_per_partner=2)) as running:
        await running.found()
        tokens = [question(running.town, query()) for _ in range(6)]
        answers = await asyncio.gather(*(running.post("/v1/questions", token) for token in tokens))
        assert sum(answer.is_success for answer in answers) == 2
        async with running.unchanged():
            refused(await running.post("/v1/questions", question(running.town, query())), "rate-limited", "your")
        await running.ask(question(running.town, query(), "campus"))


async def test_too_much_waiting_work_is_told_so_and_what_was_taken_is_whole(
    tmp_path: Path, lay_out_with_tables: MakeTown
) -> None:
    async with run(lay_out_with_tables(tmp_path / "town", max_pending_acts=4)) as running:
        await running.found()
        before = running.service.store.size
        tokens = [question(running.town, query()) for _ in range(40)]
        answers = await asyncio.gather(*(running.post("/v1/questions", token) for token in tokens))
        taken = [answer for answer in answers if answer.status_code == httpx.codes.OK]
        assert 0 < len(taken) < 40
        for answer in answers:
            if answer not in taken:
                refused(answer, "rate-limited", "waiting")
        assert running.service.store.size == before + len(taken)


# Reuse and price


async def answered(running: Running, token: str, vectors: tuple[list[int], list[int]] = ([3], [4])) -> int:
    """Ask, and answer as the two nodes would; return the ``admit``."""
    admit = (await running.ask(token)).admit
    await running.countersign(admit, "bus_co", "clinic")
    assert await running.share(admit, "bus_co", vectors[0]) is None
    closed = await running.share(admit, "clinic", vectors[1])
    assert closed is not None
    release = e.decode(await running.entry(closed))
    assert isinstance(release, e.Release)
    assert (release.admit, release.vector) == (admit, [a + b for a, b in zip(*vectors, strict=True)])
    return admit


async def test_the_same_question_again_gets_the_answer_that_is_out_at_no_charge(running: Running) -> None:
    admit = await answered(running, question(running.town, query()))
    before = await running.snapshot()
    for by in ("planner", "campus"):
        again = await running.ask(question(running.town, query(), by))
        assert (again.admit, again.reused) == (admit, True)
    after = await running.snapshot()
    assert len(after.pop("/idempotency")) == len(before.pop("/idempotency")) + 2  # kept, so that each is answered once
    assert_same(before, after)
    fresh = await running.ask(question(running.town, query(), fresh=True))
    assert not fresh.reused
    assert fresh.admit > admit
    assert not (await running.ask(question(running.town, query(spend={"epsilon": "0.3"})))).reused
    running.clock.offset = MOBILITY.reuse + 60
    later = await running.ask(question(running.town, query(), now=running.clock()))
    assert not later.reused


async def test_a_preview_names_the_price_that_is_charged_and_what_is_left(running: Running) -> None:
    resident = Resident()
    await running.enrol(resident)
    bundle = resident.consent()
    (index,) = await running.grant(bundle)
    token = question(running.town, query())
    async with running.unchanged():
        first = await offer(running, token)
    assert (first.charge, first.participants, first.in_force) == (charge_of(query()), ["bus_co", "clinic"], 1)
    assert all(account["left"] == account["cap"] for account in first.accounts)
    admit = e.decode(await running.entry((await running.ask(token)).admit))
    assert isinstance(admit, e.Admit)
    assert (admit.charge, admit.noise) == (first.charge, first.noise)
    second = await offer(running, question(running.town, query()))
    assert [int(a["cap"]) - int(a["left"]) for a in second.accounts] == [first.charge] * 3
    await running.done("/v1/revocations", resident.revocation(bundle, index))
    assert (await offer(running, question(running.town, query()))).in_force == 0


async def test_a_preview_and_an_admitted_question_say_what_the_answer_leaves_out(running: Running) -> None:
    asked = query(measures=[{"as": "paid", "sum": "fare"}])
    said = to_builtins((await offer(running, question(running.town, asked))).bounding)
    assert said == {
        "rows_per_resident": 2,
        "holders": 2,
        "columns": [{"column": "fare", "lo": 0, "hi": 1_000}],
        "measures": [{"measure": "paid", "column": "fare", "truth": "at-least", "provided": ["none-below"]}],
    }
    token = question(running.town, asked)
    assert to_builtins((await running.ask(token)).bounding) == said
    assert to_builtins((await running.ask(token)).bounding) == said  # the same question, sent again


# Time


async def test_consents_and_questions_are_refused_once_the_policy_has_ended(running: Running) -> None:
    resident = Folk()
    await running.enrol(resident)
    short = policy("short", ["market"], ["planner"], ["market"], until=["2030-03-31"])
    await running.done("/v1/policies", running.town.approved("policy", short))
    await running.grant(resident.consent(short, until="2030-03-31"))
    running.clock.offset = 1_901_150_000 - int(time.time())  # 2030-03-31 in Japan, its last morning
    await running.grant(resident.consent(short, until="2030-03-31", now=running.clock()))
    token = question(running.town, query(policy="short"), now=running.clock())
    assert (await offer(running, token)).in_force == 2
    running.clock.offset += 86_400
    async with running.unchanged():
        late = {"bundles": [resident.consent(short, until="2030-03-31", now=running.clock())]}
        refused(await running.post("/v1/grants", late), "policy-not-current", "past")
        still = {"bundles": [resident.consent(until="2030-03-31", now=running.clock())]}
        refused(await running.post("/v1/grants", still), "policy-not-current", "past")
        token = question(running.town, query(policy="short"), now=running.clock())
        refused(await running.post("/v1/questions/preview", token), "policy-not-current", "ended")
    async with running.only_refused():
        refused(await running.post("/v1/questions", token), "policy-not-current", "ended")


async def test_a_grant_of_an_old_version_counts_no_more_and_can_still_be_revoked(running: Running) -> None:
    resident = Resident()
    await running.enrol(resident)
    bundle = resident.consent()
    (index,) = await running.grant(bundle)
    renewed = structs.replace(MOBILITY, version=2)
    await running.done("/v1/policies", running.town.approved("policy", renewed))
    assert (await offer(running, question(running.town, query(version=2)))).in_force == 0
    async with running.unchanged():
        refused(await running.post("/v1/grants", {"bundles": [resident.consent()]}), "policy-not-current")
    await running.done("/v1/revocations", resident.revocation(bundle, index))
    await running.grant(resident.consent(renewed, now=running.clock() + 1))
    assert (await offer(running, question(running.town, query(version=2)))).in_force == 1


# What nodes and residents are given


async def test_a_node_gets_its_own_leaves_and_no_one_elses(running: Running) -> None:
    resident = Resident()
    await running.enrol(resident)
    (index,) = await running.grant(resident.consent(holders=["bus_co", "market"]))
    entry = e.decode(await running.entry(index))
    assert isinstance(entry, e.Grant)
    for alias in HOLDERS:
        node = running.nodes[alias]
        answer = await running.done("/v1/node/leaves", node.sign(node.leaves(0, index)))
        (held,) = jws.verify(answer, bytes(running.town.keys["operator"].verify_key), LeavesAnswer).leaves
        assert held.index == index
        own = check_sub_grant(held.leaf, entry, MOBILITY, ORIGIN, alias)
        assert (own is not None) == (alias != "clinic")
        for other in HOLDERS:
            if other != alias:
                with pytest.raises(Exception, match=r"position|part"):
                    check_sub_grant(held.leaf, entry, MOBILITY, ORIGIN, other)


async def test_a_resident_sees_their_own_consents_and_how_they_ended(running: Running) -> None:
    aoi, ren = Resident(), Resident()
    await running.enrol(aoi, ren)
    bundle = aoi.consent()
    (first,), (second,), _ = [await running.grant(each) for each in (bundle, aoi.consent(HEALTH), ren.consent())]
    ended = (await running.done("/v1/revocations", aoi.revocation(bundle, first)))["index"]
    found = await running.done("/v1/residents/consents", jws.sign(aoi.mine(), aoi.key))
    assert [(each["index"], each["ended_by"]) for each in found] == [(first, ended), (second, None)]


async def test_a_stranger_is_told_that_their_own_key_is_not_enrolled_and_learns_of_nobody_else(
    running: Running,
) -> None:
    stranger, resident = Resident(), Resident()
    await running.enrol(resident)
    path = "/v1/residents/consents"
    async with running.unchanged():
        refused(await running.post(path, jws.sign(stranger.mine(), stranger.key)), "not-enrolled", "right seed")
        # whoever asks about another's key gets the same whether that is enrolled or not
        asked = [stranger.mine(key=public_hex(each.key)) for each in (resident, Resident())]
        told = [refused(await running.post(path, jws.sign(each, stranger.key)), "signature-invalid") for each in asked]
        assert told[0] == told[1]


# At rest


async def test_the_database_file_is_the_services_alone(tmp_path: Path) -> None:
    async with run(lay_out(tmp_path / "town")) as running:
        await running.found()
        files = list(running.town.service.glob("service.sqlite*"))
        assert {file.name for file in files} == {f"service.sqlite{end}" for end in ("", "-wal", "-shm", ".lock")}
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}


async def test_what_is_at_rest_holds_no_seed_no_private_key_and_no_readable_consent(tmp_path: Path) -> None:
    """Bundles lie encrypted: not even a pairwise public key can be found in the database's bytes."""
    async with run(lay_out(tmp_path / "town")) as running:
        await running.found()
        resident = Resident()
        await running.enrol(resident)
        bundle = resident.consent()
        await running.grant(bundle)
    data = b"".join(file.read_bytes() for file in (tmp_path / "town" / "service").glob("service.sqlite*"))
    assert bytes.fromhex(canonical.encode(bundle).hex())[:40] not in data
    for leaf in bundle.leaves:
        assert leaf.body.encode() not in data
        assert leaf.salt.encode() not in data
    for secret in [resident.seed, bytes(resident.key), *running.town.secrets()]:
        assert secret not in data
        assert secret.hex().encode() not in data
    assert resident.subject.encode() not in data


async def test_an_act_that_fails_midway_through_its_writing_leaves_nothing(running: Running) -> None:
    """A fault inside one act undoes its whole group; the state is built anew and goes on."""

    async def broken(transaction: Transaction) -> None:
        transaction.append(
            e.Refuse(
                at=0,
                query_sha256="00" * 32,
                by="planner",
                policy="mobility",
                rule="query-invalid",
                account="",
                asked=0,
                left=0,
            )
        )
        raise ZeroDivisionError

    resident = Resident()
    await running.enrol(resident)
    before = await running.snapshot()
    with pytest.raises(Exception, match="could not write"):
        await running.service.store.submit(broken)
    await eventually(lambda: running.service.store._state is not None)
    after = await running.snapshot()
    assert [name for name in before if before[name] != after[name]] == []
    await running.grant(resident.consent())
    replay_log(running.town)


async def test_an_act_that_is_refused_after_it_appended_leaves_nothing(running: Running) -> None:
    """An error of the tree raised late must not leave the entry that the same act had appended."""

    async def late(transaction: Transaction) -> None:
        transaction.append(
            e.Refuse(
                at=0,
                query_sha256="00" * 32,
                by="planner",
                policy="mobility",
                rule="query-invalid",
                account="",
                asked=0,
                left=0,
            )
        )
        transaction.append(e.Revoke(at=0, grant=10**6, reason="withdrawn", commitment="00" * 32))  # ProofInvalid

    before = await running.snapshot()
    with pytest.raises(Exception):  # noqa: B017 - which one does not matter: it may not be half done
        await running.service.store.submit(late)
    await eventually(lambda: running.service.store._state is not None)
    after = await running.snapshot()
    assert [name for name in before if before[name] != after[name]] == []


async def test_a_fault_says_nothing_of_what_it_met(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(_: object) -> None:
        raise ZeroDivisionError("customer 4711")

    monkeypatch.setattr(running.service.store, "submit", broken)
    with structlog.testing.capture_logs() as lines:
        answer = await running.post("/v1/questions", question(running.town, query()))
    assert (answer.status_code, answer.json()["code"]) == (500, "fault")
    assert answer.headers["content-type"].startswith("application/problem+json")
    assert "4711" not in answer.text
    assert lines
    assert "4711" not in repr(lines)


async def test_the_page_of_the_interface_says_of_every_operation_what_it_does(running: Running) -> None:
    document = (await running.client.get("/openapi/openapi.json")).json()
    said = [operation["description"] for path in document["paths"].values() for operation in path.values()]
    page = unescape((await running.client.get("/interface")).text)
    assert len(said) > 20
    assert not [each for each in said if not each or each.replace("`", "") not in page]

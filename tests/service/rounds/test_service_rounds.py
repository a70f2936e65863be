"""Rounds with nodes played from real keys: release, refund, and everything in between, on both databases."""

import asyncio
from contextlib import AsyncExitStack

import httpx
import opendp.prelude as dp
import pytest
from msgspec import UnsetType, structs
from sqlalchemy import update

from ledger import canonical, jws
from ledger import entries as e
from ledger.errors import HistoryForked, MusubiError, NotPermitted
from policies.accounts.budgets import Account
from policies.admit_expiry import LAST_SECONDS
from queries.answers.finish import finish
from queries.question.check import make_plan
from queries.question.tree import decode_query
from queries.rounds.messages import Go, Share, Task, token_sha256
from tests.kit.towns.running import Running, Town, query, question, refused, replay_log, run
from tests.kit.towns.toy_town import MOBILITY
from tests.kit.waiting import PATIENCE, nothing_for
from trust.node.rounds.noise import make_measurement
from trust.service.database import tables as t
from trust.service.rounds.closing import WORDS_SECONDS
from trust.service.store.bell import Bell
from trust.service.store.store import Transaction

dp.enable_features("contrib")
pytestmark = pytest.mark.anyio
BOTH = ("bus_co", "clinic")


async def ask(running: Running) -> int:
    return (await running.ask(question(running.town, query(), fresh=True))).admit


async def steps(running: Running, admit: int) -> dict[str, str]:
    """What each node is asked to do for a round, by holder."""
    found: dict[str, str] = {}
    for alias in ("bus_co", "clinic", "market"):
        for task in (await running.work(alias)).tasks:
            if task.admit == admit:
                found[alias] = task.step
    return found


def accounts(running: Running) -> list[Account]:
    return list(running.service.store.state.accounts.values())


async def status(running: Running, admit: int, wait: int = 0) -> dict[str, object]:
    answer = await running.client.get(f"/v1/rounds/{admit}?wait={wait}")
    found: dict[str, object] = answer.json()
    return found


async def test_a_round_goes_from_admit_to_release_step_by_step(running: Running) -> None:
    admit = await ask(running)
    await running.settle()
    charge = accounts(running)[0].reserved
    assert charge > 0
    assert await steps(running, admit) == {"bus_co": "countersign", "clinic": "countersign"}
    await running.countersign(admit, "bus_co")
    assert await steps(running, admit) == {"clinic": "countersign"}
    assert (await status(running, admit))["waiting_for"] == ["clinic"]
    await running.countersign(admit, "clinic")
    assert await steps(running, admit) == {"bus_co": "share", "clinic": "share"}
    assert await running.share(admit, "clinic", [20]) is None
    assert await steps(running, admit) == {"bus_co": "share"}
    assert [(each.reserved, each.spent) for each in accounts(running)] == [(charge, 0)] * 3
    closed = await running.share(admit, "bus_co", [-3])
    assert closed is not None
    assert await steps(running, admit) == {}
    assert [(each.reserved, each.spent) for each in accounts(running)] == [(0, charge)] * 3
    assert await status(running, admit) == {"status": "released", "closed_by": closed, "waiting_for": []}
    release = e.decode(await running.entry(closed))
    assert isinstance(release, e.Release)
    assert release.vector == [17]
    state, _ = replay_log(running.town)
    assert state.rounds == {}


async def test_anyone_can_redo_the_sum_from_the_signed_shares(running: Running) -> None:
    """With real noise by OpenDP: the answer is the sum, its interval holds the truth, its shares are signed."""
    asked = query(group_by=["ward"], measures=[{"as": "rows", "count": "rows"}, {"as": "fare", "sum": "fare"}])
    admit = (await running.ask(question(running.town, asked))).admit
    entry = e.decode(await running.entry(admit))
    assert isinstance(entry, e.Admit)
    plan = make_plan(decode_query(canonical.encode(asked)), MOBILITY)
    truth = {"bus_co": [100, 200, 300, 10_000, 20_000, 30_000], "clinic": [1, 2, 3, 10, 20, 30]}
    noisy = {alias: list(make_measurement(plan, entry.noise)(exact)) for alias, exact in truth.items()}
    assert noisy != truth
    await running.countersign(admit, *BOTH)
    await running.share(admit, "bus_co", noisy["bus_co"])
    closed = await running.share(admit, "clinic", noisy["clinic"])
    assert closed is not None
    release = e.decode(await running.entry(closed))
    assert isinstance(release, e.Release)
    tokens = (await running.client.get(f"/v1/rounds/{admit}/shares")).json()["shares"]
    vectors = [
        jws.verify(token, bytes(running.town.keys[alias].verify_key), Share).vector for alias, token in tokens.items()
    ]
    assert release.vector == [a + b for a, b in zip(*vectors, strict=True)]
    assert {alias: token_sha256(token) for alias, token in tokens.items()} == release.shares
    cells = finish(plan, entry.noise, release.vector, "0.9999")
    sums = [101, 10_010, 202, 20_020, 303, 30_030]
    for cell, exact in zip(cells, sums, strict=True):
        assert abs(int(cell.value) - exact) <= int(cell.half_width)


async def test_the_last_share_sent_many_times_at_once_releases_once(running: Running) -> None:
    admit = await ask(running)
    transcript = await running.countersign(admit, *BOTH)
    entry = await running.entry(admit)
    node = running.nodes["clinic"]
    token = node.sign(node.share(admit, entry, transcript, [5]))
    await running.share(admit, "bus_co", [6])
    answers = await asyncio.gather(*(running.post("/v1/node/share", token) for _ in range(10)))
    assert len({answer.text for answer in answers}) == 1
    assert isinstance(e.decode(await running.entry(answers[0].json()["closed_by"])), e.Release)
    await running.settle()
    _, entries = replay_log(running.town)
    assert sum(isinstance(each, e.Release) for each in entries) == 1


async def test_different_shares_of_one_node_at_once_leave_one(running: Running) -> None:
    admit = await ask(running)
    transcript = await running.countersign(admit, *BOTH)
    entry, node = await running.entry(admit), running.nodes["clinic"]
    tokens = [node.sign(node.share(admit, entry, transcript, [n])) for n in range(6)]
    answers = await asyncio.gather(*(running.post("/v1/node/share", token) for token in tokens))
    assert sum(answer.status_code == httpx.codes.OK for answer in answers) == 1
    for answer in answers:
        if answer.status_code != httpx.codes.OK:
            refused(answer, "replayed")


async def test_an_expired_round_is_refunded_when_all_have_given_their_word(running: Running) -> None:
    admit = await ask(running)
    await running.countersign(admit, "bus_co")
    running.clock.offset = MOBILITY.expires
    assert await steps(running, admit) == {"bus_co": "word", "clinic": "word"}
    late = running.nodes["clinic"].countersign(admit, await running.entry(admit))
    async with running.unchanged():
        refused(
            await running.post("/v1/node/countersign", running.nodes["clinic"].sign(late)), "round-closed", "expired"
        )
    assert await running.word(admit, "bus_co") is None
    assert all(each.reserved for each in accounts(running))
    closed = await running.word(admit, "clinic")
    assert closed is not None
    assert [(each.reserved, each.spent) for each in accounts(running)] == [(0, 0)] * 3
    refund = e.decode(await running.entry(closed))
    assert isinstance(refund, e.Refund)
    assert sorted(refund.words) == list(BOTH)
    assert (await status(running, admit))["status"] == "refunded"
    assert (await running.client.get(f"/v1/rounds/{admit}/shares")).status_code == httpx.codes.NOT_FOUND
    for alias in BOTH:
        token = running.nodes[alias].sign(running.nodes[alias].word(admit, await running.entry(admit)))
        async with running.unchanged():
            assert await running.done("/v1/node/word", token) == {"closed_by": closed}


async def test_a_word_before_the_transcript_closes_ends_the_round_with_a_refund(running: Running) -> None:
    admit = await ask(running)
    await running.countersign(admit, "bus_co")
    await running.word(admit, "clinic")
    assert await steps(running, admit) == {"bus_co": "word"}
    token = running.nodes["clinic"].sign(running.nodes["clinic"].countersign(admit, await running.entry(admit)))
    async with running.unchanged():
        refused(await running.post("/v1/node/countersign", token), "round-closed", "stepped out")
    assert await running.word(admit, "bus_co") is not None
    assert [(each.reserved, each.spent) for each in accounts(running)] == [(0, 0)] * 3


async def test_a_node_that_gave_its_word_sends_no_share_any_more(running: Running) -> None:
    admit = await ask(running)
    transcript = await running.countersign(admit, *BOTH)
    await running.word(admit, "clinic")
    token = running.nodes["clinic"].sign(
        running.nodes["clinic"].share(admit, await running.entry(admit), transcript, [1])
    )
    async with running.unchanged():
        refused(await running.post("/v1/node/share", token), "round-closed", "word")


async def test_an_expired_round_shows_who_has_not_answered_a_share_that_is_out(running: Running) -> None:
    admit = await ask(running)
    await running.countersign(admit, *BOTH)
    (task,) = (await running.work("clinic")).tasks
    assert isinstance(task.shown, UnsetType)
    await running.share(admit, "bus_co", [1])
    running.clock.offset = MOBILITY.expires
    (task,) = (await running.work("clinic")).tasks
    assert isinstance(task.shown, str)
    said = jws.verify(task.shown, bytes(running.town.keys["bus_co"].verify_key), Share)
    assert (said.admit, said.from_) == (admit, "bus_co")


async def test_words_are_asked_for_only_when_nobody_can_have_a_share_on_its_way(running: Running) -> None:
    """Past the expiry every participant is asked for its share twice, whoever is slow or away; then for its word."""
    running.clock.stand()
    admit = await ask(running)
    await running.countersign(admit, *BOTH)
    running.clock.offset = MOBILITY.expires
    asked = []
    for _ in range(6):
        asked.append([task.step for task in (await running.work("clinic")).tasks])
        running.clock.offset += 1
    assert asked == [["share"], ["share"], [], ["share"], [], []], "the other is away: nothing is spoiled meanwhile"
    for _ in range(2):
        assert [task.step for task in (await running.work("bus_co")).tasks] == ["share"]
        assert (await status(running, admit))["waiting_for"] == list(BOTH)
        running.clock.offset += 1
    assert await steps(running, admit) == {"bus_co": "word", "clinic": "word"}


async def test_a_share_that_comes_while_the_others_are_asked_late_is_shown_to_them(running: Running) -> None:
    admit = await ask(running)
    await running.countersign(admit, *BOTH)
    running.clock.offset = MOBILITY.expires
    assert [task.step for task in (await running.work("clinic")).tasks] == ["share"]
    assert await running.share(admit, "bus_co", [1]) is None
    (task,) = (await running.work("clinic")).tasks
    assert isinstance(task.shown, str)


async def test_a_message_that_is_damaged_while_its_round_is_open_is_asked_for_again(running: Running) -> None:
    admit = await ask(running)
    await running.countersign(admit, *BOTH)
    await running.share(admit, "bus_co", [1])

    async def damage(transaction: Transaction) -> None:
        of_step = t.messages.c.step == "share"
        await transaction.connection.execute(update(t.messages).where(of_step).values(token="a.b.c"))

    await running.service.store.submit(damage)
    assert await running.share(admit, "clinic", [2]) is None
    assert await steps(running, admit) == {"bus_co": "share"}
    assert (await status(running, admit))["waiting_for"] == ["bus_co"]
    running.clock.offset = MOBILITY.expires + LAST_SECONDS + 61
    assert await running.service.rounds.give_up() == 1
    await running.settle()
    lost = e.decode(await running.entry(running.service.sequencer.size - 1))
    assert isinstance(lost, e.Lost)
    assert (list(lost.shares), lost.silent) == (["clinic"], ["bus_co"])


@pytest.mark.parametrize("out", ["word", "silence"])
async def test_what_nobody_can_finish_is_given_up_after_its_last_and_its_place_is_free(
    running: Running, out: str
) -> None:
    admit = await ask(running)
    await running.countersign(admit, *BOTH)
    await running.share(admit, "bus_co", [1])
    if out == "word":
        await running.word(admit, "clinic")
    charge = accounts(running)[0].reserved
    last = MOBILITY.expires + LAST_SECONDS
    running.clock.offset = last
    assert await running.service.rounds.give_up() == 0, "a node whose clock is a minute behind ours may be sending"
    running.clock.offset = last + 61
    assert await running.service.rounds.give_up() == 1
    assert await running.service.rounds.give_up() == 0
    await running.settle()
    said = await status(running, admit)
    assert said["status"] == "lost"
    lost = e.decode(await running.entry(int(str(said["closed_by"]))))
    assert isinstance(lost, e.Lost)
    assert (list(lost.shares), list(lost.words), lost.silent) == (
        ["bus_co"],
        ["clinic"] if out == "word" else [],
        [] if out == "word" else ["clinic"],
    )
    assert [(each.reserved, each.spent) for each in accounts(running)] == [(0, charge)] * 3
    shares = (await running.client.get(f"/v1/rounds/{admit}/shares")).json()["shares"]
    assert {alias: token_sha256(token) for alias, token in shares.items()} == lost.shares
    assert await steps(running, admit) == {}
    token = running.nodes["clinic"].sign(running.nodes["clinic"].word(admit, await running.entry(admit)))
    if out == "silence":
        async with running.unchanged():
            refused(await running.post("/v1/node/word", token), "round-closed")
    else:
        assert (await running.done("/v1/node/word", token))["closed_by"] == said["closed_by"]
    state, _ = replay_log(running.town, clock=running.clock)
    assert state.rounds == {}


async def test_a_question_that_nothing_left_for_waits_a_fortnight_longer_for_the_words_that_refund_it(
    running: Running,
) -> None:
    admit = await ask(running)
    await running.countersign(admit, *BOTH)
    await running.word(admit, "bus_co")
    last = MOBILITY.expires + LAST_SECONDS + 61
    running.clock.offset = last
    assert await running.service.rounds.give_up() == 0
    running.clock.offset = last + WORDS_SECONDS
    assert await running.service.rounds.give_up() == 1
    assert (await status(running, admit))["status"] == "lost"


async def test_a_holder_whose_role_is_taken_meanwhile_ends_the_round_that_it_began(running: Running) -> None:
    admit = await ask(running)
    await running.countersign(admit, *BOTH)
    await running.share(admit, "bus_co", [1])
    body = running.town.member("clinic", ["identity"], number=2)
    await running.done("/v1/members", running.town.approved("member", body))
    await running.settle()
    assert await steps(running, admit) == {"clinic": "share"}
    assert await running.share(admit, "clinic", [2]) is not None
    assert (await status(running, admit))["status"] == "released"


async def test_one_share_and_one_word_leave_the_charge_standing(running: Running) -> None:
    """Once a share may have left, only that same round may finish; without it nothing is given back."""
    admit = await ask(running)
    await running.countersign(admit, *BOTH)
    assert await running.share(admit, "bus_co", [1]) is None
    assert await running.word(admit, "clinic") is None
    running.clock.offset = 2 * MOBILITY.expires
    assert await steps(running, admit) == {}
    assert (await status(running, admit))["status"] == "open"
    assert all(each.reserved for each in accounts(running))
    async with running.unchanged():
        token = running.nodes["bus_co"].sign(running.nodes["bus_co"].word(admit, await running.entry(admit)))
        refused(await running.post("/v1/node/word", token), "round-closed", "share")


async def test_a_round_whose_transcript_is_whole_may_finish_past_its_expiry(running: Running) -> None:
    admit = await ask(running)
    await running.countersign(admit, *BOTH)
    await running.share(admit, "bus_co", [1])
    running.clock.offset = 2 * MOBILITY.expires
    assert await steps(running, admit) == {"clinic": "share"}
    assert await running.share(admit, "clinic", [1]) is not None


async def test_a_question_is_handed_out_only_once_its_checkpoint_is_published(running: Running) -> None:
    await running.settle()
    running.line.cut = True
    token = question(running.town, query())
    admit = (await running.ask(token)).admit
    assert await steps(running, admit) == {}
    assert admit not in (await running.client.get("/v1/rounds")).json()
    refused(await running.client.get(f"/v1/entries/{admit}"), "unavailable", "not published yet")
    running.line.cut = False
    await running.settle()
    assert await steps(running, admit) == {"bus_co": "countersign", "clinic": "countersign"}


async def test_a_waiting_poll_is_answered_when_there_is_work_and_a_watcher_when_it_is_done(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing here ends because its time is up: all waits are given longer than the test."""
    bell = running.service.bell
    monkeypatch.setattr(bell, "until", lambda look, _seconds: Bell.until(bell, look, 10 * PATIENCE))
    await running.settle()
    known = running.service.sequencer.size
    polls = [asyncio.create_task(running.work(alias, wait=20, known=known)) for alias in BOTH]
    await nothing_for(0.05)
    assert not any(poll.done() for poll in polls)
    admit = await ask(running)
    answers = await asyncio.gather(*polls)
    assert [answer.tasks for answer in answers] == [[Task(step="countersign", admit=admit)]] * 2
    watcher = asyncio.create_task(status(running, admit, wait=20))
    await running.countersign(admit, *BOTH)
    await running.share(admit, "bus_co", [1])
    assert not watcher.done()
    await running.share(admit, "clinic", [1])
    assert (await watcher)["status"] == "released"


async def test_a_node_that_signs_that_it_caught_up_is_shown_and_never_goes_back(running: Running) -> None:
    await running.settle()
    size = running.service.sequencer.size
    for said in (size - 1, size, size - 2):
        await running.work("bus_co", size=said)
    assert (await running.client.get("/v1/caught-up")).json() == {"bus_co": size, "published": size}


@pytest.mark.parametrize("said", range(5))
async def test_a_service_that_stops_in_the_middle_of_a_round_goes_on_where_it_was(town: Town, said: int) -> None:
    """Stopped after ``said`` of the round's messages, started again from its folder; the round ends as it would."""
    async with AsyncExitStack() as stack:
        running = await (await stack.enter_async_context(run(town))).found()
        admit = await ask(running)
        await running.settle()
        before = 0
        tokens: list[str] = []
        go = ""
        for step in range(4):
            if step == said:
                await stack.aclose()
                running = await stack.enter_async_context(run(town))
                await running.settle()  # nodes are given tasks of what it knows to be published
                assert (await status(running, admit))["status"] == "open"
                before = running.service.store.size
            alias = BOTH[step % 2]
            if step < 2:
                tokens += await running.countersign(admit, alias)
            else:
                (task,) = (await running.work(alias)).tasks
                transcript = jws.verify(task.go, bytes(town.keys["operator"].verify_key), Go).transcript
                assert transcript == tokens
                assert go in {"", task.go}
                go = task.go
                await running.share(admit, alias, [step])
        if said == 4:
            await stack.aclose()
            running = await stack.enter_async_context(run(town))
            before = running.service.store.size - 1
        assert (await status(running, admit))["status"] == "released"
        assert running.service.store.size == before + 1
        await running.settle()
        state, entries = replay_log(town)
        assert [each.vector for each in entries if isinstance(each, e.Release)] == [[5]]
        assert [each.reserved for each in state.accounts.values()] == [0, 0, 0]


def does_not_start(error: type[MusubiError], says: str) -> pytest.RaisesGroup[MusubiError]:
    """The error, wherever in the groups that task groups make it lies."""
    return pytest.RaisesGroup(pytest.RaisesExc(error, match=says), flatten_subgroups=True, allow_unwrapped=True)


async def test_a_service_is_not_started_on_a_ledger_of_another_founding(town: Town) -> None:
    async with run(town) as running:
        await running.found()
    path = town.service / "genesis.json"
    path.write_bytes(path.read_bytes().replace(b"Hamlet", b"Hermit"))
    with does_not_start(NotPermitted, "another genesis"):
        async with run(town):
            pass


async def test_a_service_is_not_started_on_tiles_that_are_not_those_published(town: Town) -> None:
    async with run(town) as running:
        await running.found()
        await running.settle()
    (tile,) = (town.service / "log" / "tile" / "0").rglob(f"{running.service.sequencer.size}")
    data = bytearray(tile.read_bytes())
    data[40] ^= 1
    tile.write_bytes(bytes(data))
    with does_not_start(HistoryForked, "not those of the last published"):
        async with run(town):
            pass


def left(running: Running, alias: str) -> dict[str, object]:
    """The stewards' request that takes a holder out."""
    body = running.town.member(alias, ["holder"], 2)
    return dict(running.town.approved("member", structs.replace(body, status="left")))


async def test_a_holder_that_left_ends_its_rounds_and_gets_no_leaves(running: Running) -> None:
    admit = await ask(running)
    await running.countersign(admit, *BOTH)
    await running.done("/v1/members", left(running, "clinic"))
    node = running.nodes["clinic"]
    refused(await running.post("/v1/node/leaves", node.sign(node.leaves(0, 5))), "signature-invalid")
    await running.share(admit, "bus_co", [1])
    assert await running.share(admit, "clinic", [2]) is not None
    await running.settle()
    replay_log(running.town)


async def test_shares_are_given_only_once_their_answer_is_published(running: Running) -> None:
    admit = await ask(running)
    await running.countersign(admit, *BOTH)
    await running.share(admit, "bus_co", [1])
    await running.settle()
    running.line.cut = True
    assert await running.share(admit, "clinic", [2]) is not None
    refused(await running.client.get(f"/v1/rounds/{admit}/shares"), "unavailable")
    running.line.cut = False
    await running.settle()
    assert sorted((await running.client.get(f"/v1/rounds/{admit}/shares")).json()["shares"]) == list(BOTH)

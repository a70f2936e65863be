"""A service whose clock is wrong writes nothing, goes on reading, says why, and goes on by itself when it is right."""

import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from ledger import entries as e
from ledger import jws
from ledger.errors import HistoryForked
from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import process_of
from tests.kit.towns.running import (
    Clock,
    Resident,
    Running,
    Town,
    lay_out,
    query,
    question,
    refused,
    replay_log,
    run,
)
from tests.kit.waiting import eventually
from trust.runtime.clock import MAX_SKEW_SECONDS
from trust.runtime.clock import Clock as AnyClock
from trust.service.store.held_clock import HeldClock

pytestmark = pytest.mark.anyio
HOUR = 3_600
ALL_READS = ("/", "/healthz", "/metrics", "/log/checkpoint", "/v1/entries/0", "/v1/receipts/0", "/v1/caught-up")


async def assert_reads(running: Running, resident: Resident) -> None:
    """Check that pages, proofs, files, and answers to signed questions are all there."""
    for path in ALL_READS:
        answer = await running.client.get(path)
        assert answer.status_code == httpx.codes.OK, (path, answer.text)
    mine = jws.sign(resident.mine(at=running.clock()), resident.key)
    answer = await running.post("/v1/residents/consents", mine)
    assert answer.status_code == httpx.codes.OK, answer.text
    await running.done("/v1/questions/preview", question(running.town, query(), now=running.clock()))


async def assert_read_only(running: Running, resident: Resident, bundle: Any, granted: int, *reasons: str) -> None:
    """Check that everything that writes is refused with the reasons and leaves no trace, and that /readyz says them."""
    async with running.unchanged():
        for path, body in (
            ("/v1/grants", {"bundles": [resident.consent()]}),
            ("/v1/revocations", resident.revocation(bundle, granted)),
            ("/v1/enrolments", {"enrolments": [Resident().enrolment(running.town)]}),
            ("/v1/questions", question(running.town, query(), now=running.clock())),
        ):
            assert refused(await running.post(path, body), "read-only")["reasons"] == list(reasons)
    ready = refused(await running.client.get("/readyz"), "read-only")
    assert ready["reasons"] == list(reasons)
    assert ready["size"] == ready["published"] == running.service.store.size


async def until_ready(running: Running) -> None:
    """Wait until the service says that it is ready."""

    async def ready() -> bool:
        return (await running.client.get("/readyz")).is_success

    await eventually(ready)


class Settled:
    """A resident with a consent in a town."""

    async def come(self, running: Running) -> "Settled":
        """Enrol and grant."""
        self.resident = Resident()
        await running.enrol(self.resident)
        self.bundle = self.resident.consent(now=running.clock())
        (self.granted,) = await running.grant(self.bundle)
        await running.settle()
        return self

    async def read_only(self, running: Running, *reasons: str) -> None:
        """Check that nothing is written, for these reasons, and that reading goes on."""
        await assert_reads(running, self.resident)
        await assert_read_only(running, self.resident, self.bundle, self.granted, *reasons)

    async def take_back(self, running: Running) -> None:
        """Take the consent back; somebody else gives one."""
        await running.done("/v1/revocations", self.resident.revocation(self.bundle, self.granted))
        another = Resident()
        await running.enrol(another)
        (index,) = await running.grant(another.consent(now=running.clock()))
        await running.entry(index)
        await until_ready(running)


@pytest.mark.parametrize(("wrong", "reason"), [(3 * HOUR, "clock-ahead"), (-3 * HOUR, "clock-behind")])
async def test_a_clock_set_wrong_while_the_service_runs_stops_writing_before_anything_is_stamped(
    running: Running, wrong: int, reason: str
) -> None:
    settled = await Settled().come(running)
    running.clock.wrong = wrong
    await settled.read_only(running, reason)
    running.clock.wrong = 0
    await settled.take_back(running)
    replay_log(running.town)


@pytest.mark.parametrize(("wrong", "reason"), [(3 * HOUR, "clock-ahead"), (-3 * HOUR, "clock-behind")])
async def test_a_service_that_starts_with_a_wrong_clock_only_reads_until_it_is_put_right(
    town: Town, wrong: int, reason: str
) -> None:
    async with run(town) as running:
        settled = await Settled().come(await running.found())
    async with run(town, Clock(wrong)) as running:
        await settled.read_only(running, reason)
        running.clock.wrong = 0
        await settled.take_back(running)
    replay_log(town)


async def test_a_new_town_with_a_wrong_clock_publishes_and_takes_nothing_before_it_is_set_right(town: Town) -> None:
    """Nobody has agreed with its clock yet: by their word alone, a witness that lies would be right."""
    async with run(town, Clock(3 * HOUR)) as running:
        await eventually(lambda: running.service.clock.heard is not None)
        path, body = running.town.founding()[0]
        assert running.service.sequencer.size == 0
        assert refused(await running.post(path, body), "read-only")["reasons"] == ["clock-ahead"]
        running.clock.wrong = 0
        await Settled().come(await running.found())
    replay_log(town)


async def test_a_service_that_reaches_no_witness_at_its_start_only_reads_until_it_does(town: Town) -> None:
    async with run(town) as running:
        settled = await Settled().come(await running.found())
    async with run(town, cut=True) as running:
        await settled.read_only(running, "clock-unconfirmed")
        running.line.cut = False
        await until_ready(running)
        await settled.take_back(running)
    replay_log(town)


async def test_witnesses_that_go_away_later_leave_a_confirmed_clock_confirmed(running: Running) -> None:
    """What is written meanwhile waits for their cosignatures, as ever; the seconds that pass hold the clock."""
    settled = await Settled().come(running)
    running.line.cut = True
    running.clock.offset += 5
    answer = await running.client.get("/readyz")
    assert answer.status_code == httpx.codes.OK
    running.clock.wrong = HOUR
    assert refused(await running.client.get("/readyz"), "read-only")["reasons"] == ["clock-ahead"]
    running.clock.wrong = 0
    running.line.cut = False
    await settled.take_back(running)


async def test_a_promised_revocation_is_published_though_the_clock_is_set_wrong_right_after_it(
    running: Running,
) -> None:
    settled = await Settled().come(running)
    running.line.cut = True
    revocation = settled.resident.revocation(settled.bundle, settled.granted)
    promised = await running.post("/v1/revocations", revocation)
    index = running.service.store.size - 1
    assert isinstance(e.decode(await stored(running, index)), e.Revoke), promised.text
    running.clock.wrong = 3 * HOUR
    running.line.cut = False
    await running.settle()
    assert isinstance(e.decode(await running.entry(index)), e.Revoke)
    assert refused(await running.client.get("/readyz"), "read-only")["reasons"] == ["clock-ahead"]


async def stored(running: Running, index: int) -> bytes:
    """Return an entry of the store, published or not."""
    data = await running.service.store.entry(index)
    assert data is not None
    return data


async def test_within_a_minute_a_clock_may_be_off_and_time_never_goes_back(running: Running) -> None:
    people = [Resident() for _ in range(3)]
    await running.enrol(*people)
    times = []
    for person, wrong in zip(people, (MAX_SKEW_SECONDS - 5, 5 - MAX_SKEW_SECONDS, 0), strict=True):
        running.clock.wrong = wrong
        (index,) = await running.grant(person.consent(now=running.clock() - MAX_SKEW_SECONDS))
        times.append(e.decode(await running.entry(index)).at)
    assert times == sorted(times)
    replay_log(running.town)


@asynccontextmanager
async def stamped_ahead(town: Town, seconds: int) -> AsyncIterator[tuple[Running, Settled]]:
    """Run a town in which one consent was stamped so far ahead, as a service did that did not hold its clock."""
    clock = Clock()
    async with run(town, clock) as running:
        settled = await Settled().come(await running.found())
        await running.settle()
        ahead: AnyClock = lambda: clock() + seconds  # noqa: E731
        held, running.service.store.clock = running.service.store.clock, HeldClock(ahead)
        answer = await running.post("/v1/questions", question(town, query(), now=clock() + seconds))
        assert answer.status_code == httpx.codes.OK, answer.text
        running.service.store.clock = held
        yield running, settled


async def assert_waits_for_its_time(running: Running, settled: Settled, until: int) -> None:
    """Check that nothing is written and all is read until the log's time has come, and then everything goes on."""
    await assert_reads(running, settled.resident)
    problem = refused(
        await running.post("/v1/revocations", settled.resident.revocation(settled.bundle, settled.granted)), "read-only"
    )
    assert (problem["reasons"], problem["until"]) == (["log-ahead"], until)
    assert refused(await running.client.get("/readyz"), "read-only")["until"] == until
    running.clock.offset += until + 3 - running.clock()  # whole seconds, at the witness and here
    await settled.take_back(running)
    await running.settle()
    replay_log(running.town, clock=running.clock)


async def test_a_log_with_an_entry_of_a_time_to_come_is_read_and_goes_on_as_soon_as_its_readers_take_it(
    town: Town,
) -> None:
    async with stamped_ahead(town, 3 * HOUR) as (running, settled):
        await assert_waits_for_its_time(running, settled, running.service.store.state.at - MAX_SKEW_SECONDS)


async def test_a_service_starts_on_a_log_with_an_entry_of_a_time_to_come(town: Town) -> None:
    async with stamped_ahead(town, 3 * HOUR) as (running, settled):
        until = running.service.store.state.at - MAX_SKEW_SECONDS
    async with run(town) as running:
        await eventually(lambda: running.service.clock.heard is not None)  # the witness has seen more than is published
        await assert_waits_for_its_time(running, settled, until)


async def test_one_failed_state_hides_no_other(town: Town) -> None:
    async with stamped_ahead(town, 3 * HOUR) as (running, _):
        running.clock.wrong = -HOUR
        problem = refused(await running.client.get("/readyz"), "read-only")
        assert problem["reasons"] == ["clock-behind", "log-ahead"]
        async with running.service.store._writing:  # nobody builds the state anew meanwhile
            state, running.service.store._state = running.service.store._state, None
            problem = refused(await running.client.get("/readyz"), "unavailable", "")
            assert problem["reasons"] == ["starting"]
            running.service.store._state = state
        running.service.store.halt(HistoryForked("The history would fork."))
        problem = refused(await running.client.get("/readyz"), "history-forked")
        assert problem["reasons"] == ["history-forked", "clock-behind", "log-ahead"]
        running.service.store.halted = None


@pytest.mark.parametrize("seed", range(4))
async def test_whatever_the_clock_did_reads_never_stop_and_writing_goes_on_at_once_when_it_is_right(
    running: Running, seed: int
) -> None:
    chance = random.Random(seed)
    settled = await Settled().come(running)
    for _ in range(12):
        running.clock.wrong = chance.choice([0, 20, -20, 65, -65, HOUR, -HOUR, 10**8, -(10**8)])
        running.clock.offset += chance.choice([0, 1, 10, 700])
        running.line.cut = chance.random() < 0.3
        await assert_reads(running, settled.resident)
        right = abs(running.clock.wrong) <= MAX_SKEW_SECONDS
        answer = await running.client.get("/readyz")
        assert answer.is_success == right, answer.text
    running.clock.wrong, running.line.cut = 0, False
    answer = await running.client.get("/readyz")
    assert answer.is_success, answer.text
    await settled.take_back(running)
    await running.settle()
    _, entries = replay_log(running.town, clock=running.clock)
    assert [each.at for each in entries] == sorted(each.at for each in entries)


@pytest.mark.slow
async def test_a_process_started_three_hours_ahead_writes_nothing_and_then_goes_on_by_itself(tmp_path: Any) -> None:
    port, witness_port = free_port(), free_port()
    town = lay_out(tmp_path / "town", witness_url=f"http://127.0.0.1:{witness_port}", port=port)
    async with process_of(town, port, witness_port) as service:
        await service.start()
        await service.found()
        settled = await Settled().come(service)
        size = (await service.client.get("/readyz")).json()["size"]
        service.wrong.write_text(str(3 * HOUR))  # while it runs
        problem = refused(await service.post("/v1/grants", {"bundles": [settled.resident.consent()]}), "read-only")
        assert problem["reasons"] == ["clock-ahead"]
        service.stop()
        await service.start(ready="/healthz")  # and at the start
        await assert_reads(service, settled.resident)
        problem = refused(
            await service.post("/v1/revocations", settled.resident.revocation(settled.bundle, settled.granted)),
            "read-only",
        )
        assert problem["reasons"] == ["clock-ahead"]
        ready = refused(await service.client.get("/readyz"), "read-only")
        assert (ready["reasons"], ready["size"]) == (["clock-ahead"], size)
        assert "musubi_read_only 1.0" in (await service.client.get("/metrics")).text
        service.wrong.write_text("0")
        await settled.take_back(service)
        replay_log(town)

"""A service goes on only from a whole lock state that no witness is ahead of; a failing act costs that act alone."""

import asyncio
import shutil
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from sqlalchemy import delete, insert, update

from ledger import entries as e
from ledger.errors import HistoryForked, Unavailable
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from policies.ledger_state import State
from policies.replay import SeenConsents
from queries.replay import replay
from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import service_alone
from tests.kit.parties.witnesses import witness_at
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import (
    Running,
    Town,
    WitnessLine,
    lay_out,
    query,
    question,
    refused,
    replay_log,
    run,
)
from tests.kit.towns.toy_town import ORIGIN
from tests.kit.waiting import eventually, nothing_for
from trust.audit.witness import create_witness
from trust.service.database import tables as t
from trust.service.database.engine import Databases
from trust.service.service import Service
from trust.service.settings import load_settings
from trust.service.store.store import Transaction

pytestmark = pytest.mark.anyio


@asynccontextmanager
async def stood(town: Town) -> AsyncIterator[Running]:
    """A town that has taken in a few consents."""
    async with run(town) as running:
        await running.found()
        resident = Folk()
        await running.enrol(resident)
        await running.grant(resident.consent(), resident.consent())
        await running.settle()
        yield running


async def grown(town: Town) -> None:
    """Have a town grow, and stop it."""
    async with stood(town):
        pass


async def start_alone(town: Town) -> None:
    """Start a stopped town's service, without its web application, beside its witness."""
    witness = create_witness(town.witness)
    service = Service(load_settings(town.service))
    service.sequencer.client = httpx.AsyncClient(transport=WitnessLine(witness))
    failed: HistoryForked | None = None
    async with witness.lifespan():
        try:
            await service.start()
            await service.stop()
        except HistoryForked as error:
            failed = error
    if failed:
        raise failed


async def in_database(town: Town, *statements: Any) -> None:
    """Change what a stopped service's database says."""
    databases = Databases(load_settings(town.service).database_url)
    async with databases.writer.begin() as connection:
        for statement in statements:
            await connection.execute(statement)
    await databases.close()


Damage = Callable[[Town], Awaitable[None]]


def rows(*statements: Any) -> Damage:
    """Damage that a statement does."""

    async def act(town: Town) -> None:
        await in_database(town, *statements)

    return act


async def a_fresh_database(town: Town) -> None:
    """All tables are as new."""
    await in_database(town, *(delete(table) for table in reversed(t.metadata.sorted_tables)))


async def no_tiles(town: Town) -> None:
    shutil.rmtree(town.service / "log")


async def another_tile(town: Town) -> None:
    for path in (town.service / "log" / "tile" / "0").rglob("*"):
        if path.is_file():
            path.write_bytes(bytes(len(path.read_bytes())))


DAMAGES: dict[str, tuple[Damage, str]] = {
    "no head": (rows(delete(t.head)), "does not say how far"),
    "no published": (rows(delete(t.published)), "does not say how far"),
    "neither": (rows(delete(t.head), delete(t.published)), "does not say how far"),
    "a fresh database beside an old log": (a_fresh_database, "does not say how far"),
    "an entry too few": (rows(delete(t.entries).where(t.entries.c.index == 11)), "Entries of the ledger are missing"),
    "a head behind its entries": (rows(update(t.head).values(size=3)), "Entries of the ledger are missing"),
    "published past the head": (rows(update(t.published).values(size=10_000)), "Entries of the ledger are missing"),
    "published behind the log": (
        rows(update(t.published).values(size=0, checkpoint=b"")),
        "older than the log that was published",
    ),
    "an old log's place, and none of its tiles": (no_tiles, "lacks tiles"),
    "tiles of another log": (another_tile, "not those of the last published checkpoint"),
}


@pytest.mark.many(2)
@pytest.mark.parametrize("what", DAMAGES)
async def test_a_service_whose_lock_state_is_not_whole_does_not_start_and_says_what_to_do(
    town: Town, what: str
) -> None:
    damage, says = DAMAGES[what]
    await grown(town)
    await damage(town)
    before = sorted((path, path.read_bytes()) for path in (town.service / "log").rglob("*") if path.is_file())
    with pytest.raises(HistoryForked, match=says) as raised:
        await start_alone(town)
    assert "`musubi " in raised.value.message
    after = sorted((path, path.read_bytes()) for path in (town.service / "log").rglob("*") if path.is_file())
    assert before == after


async def test_a_crash_between_any_two_of_the_three_is_no_damage(town: Town) -> None:
    """The checkpoint file is lost, or an older one; what is published is behind the entries: all is put right."""
    await grown(town)
    file = town.service / "log" / "checkpoint"
    old = file.read_bytes()
    file.unlink()
    async with run(town) as running:
        await until_equal(file, old)
        await running.ask(question(town, query()))
        await running.settle()
        newest = running.service.sequencer.checkpoint
        await until_equal(file, newest)
        running.line.cut = True
        await running.ask(question(town, query()))
    file.write_bytes(old)
    async with run(town, cut=True) as running:
        await until_equal(file, newest)
        running.line.cut = False
        await running.settle()
        replay_log(town)


async def until_equal(file: Path, data: bytes) -> None:
    """Wait until a file holds these bytes."""
    await eventually(lambda: file.exists() and file.read_bytes() == data)


# Witnesses


async def behind_its_witness(town: Town) -> None:
    """Take the service's folder and database back to where they were before a consent that the witness has seen."""
    copy = town.folder / "copy"
    databases = Databases(load_settings(town.service).database_url)
    tables = {}
    await grown(town)
    async with databases.reader.connect() as connection:
        for table in t.metadata.sorted_tables:
            tables[table] = [dict(row._mapping) for row in await connection.execute(table.select())]
    shutil.copytree(town.service / "log", copy)
    async with run(town) as running:
        resident = Folk()
        await running.enrol(resident)
        await running.grant(resident.consent())
    async with databases.writer.begin() as connection:
        for table in reversed(t.metadata.sorted_tables):
            await connection.execute(delete(table))
        for table, old in tables.items():
            if old:
                await connection.execute(insert(table), old)
    await databases.close()
    shutil.rmtree(town.service / "log")
    shutil.copytree(copy, town.service / "log")


async def test_a_service_that_is_older_than_what_its_witness_has_seen_does_not_start(town: Town) -> None:
    await behind_its_witness(town)
    with pytest.raises(HistoryForked, match=r"gone back in time.*musubi restore"):
        await start_alone(town)


async def test_a_service_that_learns_too_late_that_it_is_older_publishes_nothing_and_takes_nothing_more(
    town: Town,
) -> None:
    """Its witness is away when it starts; nothing is published until that one has answered, and then it halts."""
    await behind_its_witness(town)
    before = (town.service / "log" / "checkpoint").read_bytes()
    async with run(town, cut=True) as running:
        resident = Folk()
        answer = await running.post("/v1/grants", {"bundles": [resident.consent()]}, "one and the same")
        refused(answer, "read-only", "too few witnesses")
        running.line.cut = False
        await eventually(lambda: running.service.store.halted)
        assert isinstance(running.service.store.halted, HistoryForked)
        for path, body in (
            ("/v1/grants", {"bundles": [resident.consent()]}),
            ("/v1/questions", question(town, query())),
        ):
            refused(await running.post(path, body), "history-forked", "musubi restore")
        refused(await running.client.get("/readyz"), "history-forked")
        asked = running.line.asked
        await nothing_for(1.5)
        assert running.line.asked == asked, "it is not tried again"
        assert (await running.client.get("/log/checkpoint")).content == before, "what stands can still be read"
    assert (town.service / "log" / "checkpoint").read_bytes() == before


async def test_a_witness_that_turns_out_to_be_ahead_while_publishing_ends_it_for_good(running: Running) -> None:
    """Somewhere, this log's own key has signed a larger tree of other entries, and the witness has cosigned it."""
    town = running.town
    await running.settle()
    size = running.service.sequencer.size
    other = Checkpoint(ORIGIN, size + 50, bytes(32))
    shown = sign_checkpoint(other, town.keys["log"])
    database = sqlite3.connect(town.witness / "witness.sqlite")
    with database:
        database.execute("UPDATE latest SET size = ?, root = ?, note = ?", (other.size, other.root, shown))
    resident = Folk()
    await running.enrol(resident)
    answer = await running.post("/v1/grants", {"bundles": [resident.consent()]})
    refused(answer, "history-forked", "gone back in time")
    assert running.service.sequencer.size == size
    refused(await running.post("/v1/questions", question(town, query())), "history-forked")


async def test_a_witness_that_only_claims_to_be_ahead_is_passed_over_like_one_that_is_away(running: Running) -> None:
    """It cannot show this log's signature: it does not count, and does not end the service either."""
    await running.settle()
    resident = Folk()
    await running.enrol(resident)
    size = running.service.sequencer.size
    honest = running.service.sequencer.client

    async def lie(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(409, text="77777\n", headers={"content-type": "text/x.tlog.size"})
        return httpx.Response(200, text="not a note\n")

    running.service.sequencer.client = httpx.AsyncClient(transport=httpx.MockTransport(lie))
    body = {"bundles": [resident.consent()]}
    refused(await running.post("/v1/grants", body, "the same key"), "unavailable", "not been cosigned")
    assert running.service.store.halted is None
    assert running.service.sequencer.size == size
    running.service.sequencer.client = honest
    await running.settle()
    assert (await running.done("/v1/grants", body, "the same key")) == {"indices": [size]}


async def test_a_witness_ahead_of_what_is_published_but_not_of_the_entries_is_a_crash_like_any_other(
    town: Town,
) -> None:
    """It had cosigned when the process died, before the swap."""
    async with stood(town) as running:
        swap = running.service.election.swap

        async def die(*_: Any) -> bool:
            raise OSError("the process died here")

        running.service.election.swap = die  # type: ignore[method-assign,assignment]
        await running.ask(question(town, query()))
        size = running.service.store.size
        witness = running.service.sequencer._known
        await eventually(lambda: witness.get("one") == size)
        assert running.service.sequencer.size == size - 1
        running.service.election.swap = swap  # type: ignore[method-assign]
        running.service.sequencer._task.cancel()  # type: ignore[union-attr]
    async with run(town) as running:
        await running.settle()
        assert running.service.sequencer.size == size
        replay_log(town)


@pytest.mark.slow
async def test_the_command_line_says_why_it_does_not_start_in_one_sentence(tmp_path: Path) -> None:
    port, witness_port = free_port(), free_port()
    town = lay_out(tmp_path / "town", "", f"http://127.0.0.1:{witness_port}", port=port)
    with witness_at(town.witness, witness_port):
        async with service_alone(town, port) as service:
            await service.start()
            await service.found()
            await service.settle()
            service.stop()
            await in_database(town, delete(t.published))
            service.log.unlink()
            await service.start(crash_at="nowhere")
            assert await service.died() == 24
            said = service.log.read_text()
            assert "musubi restore" in said
            assert "Traceback" not in said


# One act's failure


class Fault(Exception):
    """Something that nobody foresaw."""


async def refusal_of(running: Running) -> e.AnyEntry:
    """An entry that may be appended any number of times."""
    asked = await running.post("/v1/questions", question(running.town, query(group_by=["salary"])))
    return e.decode(await running.entry(asked.json()["refused_at"]))


async def test_an_act_that_fails_unforeseen_costs_itself_and_nobody_else_of_its_group(running: Running) -> None:
    """Before or after it has appended, first, in the middle or last: the others stand, and of it nothing does."""
    resident = Folk()
    await running.enrol(resident)
    refusal = await refusal_of(running)
    rows_before = await running.rows(t.refusals)
    store = running.service.store
    before = store.size

    def fails(*, appends: bool) -> Callable[[Transaction], Awaitable[None]]:
        async def act(transaction: Transaction) -> None:
            await transaction.connection.execute(insert(t.refusals), {"index": 10_000, "by": "x", "day": "x"})
            if appends:
                transaction.append(refusal)
            raise Fault

        return act

    bodies = [{"bundles": [resident.consent()]} for _ in range(6)]
    tasks: list[Awaitable[Any]] = [store.submit(fails(appends=True))]
    tasks += [running.post("/v1/grants", body) for body in bodies[:3]]
    tasks.append(store.submit(fails(appends=False)))
    tasks += [running.post("/v1/grants", body) for body in bodies[3:]]
    tasks.append(store.submit(fails(appends=True)))
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(each) for each in outcomes if isinstance(each, BaseException)] == [Unavailable] * 3
    assert [each.text for each in outcomes if isinstance(each, httpx.Response) and not each.is_success] == []
    indices = [each.json()["indices"][0] for each in outcomes if isinstance(each, httpx.Response)]
    assert sorted(indices) == list(range(before, before + 6))
    assert await running.rows(t.refusals) == rows_before
    await running.settle()
    state, _ = replay_log(running.town)
    assert repr(state.accounts) == repr(store.state.accounts)
    assert state.size == store.state.size == store.size


async def test_after_an_act_failed_the_state_is_rebuilt_from_a_kept_copy_and_not_from_the_first_entry(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("trust.service.store.store.COPY_EVERY", 10)
    resident = Folk()
    await running.enrol(resident)
    for _ in range(3):
        await running.grant(*(resident.consent() for _ in range(8)))
    refusal = await refusal_of(running)
    store, replayed = running.service.store, []

    def count(state: State, index: int, data: bytes, seen: SeenConsents) -> e.AnyEntry:
        replayed.append(index)
        return replay(state, index, data, seen)

    async def fault(transaction: Transaction) -> None:
        transaction.append(refusal)
        raise Fault

    monkeypatch.setattr("trust.service.store.store.replay", count)
    with pytest.raises(Unavailable):
        await store.submit(fault)
    (index,) = await running.grant(resident.consent())
    assert index == store.size - 1
    rebuilt = replayed[1:-1]  # the failing act's own came first, the consent last
    assert rebuilt
    assert min(rebuilt) >= store.size - 12
    await running.settle()
    replay_log(running.town)

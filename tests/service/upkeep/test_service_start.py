"""A service that goes on from the state it kept is the one that replays everything; what does not fit is missing."""

import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from msgspec import structs
from sqlalchemy import select, update

from ledger.errors import KeptStateDiffers, MusubiError, Unavailable
from policies.kept_state import decode_kept, encode_kept, keep_state
from policies.ledger_state import State
from queries.replay import replay
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import Running, Town, query, question, run
from trust.service.database import tables as t
from trust.service.service import Service
from trust.service.settings import load_settings
from trust.service.store import entry_rows, kept_start
from trust.service.store.kept_start import KEPT_START, KeptStart
from trust.service.store.store import Transaction, UniqueByTable

pytestmark = pytest.mark.anyio


async def lived_in(town: Town) -> None:
    """Have something in the ledger, and stop the service in order: it keeps its state."""
    async with run(town) as running:
        await running.found()
        resident = Folk()
        await running.enrol(resident)
        await running.grant(resident.consent(), resident.consent())
        await running.ask(question(town, query()))
        await running.settle()
    assert path_of(town).exists()


def path_of(town: Town) -> Path:
    """Return the file with what was kept."""
    return town.service / KEPT_START


async def replayed(running: Running) -> bytes:
    """Return what a replay of all stored entries gives."""
    state = State()
    async with running.service.databases.reader.connect() as connection:
        rows = (await connection.execute(select(t.entries.c.data).order_by(t.entries.c.index))).all()
    for index, (data,) in enumerate(rows):
        replay(state, index, bytes(data), UniqueByTable())
    return encode_kept(keep_state(state))


def state_now(running: Running) -> bytes:
    """Return the service's state."""
    return encode_kept(keep_state(running.service.store.state))


@asynccontextmanager
async def checked(town: Town) -> AsyncIterator[Running]:
    """A service that was started again, and has ended its check."""
    async with run(town) as running:
        if running.service.store.kept.check is not None:
            await running.service.store.kept.check
        yield running


async def goes_on(running: Running) -> None:
    """Check that the state is that of all entries, and that the service takes new ones."""
    assert state_now(running) == await replayed(running)
    resident = Folk()
    await running.enrol(resident)
    await running.grant(resident.consent())
    assert state_now(running) == await replayed(running)
    assert running.service.store.halted is None


async def test_a_start_goes_on_from_what_was_kept_and_the_check_finds_it_right(town: Town) -> None:
    await lived_in(town)
    async with checked(town) as running:
        assert running.service.store.kept.check is not None
        await goes_on(running)
    async with checked(town) as running:  # what is kept of what went on is right as well
        assert running.service.store.kept.check is not None
        await goes_on(running)


async def test_what_came_after_it_is_replayed(town: Town) -> None:
    await lived_in(town)
    before = path_of(town).read_bytes()
    async with run(town) as running:
        await goes_on(running)
        await running.ask(question(town, query(), fresh=True))
    path_of(town).write_bytes(before)  # as if the service had been killed
    async with checked(town) as running:
        assert running.service.store.kept.check is not None
        await goes_on(running)


def read(town: Town) -> KeptStart:
    """Read what was kept."""
    return decode_kept(path_of(town).read_bytes()[32:], KeptStart)


def write(town: Town, kept: KeptStart) -> None:
    """Write something else in its place, whole and in form."""
    data = encode_kept(kept)
    path_of(town).write_bytes(hashlib.sha256(data).digest() + data)


def more(kept: KeptStart) -> KeptStart:
    """Return what was kept as that of one more entry."""
    return structs.replace(kept, state=structs.replace(kept.state, size=kept.state.size + 1))


UNFIT: dict[str, Callable[[Town], object]] = {
    "nothing": lambda town: path_of(town).unlink(),
    "no bytes": lambda town: path_of(town).write_bytes(b""),
    "cut short": lambda town: path_of(town).write_bytes(path_of(town).read_bytes()[:-1]),
    "half of it": lambda town: path_of(town).write_bytes(path_of(town).read_bytes()[:400]),
    "a bit": lambda town: path_of(town).write_bytes(path_of(town).read_bytes()[:-1] + b"\x7f"),
    "a folder in its place": lambda town: (
        path_of(town).rename(town.service / "elsewhere").with_name(KEPT_START).mkdir()
    ),
    "other rules": lambda town: write(town, structs.replace(read(town), rules=read(town).rules - 1)),
    "another software": lambda town: write(town, structs.replace(read(town), software="0.0.1/1")),
    "another root": lambda town: write(town, structs.replace(read(town), root=bytes(32))),
    "more entries": lambda town: write(town, more(read(town))),
    "no entries": lambda t: write(t, structs.replace(read(t), state=structs.replace(read(t).state, size=0))),
    "another policy": lambda t: write(t, structs.replace(read(t), state=structs.replace(read(t).state, versions={}))),
}


@pytest.mark.many(3)
@pytest.mark.parametrize("unfit", UNFIT.values(), ids=UNFIT.keys())
async def test_what_does_not_fit_exactly_is_as_good_as_missing(town: Town, unfit: Callable[[Town], object]) -> None:
    await lived_in(town)
    unfit(town)
    async with run(town) as running:
        assert running.service.store.kept.check is None
        await goes_on(running)


async def test_what_is_kept_is_no_further_than_what_is_published(town: Town) -> None:
    await lived_in(town)
    path_of(town).unlink()
    async with run(town) as running:
        running.service.store.kept._size = 0
        path_of(town).unlink(missing_ok=True)
        size = running.service.store.size
        await running.service.store.keep_start(size - 1, is_last=True)
        assert not path_of(town).exists()
        await running.service.store.keep_start(size, is_last=True)
        assert read(town).state.size == size


def with_more_spent(kept: KeptStart) -> KeptStart:
    """Return a state in which an account has paid more."""
    name, account = next(iter(kept.state.accounts.items()))
    accounts = kept.state.accounts | {name: structs.replace(account, spent=account.spent + 1)}
    return structs.replace(kept, state=structs.replace(kept.state, accounts=accounts))


async def refuses_all(running: Running, error: type[MusubiError]) -> None:
    """Check that no act is taken, and that what was published can still be read."""

    async def nothing(_: Transaction) -> None: ...

    with pytest.raises(error):
        await running.service.store.submit(nothing)
    with pytest.raises(error):
        await running.service.readiness()
    assert (await running.client.get("/log/checkpoint")).status_code == 200


async def test_a_difference_halts_the_service_and_the_next_start_replays_everything(town: Town) -> None:
    await lived_in(town)
    write(town, with_more_spent(read(town)))
    async with checked(town) as running:
        await refuses_all(running, KeptStateDiffers)
    assert not path_of(town).exists()
    async with run(town) as running:
        assert running.service.store.kept.check is None
        await goes_on(running)


async def test_a_stored_entry_that_is_damaged_halts_the_service_once_the_check_reads_it(town: Town) -> None:
    await lived_in(town)
    async with run(town) as running:
        async with running.service.databases.writer.begin() as connection:
            await connection.execute(update(t.entries).where(t.entries.c.index == 2).values(data=b"{}"))
        if running.service.store.kept.check is not None:
            running.service.store.kept.check.cancel()
    async with checked(town) as running:
        await refuses_all(running, Unavailable)
    with pytest.raises(Unavailable, match="musubi fsck"):
        await Service(load_settings(town.service)).start()  # it has thrown away what it kept, and reads every entry


async def test_entries_that_do_not_follow_what_was_kept_are_replayed_from_the_first_one(town: Town) -> None:
    await lived_in(town)
    before = read(town)
    async with run(town) as running:
        await goes_on(running)  # a grant under a policy that the state below does not have
    gone = structs.replace(before.state, policies={})
    write(town, structs.replace(before, state=gone))
    async with run(town) as running:
        assert running.service.store.kept.check is None
        await goes_on(running)


async def test_the_check_reads_on_after_the_database_was_away(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    await lived_in(town)
    calls: list[int] = []
    real = entry_rows.read_entries

    def fails_first(*where: object) -> object:
        calls.append(1)
        if len(calls) == 1:
            raise OSError
        return real(*where)  # type: ignore[arg-type]

    monkeypatch.setattr(kept_start, "read_entries", fails_first)
    monkeypatch.setattr(kept_start, "RETRY_SECONDS", 0)
    async with checked(town) as running:
        await goes_on(running)
    assert len(calls) > 1

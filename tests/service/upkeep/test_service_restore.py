"""Backups taken while the service runs, and restores that bring back no consent that ended and no erased record."""

import asyncio
import contextlib
import os
import secrets
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy import select

from ledger import jws
from ledger.errors import HistoryForked, Malformed, NotFound, NotPermitted, Unavailable
from policies.consents.bundle import Bundle
from policies.consents.erasure import Farewell, make_erasure
from policies.in_force.sets import indices_in_force
from policies.pairwise_keys import public_hex
from tests.kit.machine.ports import free_port
from tests.kit.parties.witnesses import witness_at
from tests.kit.towns.running import (
    Resident,
    Running,
    Town,
    consent_of,
    lay_out,
    query,
    question,
    refused,
    replay_log,
    run,
)
from tests.kit.towns.toy_town import ORIGIN
from trust.files.backups import MANIFEST, read_backup
from trust.service.database import tables as t
from trust.service.keys.records import open_record
from trust.service.upkeep.backup import back_up, back_up_record_keys
from trust.service.upkeep.restore import MARK, Restored, restore

pytestmark = pytest.mark.anyio
DATABASE_FILES = "service.sqlite*"


@dataclass
class Place:
    """A town whose service is backed up, lost and restored."""

    town: Town
    port: int
    new_database: Callable[[], str]
    copies: Path
    number: int = 0
    consents: dict[int, tuple[Resident, Bundle]] = field(default_factory=dict)

    def new_folder(self, name: str) -> Path:
        """Return a new place beside the town."""
        self.number += 1
        return self.copies / f"{name}-{self.number}"

    async def back_up(self, **how: Any) -> Path:
        """Take a backup of the service."""
        out = self.new_folder("backup")
        await back_up(self.town.service, out, **how)
        return out

    def mirror(self) -> Path:
        """Copy the log as somebody else would have it."""
        out = self.new_folder("mirror")
        shutil.copytree(self.town.service / "log", out)
        return out

    def lose(self, *, record_keys: bool = True) -> None:
        """Lose the service's machine: signing keys are kept elsewhere, and the records' keys perhaps."""
        lost = self.new_folder("lost")
        self.town.service.rename(lost)
        self.town.service.mkdir()
        shutil.copytree(lost / "keys", self.town.service / "keys")
        if record_keys:
            shutil.copy(lost / "record-keys.sqlite", self.town.service)

    async def restore(self, backup: Path, *mirrors: Path, record_keys: Path | None = None) -> Restored:
        """Restore a backup into the service's folder, the witness being there; into another empty database."""
        url = self.new_database()
        with witness_at(self.town.witness, self.port):
            done = await restore(
                backup,
                self.town.service,
                mirrors=[str(each) for each in mirrors],
                database_url=url if url or self.town.database_url else None,
                record_keys=record_keys,
            )
        self.town.database_url = url
        return done

    async def grant(self, running: Running) -> int:
        """Have somebody new consent."""
        resident = Resident()
        await running.enrol(resident)
        bundle = resident.consent()
        (index,) = await running.grant(bundle, key=secrets.token_hex(16))
        self.consents[index] = (resident, bundle)
        return index

    async def revoke(self, running: Running, index: int) -> int:
        """End a consent."""
        resident, bundle = self.consents[index]
        done: int = (await running.done("/v1/revocations", resident.revocation(bundle, index)))["index"]
        return done

    async def erase(self, running: Running, index: int) -> None:
        """Erase a consent."""
        resident, bundle = self.consents[index]
        how: dict[str, Any] = {"log": ORIGIN, "consent": consent_of(bundle), "said_at": int(time.time())}
        await running.done("/v1/erasures", make_erasure(resident.key, grant=index, **how))


def in_force(running: Running) -> list[int]:
    """Return the grants in force."""
    state = running.service.store.state
    return indices_in_force(state.eligible(state.policies["mobility"].sha256, state.at, 0))


def everything_in(folder: Path) -> bytes:
    """Return all bytes of all files under a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def _place(folder: Path, database: Callable[[], str]) -> Place:
    port = free_port()
    town = lay_out(folder / "town", database(), witness_url=f"http://127.0.0.1:{port}")
    return Place(town, port, database, folder)


@pytest.fixture
def place(tmp_path: Path, database: Callable[[], str]) -> Place:
    """A town with its witness at a real address."""
    return _place(tmp_path, database)


@pytest.fixture
def on_sqlite(tmp_path: Path) -> Place:
    """The same, where the database makes no difference to what is tested."""
    return _place(tmp_path, lambda: "")


async def test_after_a_restore_what_ended_has_ended_and_what_was_erased_is_gone(place: Place) -> None:
    """An old backup, the log's mirror, and the file of the records' keys that survived."""
    async with run(place.town) as running:
        await running.found()
        erased, revoked, kept = [await place.grant(running) for _ in range(3)]
        key = (await running.service.keys.find([erased]))[erased]
        backup = await place.back_up()
        await place.erase(running, erased)
        end = await place.revoke(running, revoked)
        late = await place.grant(running)
        late_erased = await place.grant(running)
        await place.erase(running, late_erased)
        admit = (await running.ask(question(place.town, query()))).admit
        await running.settle()
        size = running.service.store.size
    mirror = place.mirror()
    place.lose()
    done = await place.restore(backup, mirror)
    assert done.size == size
    assert done.backed_up < size
    assert (done.lost_records, done.erased, done.unreadable, done.witnesses) == ([late], 1, 0, ["one"])
    assert not list(place.town.service.glob(MARK))
    assert key not in everything_in(place.town.service)
    async with run(place.town) as running:
        assert in_force(running) == [kept, late]
        assert [row[0] for row in await running.rows(t.records)] == [revoked, kept]
        assert admit in running.service.store.state.rounds
        grants = {row[0]: row for row in await running.rows(t.grants)}
        assert grants[revoked][4] == end
        assert grants[erased][3] is None
        assert {row[0] for row in await running.rows(t.erasures)} == {erased, late_erased}
        resident, bundle = place.consents[erased]
        assert bytes(resident.key.verify_key) not in [row[1] for row in await running.rows(t.residents)]
        await running.enrol(resident)
        refused(await running.post("/v1/grants", {"bundles": [bundle]}), "replayed")
        assert await running.done("/v1/residents/consents", jws.sign(resident.mine(), resident.key)) == []
        await place.revoke(running, kept)
        assert in_force(running) == [late]
        assert await place.grant(running) == size + 1
        await running.settle()
    assert replay_log(place.town)[0].size == size + 2


async def test_an_attacker_with_a_backup_from_before_the_erasure_and_the_disk_from_after_reads_nothing(
    on_sqlite: Place,
) -> None:
    async with run(on_sqlite.town) as running:
        await running.found()
        index, other = await on_sqlite.grant(running), await on_sqlite.grant(running)
        keys = await running.service.keys.find([index, other])
        sealed = {row[0]: row[1] for row in await running.rows(t.records)}
        backup = await on_sqlite.back_up(signing_keys=True)
        await on_sqlite.erase(running, index)
        before, disk = everything_in(backup), everything_in(on_sqlite.town.service)
    assert open_record(keys[index], sealed[index]) == on_sqlite.consents[index][1]
    assert (
        sealed[index][:300] in before
    )  # (SQLite may keep a row in several pages) what is to be read is there, and its key is nowhere
    assert keys[index] not in before + disk
    assert keys[other] in disk
    assert keys[other] not in before
    for leaf in on_sqlite.consents[index][1].leaves:
        for part in (bytes.fromhex(leaf.salt), leaf.salt.encode(), leaf.body.encode()):
            assert part not in before + disk


async def test_an_old_backup_of_the_records_keys_gives_no_erased_record_back(place: Place) -> None:
    async with run(place.town) as running:
        await running.found()
        index, other = await place.grant(running), await place.grant(running)
        keys = await running.service.keys.find([index, other])
        backup, old_keys = await place.back_up(), place.new_folder("keys")
        back_up_record_keys(place.town.service, old_keys)
        await place.erase(running, index)
        await running.settle()
    mirror = place.mirror()
    place.lose(record_keys=False)
    done = await place.restore(backup, mirror, record_keys=old_keys)
    assert (done.erased, done.unreadable, done.lost_records) == (1, 0, [])
    assert keys[index] in old_keys.read_bytes()  # until its owner deletes it, as the how-to page says
    assert keys[index] not in everything_in(place.town.service)
    async with run(place.town) as running:
        assert await running.service.keys.find([index, other]) == {other: keys[other]}


async def test_without_the_records_keys_a_resident_can_still_take_a_consent_back(on_sqlite: Place) -> None:
    async with run(on_sqlite.town) as running:
        await running.found()
        index = await on_sqlite.grant(running)
        await running.settle()
        backup = await on_sqlite.back_up()
    on_sqlite.lose(record_keys=False)
    assert (await on_sqlite.restore(backup)).unreadable == 1
    async with run(on_sqlite.town) as running:
        assert in_force(running) == [index]
        await on_sqlite.revoke(running, index)
        assert in_force(running) == []


async def test_the_log_never_goes_back(place: Place) -> None:
    """Without a mirror, with one that is too old, or without an answer of the witness, nothing can be started."""
    async with run(place.town) as running:
        await running.found()
        backup = await place.back_up()
        await place.grant(running)
        await running.settle()
        old = place.mirror()
        await place.grant(running)
        await running.settle()
    mirror = place.mirror()
    place.lose()
    for mirrors in ((), (old,)):
        with pytest.raises(Unavailable, match="has cosigned"):
            await place.restore(backup, *mirrors)
        assert not (place.town.service / "service.toml").exists()
    with pytest.raises(Unavailable, match="Too few witnesses"):
        await restore(backup, place.town.service, mirrors=[str(mirror)], database_url=place.new_database() or None)
    with pytest.raises(NotFound):
        await place.restore(backup, mirror / "nowhere")
    assert (await place.restore(backup, old, mirror)).size > 0
    async with run(place.town) as running:
        assert len(in_force(running)) == 2


async def test_a_witness_that_names_no_tree_is_asked_to_cosign_and_the_log_does_not_go_back(
    on_sqlite: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody else's witness may have no address for its latest checkpoint; it still says when it knows more."""
    async with run(on_sqlite.town) as running:
        await running.found()
        backup = await on_sqlite.back_up()
        await on_sqlite.grant(running)
        await running.settle()
        old = on_sqlite.mirror()
        index = await on_sqlite.grant(running)
        key = (await running.service.keys.find([index]))[index]
        await running.settle()
    mirror = on_sqlite.mirror()
    on_sqlite.lose()

    def knows_no_such_address(*_: object) -> bytes:
        raise NotFound("There is no such address.")

    monkeypatch.setattr("trust.audit.witness.Witness.latest", knows_no_such_address)
    with pytest.raises(Unavailable, match="has cosigned more"):
        await on_sqlite.restore(backup, old)
    assert key in everything_in(on_sqlite.town.service)  # nothing was swept away for a log that had gone back
    done = await on_sqlite.restore(backup, mirror)
    assert (done.witnesses, done.lost_records[-1]) == (["one"], index)


async def test_a_mirror_of_another_history_is_refused(on_sqlite: Place) -> None:
    """It bears the same keys' signatures: the witness was restored from its own old backup, and cosigned a fork."""
    async with run(on_sqlite.town) as running:
        await running.found()
        await running.settle()
        backup, at_first = await on_sqlite.back_up(), on_sqlite.new_folder("witness")
    shutil.copytree(on_sqlite.town.witness, at_first)
    forks = []
    for _ in range(2):
        on_sqlite.lose()
        shutil.rmtree(on_sqlite.town.witness)
        shutil.copytree(at_first, on_sqlite.town.witness)
        await on_sqlite.restore(backup)
        async with run(on_sqlite.town) as running:
            await on_sqlite.grant(running)
            await running.settle()
        forks.append(on_sqlite.mirror())
    on_sqlite.lose()
    with pytest.raises(HistoryForked):
        await on_sqlite.restore(backup, *forks)
    with pytest.raises(HistoryForked, match="another history"):
        await on_sqlite.restore(backup, forks[0])
    assert not (on_sqlite.town.service / "service.toml").exists()


@pytest.mark.parametrize("harm", ["no manifest", "a file is damaged", "a file is gone", "a path leads out"])
async def test_a_backup_that_is_not_whole_is_refused(on_sqlite: Place, harm: str) -> None:
    async with run(on_sqlite.town) as running:
        await running.found()
        backup = await on_sqlite.back_up()
    if harm == "no manifest":
        (backup / MANIFEST).unlink()
    elif harm == "a file is damaged":
        (backup / "genesis.json").write_bytes(b"{}")
    elif harm == "a file is gone":
        (backup / "service.sqlite").unlink()
    else:
        made = (backup / MANIFEST).read_text()
        (backup / MANIFEST).write_text(made.replace('"genesis.json"', '"../genesis.json"'))
    on_sqlite.lose()
    with pytest.raises((Malformed, NotFound)):
        await on_sqlite.restore(backup)
    assert sorted(path.name for path in on_sqlite.town.service.iterdir()) == ["keys", "record-keys.sqlite"]


async def test_a_restore_that_broke_off_is_begun_anew_and_one_into_a_service_is_refused(
    on_sqlite: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run(on_sqlite.town) as running:
        await running.found()
        index = await on_sqlite.grant(running)
        await running.settle()
        backup = await on_sqlite.back_up()
        with pytest.raises(NotPermitted, match="holds a service"):
            await on_sqlite.restore(backup)
    on_sqlite.lose()
    with monkeypatch.context() as patched:
        patched.setattr("trust.service.upkeep.restore.write_whole", _fails_at("service.toml"))
        with pytest.raises(Unavailable):
            await on_sqlite.restore(backup)
    assert (on_sqlite.town.service / MARK).exists()
    assert not (on_sqlite.town.service / "service.toml").exists()
    await on_sqlite.restore(backup)
    async with run(on_sqlite.town) as running:
        assert in_force(running) == [index]


def _fails_at(name: str) -> Callable[..., None]:
    from trust.files.durable import write_whole

    def write(path: Path, data: bytes, mode: int = 0o600) -> None:
        if path.name == name:
            raise Unavailable("The disk is full.")
        write_whole(path, data, mode)

    return write


async def test_a_restore_that_broke_off_takes_the_records_keys_again(
    on_sqlite: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A witness was silent, or the disk full: the same command again does it.

    A file that was there is never replaced.
    """
    async with run(on_sqlite.town) as running:
        await running.found()
        await on_sqlite.grant(running)
        await running.settle()
        backup, keys = await on_sqlite.back_up(), on_sqlite.new_folder("keys")
        back_up_record_keys(on_sqlite.town.service, keys)
    on_sqlite.lose(record_keys=False)
    with pytest.raises(Unavailable, match="Too few witnesses"):
        await restore(backup, on_sqlite.town.service, mirrors=[], record_keys=keys)
    (on_sqlite.town.service / "record-keys.sqlite").write_bytes(b"torn")
    assert (await on_sqlite.restore(backup, record_keys=keys)).unreadable == 0
    on_sqlite.lose()
    with pytest.raises(NotPermitted, match="records' keys"):
        await on_sqlite.restore(backup, record_keys=keys)
    assert (await on_sqlite.restore(backup)).unreadable == 0


async def test_a_restore_into_one_that_came_to_its_end_is_refused_even_if_its_mark_is_left(on_sqlite: Place) -> None:
    """A crash right before the mark goes: the service starts, and lives on; it is not to be wiped away later."""
    async with run(on_sqlite.town) as running:
        await running.found()
        await running.settle()
        backup = await on_sqlite.back_up()
    on_sqlite.lose()
    await on_sqlite.restore(backup)
    (on_sqlite.town.service / MARK).write_bytes(b"left by a crash")
    async with run(on_sqlite.town) as running:
        index = await on_sqlite.grant(running)
        await running.settle()
    with pytest.raises(NotPermitted, match="holds a service"):
        await on_sqlite.restore(backup)
    async with run(on_sqlite.town) as running:
        assert in_force(running) == [index]


async def test_a_device_that_was_lost_after_the_backup_stays_shut_out(place: Place) -> None:
    async with run(place.town) as running:
        await running.found()
        index, other = await place.grant(running), await place.grant(running)
        old = place.consents[index][0]
        backup = await place.back_up()
        new = Resident(subject=old.subject)
        request = new.enrolment(place.town, for_="lost-device")
        await running.done("/v1/lost-devices", request)
        await running.settle()
    mirror = place.mirror()
    place.lose()
    await place.restore(backup, mirror)
    async with run(place.town) as running:
        assert in_force(running) == [other]
        async with running.unchanged():
            refused(await running.post("/v1/grants", {"bundles": [old.consent()]}), "not-permitted", "reported lost")
            refused(await running.post("/v1/enrolments", {"enrolments": [old.enrolment(place.town)]}), "not-permitted")
        await running.done("/v1/lost-devices", request)
        running.clock.offset = 1  # the notice was shown after the old device's consents had ended
        assert await running.grant(new.consent(now=running.clock()))


async def test_backups_are_their_owners_and_hold_no_secret_key_unless_asked_for(on_sqlite: Place) -> None:
    async with run(on_sqlite.town) as running:
        await running.found()
        await on_sqlite.grant(running)
        plain, full = await on_sqlite.back_up(), await on_sqlite.back_up(signing_keys=True)
    for out in (plain, full):
        assert out.stat().st_mode & 0o777 == 0o700
        assert all(path.stat().st_mode & 0o077 == 0 for path in out.iterdir() if path.is_file())
        assert "record-keys.sqlite" not in read_backup(out).files
    hexes = [secret.hex().encode() for secret in on_sqlite.town.secrets()]
    assert not any(secret in everything_in(plain) for secret in hexes)
    assert set(read_backup(full).files) - set(read_backup(plain).files) == {"keys/log.key", "keys/operator.key"}


async def test_an_enrolment_that_was_forgotten_is_not_brought_back(place: Place) -> None:
    async with run(place.town) as running:
        await running.found()
        index, other = await place.grant(running), await place.grant(running)
        backup = await place.back_up()
        await place.erase(running, index)
        resident = place.consents[index][0]
        said = Farewell(log=ORIGIN, key=public_hex(resident.key), at=running.clock(), nonce=secrets.token_hex(32))
        await running.done("/v1/residents/farewell", jws.sign(said, resident.key))
        await running.settle()
    mirror = place.mirror()
    place.lose()
    await place.restore(backup, mirror)
    async with run(place.town) as running:
        keys = [row[1] for row in await running.rows(t.residents)]
        assert keys == [bytes(place.consents[other][0].key.verify_key)]


async def test_a_backup_taken_in_the_middle_of_many_writes_is_of_one_moment(on_sqlite: Place) -> None:
    async with run(on_sqlite.town) as running:
        await running.found()
        grants = asyncio.gather(*(on_sqlite.grant(running) for _ in range(30)))
        backups = [await on_sqlite.back_up() for _ in range(3)]
        await grants
        await running.settle()
        expected = in_force(running)
    mirror = on_sqlite.mirror()
    on_sqlite.lose()
    for backup in backups:
        with contextlib.closing(sqlite3.connect(backup / "service.sqlite")) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            (entries,) = db.execute('SELECT max("index") + 1 FROM entries').fetchone()
            assert db.execute("SELECT size FROM head").fetchone() == (entries,)
    done = await on_sqlite.restore(backups[1], mirror)
    async with run(on_sqlite.town) as running:
        assert in_force(running) == expected
        lost = [index for index in expected if index not in {row[0] for row in await running.rows(t.records)}]
        assert lost == done.lost_records


class Lives(RuleBasedStateMachine):
    """Consents given, taken back, erased; backups at any time; the machine lost at any time, an old backup restored."""

    @initialize()
    def begin(self) -> None:
        """Found a town in memory, on SQLite."""
        self.stack = contextlib.ExitStack()
        self.portal = self.stack.enter_context(start_blocking_portal())
        memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
        folder = Path(self.stack.enter_context(tempfile.TemporaryDirectory(prefix="lives-", dir=memory)))
        port = free_port()
        town = lay_out(folder / "town", witness_url=f"http://127.0.0.1:{port}")
        self.place = Place(town, port, lambda: "", folder)
        self.alive: set[int] = set()
        self.erased: dict[int, bytes] = {}
        self.backups: list[tuple[Path, Path]] = []
        self.known: set[int] = set()
        """Whose record the service has."""
        self.known_at: list[set[int]] = []
        self._start()
        self._do(self.running.found)

    def _start(self) -> None:
        self.around = self.portal.wrap_async_context_manager(run(self.place.town))
        self.running = self.around.__enter__()

    def _do(self, act: Callable[..., Any], *how: Any, **more: Any) -> Any:
        return self.portal.call(partial(act, *how, **more))

    def _stop(self) -> None:
        self.around.__exit__(None, None, None)

    def teardown(self) -> None:
        """End everything."""
        if hasattr(self, "stack"):
            if hasattr(self, "running"):
                self._stop()
            self.stack.close()

    @rule()
    def grant(self) -> None:
        """A consent is given."""
        index = self._do(self.place.grant, self.running)
        self.alive.add(index)
        self.known.add(index)

    @precondition(lambda self: self.alive & self.known)
    @rule(data=st.data())
    def revoke(self, data: st.DataObject) -> None:
        """A consent is taken back."""
        index = data.draw(st.sampled_from(sorted(self.alive & self.known)))
        self._do(self.place.revoke, self.running, index)
        self.alive.discard(index)

    @precondition(lambda self: self.known - set(self.erased))
    @rule(data=st.data())
    def erase(self, data: st.DataObject) -> None:
        """A consent is erased, also one that has ended."""
        index = data.draw(st.sampled_from(sorted(self.known - set(self.erased))))
        found = self._do(self.running.service.keys.find, [index])
        self._do(self.place.erase, self.running, index)
        self.alive.discard(index)
        self.known.discard(index)
        self.erased[index] = found.get(index, secrets.token_bytes(40))

    @rule()
    def back_up(self) -> None:
        """A backup is taken, and one of the records' keys."""
        keys = self.place.new_folder("keys")
        backup = self._do(self.place.back_up)
        back_up_record_keys(self.place.town.service, keys)
        self.backups.append((backup, keys))
        self.known_at.append(set(self.known))

    @precondition(lambda self: self.backups)
    @rule(data=st.data(), keys=st.sampled_from(["survived", "backed up"]))
    def lose_and_restore(self, data: st.DataObject, keys: str) -> None:
        """The machine is lost; any old backup is restored with the log's mirror."""
        number = data.draw(st.integers(0, len(self.backups) - 1))
        backup, old_keys = self.backups[number]
        self._do(self.running.settle)
        self._stop()
        mirror = self.place.mirror()
        self.place.lose(record_keys=keys == "survived")
        done = self._do(self.place.restore, backup, mirror, record_keys=old_keys if keys == "backed up" else None)
        self.known = self.known_at[number] - set(self.erased)
        assert set(done.lost_records) == self.alive - self.known
        self._start()

    @invariant()
    def only_what_was_given_and_neither_ended_nor_erased_is_in_force(self) -> None:
        """And of what was erased no key is on the disk, and no row ties it to anyone."""
        if not hasattr(self, "running"):
            return
        assert set(in_force(self.running)) == self.alive
        assert self._do(self.running.service.keys.find, self.erased) == {}
        disk = everything_in(self.place.town.service)
        assert not any(key in disk for key in self.erased.values())
        for index, resident, record in self._do(self._rows):
            assert (resident is not None, record is not None) == (index in self.known, index in self.known)

    async def _rows(self) -> list[tuple[int, int | None, int | None]]:
        query_ = select(t.grants.c.index, t.grants.c.resident, t.records.c.index.label("record")).outerjoin(
            t.records, t.records.c.index == t.grants.c.index
        )
        async with self.running.service.databases.reader.connect() as connection:
            return [tuple(row) for row in await connection.execute(query_)]


TestLives = pytest.mark.slow(Lives.TestCase)
TestLives.settings = settings(max_examples=12, stateful_step_count=18, deadline=None)

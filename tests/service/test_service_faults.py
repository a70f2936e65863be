"""Full disks, a witness away, and what the process prints: the service says so, keeps the ledger whole, goes on."""

import asyncio
import base64
import os
import resource
import secrets
import sqlite3
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from ledger import entries as e
from ledger import jws
from ledger.errors import Unavailable
from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import ServiceProcess, process_of
from tests.kit.parties.witnesses import witness_at
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import (
    MakeTown,
    Resident,
    Running,
    consent_of,
    lay_out,
    query,
    question,
    refused,
    replay_log,
    run,
)
from tests.kit.towns.toy_town import HOLDERS
from tests.kit.waiting import PATIENCE, eventually
from trust.client import paths
from trust.log.tile_folder import TileFolder

pytestmark = pytest.mark.anyio


@pytest.fixture
async def impatient(tmp_path: Path, lay_out_with_tables: MakeTown) -> AsyncIterator[Running]:
    """A town whose service waits one second for a receipt."""
    async with run(lay_out_with_tables(tmp_path / "town", receipt_wait_seconds=1)) as running:
        yield await running.found()


async def published_again(running: Running, size: int) -> None:
    """Wait until a tree of ``size`` is published."""
    await running.service.sequencer.wait_for(size, PATIENCE)


# The witness


async def test_without_the_witness_nothing_is_published_and_receipts_fail_closed(impatient: Running) -> None:
    running = impatient
    resident = Folk()
    await running.enrol(resident)
    await running.settle()
    checkpoint = (await running.client.get("/log/checkpoint")).content
    published = running.service.sequencer.size
    running.line.cut = True
    body = {"bundles": [resident.consent()]}
    waiting = refused(await running.post("/v1/grants", body, "the same key"), "unavailable", "cosigned")
    assert waiting["size"] == published + 1
    refused(await running.client.get(f"/v1/receipts/{published}"), "unavailable", "cosigned")
    tile = f"{paths.LOG}tile/entries/000.p/{published + 1}"
    for path in (f"/v1/entries/{published}", f"/v1/log/stopped/{published}", tile):
        answer = await running.client.get(path)
        refused(answer, "unavailable", "not published yet")
        assert answer.headers["retry-after"] == "1"
    refused(await running.client.get(f"/v1/entries/{published + 1}"), "not-found")
    assert (await running.client.get("/log/checkpoint")).content == checkpoint
    assert running.service.sequencer.size == published
    assert running.line.asked > 1
    running.line.cut = False
    await published_again(running, published + 1)
    assert await running.done("/v1/grants", body, "the same key") == {"indices": [published]}
    await running.entry(published)
    replay_log(running.town)


@pytest.mark.parametrize("hindered", ["witness", "disk"])
async def test_what_is_published_is_there_from_the_start_whatever_hinders_publishing(
    tmp_path: Path, hindered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To say of it that it is not there would make an auditor accuse the log."""
    town = lay_out(tmp_path / "town")
    async with run(town) as running:
        await running.found()
        await running.settle()
        size = running.service.sequencer.size
    if hindered == "disk":

        def full(*_: object) -> None:
            raise Unavailable("The log's checkpoint cannot be written.")

        monkeypatch.setattr(TileFolder, "write_checkpoint", full)
    async with run(town, cut=hindered == "witness") as running:
        tile = f"{paths.LOG}tile/entries/000.p/{size}"
        for path in (paths.CHECKPOINT, tile, *(f"/v1/entries/{index}" for index in range(size)), "/v1/receipts/0"):
            assert (await running.client.get(path)).status_code == 200, path
        refused(await running.client.get(f"/v1/entries/{size}"), "not-found")


async def test_a_witness_that_was_away_while_much_was_taken_in_cosigns_it_all(impatient: Running) -> None:
    running = impatient
    resident = Resident()
    await running.enrol(resident)
    await running.settle()
    before = running.service.sequencer.size
    running.line.cut = True
    answers = await asyncio.gather(*(running.post("/v1/questions", question(running.town, query())) for _ in range(40)))
    assert {answer.status_code for answer in answers} == {200}  # admitted and durable; handed to no node yet
    assert running.service.sequencer.size == before
    running.line.cut = False
    await published_again(running, before + 40)
    state, _ = replay_log(running.town)
    assert len(state.rounds) == 40


# The disk


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB, where this machine lets us make one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if made.returncode:
        pytest.skip(f"no small file system can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)


def fill(folder: Path) -> Path:
    """Take all the space that is left."""
    junk = folder / "junk"
    with junk.open("wb", buffering=0) as file:
        size = 1 << 20
        while size:
            try:
                file.write(bytes(size))
            except OSError:
                size //= 2
    return junk


async def test_a_full_disk_is_said_and_the_service_goes_on_when_there_is_space(
    small_disk: Path, lay_out_with_tables: MakeTown
) -> None:
    """Nothing can be written down: also where PostgreSQL is elsewhere, the records' keys are here. Nothing is lost."""
    async with run(lay_out_with_tables(small_disk / "town", receipt_wait_seconds=1)) as running:
        await running.found()
        resident = Folk(96)
        await running.enrol(resident)
        bodies = [{"bundles": [resident.consent() for _ in range(8)]} for _ in range(12)]
        await running.done("/v1/grants", bodies[0], "request 0")
        await running.settle()
        published = running.service.sequencer.size
        receipts = {published - 1: await running.receipt(published - 1)}
        junk = fill(small_disk)
        requests = [running.post("/v1/grants", body, f"request {n}") for n, body in enumerate(bodies) if n]
        answers = await asyncio.gather(*requests)
        failed = [answer for answer in answers if not answer.is_success]
        assert failed
        for answer in failed:
            refused(answer, "unavailable")
        # Whoever only looks is not hindered: there is still no room.
        await eventually(lambda: running.service.store._state)
        assert os.statvfs(small_disk).f_bavail == 0
        for path in ("/v1/policies", "/v1/members", f"/v1/entries/{published - 1}"):
            assert (await running.client.get(path)).status_code == httpx.codes.OK, path
        first = resident.people[0]
        assert len(await running.done("/v1/residents/consents", jws.sign(first.mine(), first.key))) == 1
        junk.unlink()
        indices = []
        for number, body in enumerate(bodies):
            answer = await running.until_available("/v1/grants", body, f"request {number}")
            indices += answer.json()["indices"]
        first = min(indices)
        assert sorted(indices) == list(range(first, first + 8 * len(bodies)))
        for number, answer in enumerate(answers, start=1):
            if answer.is_success:
                assert answer.json()["indices"] == indices[8 * number : 8 * number + 8]
        await running.settle()
        _, entries = replay_log(running.town, receipts)
        assert sum(isinstance(entry, e.Grant) for entry in entries) == 8 * len(bodies)


@pytest.mark.slow
async def test_a_process_whose_files_may_not_grow_says_so_and_goes_on_when_they_may(tmp_path: Path) -> None:
    port, witness_port = free_port(), free_port()
    town = lay_out(tmp_path / "town", "", f"http://127.0.0.1:{witness_port}", port=port, receipt_wait_seconds=1)
    async with process_of(town, port, witness_port) as service:
        await service.start()
        await service.found()
        resident = Folk()
        await service.enrol(resident)
        (index,) = await service.grant(resident.consent())
        receipts = {index: await service.receipt(index)}
        service.limit_files_to(1_000)
        body = {"bundles": [resident.consent()]}
        for _ in range(3):
            refused(await service.post("/v1/grants", body, "the same key"), "unavailable")
        assert (await service.client.get("/healthz")).is_success
        service.limit_files_to(resource.RLIM_INFINITY)
        answer = await service.until_available("/v1/grants", body, "the same key")
        assert answer.json() == {"indices": [index + 1]}
        await service.settle()
        replay_log(town, receipts)


async def test_a_checkpoint_file_that_could_not_be_replaced_is_put_right(impatient: Running) -> None:
    """The last step fails after the checkpoint is published in the store: the next turn begins from there."""
    running = impatient
    resident = Folk()
    await running.enrol(resident)
    await running.settle()
    folder, before = running.service.tiles, running.service.sequencer.size
    real = folder.write_checkpoint
    failed = 0

    def failing(checkpoint: bytes) -> None:
        nonlocal failed
        failed += 1
        if failed == 1:
            raise OSError(28, "No space left on device")
        real(checkpoint)

    folder.write_checkpoint = failing  # type: ignore[method-assign]
    refused(await running.post("/v1/grants", {"bundles": [resident.consent()]}, "the same key"), "unavailable")
    await published_again(running, before + 1)
    await running.entry(before)
    await running.grant(resident.consent())
    assert failed >= 2
    replay_log(running.town)


async def test_a_lost_database_connection_stops_nothing_for_good(impatient: Running) -> None:
    """PostgreSQL ends all our connections, or SQLite's are closed: the next requests find new ones."""
    running = impatient
    resident = Folk()
    await running.enrol(resident)
    await running.settle()
    before = running.service.sequencer.size
    if running.service.databases.sqlite:
        await running.service.databases.writer.dispose()
        await running.service.databases.reader.dispose()
    else:
        import asyncpg

        host = running.town.database_url.partition("host=")[2]
        connection = await asyncpg.connect(host=host, user="postgres", database="postgres")
        await connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1",
            running.service.databases.writer.url.database,
        )
        await connection.close()
    body = {"bundles": [resident.consent()]}

    async def answered() -> httpx.Response | None:
        answer = await running.post("/v1/grants", body, "the same key")
        if answer.is_success:
            return answer
        refused(answer, "unavailable")
        return None

    answer = await eventually(answered)
    assert answer is not None
    assert answer.json() == {"indices": [before]}
    replay_log(running.town)


# What it prints


def forms_of(secret: bytes) -> list[str]:
    """A secret as it might be written."""
    shown = repr(secret)[2:-1]
    return [secret.hex(), base64.b64encode(secret).decode(), jws.b64url(secret), shown, shown.replace("\\", "\\\\")]


@pytest.mark.slow
async def test_nothing_that_the_process_prints_holds_a_key_a_token_or_a_consent(tmp_path: Path) -> None:
    """The real command line, through a whole scenario with bad input, refusals, a lost witness and a full disk."""
    port, witness_port = free_port(), free_port()
    town = lay_out(tmp_path / "town", "", f"http://127.0.0.1:{witness_port}", port=port, receipt_wait_seconds=1)
    said: list[str] = []

    async def keep(request: httpx.Request) -> None:
        said.append(request.content.decode("utf-8", "replace"))

    process = subprocess.Popen(  # noqa: ASYNC220 - starting it takes no time
        [sys.executable, "-m", "trust.cli", "serve", "--dir", str(town.service)],
        stdout=subprocess.PIPE,  # a file could not grow either
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        hooks = {"request": [keep]}
        async with httpx.AsyncClient(
            base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, event_hooks=hooks
        ) as client:
            service = ServiceProcess(town, port, client)
            resident, others = await scenario(service, witness_port)
            tripped = others.consent()
            with tripping(town.service / "service.sqlite"):
                refused(await service.post("/v1/grants", {"bundles": [tripped]}), "unavailable")
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (1_000, resource.RLIM_INFINITY))
            refused(await service.post("/v1/grants", {"bundles": [others.consent()]}), "unavailable")
    finally:
        process.terminate()
        lines, _ = process.communicate(timeout=PATIENCE)
    for event in ("act-failed", "commit-failed", "publish-failed"):
        assert event in lines, "the scenario was to make it print something"
    known = [form for secret in [resident.seed, bytes(resident.key), *town.secrets()] for form in forms_of(secret)]
    known += [bytes.hex(bytes(town.keys[alias].verify_key)) for alias in (*HOLDERS, "idp")]
    known += forms_of(bytes.fromhex(consent_of(tripped)))
    known += [resident.subject, bytes(resident.key.verify_key).hex()]
    for body in said:
        known += [part for part in body.replace('"', " ").split() if len(part) >= 32]
        known += [part for token in body.split('"') if token.startswith(jws.HEADER) for part in token.split(".")[1:]]
    assert len(known) > 100
    assert [each for each in known if each in lines] == []


@contextmanager
def tripping(database: Path) -> Iterator[None]:
    """Have the database refuse a row, whose values it then names in its error."""
    connection = sqlite3.connect(database, timeout=PATIENCE)
    connection.execute("CREATE TRIGGER no BEFORE INSERT ON grants BEGIN SELECT RAISE(ABORT, 'no'); END")
    yield
    connection.execute("DROP TRIGGER no")
    connection.close()


async def succeeds(client: httpx.AsyncClient, path: str) -> bool:
    """Whether a path is there and all is well."""
    with suppress(httpx.TransportError):
        return (await client.get(path)).is_success
    return False


async def scenario(service: ServiceProcess, witness_port: int) -> tuple[Resident, Folk]:
    """Do something of everything, and much of it wrong; return who did, and some folk with consents to give."""
    town, resident = service.town, Resident()
    await eventually(lambda: succeeds(service.client, "/healthz"))
    with witness_at(town.witness, witness_port):
        await eventually(lambda: succeeds(service.client, "/readyz"))
        await service.found()
        others = Folk(15)
        await service.enrol(resident, others)
        bundle = resident.consent()
        (index,) = await service.grant(bundle)
        await service.grant(*(others.consent() for _ in range(12)))
        for path, body in [
            ("/v1/grants", {"bundles": [bundle]}),
            ("/v1/grants", {"bundles": [Resident().consent()]}),
            ("/v1/grants", b"\xff" * 64),
            ("/v1/grants", b'{"bundles":"' + b"x" * 500_000 + b'"}'),
            ("/v1/questions", question(town, query(group_by=["salary"]))),
            ("/v1/questions", question(town, query(), now=int(time.time()) - 3_600)),
            ("/v1/revocations", Resident().revocation(bundle, index)),
            ("/v1/enrolments", {"enrolments": [Resident().enrolment(town, "planner")]}),
        ]:
            assert (await service.post(path, body)).is_client_error
        admit = (await service.ask(question(town, query()))).admit
        await service.countersign(admit, "bus_co", "clinic")
        await service.share(admit, "bus_co", [123_456_789])
        await service.share(admit, "clinic", [987_654_321])
        await service.done("/v1/revocations", resident.revocation(bundle, index))
        await service.settle()
    refused(await service.post("/v1/grants", {"bundles": [others.consent()]}, secrets.token_hex(16)), "unavailable")
    return resident, others


def test_the_disk_is_really_filled(small_disk: Path) -> None:
    """The fixture is no fiction: nothing more fits after ``fill``."""
    fill(small_disk)
    assert os.statvfs(small_disk).f_bavail == 0

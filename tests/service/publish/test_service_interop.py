"""A log that other people's tools read and other people's witnesses cosign: Go, Python's web server, aics-witness."""

import asyncio
import hashlib
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import pytest

from ledger import entries as e
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.receipts import Receipt, check_receipt
from ledger.tlog.tiles import Tile, partial_tiles
from policies.replay import entry_sha256
from tests.kit.logs.small_trees import tiles_of_size
from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import ServiceProcess, service_alone
from tests.kit.parties.foreign_witness import foreign_witness
from tests.kit.parties.go_client import build_go_client, run_go_client
from tests.kit.parties.witnesses import WitnessProcess, own_witness, policy_of
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import Town, lay_out
from tests.kit.towns.toy_town import ORIGIN
from tests.kit.waiting import PATIENCE
from trust.audit.auditor import audit
from trust.cli import main
from trust.log.pins import Trust, save_trust

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
GRANTS = 280


def pins_of(town: Town) -> Trust:
    """Return what readers of this town pin."""
    return Trust(
        origin=ORIGIN,
        log_key=str(town.log_key),
        genesis_sha256=entry_sha256(e.encode(town.genesis)),
        witness_policy=(town.service / "witnesses.txt").read_text(),
    )


def asked(town: Town, witnesses: list[WitnessProcess], quorum: int) -> None:
    """Have the town's service and readers ask for ``quorum`` of these witnesses."""
    policy = policy_of(town.log_key, [(each.key, each.url) for each in witnesses], quorum)
    (town.service / "witnesses.txt").write_text(policy)
    save_trust(pins_of(town), town.folder / "trust.json")


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    """A service that is not started yet."""
    port = free_port()
    town = lay_out(tmp_path / "town", port=port, receipt_wait_seconds=2, max_body_bytes=4_000_000)
    async with service_alone(town, port) as made:
        yield made


async def live(service: ServiceProcess, grants: int) -> None:
    """Found the town and give consents."""
    await service.start()
    await service.found()
    resident = Folk(grants)
    await service.enrol(resident)
    await service.grant(*(resident.consent() for _ in range(grants)))
    await service.settle()


@contextmanager
def web_server(folder: Path) -> Iterator[str]:
    """Serve a folder by Python's own web server; give its address."""
    port = free_port()
    command = [sys.executable, "-m", "http.server", "--directory", str(folder), "--bind", "127.0.0.1", str(port)]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    url = f"http://127.0.0.1:{port}"
    try:
        httpx.HTTPTransport(retries=8).handle_request(httpx.Request("GET", url)).close()
        yield url
    finally:
        process.kill()
        process.wait(PATIENCE)


def export(town: Town, out: Path) -> None:
    """Run the command line's export."""
    assert main(["log", "export", "--dir", str(town.folder / "service"), str(out)], standalone_mode=False) is None


async def test_go_reads_the_running_log_and_its_export_and_refuses_a_flipped_byte(
    service: ServiceProcess, tmp_path: Path
) -> None:
    """Checkpoint, cosignatures, tiles, entries, growth and receipts, by golang.org/x/mod alone."""
    client = build_go_client(tmp_path)
    town, out = service.town, tmp_path / "out"
    with own_witness(tmp_path / "one", "one.example", town.log_key) as witness:
        asked(town, [witness], 1)
        await live(service, 3)
        await asyncio.to_thread(export, town, out)
        older = tmp_path / "older"
        older.write_bytes((out / "checkpoint").read_bytes())
        resident = Folk(GRANTS)
        await service.enrol(resident)
        await service.grant(*(resident.consent() for _ in range(GRANTS)))
        await service.settle()
        files: list[Path] = []
        for index in (0, 5, 255, 256, 270):
            for name, data in zip(("entry", "receipt"), await service.receipt(index), strict=True):
                (tmp_path / f"{name}{index}").write_bytes(data)
            files += [tmp_path / f"receipt{index}", tmp_path / f"entry{index}"]
        live_log = f"http://127.0.0.1:{service.port}/log"
        said = run_go_client(client, live_log, out, "-older", older, *files)
        assert (said.returncode, said.stderr) == (0, "")
        size = (await service.client.get("/readyz")).json()["size"]
        for line in (
            "cosigned: by one.example",
            f"entries: all {size} hash to the signed root",
            f"inclusion: {size} records proven",
            "consistency: the older signed checkpoint of",
            "receipt: record 270 is in the signed tree",
        ):
            assert line in said.stdout, said.stdout
    service.stop()
    await asyncio.to_thread(export, town, out)
    with web_server(out) as url:
        for place in (url, out):
            again = run_go_client(client, place, out, "-older", older, *files, records=20)
            assert again.returncode == 0, again.stderr
        report = audit(url, trust=pins_of(town))
        assert (report.verdict, report.entries, set(report.cosigners)) == ("ok", size, {"w0"})
        assert audit(url).is_ok  # also with the pins that lie beside it
    for name in ("tile/0/000", "tile/entries/000", partial_tiles(size)[0].path, "tile/1/000.p/1"):
        changed = bytearray((out / name).read_bytes())
        changed[len(changed) // 2] ^= 1
        (out / name).write_bytes(changed)
        refused = run_go_client(client, out, out)
        assert refused.returncode == 1, name
        assert refused.stderr.startswith("refused: ")
        changed[len(changed) // 2] ^= 1
        (out / name).write_bytes(changed)
    assert run_go_client(client, out, out, records=20).returncode == 0
    for file, entry in zip(files[::2], files[3::2], strict=False):  # another entry than the receipt's own
        assert "receipt for record" in run_go_client(client, out, out, file, entry, records=1).stderr


@pytest.mark.long  # it is fetched from a package index
async def test_three_witnesses_one_of_them_written_by_others_cosign_one_log(
    service: ServiceProcess, tmp_path: Path
) -> None:
    """With a quorum of 3 of 3, the auditor and every receipt accept; with one of them dead nothing is published."""
    town = service.town
    with ExitStack() as stack:
        own = [
            stack.enter_context(own_witness(tmp_path / name, f"{name}.example", town.log_key)) for name in ("a", "b")
        ]
        foreign = stack.enter_context(foreign_witness(tmp_path / "foreign", "foreign.example/w", town.log_key))
        witnesses = [*own, foreign]
        asked(town, witnesses, 3)
        await live(service, 5)
        size = (await service.client.get("/readyz")).json()["size"]
        report = audit(f"{service.client.base_url}", trust=pins_of(town))
        assert (report.verdict, set(report.cosigners)) == ("ok", {"w0", "w1", "w2"})
        for index in (0, size - 1):
            entry, receipt = await service.receipt(index)
            checkpoint = check_receipt(Receipt.parse(receipt), entry, town.log_key, pins_of(town).witnesses)
            assert checkpoint.size == size
            checkpoint_note = Receipt.parse(receipt).checkpoint
        # Each witness remembers the very tree that the log published.
        origin = hashlib.sha256(ORIGIN.encode()).hexdigest()
        for witness in witnesses:
            note = (await service.client.get(f"{witness.url}/{origin}/checkpoint")).content
            assert LogKeyHistory.of(town.log_key).open(note)[0] == checkpoint
        foreign.kill()
        resident = Folk()
        await service.enrol(resident)  # an enrolment is not in the ledger
        stopped = await service.post("/v1/grants", {"bundles": [resident.consent()]}, "k" * 32)
        assert stopped.status_code == httpx.codes.SERVICE_UNAVAILABLE
        assert (await service.client.get("/readyz")).json() == {"size": size + 1, "published": size}
        assert (await service.client.get("/log/checkpoint")).content == checkpoint_note
        foreign.start()
        (index,) = await service.grant(resident.consent())
        assert index == size + 1
        await service.receipt(index)


async def test_the_running_log_has_the_paths_and_headers_of_tlog_tiles(service: ServiceProcess, tmp_path: Path) -> None:
    town = service.town
    with own_witness(tmp_path / "one", "one.example", town.log_key) as witness:
        asked(town, [witness], 1)
        await live(service, GRANTS)
        size = (await service.client.get("/readyz")).json()["size"]
        checkpoint = await service.client.get("/log/checkpoint")
        assert checkpoint.headers["content-type"] == "text/plain; charset=utf-8"
        assert checkpoint.headers["cache-control"] == "public, max-age=1"
        assert LogKeyHistory.of(town.log_key).open(checkpoint.content)[0].size == size
        for tile in tiles_of_size(size):
            answer = await service.client.get(f"/log/{tile.path}", headers={"accept-encoding": "identity"})
            assert answer.content == (town.service / "log" / tile.path).read_bytes()
            assert answer.headers["content-type"] == "application/octet-stream"
            assert "immutable" in answer.headers["cache-control"]
            assert "max-age=31536000" in answer.headers["cache-control"]
            assert "content-encoding" not in answer.headers
            packed = await service.client.get(f"/log/{tile.path}", headers={"accept-encoding": "gzip"})
            assert packed.content == answer.content
            assert packed.headers.get("content-encoding") == ("gzip" if tile.level < 0 else None)
        # A partial tile of an older checkpoint is still given; what no checkpoint needs, or is no path, is not.
        assert (await service.client.get(f"/log/{Tile(0, 0, 3).path}")).status_code == httpx.codes.OK
        for absent in (f"tile/0/001.p/{size - 256 + 1}", "tile/0/001", "tile/1/000", "tile/2/000.p/1", "tile/63/000"):
            answer = await service.client.get(f"/log/{absent}")
            assert (answer.status_code, answer.headers["cache-control"]) == (404, "no-store"), absent
        for wrong in (
            "tile/00/000",
            "tile/0/0",
            "tile/0/x000/001",
            "tile/0/000.p/0",
            "tile/0/000.p/256",
            "tile/64/000",
        ):
            answer = await service.client.get(f"/log/{wrong}")
            assert (answer.status_code, answer.headers["cache-control"]) == (400, "no-store"), wrong

"""SIGKILL between a record and its key: never a record without its key, never a key that outlives an erasure."""

import secrets
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from policies.consents.erasure import make_erasure
from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import ServiceProcess, process_of
from tests.kit.towns.running import Resident, consent_of, lay_out, replay_log
from tests.kit.towns.toy_town import ORIGIN
from trust.service.keys.record_keys import RecordKeys

pytestmark = pytest.mark.anyio


@pytest.fixture
async def service(tmp_path: Path) -> AsyncIterator[ServiceProcess]:
    port, witness_port = free_port(), free_port()
    town = lay_out(tmp_path / "town", "", f"http://127.0.0.1:{witness_port}", port=port, receipt_wait_seconds=20)
    async with process_of(town, port, witness_port) as process:
        await process.start()
        await process.found()
        yield process


async def keys_of(service: ServiceProcess) -> dict[int, bytes]:
    """Return every key in the file, the service being dead."""
    keys = RecordKeys(service.town.service / "record-keys.sqlite")
    found = await keys.find(range(200))
    await keys.close()
    return found


async def test_killed_between_a_key_and_its_record_the_next_start_sweeps_the_key_away(service: ServiceProcess) -> None:
    resident = Resident()
    await service.enrol(resident)
    service.kill()
    await service.start(crash_at="service:record-keys")
    body = {"bundles": [resident.consent()]}
    with pytest.raises(httpx.TransportError):
        await service.post("/v1/grants", body, "one try or two")
    assert await service.died() == -signal.SIGKILL
    ((index, orphan),) = (await keys_of(service)).items()
    await service.start()
    (again,) = (await service.done("/v1/grants", body, "one try or two"))["indices"]
    service.kill()
    assert again == index
    assert set(await keys_of(service)) == {index}
    disk = b"".join(path.read_bytes() for path in service.town.service.glob("record-keys.sqlite*"))
    assert orphan not in disk


async def test_killed_between_an_erasure_and_its_key_the_next_start_destroys_the_key(service: ServiceProcess) -> None:
    resident = Resident()
    await service.enrol(resident)
    bundle = resident.consent()
    (index,) = await service.grant(bundle, key=secrets.token_hex(8))
    service.kill()
    key = (await keys_of(service))[index]
    await service.start(crash_at="service:committed")
    wish = make_erasure(resident.key, log=ORIGIN, consent=consent_of(bundle), grant=index, said_at=1_790_000_000)
    with pytest.raises(httpx.TransportError):
        await service.post("/v1/erasures", wish)
    assert await service.died() == -signal.SIGKILL
    assert (await keys_of(service))[index] == key
    await service.start()
    await service.settle()
    service.kill()
    assert await keys_of(service) == {}
    assert key not in b"".join(path.read_bytes() for path in service.town.service.rglob("*") if path.is_file())
    assert index in replay_log(service.town)[0].erased

"""Witnesses that are slow, down, ahead, behind or lying: without their quorum there is no receipt, with it there is.

The service, the witnesses and the way between them are real: processes and sockets.
"""

import contextlib
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from ledger.notes.receipts import Receipt
from tests.kit.amounts import LONG
from tests.kit.machine.ports import free_port
from tests.kit.machine.processes import ServiceProcess, service_alone
from tests.kit.parties.witnesses import (
    HONEST,
    LIES,
    LyingWitness,
    WitnessProcess,
    lying_witness,
    own_witness,
    policy_of,
)
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import lay_out, refused
from tests.kit.waiting import PATIENCE, eventually
from trust.files.keys import read_key

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
WITNESS_TIMEOUT = "witness_timeout_seconds = {}\n"


class Scene:
    """A service with one witness behind a gate that can lie, and two that are asked directly."""

    def __init__(self, service: ServiceProcess, gate: LyingWitness, own: list[WitnessProcess]) -> None:
        self.service = service
        self.gate = gate
        self.own = own

    async def start(self, quorum: int, of: int) -> None:
        """Ask for ``quorum`` of the first ``of`` witnesses, the gate being the first; found the town."""
        addresses = [(self.own[0].key, self.gate.url), *((each.key, each.url) for each in self.own[1:])]
        policy = policy_of(self.service.town.log_key, addresses[:of], quorum)
        (self.service.town.service / "witnesses.txt").write_text(policy)
        await self.service.start()
        await self.service.found()
        self.resident = Folk()
        await self.service.enrol(self.resident)
        await self.service.settle()

    async def sizes(self) -> tuple[int, int]:
        """Return how many entries are committed, and how many published."""
        answer = (await self.service.client.get("/readyz")).json()
        return answer["size"], answer["published"]

    async def give(self) -> httpx.Response:
        """Hand in one more consent; return the answer, given without any patience of our own."""
        key = secrets.token_hex(16)
        return await self.service.post("/v1/grants", {"bundles": [self.resident.consent()]}, key)

    async def given(self) -> httpx.Response:
        """Hand in one more consent until its receipt is there; return the answer."""
        body = {"bundles": [self.resident.consent()]}
        return await self.service.until_available("/v1/grants", body, secrets.token_hex(16))

    async def cosigners(self) -> set[str]:
        """Return who cosigned the published checkpoint."""
        note = (await self.service.client.get("/log/checkpoint")).content
        receipt = Receipt(index=0, proof=[], checkpoint=note)
        return {line.split(" ")[1] for line in receipt.checkpoint.decode().splitlines() if line.startswith("\u2014")}


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Scene]:
    port = free_port()
    town = lay_out(tmp_path / "town", port=port, receipt_wait_seconds=1, witness_timeout_seconds=1)
    with ExitStack() as stack:
        own = [
            stack.enter_context(own_witness(tmp_path / name, f"{name}.example", town.log_key))
            for name in ("a", "b", "c")
        ]
        key = read_key(tmp_path / "a" / "witness.key")
        gate = stack.enter_context(lying_witness(own[0].url, "a.example", key, free_port()))
        async with service_alone(town, port) as service:
            yield Scene(service, gate, own)


async def until_asked(gate: LyingWitness, times: int) -> None:
    """Wait until the gate was asked so often in its present mode."""
    await eventually(lambda: gate.asked >= times, lambda: (gate.mode, gate.asked))


async def test_no_lie_of_a_witness_that_is_needed_brings_a_receipt_and_the_truth_then_does(scene: Scene) -> None:
    """One witness, quorum 1 of 1: under each lie nothing is published and the receipt is refused with 503."""
    await scene.start(1, of=1)
    size, published = await scene.sizes()
    assert size == published
    checkpoint = (await scene.service.client.get("/log/checkpoint")).content
    scene.gate.be(LIES[0])
    assert (await scene.give()).status_code == httpx.codes.SERVICE_UNAVAILABLE
    for lie in LIES if LONG else LIES[::3]:
        scene.gate.be(lie)
        await until_asked(scene.gate, 4)  # asked again, it has gone through with what was answered before
        assert await scene.sizes() == (size + 1, size), lie
        assert (await scene.service.client.get("/log/checkpoint")).content == checkpoint, lie
    refused = await scene.service.client.get(f"/v1/receipts/{size}")
    assert refused.status_code == httpx.codes.SERVICE_UNAVAILABLE
    scene.gate.be(HONEST)
    await scene.service.settle()
    await scene.service.receipt(size)


async def test_with_two_others_no_lie_of_one_witness_holds_anybody_up(scene: Scene) -> None:
    """Quorum 2 of 3: whatever the first does, the receipt comes, with the cosignatures of the two others.

    The witnesses are given so long to answer that a receipt which waited for the first would never come.
    """
    settings = scene.service.town.service / "service.toml"
    settings.write_text(settings.read_text().replace(WITNESS_TIMEOUT.format(1), WITNESS_TIMEOUT.format(10 * PATIENCE)))
    await scene.start(2, of=3)
    for lie in LIES if LONG else LIES[::3]:
        scene.gate.be(lie)
        answer = await scene.given()
        assert answer.status_code == httpx.codes.OK, lie
        await scene.service.receipt(answer.json()["indices"][0])
        assert await scene.cosigners() == {scene.service.town.genesis.origin, "b.example", "c.example"}, lie
    for lie in ("clock an hour ahead", "clock an hour behind"):
        scene.gate.be(lie)
        scene.service.stop()
        await scene.service.start()  # whose clock the others confirm
        assert (await scene.given()).is_success, lie
    scene.gate.be(HONEST)
    assert (await scene.given()).is_success


async def test_one_witness_that_is_needed_and_whose_clock_is_off_stops_writing_and_nothing_else(scene: Scene) -> None:
    """Quorum 2 of 2: nothing could be published, so nothing is written; and it goes on by itself."""
    await scene.start(2, of=2)
    for lie in ("clock an hour ahead", "clock an hour behind"):
        scene.gate.be(lie)
        scene.service.stop()
        await scene.service.start(ready="/log/checkpoint")
        problem = refused(await scene.give(), "read-only")
        assert problem["reasons"] == ["clock-unconfirmed"]
        scene.gate.be(HONEST)
        await scene.service.settle()
        assert (await scene.given()).is_success


async def test_a_witness_that_was_down_catches_up_and_one_without_memory_too(scene: Scene, tmp_path: Path) -> None:
    """Behind: it names the size that it has, and gets the proof from there."""
    await scene.start(2, of=3)
    scene.own[2].kill()
    for _ in range(3):
        assert (await scene.given()).is_success
    scene.own[1].kill()
    assert (await scene.give()).status_code == httpx.codes.SERVICE_UNAVAILABLE
    scene.own[2].start()  # far behind, and now needed
    await scene.service.settle()
    assert "c.example" in await scene.cosigners()
    scene.own[2].kill()
    for file in (tmp_path / "c").glob("witness.sqlite*"):
        file.unlink()  # nobody should; the log then proves from size 0, which is nothing to prove
    scene.own[2].start()
    assert (await scene.given()).is_success
    assert "c.example" in await scene.cosigners()


async def test_a_witness_that_is_ahead_of_what_was_published_is_caught_up_with(scene: Scene) -> None:
    """The service dies between the cosignature and publication: the witness knows a tree that nobody was shown."""
    await scene.start(1, of=1)
    scene.service.stop()
    await scene.service.start(crash_at="")
    size, _ = await scene.sizes()
    scene.service.stop()
    await scene.service.start(crash_at="service:cosigned")
    with contextlib.suppress(httpx.TransportError):  # its receipt may be given up for now before the process dies
        assert (await scene.give()).status_code == httpx.codes.SERVICE_UNAVAILABLE
    assert await scene.service.died() == -signal.SIGKILL
    await scene.service.start()
    await scene.service.settle()
    assert await scene.sizes() == (size + 1, size + 1)
    await scene.service.receipt(size)
    assert (await scene.given()).is_success

"""What is odd about a request is refused or means what it means, and leaves no trace of anybody in a log."""

import asyncio
import os
import signal
from pathlib import Path

import pytest
from litestar.routes import HTTPRoute
from litestar.utils.sync import AsyncCallable

from ledger.errors import Unavailable
from tests.kit.towns.running import Town, lay_out, refused, run
from tests.kit.waiting import eventually
from trust.service.acts.intake import CurrentPolicies, Workers
from trust.service.app import create_app

pytestmark = pytest.mark.anyio
READS_A_FILE = "/verify"
SAME = ["１", "+1", "%2B1", "1_0", "01", "%201", "1%20", "-0", "1.0", "٣", "0x1"]


@pytest.fixture
def town(tmp_path: Path) -> Town:
    return lay_out(tmp_path / "town")


@pytest.mark.parametrize("number", SAME)
async def test_a_number_in_an_address_has_one_form(town: Town, number: str) -> None:
    async with run(town) as running:
        await running.found()
        await running.settle()
        size = running.service.sequencer.size
        policy = next(iter(running.service.store.state.policies.values()))
        for path in (
            "/v1/entries/{}", "/v1/receipts/{}", "/v1/rounds/{}", "/v1/rounds/{}/shares", "/v1/log/stopped/{}",
            "/v1/erasures/{}", f"/v1/log/uses/{policy.sha256}/{{}}", f"/v1/log/in-force/{policy.sha256}/{size}/{{}}",
            f"/v1/log/in-force/{policy.sha256}/{{}}/1",
        ):  # fmt: skip
            refused(await running.client.get(path.format(number)), "not-found")
        assert (await running.client.get("/v1/entries/1")).status_code == 200


async def test_nothing_runs_in_a_thread_for_each_request(town: Town) -> None:
    async with run(town) as running:
        routes = [route for route in create_app(running.service).routes if isinstance(route, HTTPRoute)]
        handlers = [handler for route in routes for handler in route.route_handlers]
        assert len(handlers) > 40
        for handler in handlers:
            for hook in (handler.resolve_before_request(), handler.after_request, handler.resolve_after_response()):
                assert not isinstance(hook, AsyncCallable), (handler, hook)
            assert not handler.sync_to_thread or all(path.startswith(READS_A_FILE) for path in handler.paths), handler


async def worker_of(workers: Workers) -> asyncio.subprocess.Process:
    """Return a worker in the middle of its work."""
    await eventually(lambda: workers._all)
    (worker,) = workers._all
    return worker


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM])
async def test_a_worker_that_is_killed_is_said_and_leaves_no_trace(
    how: signal.Signals, capfd: pytest.CaptureFixture[str]
) -> None:
    workers = Workers(1)
    reading = asyncio.create_task(
        workers.read(b'{"bundles":["' + b"x" * 20_000_000 + b'"]}', CurrentPolicies(log="a", documents={}))
    )
    worker = await worker_of(workers)
    os.kill(worker.pid, how)
    with pytest.raises(Unavailable, match="lost a worker"):
        await reading
    await worker.wait()
    await workers.stop()
    said = "".join(capfd.readouterr())
    assert "Traceback" not in said
    assert "xxx" not in said


async def test_a_worker_whose_service_is_gone_ends_without_a_word(capfd: pytest.CaptureFixture[str]) -> None:
    workers = Workers(1)
    worker = await workers._start()
    assert worker.stdin is not None
    worker.stdin.write((10_000_000).to_bytes(8, "big") + b"half of it")
    worker.stdin.close()
    assert await worker.wait() == 0
    assert capfd.readouterr().err == ""

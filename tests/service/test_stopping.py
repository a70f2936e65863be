"""A service ends whatever its libraries make of being told to."""

import asyncio

import pytest

from trust.service import service as service_module

pytestmark = pytest.mark.anyio


async def test_a_task_that_takes_being_cancelled_for_a_fault_is_cancelled_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(service_module, "CANCEL_AGAIN_SECONDS", 0.01)
    swallowed, begun = 0, asyncio.Event()

    async def stubborn() -> None:
        nonlocal swallowed
        while True:
            try:
                begun.set()
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                if swallowed == 2:
                    raise
                swallowed += 1

    task = asyncio.create_task(stubborn())
    await begun.wait()
    await service_module._end([task])
    assert (task.cancelled(), swallowed) == (True, 2)

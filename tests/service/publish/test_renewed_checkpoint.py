"""Where nothing is written, the checkpoint is cosigned anew all the same: so a reader can tell it from an old one."""

from functools import partial

import pytest

from ledger.errors import OldView
from tests.kit.towns.running import Running, Town, replay_log, run
from tests.kit.waiting import eventually
from trust.log.follower import LogFollower
from trust.log.freshness import FRESH_SECONDS, check_fresh
from trust.log.seen_checkpoint import SeenCheckpoint
from trust.log.source import FolderLog
from trust.log.tile_folder import CHECKPOINT
from trust.service.publish.sequencer import RENEW_SECONDS

pytestmark = pytest.mark.anyio


def shown(running: Running) -> SeenCheckpoint:
    """Return the checkpoint on disk, as any reader checks it."""
    town = running.town
    return LogFollower(FolderLog(town.service / "log"), town.log_key, town.witnesses, clock=running.clock).fetch()


def is_confirmed_since(running: Running, time: float) -> bool:
    """Whether the checkpoint on disk was cosigned then or later."""
    return (shown(running).time or 0) >= time


async def settled(running: Running) -> SeenCheckpoint:
    """Wait until all is published; return what is shown."""
    await eventually(lambda: running.service.sequencer.size == running.service.store.size)
    return shown(running)


async def says_the_same_everywhere(running: Running) -> bool:
    note = shown(running).note
    receipt = (await running.client.get("/v1/receipts/0")).text
    return running.service.sequencer.checkpoint == note and note.decode() in receipt


async def test_a_checkpoint_to_which_nothing_comes_is_cosigned_anew_and_stays_the_same_tree(running: Running) -> None:
    before = await settled(running)
    for _ in range(3):
        due = (shown(running).time or 0) + RENEW_SECONDS
        running.clock.offset += int(RENEW_SECONDS)
        running.service.store.committed.set()  # what half a minute of nothing does
        await eventually(partial(is_confirmed_since, running, due))
    after = shown(running)
    assert after.checkpoint == before.checkpoint
    await eventually(partial(says_the_same_everywhere, running))  # on a slow machine one more is due meanwhile
    check_fresh(after, running.clock)
    replay_log(running.town, clock=running.clock)


async def test_a_checkpoint_on_its_way_to_its_place_is_nobodys_trace(running: Running) -> None:
    """At each start it is cosigned anew: whoever holds two moments against each other meets it half written."""
    await settled(running)
    spare = running.town.service / "log" / f"{CHECKPOINT}.new-1"
    async with running.unchanged():
        spare.write_bytes(b"half of")
    async with running.unchanged():
        spare.unlink()


async def test_a_service_that_was_away_shows_a_fresh_checkpoint_as_soon_as_it_is_back(town: Town) -> None:
    async with run(town) as running:
        before = await settled(await running.found())
        clock = running.clock
    clock.offset += 10 * FRESH_SECONDS
    with pytest.raises(OldView):
        check_fresh(before, clock)
    async with run(town, clock) as again:
        await eventually(lambda: (shown(again).time or 0) > (before.time or 0))
        check_fresh(shown(again), clock)
        assert shown(again).checkpoint == before.checkpoint


async def test_while_the_witnesses_are_away_the_old_checkpoint_stays_and_says_how_old_it_is(running: Running) -> None:
    before = await settled(running)
    running.line.cut = True
    asked = running.line.asked
    running.clock.offset += FRESH_SECONDS + 60
    running.service.store.committed.set()
    await eventually(lambda: running.line.asked > asked)
    assert shown(running).note == before.note
    with pytest.raises(OldView):
        check_fresh(shown(running), running.clock)
    running.line.cut = False
    running.clock.offset += int(RENEW_SECONDS)
    running.service.store.committed.set()
    await eventually(lambda: shown(running).note != before.note)
    check_fresh(shown(running), running.clock)

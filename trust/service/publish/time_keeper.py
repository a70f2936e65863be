"""Asking the witnesses what time it is: at the start, whenever the clock is in doubt, and every ten minutes.

A witness that is shown the newest published checkpoint again, from the size that it has cosigned, cosigns it again
(C2SP tlog-witness), and a cosignature says when it was made. Nothing is published by that. Each checkpoint that is
published brings the same word (``trust.service.publish.sequencer``); this one is for when none is.

Where the witnesses know more than what is published (another process sequences, or a crash left them ahead), they do
not answer the time; the next publication does.

What the witnesses' word means for writing is in ``trust.service.store.held_clock``.
"""

import asyncio
from contextlib import suppress

import structlog

from ledger.errors import MusubiError, Unavailable
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import Note, format_note, parse_note
from ledger.tlog.tiles import TileReader
from ledger.tlog.tree import prove_consistency
from trust.log.witness_client import collect_cosignatures
from trust.runtime.json_lines import reason_of
from trust.service import metrics
from trust.service.publish.sequencer import Sequencer
from trust.service.store.held_clock import LOG_AHEAD, HeldClock

LOOK_SECONDS = 1.0
"""Between two looks at the clock, and between two questions while it is in doubt."""
ASK_EVERY_SECONDS = 600
LATE_SECONDS = 1.0
"""How long the other witnesses may still take to say the time once the quorum has: the more say it, the better."""
logger = structlog.get_logger()


class TimeKeeper:
    """Keeps one process's clock confirmed, and says in log and metrics when it is not."""

    def __init__(self, clock: HeldClock, sequencer: Sequencer, witness_timeout: float) -> None:
        self._clock = clock
        self._sequencer = sequencer
        self._timeout = witness_timeout
        self._said: list[str] = []
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Ask once, so that a healthy service writes from the start; then go on."""
        await self._look()
        self._task = asyncio.create_task(self._run(), name="time")

    async def stop(self) -> None:
        """Ask no more."""
        if self._task:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task

    async def _run(self) -> None:
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001 - whatever a disk or library raises: look again in a moment
                logger.warning("time-not-asked", kind=type(error).__name__)

    async def _look(self) -> None:
        """Ask where there is a doubt or the last word is old, and say what has changed."""
        with suppress(Unavailable):  # the state is being rebuilt
            last = self._sequencer.store.state.at
            heard = self._clock.heard
            doubts = [reason for reason in self._clock.reasons(last) if reason != LOG_AHEAD]
            if doubts or heard is None or self._clock.ticks() - heard > ASK_EVERY_SECONDS:
                await self._ask()
            reasons = self._clock.reasons(last)
            metrics.read_only.set(bool(reasons))
            metrics.clock_off.set(self._clock.off())
            if reasons != self._said:
                self._said = reasons
                logger.warning("read-only" if reasons else "read-only-no-more", reasons=reasons)

    async def _ask(self) -> None:
        """Show the witnesses the newest published checkpoint again, and take in when they say that they cosigned it."""
        published, witnesses = self._sequencer.checkpoint, self._sequencer.witnesses
        if not published or not self._clock.needs_witnesses or self._sequencer.store.halted:
            return
        note = parse_note(published)
        checkpoint = Checkpoint.parse(note.text)
        keys = [witness.key for witness in witnesses.witnesses.values()]
        by_log = tuple(line for line in note.signatures if not any(line.is_by(key) for key in keys))
        reader = TileReader(self._sequencer.folder.read_tile, checkpoint.size)
        asked = self._clock.ticks()
        try:
            cosigned = await collect_cosignatures(
                self._sequencer.client,
                witnesses,
                format_note(Note(note.text, by_log)),
                checkpoint,
                lambda old, new: prove_consistency(old, new, reader),
                {},
                self._timeout,
                clock=None,
                late=LATE_SECONDS,
            )
        except MusubiError as error:
            logger.warning("time-not-asked", **reason_of(error))
            return
        self._clock.learn(cosigned.times, asked)

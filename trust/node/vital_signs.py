"""What a node shows its holder besides answers: that it is up, for which town and policies, and how it is.

Two lines of the log and, where ``node.toml`` names a file, metrics in it, as Prometheus' text for node_exporter's
textfile collector: a node opens no port. Nothing here follows from rows: the ledger's sizes, counts of tasks and of
errors by code, and which views have no data yet, which the service is told as well.
"""

from pathlib import Path

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, generate_latest

from ledger.errors import MusubiError, Unavailable
from policies.rules import NEWEST_RULES
from trust.client.addresses import without_password
from trust.files.durable import write_whole
from trust.node.settings import NodeSettings
from trust.runtime.clock import Clock, Ticks
from trust.runtime.json_lines import reason_of

EVERY_SECONDS = 5
"""How old the metrics' file gets while the node works, at least."""
READABLE = 0o644
logger = structlog.get_logger()


class VitalSigns:
    """The signs of one node. ``folder`` is its own; times are UTC seconds."""

    def __init__(self, settings: NodeSettings, folder: Path, clock: Clock, ticks: Ticks) -> None:
        self._settings = settings
        self._path = None if settings.metrics is None else folder / settings.metrics
        self._clock = clock
        self._ticks = ticks
        self._due = ticks()
        self._failed = False
        self._shown: object = None
        self.registry = registry = CollectorRegistry()
        self._entries = Gauge("musubi_node_entries_read", "Entries of the ledger read so far", registry=registry)
        self._caught_up = Gauge("musubi_node_caught_up", "The size signed as caught up with", registry=registry)
        self._answered = Gauge(
            "musubi_node_answered_at_seconds", "When the service last answered a poll, since 1970", registry=registry
        )
        self._not_ready = Gauge("musubi_node_views_not_ready", "Views without data so far", registry=registry)
        self._tasks = Counter("musubi_node_tasks", "Tasks of rounds", ["step", "outcome"], registry=registry)
        self._problems = Counter("musubi_node_problems", "What kept the node waiting", ["code"], registry=registry)

    def started(self, town: str) -> None:
        """Say what has started."""
        logger.info(
            "started",
            holder=self._settings.alias,
            town=town,
            service=without_password(self._settings.service),
            rules=NEWEST_RULES,
            sources=sorted(self._settings.sources),
            see="snapshots/",
        )

    def ready(self, entries: int, views: list[tuple[str, bool]]) -> None:
        """Say that the ledger is read and which views there are (whether each has data), once and when it changes."""
        self._not_ready.set(sum(not has_data for _, has_data in views))
        if views != self._shown:
            self._shown = views
            lacking = [name for name, has_data in views if not has_data]
            logger.info(
                "ready", entries=entries, views=[name for name, has_data in views if has_data], not_ready=lacking
            )

    def answered(self, steps: list[tuple[str, bool]]) -> None:
        """Count the tasks of one poll that the service answered: each one's step, and whether it is done."""
        self._answered.set(self._clock())
        for step, is_done in steps:
            self._tasks.labels(step, "done" if is_done else "put-off").inc()

    def waiting(self, error: MusubiError) -> None:
        """Say and count what keeps the node waiting."""
        self._problems.labels(error.code).inc()
        logger.info("waiting", **reason_of(error))

    def write(self, *, entries: int, caught_up: int) -> None:
        """Write the metrics, where that is wanted and due; what the disk does not take is tried again."""
        if self._path is None or self._ticks() < self._due:
            return
        self._due = self._ticks() + EVERY_SECONDS
        self._entries.set(entries)
        self._caught_up.set(caught_up)
        try:
            write_whole(self._path, generate_latest(self.registry), READABLE)
            self._failed = False
        except (Unavailable, OSError):
            if not self._failed:
                logger.warning("metrics-unwritten", why="The metrics' file could not be written; look at its folder.")
            self._failed = True

"""A holder's node as a process: poll, read the ledger, do what it asks, and open no port."""

import sqlite3
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import structlog

from ledger.errors import HistoryForked, MusubiError, ProofInvalid, SignatureInvalid, UpgradeNeeded
from policies.rules import NEWEST_RULES
from queries.rounds.messages import SAYS_NOT_READY, Share
from trust.files.evidence import keep_evidence, parse_evidence
from trust.files.keys import read_key, read_secret
from trust.log.follower import LogFollower
from trust.log.pins import TRUST_FILE, load_trust
from trust.log.source import TIMEOUT_SECONDS, HttpLog
from trust.node.books.books import Books
from trust.node.client import NodeClient
from trust.node.data.elsewhere import ElsewhereBounding
from trust.node.data.views import ViewStore
from trust.node.engines.engine_setting import open_engine
from trust.node.erasure import NodeErasures
from trust.node.kept.background_check import BackgroundCheck
from trust.node.ledger_reader import LedgerReader
from trust.node.links import LinkDesk
from trust.node.own_data import OwnData
from trust.node.rounds.steps import NodeRounds, signed_now
from trust.node.settings import BOOKS, load_node_settings
from trust.node.taken_clock import TakenClock
from trust.node.vital_signs import VitalSigns
from trust.runtime.clock import Clock, Ticks, system_clock, system_ticks
from trust.runtime.http_clients import open_http
from trust.runtime.json_lines import reason_of

RETRY_SECONDS = 0.5
MOST_DOUBLED = 4
"""How often the pause before the next try is doubled at most, where nothing can be done at all: to 8 seconds."""
PAUSES = (0.5, 1, 2, 4, 8)
"""Seconds before what was wrong in the log is read again, past the caches: a node that ends answers nobody."""
RULES_AGAIN_SECONDS = 86_400
RULES_RETRY_SECONDS = 600
"""How long after the word on rules was taken, or was not, it is said again."""
BOOKS_FAILED = "The node's books could not be written; free some space on their disk. It is tried again."
KEEP_EVERY = 10_000
"""How many more entries are read until that is kept for the next start, or half a percent of all if that is more."""
logger = structlog.get_logger()


class _Stopped(Exception):
    """The poll was broken off because the node is to end."""


class Node:
    """One holder's node, in its own folder."""

    def __init__(self, folder: Path, clock: Clock = system_clock, ticks: Ticks = system_ticks) -> None:
        settings = load_node_settings(folder)
        trust = load_trust(folder / TRUST_FILE)
        key = read_key(folder / "keys" / "node.key")
        mappings = settings.mappings
        sources = {name: folder / mapping.place for name, mapping in mappings.items()}
        self.settings = settings
        self._folder = folder
        self._stopping = threading.Event()
        self._taken_clock = TakenClock(clock, ticks)
        self.books = Books(folder / BOOKS, clock)
        engine = open_engine(settings.engine, folder)
        elsewhere = None if engine is None else ElsewhereBounding(engine)
        self.views = ViewStore(folder, sources, read_secret(folder / "keys" / "rows.key"), mappings, elsewhere)
        ca_file = folder / settings.ca_file if settings.ca_file is not None else None
        self.client = NodeClient(
            settings.service,
            settings.alias,
            key,
            trust.origin,
            self._operator_key,
            clock,
            ca_file=ca_file,
            proxy=settings.proxy,
        )
        self._log_http = open_http(settings.service, seconds=TIMEOUT_SECONDS, ca_file=ca_file, proxy=settings.proxy)
        self._trust, self._clock = trust, clock
        follower = self._open_follower(self._log_http, self.books.noted("checkpoint"))
        self.reader = LedgerReader(
            follower,
            trust,
            self.books,
            settings.alias,
            lambda first, last: self.client.leaves(first, last).leaves,
            lambda token: signed_now(token, Share, key),
        )
        self.data = OwnData(self.reader, self.books, self.views, settings.alias)
        self.rounds = NodeRounds(
            self.reader,
            self.books,
            self.views,
            self.client,
            alias=settings.alias,
            key=key,
            data_cap=settings.data_cap_nano_rho,
            split=settings.split,
            clock=self._taken_clock,
        )
        self.erasures = NodeErasures(
            self.reader, self.books, self.views, self.client, alias=settings.alias, key=key, clock=clock
        )
        self.links = LinkDesk(
            folder / "links",
            Books(folder / BOOKS, clock, checks=False),
            read_secret(folder / "keys" / "link.key"),
            settings.alias,
            clock,
            self._taken_clock,
        )
        self.signs = VitalSigns(settings, folder, clock, ticks)
        self._town = trust.origin
        self._polling = False
        self._has_heard = False
        """Whether a poll was answered since the start. None waits until then: only after it is ``ready`` said."""
        self._in_vain = 0
        """How many polls in a row brought tasks of which none could be done."""
        self._say_rules_at = 0
        self._not_ready: list[str] | None = None
        """The views without data, once the ledger has been read."""
        self._finding: MusubiError | None = None
        """What our own reading of the log has found. Nobody's words end this node."""
        self._check: BackgroundCheck | None = None
        """Of what this node went on from at its start, while it is under way."""
        self._behind = 0
        """How many polls in a row said that the log is longer than what we were given of it."""

    def _open_follower(self, http: httpx.Client, latest: bytes | None = None) -> LogFollower:
        source = HttpLog(self.settings.service, http, pauses=PAUSES, wait=self._stopping.wait)
        trust = self._trust
        return LogFollower(source, trust.log_keys, trust.witnesses, latest=latest, clock=self._clock)

    @contextmanager
    def _follow_apart(self) -> Iterator[LogFollower]:
        """Open a reader of the log for another thread, and close its connections."""
        settings = self.settings
        ca_file = self._folder / settings.ca_file if settings.ca_file is not None else None
        with open_http(settings.service, seconds=TIMEOUT_SECONDS, ca_file=ca_file, proxy=settings.proxy) as http:
            yield self._open_follower(http)

    def _operator_key(self) -> bytes | None:
        if self.reader.state.genesis is None:
            return None
        operators = self.reader.state.members_with("operator")
        return bytes.fromhex(operators[0].key) if operators else None

    def stop(self) -> None:
        """End after the task in hand; a poll that only waits is broken off. For a signal handler of the main thread."""
        self._stopping.set()
        if self._polling:
            raise _Stopped

    def run(self) -> None:
        """Work until told to stop.

        Ends with ProofInvalid or HistoryForked where the ledger is not to be believed, and with UpgradeNeeded where it
        goes by rules that this software does not read; with KeptStateDiffers where what it went on from at its start is
        not what the ledger's entries give.
        """
        self.signs.started(self._town)
        self.links.start()
        try:
            while not self._stopping.is_set():
                self.links.check_alive()
                try:
                    self.turn()
                except _Stopped:
                    break
                except MusubiError as error:
                    if error is self._finding:
                        self._keep_evidence(error)
                        raise
                    self.signs.waiting(error)
                    self._stopping.wait(RETRY_SECONDS)
                except sqlite3.Error as error:  # a full disk, say: nothing half-written, so try again
                    logger.warning("books-failed", kind=type(error).__name__, why=BOOKS_FAILED)
                    self._stopping.wait(RETRY_SECONDS)
                self.signs.write(entries=self.reader.size, caught_up=self.books.caught_up)
            self._keep_start(1)
        finally:
            if self._check is not None:
                self._check.stop()
            self.links.stop()
            self.client.close()
            self._log_http.close()
            self.books.close()
            self.views.close()

    def _keep_evidence(self, error: MusubiError) -> None:
        """Keep the file that convicts the log, where a fork gave one."""
        evidence = error.details.get("evidence")
        if isinstance(evidence, str):
            keep_evidence(self._folder / "evidence", parse_evidence(evidence.encode()))
            logger.error("evidence-kept")

    def turn(self) -> None:
        """Poll once, read what is new, do what is asked, and make ready what will be asked."""
        if self.reader.must_look:
            self._read()
        caught_up = self.rounds.caught_up()
        self.books.catch_up(caught_up)  # before it is signed: what is signed here binds this node for ever
        self._polling = True
        asked = self._taken_clock.read()
        try:
            answer = self.client.work(
                caught_up=self.books.caught_up,
                known=self.reader.size,
                wait=self.settings.poll_seconds if self._has_heard else 0,
                not_ready=self._not_ready,
            )
        except SignatureInvalid:
            self._polling = False
            self._read()  # the operator's key, or ours, may have changed: the ledger, which needs nobody's word, says so
            raise
        finally:
            self._polling = False
        self._has_heard = True
        self._heed_check()
        self._taken_clock.taken(asked)
        self.books.date_restore(asked[0])
        if answer.size > self.reader.size or self.reader.lacks_leaves:
            self._read(answer.size)
        self._behind = self._behind + 1 if self.reader.size < answer.size else 0
        self._say_rules()
        self._take_in()
        if self.reader.state.genesis is not None:
            self.signs.ready(self.reader.size, self.data.readiness())
        done = [self.rounds.do(task) for task in answer.tasks]
        self.signs.answered([(task.step, is_done) for task, is_done in zip(answer.tasks, done, strict=True)])
        # The same task comes with the next poll: do not spin on it, and less and less where nothing can be done at all.
        if not all(done):
            self._stopping.wait(RETRY_SECONDS * 2 ** min(self._in_vain, MOST_DOUBLED))
        self._in_vain = self._in_vain + 1 if done and not any(done) else 0
        if self._behind > 1:  # something on the way keeps an old checkpoint: the next poll would be answered at once
            self._stopping.wait(RETRY_SECONDS * 2 ** min(self._behind - 1, MOST_DOUBLED))
        self.erasures.finish()
        if not answer.tasks and answer.size <= self.reader.size:
            self.data.make_ready()

    def _take_in(self) -> None:
        """Take files in; where the disk does not let us, what is in use answers, and it is tried again."""
        try:
            self.data.refresh()
        except MusubiError as error:
            logger.warning("data-not-taken-in", **reason_of(error))
        if self.reader.state.rules >= SAYS_NOT_READY:
            self._not_ready = self.data.not_ready()

    def _say_rules(self) -> None:
        """Say at the start, and each day again, which rules this node reads: the service may have lost its word."""
        if self._taken_clock() < self._say_rules_at:
            return
        try:
            self.client.say_rules(NEWEST_RULES)
            self._say_rules_at = self._taken_clock() + RULES_AGAIN_SECONDS
        except MusubiError as error:  # an older service cannot take it yet; whatever it says, the node's work goes on
            logger.info("rules-unsaid", **reason_of(error))
            self._say_rules_at = self._taken_clock() + RULES_RETRY_SECONDS

    def _heed_check(self) -> None:
        """Begin to check what this node went on from, once it has read on; end with what that finds."""
        rests_on = self.reader.rests_on
        if self._check is None:
            if rests_on is not None:
                self._check = BackgroundCheck(
                    rests_on, self._follow_apart, self._folder / BOOKS, holder=self.settings.alias, trust=self._trust
                )
                self._check.start()
        elif rests_on is None:  # the whole ledger was read meanwhile
            self._check.stop()
        elif self._check.difference is not None:
            self._finding = self._check.difference
            with suppress(sqlite3.Error):  # then the next start finds it once more
                self.reader.forget_start()
            raise self._finding
        elif self._check.is_same:
            self.reader.rests_on = None

    def _keep_start(self, grown: int) -> None:
        try:
            self.reader.keep_start(grown)
        except sqlite3.Error as error:  # a full disk, say: the next start reads more
            logger.warning("snapshot-not-kept", kind=type(error).__name__, why=BOOKS_FAILED)

    def _read(self, at_least: int = 0) -> None:
        try:
            self.reader.read(at_least)
            self._keep_start(max(KEEP_EVERY, self.reader.size // 200))
        except (ProofInvalid, HistoryForked, UpgradeNeeded) as error:
            self._finding = error
            raise
        finally:
            self.erasures.erase_rows()  # also of the entries that were read before it failed

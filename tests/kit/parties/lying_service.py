"""A real node under a service that may lie: everything but the wire is the product's own, and every key is real.

``Stage`` lays out a node's folder and opens the node of ``bus_co``, whose two HTTP connections end in a
``LyingService`` on the spot. The service serves a log by ``tests.kit.logs.log_builder``, gives the tasks it is told to,
and keeps what the node sends. The clock stands where the stage says.
"""

import contextlib
import hashlib
import os
import sqlite3
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

import httpx
import pyarrow as pa
import structlog
from pyarrow import parquet

from ledger import canonical, jws
from ledger.errors import ClockSkew, MusubiError, NotFound
from ledger.tlog.tiles import Tile, TileAppender
from policies.consents.bundle import Bundle, commitment, disclose
from policies.pairwise_keys import pairwise_key, public_hex
from policies.policy_document import Policy
from policies.replay import entry_sha256
from policies.rules import NEWEST_RULES
from queries.rounds.messages import (
    CaughtUp,
    Countersign,
    Go,
    HeldLeaf,
    LeavesAnswer,
    LeavesWanted,
    Share,
    Task,
    Work,
    WorkAnswer,
)
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.residents import consent_bundle, general_of, salts_for, seed_of
from tests.kit.towns.toy_town import ASKED, OPERATOR, ORIGIN, key_of, scarce
from trust.files.keys import write_secret
from trust.log.follower import LogFollower
from trust.log.pins import Trust, save_trust
from trust.log.source import HttpLog
from trust.node import process
from trust.node.process import Node
from trust.runtime.problems import MEDIA_TYPE, problem

ME, OTHER = ASKED
PLACE = ASKED.index(ME) + 1
"""The position of our leaf in a bundle."""
SECRETS = {name: hashlib.sha256(name.encode()).digest() for name in ("rows.key", "link.key", "sealing.key")}
BOOKS = ("rounds", "charges", "leaves", "links")
LeafLie = Callable[[HeldLeaf], HeldLeaf | None]


@contextlib.contextmanager
def quick_folder() -> Iterator[Path]:
    """Give a folder in memory where there is one: what is killed here are no processes, and fsync costs nothing."""
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None  # noqa: S108
    with tempfile.TemporaryDirectory(prefix="node-", dir=memory) as folder:
        yield Path(folder)


@contextlib.contextmanager
def staged(**how: Any) -> Iterator["Stage"]:
    """Give a stage in a folder of its own, closed at the end."""
    with quick_folder() as folder, mock.patch.object(process, "RETRY_SECONDS", 0.01):
        stage = Stage(folder / ME, **how)
        yield stage
        stage.close()


def customer(person: int) -> str:
    """Return the customer number at ``bus_co``."""
    return f"c{person:03}"


def consent_of_person(policy: Policy, person: int, number: int = 0, holders: Sequence[str] = ASKED) -> Bundle:
    """Return a person's signed consent; another ``number`` gives another one."""
    return consent_bundle(
        person,
        policy,
        consent=hashlib.sha256(b"consent %d %d" % (person, number)).digest(),
        salts=salts_for(f"{person} {number}", len(policy.holders) + 1),
        holders=list(holders),
        until=policy.until[-1],
        yearly_cap=policy.yearly_caps[-1],
    )


class LyingService:
    """What answers the node: as the real service would, but for what a test changes."""

    def __init__(self, builder: LogBuilder) -> None:
        self.builder = builder
        self.bundles: dict[int, Bundle] = {}
        self.lies: dict[int, LeafLie] = {}
        self.tasks: list[Task] = []
        self.said: list[tuple[str, str]] = []
        self.polls: list[Work] = []
        self.statements: list[CaughtUp] = []
        """What the node signed, poll by poll, that it has caught up with."""
        self.erased_words: list[str] = []
        self.down: set[str] = set()
        """Paths that do not answer."""
        self.clock: Callable[[], int] | None = None
        self.claims: int | None = None
        """The size that polls are told; what is published, unless set."""
        self.signer = OPERATOR
        self.me = ME
        """The name of the key that the node signs with."""
        self._files: dict[str, bytes] = {}
        self._size = 0

    def publish(self, entries: Sequence[bytes] | None = None, **how: Any) -> None:
        """Publish these entries (the builder's own, unless told); ``how`` goes to ``LogBuilder.checkpoint``."""
        chosen = list(self.builder.entries if entries is None else entries)
        appender = TileAppender()
        tiles: list[tuple[Tile, bytes]] = appender.append(chosen)
        self._files = {f"/log/{tile.path}": data for tile, data in tiles}
        self._files["/log/checkpoint"] = self.builder.checkpoint(len(chosen), appender.root(), **how)
        self._size = len(chosen)

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer one request of the node."""
        path = request.url.path
        if path in self.down:
            raise httpx.ConnectError("nobody is there")
        if path in self._files:
            return httpx.Response(200, content=self._files[path])
        if path == "/v1/node/erased":
            self.erased_words += canonical.decode(request.content, dict[str, list[str]], "words")["words"]
            return httpx.Response(200, content=canonical.encode({"new": 1}))
        token = request.content.decode()
        try:
            match path.rpartition("/")[2]:
                case "work":
                    return httpx.Response(200, text=self._work(jws.verify(token, _key(self.me), Work)))
                case "leaves":
                    return httpx.Response(200, text=self._leaves(jws.verify(token, _key(self.me), LeavesWanted)))
                case "countersign" | "share" | "word" as step:
                    self.said.append((step, token))
                    return httpx.Response(200, content=canonical.encode({"closed_by": None}))
                case _:
                    raise NotFound("Nothing is there.")
        except MusubiError as error:
            said = problem(error)
            return httpx.Response(said["status"], json=said, headers={"content-type": MEDIA_TYPE})

    def _work(self, poll: Work) -> str:
        self.polls.append(poll)
        self.statements.append(jws.verify(poll.caught_up, _key(self.me), CaughtUp))
        if self.clock is not None and abs(poll.at - self.clock()) > 60:
            raise ClockSkew("The message's time is more than 60 seconds from ours.")
        answer = WorkAnswer(
            from_=self.signer,
            log=ORIGIN,
            nonce=poll.nonce,
            size=self._size if self.claims is None else self.claims,
            tasks=self.tasks,
        )
        return jws.sign(answer, key_of(self.signer))

    def _leaves(self, wanted: LeavesWanted) -> str:
        held = []
        for index in range(wanted.first, wanted.last + 1):
            if index in self.bundles:
                leaf = HeldLeaf(index=index, leaf=disclose(self.bundles[index], PLACE))
                held.append(self.lies[index](leaf) if index in self.lies else leaf)
        leaves = [leaf for leaf in held if leaf is not None]
        answer = LeavesAnswer(from_=self.signer, log=ORIGIN, nonce=wanted.nonce, leaves=leaves)
        return jws.sign(answer, key_of(self.signer))

    def steps(self) -> list[str]:
        """Return which messages of rounds came, in order."""
        return [step for step, _ in self.said]


def _key(name: str) -> bytes:
    return bytes(key_of(name).verify_key)


class Stage:
    """A founded town with some people's consents, and the node of ``bus_co``."""

    def __init__(
        self,
        folder: Path,
        *,
        people: int = 4,
        data_cap: int = 10**12,
        reads: bool = True,
        policy: Policy | None = None,
        settings: str = "",
        rules: int = NEWEST_RULES,
    ) -> None:
        self.folder = folder
        self.builder = LogBuilder()
        self.offset = 0
        """How many seconds have passed, at the node, since the ledger's last entry."""
        self.wrong = 0
        """How far the node's clock is set wrong."""
        self.policy = policy or scarce()
        self.builder.found(self.policy, operator=True, rules=rules)
        self.service = LyingService(self.builder)
        self.grants = [self.grant(person) for person in range(people)]
        self.service.publish()
        self._lay_out(data_cap, self.builder.trust, settings)
        self.node = self.open()
        self.node.books.link(
            (public_hex(pairwise_key(seed_of(person), ME)), customer(person)) for person in range(people)
        )
        if reads:
            self.turn()

    def _lay_out(self, data_cap: int, trust: Trust, settings: str) -> None:
        (self.folder / "data").mkdir(parents=True)
        (self.folder / "links").mkdir()
        self.set(data_cap, settings)
        save_trust(trust, self.folder / "trust.json")
        write_secret(self.folder / "keys" / "node.key", bytes(key_of(ME)))
        for name, secret in SECRETS.items():
            write_secret(self.folder / "keys" / name, secret)
        self.trips([(person, ("north", "south")[person % 2], 100 + person) for person in range(20)])

    def set(self, data_cap: int, more: str = "") -> None:
        """Write the node's settings, to be read at its next start; ``more`` are further sources or tables."""
        (self.folder / "node.toml").write_text(
            f'alias = "{ME}"\nservice = "http://service.test"\ndata_cap_nano_rho = {data_cap}\npoll_seconds = 0\n'
            f'[sources]\ntrips = "data/trips.parquet"\n{more}'
        )

    def trips(self, rows: Sequence[tuple[int, str, int]]) -> None:
        """Write the holder's data: (person, ward, fare); nobody's rows are more than the view takes."""
        table = {
            "customer": [customer(person) for person, _, _ in rows],
            "ward": [ward for _, ward, _ in rows],
            "hour": [8] * len(rows),
            "fare": [fare for _, _, fare in rows],
        }
        parquet.write_table(pa.table(table), self.folder / "data" / "trips.parquet")

    def open(self) -> Node:
        """Open the node of the folder; its connections end in our service."""
        node = Node(self.folder, self.clock, self.ticks)
        transport = httpx.MockTransport(self.service.answer)
        node.client._client = httpx.Client(transport=transport, base_url="http://service.test")
        log = HttpLog("http://service.test", httpx.Client(transport=transport), pauses=(0, 0), wait=bool)
        node.reader._follower.source = log
        trust, clock = self.builder.trust, self.clock
        follow = lambda: contextlib.nullcontext(LogFollower(log, trust.log_keys, trust.witnesses, clock=clock))  # noqa: E731
        node._follow_apart = follow  # type: ignore[assignment, method-assign]
        return node

    def close(self) -> None:
        """Close the node's files."""
        if self.node._check is not None:
            self.node._check.stop()
        self.node.client.close()
        self.node.books.close()
        self.node.views.close()

    def restart(self) -> None:
        """Close the node and open its folder again."""
        self.close()
        self.node = self.open()

    def clock(self) -> int:
        """Return the node's time."""
        return self.builder.at + self.offset + self.wrong

    def ticks(self) -> float:
        """Return the seconds that have passed, by the ledger's last entry and ``offset``."""
        return self.builder.at + self.offset

    # The ledger.

    def grant(self, person: int, number: int = 0, holders: Sequence[str] = ASKED) -> int:
        """Append a person's consent; return its index."""
        bundle = consent_of_person(self.policy, person, number, holders)
        index = self.builder.grant(0, consent=general_of(bundle).consent, commitment=commitment(bundle))
        self.service.bundles[index] = bundle
        return index

    def admit(self, **changes: Any) -> int:
        """Append an admit, publish, and return its index."""
        index = self.builder.admit(self.builder.ask(**changes))
        self.service.publish()
        return index

    # Tasks.

    def turn(self, *tasks: Task) -> list[str]:
        """Give the node these tasks in one poll; return the codes of those that it refused."""
        self.service.tasks = list(tasks)
        with structlog.testing.capture_logs() as logs:
            self.node.turn()
        self.service.tasks = []
        return [line["code"] for line in logs if line["event"] == "task-refused"]

    def countersign(self, admit: int) -> list[str]:
        """Have an admit countersigned; return the refusals."""
        return self.turn(Task(step="countersign", admit=admit))

    def share(self, admit: int, go: str | None = None) -> list[str]:
        """Hand a go out (a right one, unless told); return the refusals."""
        return self.turn(Task(step="share", admit=admit, go=self.go(admit) if go is None else go))

    def word(self, admit: int) -> list[str]:
        """Ask for the word; return the refusals."""
        return self.turn(Task(step="word", admit=admit))

    def sha256(self, admit: int) -> str:
        """Return the hash that a round is named by."""
        return entry_sha256(self.builder.entries[admit])

    def others(self, admit: int, signer: str = OTHER, **changes: Any) -> str:
        """Return the other holder's countersignature."""
        said = {"from_": OTHER, "log": ORIGIN, "admit": admit, "admit_sha256": self.sha256(admit), "nonce": "ab" * 32}
        return jws.sign(Countersign(**{**said, **changes}), key_of(signer))

    def own(self, admit: int) -> str:
        """Return the countersignature that the node sent for a round."""
        tokens = [token for step, token in self.service.said if step == "countersign"]
        return next(token for token in tokens if jws.read_unverified(token, Countersign).admit == admit)

    def go(self, round_: int, signer: str = OPERATOR, **changes: Any) -> str:
        """Return the signed go of a round that both have countersigned."""
        said = {"from_": OPERATOR, "log": ORIGIN, "admit": round_, "admit_sha256": self.sha256(round_)}
        transcript = changes.pop("transcript", None) or [self.own(round_), self.others(round_)]
        return jws.sign(Go(transcript=transcript, **{**said, **changes}), key_of(signer))

    def answer(self, **changes: Any) -> list[int]:
        """Ask, countersign and share; return the vector of the node's share."""
        admit = self.admit(**changes)
        assert self.countersign(admit) == []
        assert self.share(admit) == []
        step, token = self.service.said[-1]
        assert step == "share"
        return jws.verify(token, _key(ME), Share).vector

    # What is durable.

    def books(self) -> dict[str, list[tuple[Any, ...]]]:
        """Return everything durable that a round or a lie could change."""
        with contextlib.closing(sqlite3.connect(self.folder / "books.sqlite")) as db:
            return {table: db.execute(f"SELECT * FROM {table} ORDER BY 1").fetchall() for table in BOOKS}

    @contextlib.contextmanager
    def nothing_changes(self, *, but: Sequence[str] = ()) -> Iterator[None]:
        """Check that inside the block the node sends nothing of a round and its books stay (``but`` some tables)."""
        before, said = self.books(), list(self.service.said)
        yield
        after = self.books()
        assert {name: after[name] for name in BOOKS if name not in but} == {
            name: before[name] for name in BOOKS if name not in but
        }
        assert self.service.said == said

    def runs(self, turns: int = 2) -> list[str]:
        """Run the node's own loop for some turns, and open it again; return the codes for which it waited."""
        left, turn = [turns], self.node.turn

        def counted() -> None:
            left[0] -= 1
            if left[0] == 0:
                self.node._stopping.set()
            turn()

        with structlog.testing.capture_logs() as logs, mock.patch.object(self.node, "turn", counted):
            self.node.run()
        self.node = self.open()
        return [line["code"] for line in logs if line["event"] == "waiting"]

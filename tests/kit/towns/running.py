"""A tiny town for tests of the service: its own members and policies, real keys, a real witness, two databases.

``lay_out`` makes the service's folder; ``run`` starts the service of such a folder in this event loop, with real HTTP
requests and answers but no sockets; ``trust.service.app`` and ``trust.audit.witness`` are the real applications. All
signing parts (residents, partners, nodes, stewards) are played here with real keys.
"""

import hashlib
import secrets
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, Self

import httpx
import msgspec
from litestar import Litestar
from msgspec import Raw, UnsetType, structs
from nacl.signing import SigningKey
from sqlalchemy import select

from ledger import canonical, jws
from ledger import entries as e
from ledger.hashing import leaf_hash
from ledger.notes.note import VerifierKey
from ledger.notes.receipts import Receipt, check_receipt
from ledger.notes.witness_policy import WitnessPolicy
from ledger.tlog.tree import merkle_root
from policies.consents.attestation import Attestation, make_enrolment
from policies.consents.attested_stop import Stop, make_stop
from policies.consents.bundle import Bundle
from policies.consents.consent import make_consent
from policies.consents.revocation import make_revocation
from policies.governance import approve
from policies.ledger_state import State
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from policies.policy_document import Policy
from policies.replay import MemoryConsents
from policies.rules import NEWEST_RULES
from queries.replay import replay
from queries.rounds.messages import (
    AskAnswer,
    CaughtUp,
    Countersign,
    Go,
    LeavesWanted,
    Mine,
    Question,
    Share,
    Word,
    Work,
    WorkAnswer,
    transcript_sha256,
)
from tests.kit.towns.described import Described
from tests.kit.towns.toy_town import (
    FAR_DAY,
    HOLDERS,
    IDENTITY,
    MOBILITY,
    OPERATOR,
    ORIGIN,
    PARTNER,
    PARTNERS,
    POLICIES,
    STEWARDS,
    key_of,
    text,
)
from tests.kit.waiting import PATIENCE, eventually
from trust.audit.witness import create_witness
from trust.audit.witness_folder import make_witness
from trust.files.keys import new_key, write_secret
from trust.log.follower import LogFollower
from trust.log.source import FolderLog
from trust.log.tile_folder import CHECKPOINT
from trust.runtime.clock import system_clock, system_ticks
from trust.runtime.problems import KINDS, PROBLEM_TYPE
from trust.service.app import create_app
from trust.service.database import tables as t
from trust.service.service import Service
from trust.service.settings import load_settings

PROBLEM = "application/problem+json"
TABLES = t.metadata.sorted_tables
SEEN = {"nonces", "stop_attempts"}
"""What was seen stays seen, whatever becomes of its message."""


class Clock:
    """The machine's time, with ``offset`` seconds more that have passed; or a time that stands, set off as far.

    It is everybody's, but that the service's machine may have its own set wrong by ``wrong`` seconds.
    """

    def __init__(self, wrong: int = 0) -> None:
        self.offset = 0
        self.wrong = wrong
        self._stands_at: int | None = None
        self._stood_ticks = 0.0

    def stand(self) -> None:
        """From now on change by ``offset`` alone, for a test that counts seconds."""
        self._stands_at, self._stood_ticks = int(time.time()), system_ticks()

    def __call__(self) -> int:
        """Return whole UTC seconds."""
        return (int(time.time()) if self._stands_at is None else self._stands_at) + self.offset

    def of_service(self) -> int:
        """Return what the clock of the service's machine shows."""
        return self() + self.wrong

    def ticks(self) -> float:
        """Return the seconds that have passed; no setting of a clock changes them."""
        return (system_ticks() if self._stands_at is None else self._stood_ticks) + self.offset


@dataclass
class Town:
    """A town's folder and every key in it."""

    folder: Path
    genesis: e.Genesis
    keys: dict[str, SigningKey]
    stewards: dict[str, SigningKey]
    database_url: str

    @property
    def service(self) -> Path:
        """The service's folder."""
        return self.folder / "service"

    @property
    def witness(self) -> Path:
        """The witness's folder."""
        return self.folder / "witness"

    @property
    def witnesses(self) -> WitnessPolicy:
        """Which witnesses count."""
        return WitnessPolicy.parse((self.service / "witnesses.txt").read_text())

    @property
    def log_key(self) -> VerifierKey:
        """The log's public key."""
        return VerifierKey.parse(self.genesis.log_key)

    def approved(self, subject: str, body: object, stewards: tuple[str, ...] = STEWARDS[:2]) -> dict[str, Any]:
        """Return a request with the approvals of these stewards."""
        tokens = [
            approve(subject, body, log=ORIGIN, steward=alias, key=self.stewards[alias])  # type: ignore[arg-type]
            for alias in stewards
        ]
        return {subject: body, "signatures": tokens}

    def member(self, alias: str, roles: list[e.Role], number: int = 1) -> e.MemberBody:
        """Return a member's body."""
        return e.MemberBody(
            alias=alias,
            number=number,
            status="active",
            roles=roles,
            title=text(alias),
            key=public_hex(self.keys[alias]),
            sealing_key="00" * 32,
        )

    def founding(self) -> list[tuple[str, dict[str, Any]]]:
        """Return the requests that register all members and publish all policies."""
        roles: dict[str, list[e.Role]] = {OPERATOR: ["operator"], IDENTITY: ["identity"]}
        roles |= {alias: ["holder"] for alias in HOLDERS}
        roles |= {alias: ["partner"] for alias in PARTNERS}
        members = [("/v1/members", self.approved("member", self.member(alias, own))) for alias, own in roles.items()]
        return members + [("/v1/policies", self.approved("policy", each)) for each in POLICIES]

    def secrets(self) -> list[bytes]:
        """Return every private key of the town."""
        return [bytes(key) for key in [*self.keys.values(), *self.stewards.values()]]


def lay_out(
    folder: Path,
    database_url: str = "",
    witness_url: str = "http://witness",
    rules: int | UnsetType = NEWEST_RULES,
    **options: int,
) -> Town:
    """Make a town's folder. ``options`` go into service.toml; the town begins with the newest rules, unless told."""
    folder.mkdir(parents=True, exist_ok=True)
    keys = {alias: key_of(alias) for alias in (*HOLDERS, *PARTNERS, IDENTITY, OPERATOR)}
    stewards = {alias: key_of(alias) for alias in STEWARDS}
    log_key = new_key(folder / "service" / "keys" / "log.key")
    keys["log"] = log_key
    write_secret(folder / "service" / "keys" / "operator.key", bytes(keys[OPERATOR]))
    genesis = e.Genesis(
        at=int(time.time()),
        origin=ORIGIN,
        title=text("Hamlet"),
        log_key=str(VerifierKey.ed25519(ORIGIN, bytes(log_key.verify_key))),
        time_zone="Asia/Tokyo",
        stewards=[e.Steward(alias=alias, title=text(alias), key=public_hex(key)) for alias, key in stewards.items()],
        quorum=2,
        rules=rules,
    )
    (folder / "service" / "genesis.json").write_bytes(e.encode(genesis) + b"\n")
    (witness,) = make_witness(folder / "witness", "witness.test", [VerifierKey.parse(genesis.log_key)])
    (folder / "service" / "witnesses.txt").write_text(
        f"log {genesis.log_key}\nwitness one {witness} {witness_url}\ngroup all_of_them 1 one\nquorum all_of_them\n"
    )
    settings = {"interval_ms": 5, "max_body_bytes": 400_000, "receipt_wait_seconds": 5} | options
    (folder / "service" / "service.toml").write_text(
        f'origin = "{ORIGIN}"\noperator = "{OPERATOR}"\ndatabase_url = "{database_url}"\n'
        + "".join(f"{name} = {value}\n" for name, value in settings.items())
    )
    return Town(folder=folder, genesis=genesis, keys=keys, stewards=stewards, database_url=database_url)


MakeTown = Callable[..., Town]
"""``lay_out``, or what does the same and more."""


@dataclass
class Resident:
    """A resident's device."""

    seed: bytes = field(default_factory=lambda: secrets.token_bytes(32))
    subject: str = field(default_factory=lambda: secrets.token_hex(16))

    @property
    def people(self) -> list["Resident"]:
        """Just this one; some folk has more."""
        return [self]

    @property
    def key(self) -> SigningKey:
        """The key at the service."""
        return pairwise_key(self.seed, SERVICE)

    def enrolment(self, town: Town, provider: str = IDENTITY, **changes: Any) -> dict[str, str]:
        """Return an attestation by ``provider`` with this resident's answer to it."""
        attestation = Attestation(
            from_=provider, log=ORIGIN, key=public_hex(self.key), subject=self.subject, level="high", date="2026-11-01"
        )
        token = jws.sign(structs.replace(attestation, **changes), town.keys[provider])
        return {"attestation": token, "enrolment": make_enrolment(self.key, token, ORIGIN)}

    def consent(self, to: Policy = MOBILITY, now: int | None = None, consent: bytes = b"", **changes: Any) -> Bundle:
        """Sign a consent."""
        how: dict[str, Any] = {
            "log": ORIGIN,
            "holders": list(to.holders),
            "until": FAR_DAY,
            "yearly_cap": to.yearly_caps[-1],
            "language": "ja",
            "shown_at": int(time.time()) if now is None else now,
        }
        salts = [secrets.token_bytes(32) for _ in range(len(to.holders) + 1)]
        return make_consent(
            self.seed, to, consent=consent or secrets.token_bytes(32), salts=salts, **{**how, **changes}
        )

    def revocation(self, bundle: Bundle, grant: int, to: Policy = MOBILITY, **changes: Any) -> dict[str, Any]:
        """Sign the revocation of one's grant."""
        how: dict[str, Any] = {
            "log": ORIGIN,
            "consent": consent_of(bundle),
            "holders": list(to.holders),
            "said_at": int(time.time()),
        }
        salts = [secrets.token_bytes(32) for _ in range(len(to.holders) + 1)]
        return {
            "grant": grant,
            "bundle": make_revocation(self.seed, to, grant=grant, salts=salts, **{**how, **changes}),
        }

    def stop(self, town: Town, bundle: Bundle, grant: int, key: str = IDENTITY, **changes: Any) -> str:
        """Have the identity provider sign that this person ends a grant; ``key`` is whose key signs."""
        said: dict[str, Any] = {"from_": IDENTITY, "log": ORIGIN, "consent": consent_of(bundle), "grant": grant}
        said |= {"subject": self.subject, "at": int(time.time()), "nonce": secrets.token_hex(32)}
        return make_stop(town.keys[key], Stop(**(said | changes)))

    def mine(self, **changes: Any) -> Mine:
        """Ask for one's own consents."""
        now = int(time.time())
        asked = Mine(log=ORIGIN, key=public_hex(self.key), at=now, nonce=secrets.token_hex(32))
        return structs.replace(asked, **changes)


class HasPeople(Protocol):
    """A resident, or some folk (``tests.kit.towns.folk``)."""

    @property
    def people(self) -> list[Resident]:
        """Who is to be enrolled."""
        ...


def payload_of(token: str) -> dict[str, Any]:
    """Return what a signed message says."""
    said: dict[str, Any] = msgspec.json.decode(jws.parts(token)[1])
    return said


def consent_of(bundle: Bundle) -> str:
    """Return a bundle's consent identifier."""
    return str(payload_of(bundle.leaves[0].body)["consent"])


def query(**changes: Any) -> dict[str, Any]:
    """A question as plain JSON; the standard one counts rows."""
    asked = {
        "v": 1,
        "policy": "mobility",
        "version": 1,
        "from": ["trips"],
        "where": [],
        "group_by": [],
        "measures": [{"as": "rows", "count": "rows"}],
        "spend": {"epsilon": "0.2"},
    }
    return asked | changes


def question(town: Town, asked: dict[str, Any] | bytes, by: str = PARTNER, **changes: Any) -> str:
    """Sign a question; ``key`` is who signs, ``now`` when."""
    key = changes.pop("key", town.keys.get(by))
    now = changes.pop("now", int(time.time()))
    data = asked if isinstance(asked, bytes) else canonical.encode(asked)
    said = {"from_": by, "log": ORIGIN, "id": secrets.token_hex(32), "at": now, "fresh": False} | changes
    return jws.sign(Question(query=Raw(data), **said), key)


@dataclass
class Node:
    """A holder's node that says what a test wants it to say."""

    town: Town
    alias: str

    def sign(self, message: object, key: SigningKey | None = None) -> str:
        """Sign a message as this node."""
        return jws.sign(message, key or self.town.keys[self.alias])

    def work(self, **changes: Any) -> Work:
        """A poll; ``size`` is what the node says it has caught up with."""
        at = changes.get("at", int(time.time()))
        statement = self.sign(self.caught_up(changes.pop("size", 0), at=at))
        said: dict[str, Any] = {"at": at, "nonce": secrets.token_hex(32), "known": 0, "caught_up": statement}
        return Work(**{"from_": self.alias, "log": ORIGIN, "wait": 0, **said, **changes})

    def caught_up(self, size: int, **changes: Any) -> CaughtUp:
        """A statement of how far the node has caught up."""
        said: dict[str, Any] = {"from_": self.alias, "log": ORIGIN, "size": size, "at": int(time.time())}
        return CaughtUp(**(said | changes))

    def leaves(self, first: int, last: int, **changes: Any) -> LeavesWanted:
        """A wish for leaves."""
        said: dict[str, Any] = {"at": int(time.time()), "nonce": secrets.token_hex(32), "first": first, "last": last}
        return LeavesWanted(**{"from_": self.alias, "log": ORIGIN, **said, **changes})

    def _round(self, admit: int, data: bytes) -> dict[str, Any]:
        sha256 = hashlib.sha256(data).hexdigest()
        return {"from_": self.alias, "log": ORIGIN, "admit": admit, "admit_sha256": sha256}

    def countersign(self, admit: int, data: bytes, **changes: Any) -> Countersign:
        """Take part in the round of the ``admit`` entry ``data``."""
        return Countersign(**(self._round(admit, data) | {"nonce": secrets.token_hex(32)} | changes))

    def share(self, admit: int, data: bytes, transcript: list[str], vector: list[int], **changes: Any) -> Share:
        """Send a share for a transcript."""
        said = {"transcript_sha256": transcript_sha256(transcript), "kind": "local", "vector": vector}
        return Share(**(self._round(admit, data) | said | changes))

    def word(self, admit: int, data: bytes, **changes: Any) -> Word:
        """Say that no share left."""
        return Word(**(self._round(admit, data) | changes))


class WitnessLine(httpx.AsyncBaseTransport):
    """The way from the service to the witness's application: it can be cut."""

    def __init__(self, app: Litestar) -> None:
        self._way = httpx.ASGITransport(app=app)  # type: ignore[arg-type] # Litestar names its messages more narrowly
        self.cut = False
        self.asked = 0

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Pass one request on."""
        self.asked += 1
        if self.cut:
            raise httpx.ConnectError("The line is cut.", request=request)
        return await self._way.handle_async_request(request)


class Running:
    """A town whose service runs in this event loop."""

    def __init__(
        self, town: Town, service: Service, clock: Clock, line: WitnessLine, client: httpx.AsyncClient
    ) -> None:
        self.town = town
        self.service = service
        self.clock = clock
        self.line = line
        self.client = client
        self.nodes = {alias: Node(town, alias) for alias in HOLDERS}

    async def post(self, path: str, body: object, key: str | None = None) -> httpx.Response:
        """POST bytes, a signed message, or anything as canonical JSON."""
        if isinstance(body, bytes):
            content = body
        else:
            content = body.encode() if isinstance(body, str) else canonical.encode(body)
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.client.post(path, content=content, headers=headers)

    async def done(self, path: str, body: object, key: str | None = None) -> Any:
        """POST what is to succeed; return the answer: JSON, or the token where it is signed."""
        response = await self.post(path, body, key)
        assert response.status_code == httpx.codes.OK, response.text
        return response.text if response.text.startswith(jws.HEADER) else response.json()

    async def until_available(self, path: str, body: object, key: str | None = None) -> httpx.Response:
        """POST again and again for as long as the service says that it cannot now; return the first other answer."""

        async def answered() -> httpx.Response | None:
            answer = await self.post(path, body, key)
            return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

        answer = await eventually(answered)
        assert answer is not None
        return answer

    async def found(self) -> Self:
        """Register all members and publish all policies."""
        for path, body in self.town.founding():
            await self.done(path, body)
        return self

    async def settle(self) -> None:
        """Wait until everything committed is published."""
        await self.service.sequencer.wait_for(self.service.store.size, PATIENCE)

    async def enrol(self, *residents: "HasPeople") -> None:
        """Enrol residents, also many in one."""
        people = [person for each in residents for person in each.people]
        for first in range(0, len(people), 200):
            enrolments = [each.enrolment(self.town) for each in people[first : first + 200]]
            await self.done("/v1/enrolments", {"enrolments": enrolments})

    async def grant(self, *bundles: Bundle, key: str | None = None) -> list[int]:
        """Hand consents in; again under the same key for as long as their checkpoint is not there yet."""
        key = key or secrets.token_hex(16)
        answer = await self.until_available("/v1/grants", {"bundles": list(bundles)}, key)
        assert answer.status_code == httpx.codes.OK, answer.text
        found: list[int] = answer.json()["indices"]
        return found

    async def replace(self, bundle: Bundle, *revocations: dict[str, Any]) -> int:
        """Hand in a consent with the revocations of those that it replaces; return its index."""
        answer = await self.done("/v1/grants", {"bundles": [bundle], "revocations": list(revocations)})
        (index,) = answer["indices"]
        return int(index)

    async def ask(self, token: str) -> AskAnswer:
        """Ask; check who answers."""
        answer = await self.done("/v1/questions", token)
        return jws.verify(answer, bytes(self.town.keys[OPERATOR].verify_key), AskAnswer)

    async def entry(self, index: int) -> bytes:
        """Return a published entry's bytes, checked by its receipt, log key and witnesses."""
        return (await self.receipt(index))[0]

    async def receipt(self, index: int) -> tuple[bytes, bytes]:
        """Return a published entry's bytes and its receipt, checked."""
        receipt = await self.client.get(f"/v1/receipts/{index}")
        assert receipt.status_code == httpx.codes.OK, receipt.text
        response = await self.client.get(f"/v1/entries/{index}")
        check_receipt(Receipt.parse(receipt.content), response.content, self.town.log_key, self.town.witnesses)
        return response.content, receipt.content

    async def work(self, alias: str, **changes: Any) -> WorkAnswer:
        """Poll as one node."""
        node = self.nodes[alias]
        answer = await self.done("/v1/node/work", node.sign(node.work(at=self.clock(), **changes)))
        return jws.verify(answer, bytes(self.town.keys[OPERATOR].verify_key), WorkAnswer)

    async def countersign(self, admit: int, *aliases: str) -> list[str]:
        """Have participants countersign; return their tokens."""
        data = await self.entry(admit)
        tokens = [self.nodes[alias].sign(self.nodes[alias].countersign(admit, data)) for alias in aliases]
        for token in tokens:
            await self.done("/v1/node/countersign", token)
        return tokens

    async def share(self, admit: int, alias: str, vector: list[int]) -> int | None:
        """Send a share for the transcript that the service hands out; return what it closed the round with."""
        (go,) = [task.go for task in (await self.work(alias)).tasks if task.admit == admit and task.step == "share"]
        transcript = jws.verify(go, bytes(self.town.keys[OPERATOR].verify_key), Go).transcript
        node = self.nodes[alias]
        token = node.sign(node.share(admit, await self.entry(admit), transcript, vector))
        closed: int | None = (await self.done("/v1/node/share", token))["closed_by"]
        return closed

    async def word(self, admit: int, alias: str) -> int | None:
        """Give a node's word; return what it closed the round with."""
        node = self.nodes[alias]
        token = node.sign(node.word(admit, await self.entry(admit)))
        closed: int | None = (await self.done("/v1/node/word", token))["closed_by"]
        return closed

    async def rows(self, table: Any) -> list[tuple[Any, ...]]:
        """Return all rows of a table."""
        async with self.service.databases.reader.connect() as connection:
            found = (await connection.execute(select(table))).all()
        return sorted((tuple(bytes(v) if isinstance(v, memoryview) else v for v in row) for row in found), key=repr)

    async def snapshot(self) -> dict[str, Any]:
        """Everything that a request could have changed: every row, the state, the files of the log.

        Of checkpoints what is signed: the witnesses sign the same anew when half a minute has passed.
        """
        await self.settle()
        state = self.service.store.state
        said: dict[str, Any] = {"/" + table.name: await self.rows(table) for table in TABLES if table.name not in SEEN}
        said["/published"] = [
            tuple(_signed_text(v) if isinstance(v, bytes) else v for v in row) for row in said["/published"]
        ]
        said |= {name: repr(getattr(state, name)) for name in state.__struct_fields__ if name != "in_force"}
        said["in_force"] = {
            sha: (repr(each.granted), repr(each.ended), repr(each.charges)) for sha, each in state.in_force.items()
        }
        said["published"] = self.service.sequencer.size
        said["files"] = {
            str(path): hashlib.sha256(_signed_text(data)).hexdigest()
            for path, data in files_of_log(self.town.service / "log").items()
        }
        return said

    @asynccontextmanager
    async def unchanged(self) -> AsyncIterator[None]:
        """Check that what happens inside leaves no trace."""
        before = await self.snapshot()
        yield
        assert_same(before, await self.snapshot())

    @asynccontextmanager
    async def only_refused(self) -> AsyncIterator[None]:
        """Check that what happens inside adds one ``refuse`` entry and leaves no other trace."""
        before = await self.snapshot()
        yield
        after = await self.snapshot()
        index = before["size"]
        assert int(after["size"]) == int(index) + 1
        (added,) = [row for row in after["/entries"] if row not in before["/entries"]]
        assert isinstance(e.decode(added[1]), e.Refuse)
        assert len(after["/idempotency"]) == len(before["/idempotency"]) + 1
        moved = {"/entries", "/idempotency", "/head", "/published", "/refusals", "size", "at", "published", "files"}
        assert [row for row in after["/refusals"] if row not in before["/refusals"]] == [
            (int(index), e.decode(added[1]).by, self.service.store.state.day(e.decode(added[1]).at))  # type: ignore[union-attr]
        ]
        assert_same(*({k: v for k, v in each.items() if k not in moved} for each in (before, after)))


def files_of_log(folder: Path) -> dict[Path, bytes]:
    """Return the files that the log's readers see: the tiles and the checkpoint.

    A checkpoint that is cosigned anew, as at each start, lies under another name beside it until it is whole: it is
    nobody's yet, and may be gone between seeing its name and reading it.
    """
    found = (path for path in [folder / CHECKPOINT, *(folder / "tile").rglob("*")] if path.is_file())
    return {path: path.read_bytes() for path in found}


def _signed_text(data: bytes) -> bytes:
    """Return a checkpoint's text, without who signed it when; anything else as it is."""
    return data.partition(b"\n\n\xe2\x80\x94 ")[0]


def assert_same(before: dict[str, Any], after: dict[str, Any]) -> None:
    """Name what differs, not all of it."""
    changed = [name for name in before | after if before.get(name) != after.get(name)]
    assert changed == [], changed


@asynccontextmanager
async def run(
    town: Town, clock: Clock | None = None, witness_clock: Clock | None = None, *, cut: bool = False
) -> AsyncIterator[Running]:
    """Run a town's witness and service, with one clock unless the witness has its own; founding is for the caller.

    With ``cut`` the line to the witness is cut from the start.
    """
    clock = clock or Clock()
    witness = create_witness(town.witness)
    witness.state.witness._clock = witness_clock or clock
    service = Service(load_settings(town.service), clock.of_service, clock.ticks)
    line = WitnessLine(witness)
    line.cut = cut
    service.sequencer.client = httpx.AsyncClient(transport=line)
    app = create_app(service)
    way = httpx.ASGITransport(app=app, raise_app_exceptions=False)  # type: ignore[arg-type] # as above
    hooks = {"response": [Described.of(app).check]}
    async with (
        witness.lifespan(),
        app.lifespan(),
        httpx.AsyncClient(transport=way, base_url="http://service", event_hooks=hooks) as http,
    ):
        yield Running(town, service, clock, line, http)


def replay_log(
    town: Town, receipts: dict[int, tuple[bytes, bytes]] | None = None, clock: Callable[[], int] = system_clock
) -> tuple[State, list[e.AnyEntry]]:
    """Read the log's files as an auditor would: signatures, witnesses, tree, and a replay of every entry.

    ``receipts`` (index to entry and receipt, as handed out) must each hold in this same log. Returns state and entries.
    """
    follower = LogFollower(FolderLog(town.service / "log"), town.log_key, town.witnesses, clock=clock)
    state, seen, found, data = State(), MemoryConsents(), [], []
    for batch in follower.follow():
        for offset, entry in enumerate(batch.entries):
            found.append(replay(state, batch.first + offset, entry, seen))
            assert state.finding == ""
            data.append(entry)
    for index, (entry, receipt) in (receipts or {}).items():
        assert data[index] == entry
        checkpoint = check_receipt(Receipt.parse(receipt), entry, town.log_key, town.witnesses)
        assert merkle_root([leaf_hash(each) for each in data[: checkpoint.size]]) == checkpoint.root
    return state, found


def refused(response: httpx.Response, code: str, says: str = "") -> dict[str, Any]:
    """Check that an answer is the whole problem document of one error; return it."""
    kind = next(kind for error, kind in KINDS.items() if error.code == code)
    document: dict[str, Any] = response.json()
    assert response.headers["content-type"].startswith(PROBLEM)
    assert (document["code"], document["status"], response.status_code) == (code, kind.status, kind.status), document
    assert document["type"] == PROBLEM_TYPE + code
    assert document["title"]
    assert document["detail"].endswith(".")
    assert says in document["detail"], document
    return document

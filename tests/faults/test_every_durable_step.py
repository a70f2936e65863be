"""One table: each durable step of the service fails, once as not done and once as done but reported as failed.

For each act and each database, the steps that the act takes are first recorded (``injection``), so that none is left
out. Then each is made to fail under such an act. What must hold afterwards, in the process that goes on and again after
it was started anew:

- the act, sent again under its key, gets one answer, and every time the same: it was done once;
- every receipt ever given out holds, and the whole log verifies from its files, by the auditor too;
- the service's state is the one that the log gives.

``make test-long`` starts the service anew after every single failure, instead of once for each act.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest

from ledger import entries as e
from policies.consents.erasure import make_erasure
from policies.replay import entry_sha256
from tests.faults.injection import Faults, How
from tests.kit.amounts import LONG
from tests.kit.machine.databases import new_database
from tests.kit.towns.folk import Folk
from tests.kit.towns.running import Resident, Running, Town, consent_of, lay_out, query, question, replay_log, run
from tests.kit.towns.toy_town import HEALTH, ORIGIN, policy
from tests.kit.waiting import eventually
from trust.audit.auditor import audit
from trust.log.pins import Trust
from trust.service.database import tables as t

pytestmark = [pytest.mark.anyio, pytest.mark.slow]
COUNTED: dict[str, int] = {}
Request = tuple[str, object, str | None]


@dataclass
class Scene:
    """A running town, everyone in it, and every receipt that it gave."""

    town: Town
    running: Running
    faults: Faults
    resident: Resident = field(default_factory=Resident)
    receipts: dict[int, tuple[bytes, bytes]] = field(default_factory=dict)
    number: int = 1
    """Counts what has to be new each time."""

    def next(self) -> int:
        """Return a number that was not used yet."""
        self.number += 1
        return self.number

    # What each act needs before, and its request

    async def someone(self) -> Resident:
        """Enrol somebody new: a resident has one consent for each policy."""
        resident = Resident()
        await self.running.enrol(resident)
        return resident

    async def grant(self) -> Request:
        """One consent."""
        someone = await self.someone()
        return "/v1/grants", {"bundles": [someone.consent()]}, f"grant number {self.next()}"

    async def many_grants(self) -> Request:
        """Enough for a full tile, so that new folders are made and tiles become full."""
        folk = Folk(260)
        await self.running.enrol(folk)
        bundles = [folk.consent(HEALTH) for _ in range(260)]
        return "/v1/grants", {"bundles": bundles}, f"grants number {self.next()}"

    async def replace(self) -> Request:
        """A consent in the place of one that was given before: both or neither are in the ledger."""
        someone = await self.someone()
        given = someone.consent()
        (index,) = await self.running.grant(given)
        body = {"bundles": [someone.consent(replaces=index)], "revocations": [someone.revocation(given, index)]}
        return "/v1/grants", body, f"replacing grant number {self.next()}"

    async def revoke(self) -> Request:
        """The end of a consent that was given before."""
        someone = await self.someone()
        bundle = someone.consent()
        (index,) = await self.running.grant(bundle)
        return "/v1/revocations", someone.revocation(bundle, index), None

    async def erase(self) -> Request:
        """A resident's wish to have a record destroyed."""
        someone = await self.someone()
        bundle = someone.consent()
        (index,) = await self.running.grant(bundle)
        now = int(time.time())
        wish = make_erasure(someone.key, log=ORIGIN, consent=consent_of(bundle), grant=index, said_at=now)
        return "/v1/erasures", wish, None

    async def enrol(self) -> Request:
        """Somebody new."""
        return "/v1/enrolments", {"enrolments": [Resident().enrolment(self.town)]}, None

    async def member(self) -> Request:
        """The next change to a member."""
        number = self.running.service.store.state.members["market"].number + 1
        body = self.town.member("market", ["holder"], number)
        return "/v1/members", self.town.approved("member", body), None

    async def policy(self) -> Request:
        """A new policy."""
        document = policy(f"p{self.next()}", ["clinic"], ["planner"], ["clinic"])
        return "/v1/policies", self.town.approved("policy", document), None

    async def ask(self) -> Request:
        """A question that is let in."""
        return "/v1/questions", question(self.town, query(spend={"epsilon": "0.01"}), fresh=True), None

    async def refuse(self) -> Request:
        """A question that is refused, and may be, by an entry."""
        return "/v1/questions", question(self.town, query(group_by=[f"no{self.next()}"])), None

    async def _admit(self) -> int:
        _, token, _ = await self.ask()
        return (await self.running.ask(str(token))).admit

    async def countersign(self) -> Request:
        """The first participant's."""
        admit = await self._admit()
        node = self.running.nodes["bus_co"]
        return "/v1/node/countersign", node.sign(node.countersign(admit, await self.running.entry(admit))), None

    async def release(self) -> Request:
        """The last participant's share."""
        admit = await self._admit()
        transcript = await self.running.countersign(admit, "bus_co", "clinic")
        await self.running.share(admit, "bus_co", [11])
        node = self.running.nodes["clinic"]
        share = node.share(admit, await self.running.entry(admit), transcript, [31])
        return "/v1/node/share", node.sign(share), None

    async def refund(self) -> Request:
        """The last participant's word."""
        admit = await self._admit()
        await self.running.word(admit, "bus_co")
        node = self.running.nodes["clinic"]
        return "/v1/node/word", node.sign(node.word(admit, await self.running.entry(admit))), None

    async def catch_up(self) -> Request:
        """The first poll that covers the end of a consent. It is not to be sent twice; what it says is, in another."""
        someone = await self.someone()
        bundle = someone.consent()
        (index,) = await self.running.grant(bundle)
        await self.running.done("/v1/revocations", someone.revocation(bundle, index))
        await self.running.settle()
        return "poll", self.running.service.sequencer.size, None

    # Sending

    async def send(self, request: Request) -> httpx.Response:
        """Send a request once; a poll is signed anew."""
        path, body, key = request
        if path == "poll":
            node = self.running.nodes["bus_co"]
            return await self.running.post("/v1/node/work", node.sign(node.work(size=body, known=body)))
        return await self.running.post(path, body, key)

    async def until_done(self, request: Request) -> httpx.Response:
        """Send a request, again and again while the service says that it is not available now."""

        async def answered() -> httpx.Response | None:
            answer = await self.send(request)
            return None if answer.status_code == httpx.codes.SERVICE_UNAVAILABLE else answer

        answer = await eventually(answered)
        assert answer is not None
        return answer

    def check_done(self, answer: httpx.Response, name: str) -> None:
        """An act that succeeds is done; a refusal is in the ledger; an erasure says so."""
        if name == "refuse":
            assert "refused_at" in answer.json(), answer.text
        elif name == "erase" and not answer.is_success:
            assert answer.json()["code"] == "already-ended", answer.text
        else:
            assert answer.is_success, answer.text

    async def keep_receipts(self) -> None:
        """Fetch receipts of what is new: of all, or where that is much, of the last few."""
        size = self.running.service.sequencer.size
        for index in range(max(max(self.receipts, default=-1) + 1, size - 3), size):
            self.receipts[index] = await self.running.receipt(index)


ACTS: dict[str, Callable[[Scene], Awaitable[Request]]] = {
    "grant": Scene.grant,
    "many grants": Scene.many_grants,
    "replace": Scene.replace,
    "revoke": Scene.revoke,
    "erase": Scene.erase,
    "enrol": Scene.enrol,
    "member": Scene.member,
    "policy": Scene.policy,
    "ask": Scene.ask,
    "refuse": Scene.refuse,
    "countersign": Scene.countersign,
    "release": Scene.release,
    "refund": Scene.refund,
    "catch up": Scene.catch_up,
}
PUBLISHING = ("disk", "witness", "sql UPDATE published", "commit published")
PUBLISHED_UNDER = ("grant", "many grants", *(["release"] if LONG else []))
"""Publishing is the same after every act: its steps fail under these."""


@pytest.fixture(autouse=True, scope="module")
def counted() -> Iterator[None]:
    """Say at the end how many cases there were."""
    yield
    print(f"\n{sum(COUNTED.values())} failures injected: {COUNTED}")  # noqa: T201 - the figure is asked for


TABLE = [("sqlite", name) for name in ACTS] + [("postgresql", name) for name in ACTS if name != "many grants"]
"""The folder of tiles is the same beside either database."""


@pytest.mark.many(2)
@pytest.mark.parametrize(("database", "name"), TABLE)
async def test_a_durable_step_that_fails_loses_nothing_and_does_nothing_twice(
    database: str, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    url = new_database(request.getfixturevalue("postgresql")) if database == "postgresql" else ""
    monkeypatch.setattr("trust.service.publish.sequencer.RETRY_SECONDS", 0.02)
    monkeypatch.setattr("trust.service.store.store.RETRY_SECONDS", 0.02)
    limits: dict[str, Any] = {
        "max_refusals_per_day": 10_000,
        "requests_per_minute": 1_000_000,
        "max_body_bytes": 4_000_000,
    }
    town = lay_out(tmp_path / "town", url, **limits)
    faults = Faults()
    async with AsyncExitStack() as stack:
        scene = Scene(town, await begin(stack, town, faults), faults)
        await scene.running.found()
        await scene.running.enrol(scene.resident)
        cases = [(label, how) for label in await recorded(scene, name) for how in ways(label)]
        for label, how in cases:
            await one_case(scene, name, label, how)
            if LONG:
                await start_anew(stack, scene)
        COUNTED[f"{name} on {database}"] = len(cases)
        await check_whole(scene)
        await start_anew(stack, scene)
        await scene.running.grant(scene.resident.consent())
        await check_whole(scene)
        check_audit(scene, tmp_path)


async def begin(stack: AsyncExitStack, town: Town, faults: Faults) -> Running:
    """Start the service with its layers wrapped."""
    patch = stack.enter_context(pytest.MonkeyPatch.context())
    running = await stack.enter_async_context(run(town))
    faults.install(running, patch)
    faults.install_disk(patch, town.service / "log")
    return running


async def start_anew(stack: AsyncExitStack, scene: Scene) -> None:
    """Start the service anew on what the one before left, and look at it all."""
    await stack.aclose()
    scene.running = await begin(stack, scene.town, scene.faults)
    await check_whole(scene)


async def recorded(scene: Scene, name: str) -> list[str]:
    """Do an act twice, and return the labels of its second time's durable steps: the first time of all is another."""
    scene.check_done(await scene.until_done(await ACTS[name](scene)), name)
    request = await ACTS[name](scene)
    await scene.running.settle()
    with scene.faults.record() as labels:
        scene.check_done(await scene.until_done(request), name)
        await scene.running.settle()
    if name == "many grants":
        labels = [label for label in labels if label.startswith("disk")]
    elif name not in PUBLISHED_UNDER:
        labels = [label for label in labels if not label.startswith(PUBLISHING)]
    return [label for label in labels if "nonces" not in label]


def ways(label: str) -> list[How]:
    """How a step can fail."""
    return ["lost", "torn", "unsaid"] if label.startswith("disk write") else ["lost", "unsaid"]


async def one_case(scene: Scene, name: str, label: str, how: How) -> None:
    """Have one step fail under an act, and see it through."""
    request = await ACTS[name](scene)
    await scene.running.settle()
    await scene.keep_receipts()
    before = scene.running.service.store.size
    scene.faults.arm(label, how)
    first = await scene.send(request)
    await eventually(lambda: scene.faults.fired, lambda: (name, label, how))  # publishing goes on behind the answer
    scene.faults.disarm()
    second = await scene.until_done(request)
    scene.check_done(second, name)
    third = await scene.until_done(request)
    if name == "erase":
        assert third.json()["code"] == "already-ended"
    elif name != "catch up":
        assert third.text == second.text, (name, label, how)
        assert first.text == second.text or first.status_code == httpx.codes.SERVICE_UNAVAILABLE, first.text
    await scene.running.settle()
    added = [e.decode(row[1]) for row in await scene.running.rows(t.entries) if row[0] >= before]
    assert len(added) == ADDED[name], (name, label, how, added)
    await scene.keep_receipts()


ADDED = dict.fromkeys(ACTS, 1) | {"many grants": 260, "replace": 2, "enrol": 0, "countersign": 0, "catch up": 0}
"""How many entries an act appends, however often it is sent."""


async def check_whole(scene: Scene) -> None:
    """The log on disk is whole, holds every receipt, and gives the service's own state."""
    await scene.running.settle()
    await scene.keep_receipts()
    state, _ = await asyncio.to_thread(replay_log, scene.town, scene.receipts)
    mine = scene.running.service.store.state
    for name in state.__struct_fields__:
        if name != "in_force":
            assert msgspec.json.encode(getattr(state, name)) == msgspec.json.encode(getattr(mine, name)), name
    for sha256, in_force in state.in_force.items():
        assert in_force.granted == mine.in_force[sha256].granted
        assert in_force.ended == mine.in_force[sha256].ended
        assert list(in_force.chains.between(0, state.size)) == list(mine.in_force[sha256].chains.between(0, state.size))


def check_audit(scene: Scene, tmp_path: Path) -> None:
    """An auditor finds nothing wrong."""
    trust = Trust(
        origin=scene.town.genesis.origin,
        log_key=scene.town.genesis.log_key,
        genesis_sha256=entry_sha256(e.encode(scene.town.genesis)),
        witness_policy=(scene.town.service / "witnesses.txt").read_text(),
    )
    report = audit(str(scene.town.service / "log"), trust=trust, state_folder=tmp_path / "audit")
    assert report.verdict == "ok", report

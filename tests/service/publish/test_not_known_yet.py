"""What the service does not know yet is for later (503, with ``Retry-After``), and is never said not to be there.

Right after a start, and with the log's disk full, an auditor who is told 404 accuses a service that did nothing wrong.
"""

import httpx
import pytest
from litestar import Litestar

from policies.policy_document import document_sha256
from tests.kit.towns.running import Running, Town, query, question, refused, run
from tests.kit.towns.toy_town import MOBILITY
from trust.client import paths
from trust.log.tile_folder import TileFolder
from trust.service.store.bell import Bell

pytestmark = pytest.mark.anyio
HOLDERS = ("bus_co", "clinic")
SAY_NOTHING_OF_WHAT_IS_PUBLISHED = {
    paths.HEALTH,
    paths.METRICS,
    paths.TRUST,
    paths.POLICIES,
    paths.POLICY,
    paths.MEMBERS,
    paths.RULES,
    paths.ROUND,
    paths.ERASURE,
    "/",
    "/openapi",
    "/openapi/openapi.json",
    "/openapi/{path:str}",
}
"""Of the routes that are read, those that give what is committed, or nothing of the ledger. A new one belongs to these,
or is tried here."""


async def with_an_answer(running: Running) -> tuple[int, int]:
    """Have one question answered and another one open; return both."""
    answered = (await running.ask(question(running.town, query(), fresh=True))).admit
    await running.settle()
    await running.countersign(answered, *HOLDERS)
    for alias in HOLDERS:
        await running.share(answered, alias, [1])
    still_open = (await running.ask(question(running.town, query(), fresh=True))).admit
    await running.settle()
    return answered, still_open


def addresses(answered: int, published: int) -> dict[str, str]:
    """Return one address that was published, for each route that gives what is."""
    sha256 = document_sha256(MOBILITY)
    return {
        paths.CHECKPOINT: paths.CHECKPOINT,
        paths.TILE: f"{paths.LOG}tile/0/000.p/{published}",
        paths.RECEIPT: paths.at(paths.RECEIPT, index=2),
        paths.ENTRY: paths.at(paths.ENTRY, index=2),
        paths.LOG_KEYS: paths.LOG_KEYS,
        paths.IN_FORCE: paths.at(paths.IN_FORCE, policy_sha256=sha256, size=answered, index=0),
        paths.USES: paths.at(paths.USES, policy_sha256=sha256, index=0),
        paths.STOPPED: paths.at(paths.STOPPED, index=0),
        paths.CAUGHT_UP: paths.CAUGHT_UP,
        paths.ROUNDS: paths.ROUNDS,
        paths.SHARES: paths.at(paths.SHARES, admit=answered),
        paths.READY: paths.READY,
    }


def later(answer: httpx.Response, what: str) -> None:
    assert answer.status_code == httpx.codes.SERVICE_UNAVAILABLE, (what, answer.text)
    assert int(answer.headers["retry-after"]) > 0, what
    assert answer.headers["cache-control"] == "no-store", what


def read_routes(app: object) -> set[str]:
    """Return the paths of all routes that are read, as they are written in ``trust.client.paths``."""
    assert isinstance(app, Litestar)
    return {route.path for route in app.routes if "GET" in getattr(route, "methods", ())}


async def test_where_it_is_not_known_what_is_published_every_route_says_later(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    answered, _ = await with_an_answer(running)
    transport = running.client._transport
    assert isinstance(transport, httpx.ASGITransport)
    tried = addresses(answered, running.service.sequencer.size)
    shown = {path for path in read_routes(transport.app) if not path.startswith(("/static", "/interface", "/verify"))}
    assert shown - SAY_NOTHING_OF_WHAT_IS_PUBLISHED == set(tried)
    for path, address in tried.items():
        good = await running.client.get(address)
        assert good.status_code == httpx.codes.OK or path == paths.STOPPED, (path, good.text)
    monkeypatch.setattr(running.service.sequencer, "size", 0)
    bell = running.service.bell
    monkeypatch.setattr(bell, "until", lambda look, _seconds: Bell.until(bell, look, 0.01))
    monkeypatch.setattr(running.service.tiles, "read_checkpoint", lambda: None)
    for path, address in tried.items():
        later(await running.client.get(address), path)
    node = running.nodes["bus_co"]
    later(await running.post(paths.WORK, node.sign(node.work())), "a node's poll")
    later(await running.post(paths.LEAVES, node.sign(node.leaves(0, 3))), "a node's leaves")


async def test_what_is_committed_and_not_published_is_for_later_and_what_is_neither_is_not_there(
    running: Running,
) -> None:
    await with_an_answer(running)
    published = running.service.sequencer.size
    running.line.cut = True
    admit = (await running.ask(question(running.town, query(), fresh=True))).admit
    assert admit >= published
    sha256 = document_sha256(MOBILITY)
    for path in (
        paths.at(paths.ENTRY, index=admit),
        paths.at(paths.IN_FORCE, policy_sha256=sha256, size=admit + 1, index=0),
        paths.at(paths.USES, policy_sha256=sha256, index=admit),
        paths.at(paths.STOPPED, index=admit),
        f"{paths.LOG}tile/0/000.p/{admit + 1}",
    ):
        later(await running.client.get(path), path)
    beyond = admit + 50
    for path in (
        paths.at(paths.ENTRY, index=beyond),
        paths.at(paths.RECEIPT, index=beyond),
        paths.at(paths.USES, policy_sha256=sha256, index=beyond),
        paths.at(paths.STOPPED, index=beyond),
        paths.at(paths.SHARES, admit=beyond),
        f"{paths.LOG}tile/0/000.p/{beyond}",
    ):
        refused(await running.client.get(path), "not-found")


@pytest.mark.parametrize("hindered", ["a full disk", "no witness"])
async def test_right_after_a_start_what_was_published_is_read_whatever_hinders_publishing(
    town: Town, hindered: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run(town) as running:
        await running.found()
        answered, still_open = await with_an_answer(running)
        published = running.service.sequencer.size
        before = (await running.client.get(paths.at(paths.SHARES, admit=answered))).json()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    if hindered == "a full disk":
        monkeypatch.setattr(TileFolder, "write_checkpoint", full)
        monkeypatch.setattr(TileFolder, "write_tiles", full)
    async with run(town, cut=hindered == "no witness") as running:
        assert running.service.sequencer.size == published
        for path, address in addresses(answered, published).items():
            answer = await running.client.get(address)
            assert answer.status_code == httpx.codes.OK or path in (paths.STOPPED, paths.READY), (path, answer.text)
        assert (await running.client.get(paths.at(paths.SHARES, admit=answered))).json() == before
        assert (await running.client.get(paths.ROUNDS)).json() == [still_open]
        if hindered != "no witness":  # a poll is written down, and without witnesses the time is not sure
            assert (await running.work("bus_co", known=published - 1)).size == published

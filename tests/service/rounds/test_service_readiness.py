"""A question about data that a holder never had is turned away before anything is admitted, and only that one."""

import pytest
from msgspec import structs

from ledger import jws
from policies.policy_document import Policy
from tests.kit.towns.running import Running, Town, query, question, refused, run
from tests.kit.towns.toy_town import MOBILITY

pytestmark = pytest.mark.anyio


def view_of(running: Running, policy: Policy = MOBILITY) -> str:
    """The view that the standard question asks, as a node names it."""
    return f"{running.service.store.state.policies[policy.id].sha256}/{policy.views[0].name}"


async def test_a_question_of_a_holder_without_data_is_turned_away_before_any_admit_and_its_preview_too(
    running: Running,
) -> None:
    view = view_of(running)
    await running.ask(question(running.town, query(), fresh=True))  # nobody has said anything: it is let in
    await running.work("clinic", not_ready=[view])
    before = running.service.store.size
    token = question(running.town, query(), fresh=True)
    for path in ("/v1/questions", "/v1/questions/preview"):
        said = refused(await running.post(path, token), "not-ready", "Nothing was charged")
        assert said["status"] == 503
        assert said["holders"] == ["clinic"]
    assert running.service.store.size == before
    await running.work("clinic")  # it cannot tell: what it said before stands
    refused(await running.post("/v1/questions", token), "not-ready", "clinic")
    await running.work("clinic", not_ready=[view.replace("/trips", "/visits"), f"{'0' * 64}/trips"])  # other views
    await running.done("/v1/questions/preview", token)
    assert (await running.ask(token)).admit == before


async def test_a_holder_that_is_not_asked_hinders_nobody(running: Running) -> None:
    await running.work("market", not_ready=[view_of(running)])
    await running.ask(question(running.town, query(), fresh=True))


async def test_what_a_node_said_is_known_after_a_restart(town: Town) -> None:
    async with run(town) as running:
        await running.found()
        await running.work("clinic", not_ready=[view_of(running)])
    async with run(town) as again:
        refused(await again.post("/v1/questions", question(town, query(), fresh=True)), "not-ready", "clinic")
        await again.work("clinic", not_ready=[])
        await again.ask(question(town, query(), fresh=True))


async def test_only_a_nodes_own_signed_poll_says_it(running: Running) -> None:
    node = running.nodes["market"]
    poll = structs.replace(node.work(at=running.clock(), not_ready=[view_of(running)]), from_="clinic")
    refused(await running.post("/v1/node/work", jws.sign(poll, running.town.keys["market"])), "signature-invalid", "")
    await running.ask(question(running.town, query(), fresh=True))

"""Attacks on the service by those who may talk to it: what they must not reach, they do not."""

import asyncio
from pathlib import Path

import httpx
import pytest
from msgspec import structs

from ledger import jws
from tests.kit.towns.running import MakeTown, Resident, Running, query, question, refused, run
from tests.kit.towns.toy_town import MOBILITY

pytestmark = pytest.mark.anyio


async def test_shares_are_not_handed_out_before_their_answer_is_published(running: Running) -> None:
    """The line to the witness is cut: the answer is committed, but in no cosigned checkpoint yet."""
    admit = (await running.ask(question(running.town, query(), fresh=True))).admit
    await running.settle()
    await running.countersign(admit, "bus_co", "clinic")
    running.line.cut = True
    for alias in ("bus_co", "clinic"):
        closed = await running.share(admit, alias, [1])
    assert closed is not None
    refused(await running.client.get(f"/v1/rounds/{admit}/shares"), "unavailable")
    assert running.service.sequencer.size <= closed
    running.line.cut = False
    await running.settle()
    answer = await running.client.get(f"/v1/rounds/{admit}/shares")
    assert answer.status_code == httpx.codes.OK
    assert set(answer.json()["shares"]) == {"bus_co", "clinic"}


async def test_one_partner_cannot_take_all_open_rounds(tmp_path: Path, lay_out_with_tables: MakeTown) -> None:
    town = lay_out_with_tables(tmp_path / "town", max_open_rounds_per_partner=2)
    async with run(town) as started:
        running = await started.found()
        for _ in range(2):
            await running.ask(question(running.town, query(), fresh=True))
        async with running.unchanged():
            refused(await running.post("/v1/questions", question(running.town, query(), fresh=True)), "rate-limited")
        await running.ask(question(running.town, query(), by="campus", fresh=True))


async def test_a_question_to_a_holder_that_has_left_is_refused_and_charges_nothing(running: Running) -> None:
    """Its word would not be taken any more, so nothing could ever free the charge."""
    left = structs.replace(running.town.member("clinic", ["holder"], number=2), status="left")
    await running.done("/v1/members", running.town.approved("member", left))
    refused(await running.post("/v1/questions", question(running.town, query(), fresh=True)), "policy-not-current")
    assert running.service.store.state.rounds == {}
    assert all(account.charged == 0 for account in running.service.store.state.accounts.values())


async def test_made_up_residents_leave_no_nonce_behind(running: Running) -> None:
    stranger, resident = Resident(), Resident()
    await running.enrol(resident)
    for each, kept in ((stranger, 0), (resident, 1)):
        token = jws.sign(each.mine(), each.key)
        answer = await running.post("/v1/residents/consents", token)
        assert answer.status_code == (httpx.codes.OK if kept else httpx.codes.NOT_FOUND)
        assert len(running.service.nonces._seen) == kept


async def test_many_at_once_cannot_spend_more_than_a_cap(running: Running) -> None:
    """Forty questions in one group of acts, where the partner's account holds fewer."""
    tokens = [question(running.town, query(spend={"epsilon": "1"}), fresh=True) for _ in range(40)]
    answers = await asyncio.gather(*(running.post("/v1/questions", token) for token in tokens))
    assert {answer.status_code for answer in answers} <= {httpx.codes.OK, httpx.codes.FORBIDDEN}
    for account, kept in running.service.store.state.accounts.items():
        cap = MOBILITY.budget.life if account.endswith("/life") else MOBILITY.budget.per_window
        assert 0 < kept.charged <= cap

"""The service takes holders' words on rules and, with the quorum's signatures, has the ledger go on by other ones."""

import json
from typing import Any

import pytest
from msgspec import UNSET, UnsetType, structs
from msgspec.structs import replace

from ledger import entries as e
from ledger import jws
from ledger.errors import UpgradeNeeded
from policies import rules as policies_rules
from policies.policy_document import Time
from policies.rules import NEWEST_RULES, WIDER_QUESTIONS, make_rules_word
from tests.kit.towns.running import Running, Town, query, question, refused, replay_log, run
from tests.kit.towns.toy_town import HOLDERS, MOBILITY, ORIGIN, PARTNERS
from trust.service.acts import change_rules as acts_rules
from trust.service.service import Service
from trust.service.settings import load_settings
from trust.service.store import kept_start

pytestmark = pytest.mark.anyio


@pytest.fixture
def rules() -> UnsetType:
    """The town begins with the first rules."""
    return UNSET


async def say(running: Running, holder: str, number: int = 2, key: str = "") -> None:
    word = make_rules_word(running.town.keys[key or holder], log=ORIGIN, holder=holder, number=number)
    answer = await running.post("/v1/node/rules", word)
    assert answer.status_code == 204, answer.text


async def read_by(running: Running) -> dict[str, Any]:
    found: dict[str, Any] = (await running.client.get("/v1/rules")).json()
    return found


def wanted(town: Town, number: int = 2, **how: tuple[str, ...]) -> dict[str, object]:
    return town.approved("rules", e.RulesBody(number=number), **how)


async def test_other_rules_wait_for_every_holder_and_are_there_once(running: Running) -> None:
    assert await read_by(running) == {"number": 1, "newest": NEWEST_RULES, "holders": dict.fromkeys(HOLDERS, 1)}
    before = running.service.store.size
    for holder in HOLDERS[1:]:
        await say(running, holder)
    await say(running, HOLDERS[0], number=1)
    answer = await running.post("/v1/rules", wanted(running.town))
    assert refused(answer, "not-permitted", "1 holders")["behind"] == [HOLDERS[0]]
    refused(await running.post("/v1/rules", wanted(running.town, stewards=("city",))), "not-permitted", "2 stewards")
    await say(running, HOLDERS[0])  # its latest word counts
    refused(await running.post("/v1/rules", wanted(running.town, NEWEST_RULES + 1)), "upgrade-needed", "upgrade it")
    assert running.service.store.size == before
    indices = {(await running.done("/v1/rules", wanted(running.town)))["index"] for _ in range(2)}
    assert indices == {before}
    assert (await read_by(running))["number"] == 2
    await running.settle()
    state, _ = replay_log(running.town)
    assert (state.rules, state.rules_entry) == (2, before)


async def test_by_older_rules_no_policy_allows_what_they_do_not_know_and_answers_are_what_older_partners_read(
    running: Running,
) -> None:
    view = structs.replace(MOBILITY.views[0], bounding_measures=True)
    wider = structs.replace(MOBILITY, version=2, views=[view])
    async with running.unchanged():
        answer = await running.post("/v1/policies", running.town.approved("policy", wider))
        refused(answer, "not-permitted", "takes rules number 4")
        offered = await running.done("/v1/questions/preview", question(running.town, query()))
    assert "bounding" not in json.loads(jws.parts(offered)[1])


async def test_a_word_on_rules_is_an_active_holders_own(running: Running) -> None:
    for holder, key, log, code in (
        (PARTNERS[0], PARTNERS[0], ORIGIN, "not-permitted"),
        ("nobody", HOLDERS[0], ORIGIN, "not-permitted"),
        (HOLDERS[0], HOLDERS[1], ORIGIN, "signature-invalid"),
        (HOLDERS[0], HOLDERS[0], "other.town/log", "proof-invalid"),
    ):
        word = make_rules_word(running.town.keys[key], log=log, holder=holder, number=2)
        refused(await running.post("/v1/node/rules", word), code)
    assert (await read_by(running))["holders"] == dict.fromkeys(HOLDERS, 1)


async def test_an_older_service_does_not_start_on_newer_rules_and_asks_for_an_upgrade(
    town: Town, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with run(town) as running:
        await running.found()
        for holder in HOLDERS:
            await say(running, holder)
        await running.done("/v1/rules", wanted(town))
        await running.settle()
    monkeypatch.setattr(policies_rules, "NEWEST_RULES", 1)
    monkeypatch.setattr(acts_rules, "NEWEST_RULES", 1)
    monkeypatch.setattr(kept_start, "NEWEST_RULES", 1)
    with pytest.raises(UpgradeNeeded, match="install a newer Musubi"):
        await Service(load_settings(town.service)).start()


async def test_a_column_of_time_waits_for_rules_number_4_and_the_refusal_says_so(running: Running) -> None:
    (view,) = MOBILITY.views
    month = Time(name="month", title=view.title, unit="month", first="2026-01", last="2026-12")
    policy = replace(MOBILITY, version=2, views=[replace(view, columns=[*view.columns, month])])
    signed = running.town.approved("policy", policy)
    before = running.service.store.size
    refused(await running.post("/v1/policies", signed), "not-permitted", "musubi rules sign 4")
    assert running.service.store.size == before
    for holder in HOLDERS:
        await say(running, holder, number=WIDER_QUESTIONS)
    await running.done("/v1/rules", wanted(running.town, WIDER_QUESTIONS))
    await running.done("/v1/policies", signed)
    await running.settle()
    state, _ = replay_log(running.town)
    assert month in state.policies["mobility"].document.views[0].columns

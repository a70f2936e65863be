"""Whoever has no key of the town takes no time of the one writing transaction.

One message of each route, as it is meant, but with every signature in it changed: none of them gets an act its turn.
"""

import secrets
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
from msgspec import structs

from ledger import jws
from ledger.entries import RulesBody
from ledger.notes.log_keys import LogKeys
from ledger.notes.note import VerifierKey
from policies.consents.erasure import ErasedWord, ErasureOrder, Farewell, make_erasure
from policies.governance import approve
from policies.log_key_changes import make_log_key_body
from policies.pairwise_keys import public_hex
from policies.rules import make_rules_word
from tests.kit.towns.running import consent_of, query, question
from tests.kit.towns.toy_town import MOBILITY, ORIGIN, STEWARDS
from tests.service.refusals.standing import Make, Standing, signed
from trust.client import paths
from trust.runtime.clock import system_clock

pytestmark = pytest.mark.anyio


def approved(s: Standing, subject: Any, body: Any, name: str) -> dict[str, Any]:
    tokens = [approve(subject, body, log=ORIGIN, steward=a, key=s.town.stewards[a]) for a in STEWARDS[:2]]
    return {name: body, "signatures": tokens}


def next_keys() -> Any:
    key = VerifierKey.ed25519(ORIGIN, secrets.token_bytes(32))
    return make_log_key_body(2, LogKeys(key, None))


def step(s: Standing, name: str) -> str:
    node = s.node("clinic")
    if name == "share":
        message: Any = node.share(s.half, s.half_entry, s.half_transcript, [8])
    else:
        message = getattr(node, name)(s.opened, s.opened_entry)
    return node.sign(message)


MEANT: dict[str, Make] = {
    paths.WORK: lambda s: signed(s, "bus_co", s.node("bus_co").work()),
    paths.LEAVES: lambda s: signed(s, "bus_co", s.node("bus_co").leaves(0, 1)),
    paths.node_step("countersign"): lambda s: step(s, "countersign"),
    paths.node_step("share"): lambda s: step(s, "share"),
    paths.node_step("word"): lambda s: step(s, "word"),
    paths.ERASED_WORDS: lambda s: {
        "words": [
            s.node("bus_co").sign(
                ErasedWord(
                    from_="bus_co", log=ORIGIN, index=s.grant, entry=s.grant, entry_sha256="00" * 32, at=system_clock()
                )
            )
        ]
    },
    paths.RULES_WORD: lambda s: make_rules_word(s.town.keys["bus_co"], log=ORIGIN, holder="bus_co"),
    paths.QUESTIONS: lambda s: question(s.town, query()),
    paths.PREVIEW: lambda s: question(s.town, query()),
    paths.ENROLMENTS: lambda s: {"enrolments": [s.stranger.enrolment(s.town)]},
    paths.LOST_DEVICES: lambda s: s.stranger.enrolment(s.town, for_="lost-device"),
    paths.GRANTS: lambda s: {"bundles": [s.ren.consent()]},
    paths.REVOCATIONS: lambda s: s.aoi.revocation(s.given, s.grant),
    paths.STOPS: lambda s: s.aoi.stop(s.town, s.given, s.grant),
    paths.OWN_CONSENTS: lambda s: jws.sign(s.aoi.mine(), s.aoi.key),
    paths.ERASURES: lambda s: make_erasure(
        s.aoi.key, log=ORIGIN, consent=consent_of(s.given), grant=s.grant, said_at=system_clock()
    ),
    paths.FAREWELL: lambda s: jws.sign(
        Farewell(log=ORIGIN, key=public_hex(s.aoi.key), at=system_clock(), nonce=secrets.token_hex(32)), s.aoi.key
    ),
    paths.MEMBERS: lambda s: approved(s, "member", s.town.member("market", ["holder"], 2), "member"),
    paths.POLICIES: lambda s: approved(s, "policy", structs.replace(MOBILITY, version=2), "policy"),
    paths.LOG_KEYS: lambda s: approved(s, "log-key", next_keys(), "log_key"),
    paths.ORDERED_ERASURES: lambda s: approved(s, "erasure", ErasureOrder(log=ORIGIN, index=s.grant), "order"),
    paths.RULES: lambda s: approved(s, "rules", RulesBody(number=4), "rules"),
}


def forged(value: Any) -> Any:
    """Return it with the signature of every signed message in it changed."""
    if isinstance(value, dict):
        return {name: forged(each) for name, each in value.items()}
    if isinstance(value, list):
        return [forged(each) for each in value]
    if isinstance(value, str) and value.startswith(jws.HEADER) and value.count(".") == 2:
        said, _, signature = value.rpartition(".")
        return f"{said}.{'B' if signature[0] == 'A' else 'A'}{signature[1:]}"
    return value


def as_json(value: Any) -> Any:
    return value if isinstance(value, str) else msgspec.json.decode(msgspec.json.encode(value))


async def test_every_route_that_takes_a_message_has_one_here(standing: Standing) -> None:
    app = standing.running.client._transport.app  # type: ignore[attr-defined]
    posts = {route.path for route in app.routes if "POST" in getattr(route, "methods", ())}
    assert posts == set(MEANT)


@pytest.mark.parametrize("path", MEANT)
async def test_a_message_that_nobody_of_the_town_signed_never_gets_an_act_its_turn(
    standing: Standing, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    store = standing.running.service.store
    turns: list[object] = []
    submit: Callable[[Any], Awaitable[Any]] = store.submit

    async def noted(act: Any) -> Any:
        turns.append(act)
        return await submit(act)

    meant = as_json(MEANT[path](standing))
    changed = forged(meant)
    assert changed != meant
    monkeypatch.setattr(store, "submit", noted)
    async with standing.running.unchanged():
        answer = await standing.running.post(path, changed)
    assert answer.status_code in {401, 403, 404, 409, 422}, answer.text
    assert turns == []

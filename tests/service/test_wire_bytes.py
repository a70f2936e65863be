"""The bytes on the wire: each unsigned answer of the service, to the byte, and what a request may say.

What differs from run to run (an index, a signature, a key) is put into the expected bytes by name; nothing else may
differ.
"""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ledger import canonical, jws
from ledger import entries as e
from ledger.notes.log_keys import LogKeys
from ledger.notes.note import VerifierKey
from policies.consents.erasure import ErasedWord, ErasureOrder, Farewell, make_erasure
from policies.governance import approve
from policies.log_key_changes import make_log_key_body
from policies.pairwise_keys import public_hex
from policies.replay import entry_sha256
from queries.rounds.messages import Go, Mine
from tests.kit.towns.running import Resident, Running, Town, consent_of, lay_out, query, question, refused, run
from tests.kit.towns.toy_town import FAR_DAY, HEALTH, HOLDERS, MOBILITY, ORIGIN, PARTNERS, STEWARDS
from trust.audit.witness_folder import change_trusted_keys
from trust.files.keys import new_key
from trust.runtime.clock import system_clock

pytestmark = pytest.mark.anyio
NONCE = "ab" * 32


@pytest.fixture
def hamlet(tmp_path: Path) -> Town:
    """A town on SQLite: what is said does not depend on where rows lie."""
    return lay_out(tmp_path / "town")


@pytest.fixture
def next_keys(hamlet: Town) -> LogKeys:
    """The log's next keys, which the witness trusts already; it reads them as it starts."""
    key = new_key(hamlet.service / "keys" / "log-2.key")
    keys = LogKeys(VerifierKey.ed25519(ORIGIN, bytes(key.verify_key)), None)
    change_trusted_keys(hamlet.witness, add=[keys.key], remove=[])
    return keys


@pytest.fixture
async def running(hamlet: Town, next_keys: LogKeys) -> AsyncIterator[Running]:
    """The town, founded; its service runs."""
    async with run(hamlet) as started:
        yield await started.found()


async def posted(running: Running, path: str, body: object) -> str:
    """POST what is to succeed; return the answer's bytes as text."""
    answer = await running.post(path, body)
    assert answer.status_code == 200, answer.text
    return answer.text


async def got(running: Running, path: str) -> str:
    """GET what is to succeed; return the answer's bytes as text."""
    answer = await running.client.get(path)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/json"
    return answer.text


def said(value: Any) -> str:
    """Return a part of an answer that is written down elsewhere as canonical JSON."""
    return canonical.encode(value).decode()


async def test_what_residents_are_answered(running: Running) -> None:
    one, two = Resident(), Resident()
    enrolments = {"enrolments": [each.enrolment(running.town) for each in (one, two)]}
    assert await posted(running, "/v1/enrolments", enrolments) == '{"enrolled":2}'

    first = running.service.store.size
    bundle, other = one.consent(yearly_cap=MOBILITY.yearly_caps[0]), two.consent(HEALTH)
    await running.settle()
    assert await posted(running, "/v1/grants", {"bundles": [bundle]}) == f'{{"indices":[{first}]}}'
    (health,) = await running.grant(other)

    mine = Mine(log=ORIGIN, key=public_hex(one.key), at=system_clock(), nonce=NONCE)
    asked = jws.sign(mine, one.key)
    hashes = {each: running.service.store.state.policies[each].sha256 for each in ("mobility", "health")}
    assert await posted(running, "/v1/residents/consents", asked) == (
        f'[{{"cap":{MOBILITY.yearly_caps[0]},"consent":"{consent_of(bundle)}","ended_by":null,'
        f'"holders":["bus_co","clinic","market"],"index":{first},"policy":"mobility",'
        f'"policy_sha256":"{hashes["mobility"]}","until":"{FAR_DAY}","version":1}}]'
    )

    ended = await running.post("/v1/revocations", one.revocation(bundle, first))
    operator = running.service.store.state.member_entries["operator"]
    promise = ended.json()["promise"]
    assert ended.text == f'{{"index":{first + 2},"operator":{operator},"promise":"{promise}"}}'

    new = Resident(subject=two.subject)
    lost = await running.post("/v1/lost-devices", new.enrolment(running.town, for_="lost-device"))
    promise = lost.json()["ended"][0]["revoked"]["promise"]
    assert lost.text == (
        f'{{"ended":[{{"grant":{health},'
        f'"revoked":{{"index":{first + 3},"operator":{operator},"promise":"{promise}"}}}}]}}'
    )

    erasing = make_erasure(one.key, log=ORIGIN, consent=consent_of(bundle), grant=first, said_at=system_clock())
    assert await posted(running, "/v1/erasures", erasing) == (
        f'{{"erased":[{{"entry":{first + 4},"index":{first}}},{{"entry":{first + 5},"index":{first + 2}}}]}}'
    )
    order = ErasureOrder(log=ORIGIN, index=health)
    approved = running.town.approved("erasure", order)
    ordered = {"order": order, "signatures": approved["signatures"]}
    assert await posted(running, "/v1/erasures/ordered", ordered) == (
        f'{{"erased":[{{"entry":{first + 6},"index":{health}}},{{"entry":{first + 7},"index":{first + 3}}}]}}'
    )

    word = ErasedWord(
        from_="clinic",
        log=ORIGIN,
        at=system_clock(),
        index=health,
        entry=first + 6,
        entry_sha256=entry_sha256(await running.entry(first + 6)),
    )
    token = running.nodes["clinic"].sign(word)
    assert await posted(running, "/v1/node/erased", {"words": [token]}) == '{"new":1}'
    assert await posted(running, "/v1/node/erased", {"words": [token]}) == '{"new":0}'
    one_signature, another = approved["signatures"]
    assert await got(running, f"/v1/erasures/{health}") == (
        f'{{"approvals":["{one_signature}","{another}"],"entry":{first + 6},"holders":{{"clinic":"{token}"}},'
        f'"index":{health}}}'
    )
    assert await got(running, f"/v1/erasures/{first}") == (
        f'{{"approvals":[],"entry":{first + 4},"holders":{{"bus_co":null,"clinic":null,"market":null}},"index":{first}}}'
    )

    farewell = Farewell(log=ORIGIN, key=public_hex(one.key), at=system_clock(), nonce="cd" * 32)
    assert await posted(running, "/v1/residents/farewell", jws.sign(farewell, one.key)) == '{"forgotten":true}'
    again = Mine(log=ORIGIN, key=public_hex(one.key), at=system_clock(), nonce="ef" * 32)
    refused(await running.post("/v1/residents/consents", jws.sign(again, one.key)), "not-enrolled")


async def test_what_partners_and_nodes_are_answered(running: Running) -> None:
    one = Resident()
    await running.enrol(one)
    await running.grant(one.consent())
    assert await got(running, "/v1/rounds") == "[]"
    admit = (await running.ask(question(running.town, query()))).admit
    await running.settle()
    assert await got(running, "/v1/rounds") == f"[{admit}]"
    assert await got(running, f"/v1/rounds/{admit}") == (
        '{"closed_by":null,"status":"open","waiting_for":["bus_co","clinic"]}'
    )
    data = await running.entry(admit)
    nodes = running.nodes
    for alias in ("bus_co", "clinic"):
        token = nodes[alias].sign(nodes[alias].countersign(admit, data))
        assert await posted(running, "/v1/node/countersign", token) == '{"closed_by":null}'
    tokens = {}
    for alias, closed in (("bus_co", "null"), ("clinic", str(admit + 1))):
        (task,) = (await running.work(alias)).tasks
        transcript = jws.read_unverified(task.go, Go).transcript
        tokens[alias] = nodes[alias].sign(nodes[alias].share(admit, data, transcript, [3]))
        assert await posted(running, "/v1/node/share", tokens[alias]) == f'{{"closed_by":{closed}}}'
    assert await got(running, f"/v1/rounds/{admit}?wait=5") == (
        f'{{"closed_by":{admit + 1},"status":"released","waiting_for":[]}}'
    )
    members = running.service.store.state.member_entries
    assert await got(running, f"/v1/rounds/{admit}/shares") == (
        f'{{"members":{{"bus_co":{members["bus_co"]},"clinic":{members["clinic"]}}},'
        f'"shares":{{"bus_co":"{tokens["bus_co"]}","clinic":"{tokens["clinic"]}"}}}}'
    )

    running.clock.offset = 10  # another question, of now
    refunded = (await running.ask(question(running.town, query(spend={"epsilon": "0.3"})))).admit
    running.clock.offset += MOBILITY.reuse
    data = await running.entry(refunded)
    for alias, closed in (("bus_co", "null"), ("clinic", str(refunded + 1))):
        token = nodes[alias].sign(nodes[alias].word(refunded, data))
        assert await posted(running, "/v1/node/word", token) == f'{{"closed_by":{closed}}}'
    assert await got(running, f"/v1/rounds/{refunded}") == (
        f'{{"closed_by":{refunded + 1},"status":"refunded","waiting_for":[]}}'
    )


async def test_what_anyone_may_read(running: Running) -> None:
    await running.settle()
    state, size = running.service.store.state, running.service.store.size
    await running.work("clinic", size=size)
    assert await got(running, "/v1/caught-up") == f'{{"clinic":{size},"published":{size}}}'
    aliases = sorted(["idp", "operator", *HOLDERS, *PARTNERS])
    assert await got(running, "/v1/members") == "[" + ",".join(said(state.members[each]) for each in aliases) + "]"
    assert await got(running, "/v1/policies") == (
        "["
        + ",".join(
            f'{{"index":{size - 2 + place},"policy":{said(each)},"sha256":"{entry_sha256(canonical.encode(each))}"}}'
            for place, each in enumerate((MOBILITY, HEALTH))
        )
        + "]"
    )
    assert await got(running, f"/v1/policies/{state.policies['health'].sha256}") == said(HEALTH)
    genesis = e.encode(running.town.genesis).decode()
    assert await got(running, "/v1/log-keys") == f'{{"changes":[],"genesis":{genesis},"v":1}}'
    assert await got(running, "/v1/trust") == said(running.service.trust)
    assert await got(running, "/healthz") == '{"status":"ok"}'
    assert await got(running, "/readyz") == f'{{"size":{size},"published":{size}}}'


async def test_what_stewards_are_answered(running: Running, next_keys: LogKeys) -> None:
    town, size = running.town, running.service.store.size
    member = town.approved("member", town.member("market", ["holder"], 2))
    assert await posted(running, "/v1/members", member) == f'{{"index":{size}}}'
    policy = town.approved("policy", MOBILITY)  # the very same is there already
    assert await posted(running, "/v1/policies", policy) == f'{{"index":{size - 2}}}'
    body = make_log_key_body(2, next_keys)
    tokens = [approve("log-key", body, log=ORIGIN, steward=alias, key=town.stewards[alias]) for alias in STEWARDS[:2]]
    wanted = {"log_key": body, "signatures": tokens}
    assert await posted(running, "/v1/log-keys", wanted) == f'{{"index":{size + 1}}}'
    await running.settle()
    (change,) = (await running.client.get("/v1/log-keys")).json()["changes"]
    genesis = e.encode(town.genesis).decode()
    entry = (await running.client.get(f"/v1/entries/{size + 1}")).text
    assert await got(running, "/v1/log-keys") == (
        f'{{"changes":[{{"entry":{entry},"index":{size + 1},"receipt":{said(change["receipt"])}}}],'
        f'"genesis":{genesis},"v":1}}'
    )

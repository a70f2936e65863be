"""Public proofs for residents: past in-force sets beside a replay of the log's own prefix; statements of holders."""

import random
import re
import time
from typing import Any

import httpx
import pytest
from msgspec import structs
from nacl.signing import SigningKey

from ledger import canonical, jws
from ledger import entries as e
from ledger.errors import ProofInvalid
from policies.consents.erasure import make_erasure
from policies.in_force.sets import check_in_force
from policies.ledger_state import State
from policies.policy_document import document_sha256
from policies.replay import MemoryConsents
from queries.answers.uses import InForceAt, Stopped, Uses, check_caught_up, check_use
from queries.replay import replay
from queries.rounds.messages import CaughtUp
from tests.kit.towns.running import Resident, Running, query, question, refused, replay_log
from tests.kit.towns.toy_town import HEALTH, MOBILITY
from trust.service.rounds import past_sets

pytestmark = pytest.mark.anyio
H32 = "ab" * 32


async def get(running: Running, path: str, type_: type[Any]) -> Any:
    """GET a public answer."""
    answer = await running.client.get(path)
    assert answer.status_code == httpx.codes.OK, answer.text
    return canonical.decode(answer.content, type_)


async def a_history(running: Running, seed: int, acts: int) -> str:
    """Let consents, revocations, questions, refunds, a day and a year pass at random; return the policy's hash."""
    source, town = random.Random(seed), running.town
    first = HEALTH.yearly_caps[0]
    health = structs.replace(HEALTH, version=2, yearly_caps=[first, 10 * first])
    await running.done("/v1/policies", town.approved("policy", health))
    asked = query(policy="health", version=2)
    price = jws.read_unverified(await running.done("/v1/questions/preview", question(town, asked)), dict)["charge"]
    health = structs.replace(HEALTH, version=3, yearly_caps=[2 * price, 3 * price + 1, 50 * price])
    asked = query(policy="health", version=3)
    await running.done("/v1/policies", town.approved("policy", health))
    residents = [Resident() for _ in range(4)]
    await running.enrol(*residents)
    held: list[tuple[Resident, Any, int, Any]] = []
    open_rounds: list[int] = []
    jumps = [1_901_150_000, 1_901_250_000, 1_930_000_000]  # 2030-03-31 in Japan, its morrow, and a year on
    for turn in range(acts):
        what = source.choice(["grant", "grant", "grant", "other", "revoke", "ask", "ask", "word"])
        if turn and turn % (acts // 4) == 0 and jumps:
            running.clock.offset = jumps.pop(0) - int(time.time())
        if turn == acts // 2:
            health = structs.replace(health, version=4)
            asked = query(policy="health", version=4)
            await running.done("/v1/policies", town.approved("policy", health))
        if what in {"grant", "other"}:
            to = health if what == "grant" else MOBILITY
            resident = source.choice(residents)
            until = to.until[source.randrange(2)] if len(jumps) == 3 else to.until[1]
            how: dict[str, Any] = {
                "now": running.clock() + 1,
                "until": until,
                "yearly_cap": source.choice(to.yearly_caps),
            }
            before = [each for each in held if each[0] is resident and each[3].id == to.id]
            bundle = resident.consent(to, replaces=before[0][2] if before else None, **how)
            ends = [who.revocation(old, index, of, said_at=running.clock()) for who, old, index, of in before]
            index = await running.replace(bundle, *ends) if ends else (await running.grant(bundle))[0]
            held = [each for each in held if each not in before]
            held.append((resident, bundle, index, to))
        elif what == "revoke" and held:
            resident, bundle, index, to = held.pop(source.randrange(len(held)))
            await running.done("/v1/revocations", resident.revocation(bundle, index, to, said_at=running.clock()))
        elif what == "ask":
            token = question(town, asked, fresh=True, now=running.clock())
            open_rounds.append((await running.ask(token)).admit)
        elif what == "word" and open_rounds:
            await running.settle()
            running.clock.offset += 700  # past its expiry
            admit = open_rounds.pop(source.randrange(len(open_rounds)))
            assert await running.word(admit, "clinic") is not None
    await running.settle()
    return document_sha256(health)


@pytest.mark.many(2)
@pytest.mark.parametrize("seed", [1, 2])
async def test_every_past_set_is_the_one_that_a_replay_of_the_prefix_gives(running: Running, seed: int) -> None:
    """Each size, in any order, three charges: same root, each grant's bit; an ``admit``'s own root where it stands."""
    sha256 = await a_history(running, seed, 90)
    _, entries = replay_log(running.town, clock=running.clock)
    data = [await running.service.store.entry(index) or b"" for index in range(len(entries))]
    state, seen = State(), MemoryConsents()
    expected: dict[tuple[int, int | None], tuple[str, int, list[int]]] = {}
    admits = 0
    for size, entry in enumerate([*entries, None]):
        if sha256 in state.in_force:
            own = isinstance(entry, e.Admit) and entry.policy_sha256 == sha256
            at = entry.at if own and entry is not None else state.at
            for charge in (None, 0, 5 * 10**8):
                nano = charge if charge is not None else entry.charge if isinstance(entry, e.Admit) and own else 0
                chunks = state.eligible(sha256, at, nano)
                root = state.in_force_root(sha256, at, nano)
                expected[size, charge] = root, at, [i for i in range(size) if chunks.get(i // 4096, 0) >> i % 4096 & 1]
                if charge is None and isinstance(entry, e.Admit) and own:
                    assert root == entry.in_force_root
                    admits += 1
        if entry is not None:
            replay(state, size, data[size], seen)
    assert admits > 3
    grants = [i for i, entry in enumerate(entries) if isinstance(entry, e.Grant)]
    assert len({tuple(bits) for _, _, bits in expected.values()}) > 5
    wanted = list(expected)
    random.Random(seed).shuffle(wanted)
    for size, charge in wanted:
        root, at, bits = expected[size, charge]
        for index in [place for place in grants if place < size][-3:] or [0]:
            path = f"/v1/log/in-force/{sha256}/{size}/{index}"
            answer = await running.service.past_sets.prove(sha256, size, index, charge, len(entries))
            assert (answer.root, answer.at) == (root, at), path
            assert check_in_force(answer.proof, root, index=index, size=size) == (index in bits)
    assert len(running.service.past_sets._sets) <= past_sets.KEPT_SETS


async def test_a_resident_pages_through_every_question_with_its_proof(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each page is what each question's own proof is; every bit holds against the root in the ledger's entry."""
    sha256 = await a_history(running, 3, 50)
    state, entries = replay_log(running.town, clock=running.clock)
    index = next(i for i, entry in enumerate(entries) if isinstance(entry, e.Grant) and entry.policy_sha256 == sha256)
    admits = {
        i: entry
        for i, entry in enumerate(entries)
        if isinstance(entry, e.Admit) and entry.policy_sha256 == sha256 and i > index
    }
    closed = {entry.admit: i for i, entry in enumerate(entries) if isinstance(entry, e.Release | e.Refund)}
    monkeypatch.setattr(past_sets, "PAGE", 2)
    found: dict[int, bool] = {}
    first: int | None = 0
    while first is not None:
        page = await get(running, f"/v1/log/uses/{sha256}/{index}?first={first}", Uses)
        assert len(page.uses) <= 2
        assert (page.policy_sha256, page.index, page.size) == (sha256, index, len(entries))
        for use in page.uses:
            place = use.in_force.size
            assert place >= first
            found[place] = check_use(use.in_force, admits[place], place, log=state.log, index=index)
            assert use.closed_by == closed.get(place)
            assert use.in_force == await get(running, f"/v1/log/in-force/{sha256}/{place}/{index}", InForceAt)
        first = page.next
    assert list(found) == list(admits)
    assert len(found) > 3


async def test_an_answer_about_another_question_is_refused(running: Running) -> None:
    await a_history(running, 4, 30)
    _, entries = replay_log(running.town, clock=running.clock)
    place, admit = next((i, entry) for i, entry in enumerate(entries) if isinstance(entry, e.Admit))
    index = next(i for i, entry in enumerate(entries) if isinstance(entry, e.Grant))
    assert index < place
    sha256 = admit.policy_sha256
    right = await get(running, f"/v1/log/in-force/{sha256}/{place}/{index}", InForceAt)
    log = running.service.store.state.log
    check_use(right, admit, place, log=log, index=index)
    wrong: list[InForceAt] = [
        structs.replace(right, root=H32),
        structs.replace(right, at=right.at + 1),
        structs.replace(right, charge=right.charge + 1),
        structs.replace(right, log="elsewhere"),
        structs.replace(right, policy_sha256=H32),
        structs.replace(right, size=place + 1),
        structs.replace(right, proof=structs.replace(right.proof, index=index + 1)),
        structs.replace(right, proof=structs.replace(right.proof, chunk="00" * 512)),
    ]
    for answer in wrong:
        with pytest.raises(ProofInvalid):
            check_use(answer, admit, place, log=log, index=index)


async def test_what_cannot_be_proven_is_refused(running: Running) -> None:
    """Unknown policies, sizes out of reach, indices outside the tree, charges that are none; and nothing changes."""
    sha256, resident = document_sha256(MOBILITY), Resident()
    await running.enrol(resident)
    (grant,) = await running.grant(resident.consent())
    await running.settle()
    size = running.service.sequencer.size
    begins = running.service.store.state.versions[sha256].index
    bad = {
        f"in-force/{H32}/{size}/{grant}": "not-found",
        f"in-force/mobility/{size}/{grant}": "not-found",
        f"in-force/{sha256}/{size + 1}/{grant}": "not-found",
        f"in-force/{sha256}/{10**30}/{grant}": "not-found",
        f"in-force/{sha256}/{begins}/0": "not-found",
        f"in-force/{sha256}/0/0": "not-found",
        f"in-force/{sha256}/-1/0": "not-found",
        f"in-force/{sha256}/{size}/{size}": "not-found",
        f"in-force/{sha256}/{size}/-1": "not-found",
        f"in-force/{sha256}/{size}/{grant}?charge=-1": "malformed",
        f"in-force/{sha256}/{size}/{grant}?charge={2**53}": "malformed",
        f"in-force/{sha256}/{size}/{grant}?charge=one": "malformed",
        f"in-force/{sha256}/{size}/1.5": "not-found",
        f"uses/{H32}/{grant}": "not-found",
        f"uses/{sha256}/{size}": "not-found",
        f"uses/{sha256}/-1": "not-found",
        f"uses/{sha256}/{grant}?first=-1": "malformed",
        f"uses/{sha256}/{grant}?first={10**30}": "malformed",
        f"stopped/{size}": "not-found",
        f"stopped/{grant}": "not-found",
        f"stopped/{10**30}": "not-found",
        "stopped/0": "not-found",
    }
    async with running.unchanged():
        for path, code in bad.items():
            refused(await running.client.get("/v1/log/" + path), code)


async def stops(running: Running) -> float:
    """How many ends of consents were measured until they were stopped everywhere."""
    lines = (await running.client.get("/metrics")).text.splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("musubi_stop_seconds_count ")))


async def test_an_end_is_stopped_when_the_last_holder_has_signed(running: Running) -> None:
    """Each holder's first statement that covers it is kept, and is good against its key in the ledger."""
    resident = Resident()
    await running.enrol(resident)
    bundle = resident.consent()
    (grant,) = await running.grant(bundle)
    index = (await running.done("/v1/revocations", resident.revocation(bundle, grant)))["index"]
    (other,) = await running.grant(resident.consent(now=running.clock() + 1))
    await running.settle()
    published = running.service.sequencer.size
    before, measured = running.service.store.state, await stops(running)
    await running.work("bus_co", size=index)  # not far enough: the entry itself is not below that size
    answer = await get(running, f"/v1/log/stopped/{index}", Stopped)
    assert (answer.grant, answer.stopped_at, answer.policy_sha256) == (grant, None, document_sha256(MOBILITY))
    assert [(each.holder, each.token) for each in answer.holders] == [(h, None) for h in MOBILITY.holders]
    assert answer.holders[0].size == index
    running.clock.offset = 5
    await running.work("bus_co", size=index + 1)
    running.clock.offset = 9
    await running.work("clinic", size=published)
    await running.work("bus_co", size=published)  # a later statement: the first one stays the proof
    answer = await get(running, f"/v1/log/stopped/{index}", Stopped)
    assert answer.stopped_at is None
    assert [each.token is not None for each in answer.holders] == [True, True, False]
    running.clock.offset = 30
    await running.work("market", size=published)
    answer = await get(running, f"/v1/log/stopped/{index}", Stopped)
    times = {}
    for each in answer.holders:
        member = e.decode(await running.entry(each.member))
        assert isinstance(member, e.Member)
        assert each.token is not None
        said = check_caught_up(each.token, member.member.key, log=before.log, holder=each.holder)
        assert said.size > index
        times[each.holder] = said.at
    assert times["bus_co"] < times["clinic"] < times["market"] == answer.stopped_at
    assert await stops(running) == measured + 1
    refused(await running.client.get(f"/v1/log/stopped/{other}"), "not-found")


async def test_an_erasure_after_the_end_is_confirmed_by_every_holder_as_well(running: Running) -> None:
    """The erasure of an ended consent, and of its revocation: nothing else ends meanwhile."""
    resident = Resident()
    await running.enrol(resident)
    bundle = resident.consent()
    (grant,) = await running.grant(bundle)
    await running.done("/v1/revocations", resident.revocation(bundle, grant))
    await running.settle()
    for holder in MOBILITY.holders:
        await running.work(holder, size=running.service.sequencer.size)
    consent = jws.read_unverified(bundle.leaves[0].body, dict)["consent"]
    how = {"log": running.service.store.state.log, "grant": grant, "consent": consent, "said_at": running.clock()}
    erased = (await running.done("/v1/erasures", make_erasure(resident.key, **how)))["erased"]
    await running.settle()
    for holder in MOBILITY.holders:
        await running.work(holder, size=running.service.sequencer.size)
    assert len(erased) == 2
    for each in erased:
        answer = await get(running, f"/v1/log/stopped/{each['entry']}", Stopped)
        assert answer.grant == grant
        assert answer.stopped_at is not None


async def test_a_statement_that_is_not_the_nodes_own_is_refused(running: Running) -> None:
    """Another holder's, for another ledger, by another key, of another time, of more than is published."""
    await running.settle()
    size = running.service.sequencer.size
    node, other = running.nodes["bus_co"], running.nodes["clinic"]
    statements = {
        other.sign(other.caught_up(size)): "signature-invalid",
        node.sign(other.caught_up(size)): "proof-invalid",
        node.sign(node.caught_up(size, log="elsewhere")): "proof-invalid",
        node.sign(node.caught_up(size + 1)): "malformed",
        node.sign(node.caught_up(size, at=int(time.time()) - 3_600)): "clock-skew",
        node.sign(node.work()): "malformed",
        "no token": "malformed",
    }
    async with running.unchanged():
        for token, code in statements.items():
            refused(await running.post("/v1/node/work", node.sign(structs.replace(node.work(), caught_up=token))), code)
    with pytest.raises(ProofInvalid):
        check_caught_up(
            node.sign(CaughtUp(from_="clinic", log="l", size=1, at=1)),
            bytes(running.town.keys["bus_co"].verify_key).hex(),
            log="l",
            holder="bus_co",
        )


async def test_the_public_page_says_how_far_each_holder_is_and_which_one_lags(running: Running) -> None:
    """A holder that was heard and is not behind; one behind for more than a minute; one that was never heard."""
    await running.settle()
    running.clock.stand()
    size = running.service.sequencer.size
    await running.work("bus_co", size=size)
    await running.work("clinic", size=size - 1)
    running.clock.offset = 100
    await running.work("bus_co", size=size)
    running.clock.offset = 103
    page = (await running.client.get("/?lang=en")).text
    said = re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", page))
    assert f"bus_co Caught up with the first {size} entries, as it said 3 seconds ago. clinic" in said
    assert re.search(rf"clinic Caught up with the first {size - 1} entries, as it said 10\d seconds ago. lagging", said)
    assert "market Nothing has been heard from it yet. lagging" in said
    assert "遅れています" in (await running.client.get("/?lang=ja")).text


async def test_a_statement_stays_good_when_its_holder_changes_its_key_afterwards(running: Running) -> None:
    """Each statement names the ``member`` entry of the key that it was signed with; the old key says nothing new."""
    resident, town, log = Resident(), running.town, running.service.store.state.log
    await running.enrol(resident)
    bundle = resident.consent()
    (grant,) = await running.grant(bundle)
    first = (await running.done("/v1/revocations", resident.revocation(bundle, grant)))["index"]
    await running.settle()
    await running.work("bus_co", size=running.service.sequencer.size)
    old, town.keys["bus_co"] = town.keys["bus_co"], SigningKey.generate()
    await running.done("/v1/members", town.approved("member", town.member("bus_co", ["holder"], 2)))
    bundle = resident.consent(now=running.clock() + 1)
    (grant,) = await running.grant(bundle)
    second = (await running.done("/v1/revocations", resident.revocation(bundle, grant)))["index"]
    await running.settle()
    node, size = running.nodes["bus_co"], running.service.sequencer.size
    stale = structs.replace(node.work(), caught_up=node.sign(node.caught_up(size), old))
    refused(await running.post("/v1/node/work", node.sign(stale)), "signature-invalid")
    await running.work("bus_co", size=size)
    members = set()
    for index in (first, second):
        said = (await get(running, f"/v1/log/stopped/{index}", Stopped)).holders[0]
        entry = e.decode(await running.entry(said.member))
        assert isinstance(entry, e.Member)
        assert said.token is not None
        assert check_caught_up(said.token, entry.member.key, log=log, holder="bus_co").size > index
        members.add(said.member)
    assert len(members) == 2

"""Every route of the service, once as it is meant and once as it is refused: what it says is what is committed.

``http_transcript.txt`` is for reading, and for the diff of a change: it shows what of the interface's behaviour is
another. ``make transcript`` writes it anew.
"""

import os
import secrets
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from ledger import canonical, jws
from ledger.entries import RulesBody
from ledger.notes.log_keys import LogKeys
from ledger.notes.note import VerifierKey
from policies.consents.erasure import ErasedWord, ErasureOrder, Farewell, make_erasure
from policies.log_key_changes import make_log_key_body
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from policies.policy_document import document_sha256
from policies.replay import entry_sha256
from policies.rules import FIRST_RULES, make_rules_word
from queries.rounds.messages import AskAnswer, Go
from tests.kit.towns.running import Resident, Running, Town, consent_of, lay_out, query, question, run
from tests.kit.towns.toy_town import HEALTH, HOLDERS, MOBILITY, ORIGIN, POLICIES
from tests.service.transcript.exchanges import Transcript
from trust.audit.witness_folder import change_trusted_keys
from trust.files.keys import new_key

pytestmark = pytest.mark.anyio
COMMITTED = Path(__file__).with_name("http_transcript.txt")
WRITE = "MUSUBI_WRITE_TRANSCRIPT"
NEVER_REFUSED = {
    "/",
    "/healthz",
    "/interface",
    "/log/checkpoint",
    "/metrics",
    "/readyz",
    "/v1/caught-up",
    "/v1/log-keys",
    "/v1/members",
    "/v1/policies",
    "/v1/rounds",
    "/v1/rules",
    "/v1/trust",
    "/verify",
    "/verify/musubi-verify.html",
}
"""Routes whose GET has nothing that could be wrong with it."""


async def test_every_route_answers_and_refuses_as_the_committed_transcript_says(tmp_path: Path) -> None:
    town = lay_out(tmp_path / "town", rules=FIRST_RULES)
    next_key = new_key(town.service / "keys" / "log-2.key")
    next_keys = LogKeys(VerifierKey.ed25519(ORIGIN, bytes(next_key.verify_key)))
    change_trusted_keys(town.witness, add=[next_keys.key], remove=[])
    async with run(town) as running:
        transcript = Transcript(running.client._transport.app, running.client, running.settle)  # type: ignore[attr-defined]
        name_keys(town, transcript)
        await tell(town, running, transcript, next_keys)
        text = transcript.text()
    routes = {route for route in transcript.routes if not route[1].startswith(("/static/", "/openapi"))}
    assert routes - transcript.taken == set()
    assert {(method, path) for method, path in routes - transcript.refused if method != "GET"} == set()
    assert {path for method, path in routes - transcript.refused if method == "GET"} == NEVER_REFUSED
    if os.environ.get(WRITE):
        COMMITTED.write_text(text, "utf-8")
    assert text.splitlines() == COMMITTED.read_text("utf-8").splitlines()


def name_keys(town: Town, transcript: Transcript) -> None:
    """Say what the town's keys and hashes are called."""
    everybody = town.keys | {f"steward {alias}": key for alias, key in town.stewards.items()}
    transcript.names |= {public_hex(key): alias for alias, key in everybody.items()}
    transcript.names |= {document_sha256(policy): f"hash of policy {policy.id}" for policy in POLICIES}
    genesis = (town.service / "genesis.json").read_bytes().rstrip(b"\n")
    transcript.names[entry_sha256(genesis)] = "hash of entry 0"


def new_resident(transcript: Transcript, name: str, subject: str = "") -> Resident:
    """Make a resident whose keys have names."""
    resident = Resident(subject=subject) if subject else Resident()
    for end in (SERVICE, *HOLDERS):
        transcript.names[public_hex(pairwise_key(resident.seed, end))] = f"{name} at {end}"
    return resident


async def tell(town: Town, running: Running, transcript: Transcript, next_keys: LogKeys) -> None:
    """Drive every route, in the order in which a town would come to it."""
    await stewards(town, running, transcript)
    await rules(town, transcript)
    await residents(town, running, transcript)
    admit = await partners(town, transcript)
    refunded = await nodes(town, running, transcript, admit)
    await answers(town, transcript, admit, refunded)
    await ends(town, running, transcript)
    await the_log(town, running, transcript, next_keys)
    await stops(town, running, transcript)
    await everybody(transcript)


async def stewards(town: Town, running: Running, transcript: Transcript) -> None:
    """Members and policies."""
    transcript.chapter("For stewards")
    founding = town.founding()
    member = town.member("campus", ["partner"])
    shown = {founding[0][1]["member"].alias: "A member joins.", MOBILITY.id: "A policy comes into force."}
    for path, body in founding:
        what = shown.get(body["member"].alias if "member" in body else body["policy"].id)
        if what is None:
            await running.done(path, body)
        else:
            await transcript.taken_in(what, "POST", path, body)
    alone = town.approved("member", structs.replace(member, number=2), ("city",))
    await transcript.refusal("One steward alone is no quorum.", "POST", "/v1/members", alone)
    skipped = town.approved("policy", structs.replace(MOBILITY, version=3))
    await transcript.refusal("Version 2 of the policy is left out.", "POST", "/v1/policies", skipped)
    await transcript.taken_in("Who the members are.", "GET", "/v1/members")


async def residents(town: Town, running: Running, transcript: Transcript) -> None:
    """Enrolment, consents, and seeing one's own."""
    transcript.chapter("For residents and counters")
    aki, bo = new_resident(transcript, "Aki"), new_resident(transcript, "Bo")
    enrolments = {"enrolments": [aki.enrolment(town)]}
    await transcript.taken_in("A counter enrols Aki.", "POST", "/v1/enrolments", enrolments)
    blank = f" {canonical.encode(enrolments).decode()}"
    await transcript.refusal("A blank too many.", "POST", "/v1/enrolments", blank)
    foreign = {"enrolments": [bo.enrolment(town, log="musubi.test/elsewhere")]}
    await transcript.refusal("The attestation is for another town.", "POST", "/v1/enrolments", foreign)
    bundle = aki.consent(holders=["bus_co"])
    how = {"Idempotency_Key": "aki-grant-1"}
    body = {"bundles": [bundle]}
    granted = await transcript.taken_in("Aki consents, at one holder.", "POST", "/v1/grants", body, **how)
    (index,) = granted.json()["indices"]
    await transcript.refusal(
        "The same key with another body.", "POST", "/v1/grants", {"bundles": [aki.consent()]}, **how
    )
    await transcript.refusal("Bo is not enrolled.", "POST", "/v1/grants", {"bundles": [bo.consent()]})
    await transcript.refusal("Aki has one in force.", "POST", "/v1/grants", {"bundles": [aki.consent()]})
    stale = {"bundles": [aki.consent(HEALTH, now=running.clock() - 27 * 3_600)]}
    await transcript.refusal("The notice was shown yesterday.", "POST", "/v1/grants", stale)
    less = aki.consent(holders=["bus_co"], yearly_cap=MOBILITY.yearly_caps[0], replaces=index)
    instead: dict[str, Any] = {"bundles": [less], "revocations": [aki.revocation(bundle, index, holders=["bus_co"])]}
    replaced = await transcript.taken_in(
        "Aki agrees to less: it takes the first one's place.", "POST", "/v1/grants", instead
    )
    bundle, (index,) = less, replaced.json()["indices"]
    path = "/v1/residents/consents"
    await transcript.taken_in("Aki looks at what Aki agreed to.", "POST", path, jws.sign(aki.mine(), aki.key))
    replayed = aki.mine()
    await running.done(path, jws.sign(replayed, aki.key))
    await transcript.refusal("A message that was seen before.", "POST", path, jws.sign(replayed, aki.key))
    wrong = bo.revocation(bundle, index, holders=["bus_co"])
    await transcript.refusal("Bo ends Aki's consent.", "POST", "/v1/revocations", wrong)
    await transcript.taken_in(
        "Aki ends it.", "POST", "/v1/revocations", aki.revocation(bundle, index, holders=["bus_co"])
    )
    sha256 = document_sha256(MOBILITY)
    size = running.service.sequencer.size
    in_force = f"/v1/log/in-force/{sha256}/{size}/{index}"
    await transcript.taken_in("Whether it is in force now.", "GET", in_force)
    await transcript.refusal("Of a tree that is still to come.", "GET", f"/v1/log/in-force/{sha256}/{size + 9}/{index}")
    await transcript.taken_in("Which questions it could count in.", "GET", f"/v1/log/uses/{sha256}/{index}")
    await transcript.refusal("No place of the ledger.", "GET", f"/v1/log/uses/{sha256}/{index}?first=-1")
    await transcript.taken_in("Who has signed that it is stopped.", "GET", f"/v1/log/stopped/{index + 1}")
    await transcript.refusal("An entry that ended nothing.", "GET", "/v1/log/stopped/0")
    lost = new_resident(transcript, "Aki's new device", subject=aki.subject)
    plain = lost.enrolment(town)
    await transcript.refusal("An attestation of no loss.", "POST", "/v1/lost-devices", plain)
    await running.grant(aki.consent(HEALTH), key="aki-grant-2")
    attested = lost.enrolment(town, for_="lost-device")
    await transcript.taken_in("Aki's device is lost.", "POST", "/v1/lost-devices", attested)


async def partners(town: Town, transcript: Transcript) -> int:
    """Ask a question; return its ``admit``."""
    transcript.chapter("For partners")
    path = "/v1/questions"
    await transcript.taken_in("What it would cost.", "POST", f"{path}/preview", question(town, query()))
    dear = query(spend={"epsilon": "19"})
    await transcript.refusal("More than the policy allows.", "POST", f"{path}/preview", question(town, dear))
    asked = await transcript.taken_in("The planner asks.", "POST", path, question(town, query()))
    admit = jws.read_unverified(asked.text, AskAnswer).admit
    other = question(town, query(), key=town.keys["campus"])
    await transcript.refusal("Signed by somebody else.", "POST", path, other)
    await transcript.taken_in("Which questions are open.", "GET", "/v1/rounds")
    await transcript.taken_in("Where one stands.", "GET", f"/v1/rounds/{admit}?wait=0")
    await transcript.refusal("An entry that is no question.", "GET", "/v1/rounds/0")
    await transcript.refusal("Its shares are not all there.", "GET", f"/v1/rounds/{admit}/shares")
    return admit


async def nodes(town: Town, running: Running, transcript: Transcript, admit: int) -> int:
    """Answer the question; refund another one, and return its ``admit``."""
    transcript.chapter("For nodes")
    bus, clinic = running.nodes["bus_co"], running.nodes["clinic"]
    work = "/v1/node/work"
    await transcript.taken_in("The bus company's node looks for work.", "POST", work, bus.sign(bus.work(size=3)))
    await transcript.refusal("Signed by another node.", "POST", work, bus.sign(bus.work(), town.keys["clinic"]))
    leaves = "/v1/node/leaves"
    last = running.service.sequencer.size - 1
    await transcript.taken_in("It fetches its own leaves.", "POST", leaves, bus.sign(bus.leaves(0, last)))
    await transcript.refusal("Too many at once.", "POST", leaves, bus.sign(bus.leaves(0, 9_999)))
    data = await running.entry(admit)
    path = "/v1/node/countersign"
    tokens = [bus.sign(bus.countersign(admit, data)), clinic.sign(clinic.countersign(admit, data))]
    await transcript.taken_in("It countersigns.", "POST", path, tokens[0])
    market = running.nodes["market"]
    stranger = market.sign(market.countersign(admit, data))
    await transcript.refusal("The market takes no part in it.", "POST", path, stranger)
    await running.done(path, tokens[1])
    (task,) = (await running.work("bus_co")).tasks
    countersigned = jws.read_unverified(str(task.go), Go).transcript
    path = "/v1/node/share"
    await transcript.taken_in(
        "It sends its share.", "POST", path, bus.sign(bus.share(admit, data, countersigned, [12]))
    )
    await transcript.refusal(
        "Another share of the same.", "POST", path, bus.sign(bus.share(admit, data, countersigned, [13]))
    )
    await transcript.taken_in(
        "The clinic's is the last.", "POST", path, clinic.sign(clinic.share(admit, data, countersigned, [5]))
    )
    refunded = (await running.ask(question(town, query(), fresh=True))).admit
    second = await running.entry(refunded)
    path = "/v1/node/word"
    await transcript.taken_in("No share of it left.", "POST", path, bus.sign(bus.word(refunded, second)))
    await transcript.refusal("But of this one it did.", "POST", path, bus.sign(bus.word(admit, data)))
    await running.done(path, clinic.sign(clinic.word(refunded, second)))
    return refunded


async def answers(town: Town, transcript: Transcript, admit: int, refunded: int) -> None:
    """What a partner and anyone else sees of rounds that have ended."""
    transcript.chapter("For partners, when it is answered")
    await transcript.taken_in("Where it stands.", "GET", f"/v1/rounds/{admit}?wait=20")
    await transcript.taken_in("Where the other one stands.", "GET", f"/v1/rounds/{refunded}?wait=20")
    await transcript.taken_in("The shares that make the answer.", "GET", f"/v1/rounds/{admit}/shares")
    await transcript.taken_in(
        "The same question again costs nothing.", "POST", "/v1/questions", question(town, query())
    )
    await transcript.taken_in("The policies in force.", "GET", "/v1/policies")
    await transcript.taken_in("One of them.", "GET", f"/v1/policies/{document_sha256(HEALTH)}")
    await transcript.refusal("One that never was.", "GET", f"/v1/policies/{'00' * 32}")
    await transcript.taken_in("How far the nodes are.", "GET", "/v1/caught-up")


async def ends(town: Town, running: Running, transcript: Transcript) -> None:
    """Erasures."""
    transcript.chapter("Erasure")
    chie = new_resident(transcript, "Chie")
    await running.enrol(chie)
    own, ordered = chie.consent(), chie.consent(HEALTH)
    (index,), (other,) = await running.grant(own, key="chie-grant-1"), await running.grant(ordered, key="chie-grant-2")

    def wish() -> str:
        said_at = running.clock()
        return make_erasure(chie.key, log=ORIGIN, consent=consent_of(own), grant=index, said_at=said_at)

    def goodbye() -> str:
        at, nonce = running.clock(), secrets.token_hex(32)
        return jws.sign(Farewell(log=ORIGIN, key=public_hex(chie.key), at=at, nonce=nonce), chie.key)

    done = await transcript.taken_in("Chie has a consent erased.", "POST", "/v1/erasures", wish())
    (erased,) = done.json()["erased"]
    await transcript.refusal("It is gone.", "POST", "/v1/erasures", wish())
    await transcript.refusal("Another one is left.", "POST", "/v1/residents/farewell", goodbye())
    order = ErasureOrder(log=ORIGIN, index=other)

    def approved(*by: str) -> dict[str, object]:
        return {"order": order, "signatures": town.approved("erasure", order, by)["signatures"]}

    path = "/v1/erasures/ordered"
    await transcript.refusal("One steward alone orders nothing.", "POST", path, approved("city"))
    await transcript.taken_in("An authority orders it.", "POST", path, approved("city", "firms"))
    entry = await running.entry(erased["entry"])
    said = {"log": ORIGIN, "at": running.clock(), "index": index, "entry": erased["entry"]}
    word = ErasedWord(from_="bus_co", entry_sha256=entry_sha256(entry), **said)
    path = "/v1/node/erased"
    await transcript.taken_in(
        "A node says that it is gone there.", "POST", path, {"words": [running.nodes["bus_co"].sign(word)]}
    )
    forged = jws.sign(word, town.keys["clinic"])
    await transcript.refusal("Signed by another node.", "POST", path, {"words": [forged]})
    await transcript.taken_in("Who has said so.", "GET", f"/v1/erasures/{index}")
    await transcript.refusal("Nothing was erased there.", "GET", "/v1/erasures/0")
    await transcript.taken_in("Chie is forgotten.", "POST", "/v1/residents/farewell", goodbye())


async def the_log(town: Town, running: Running, transcript: Transcript, next_keys: LogKeys) -> None:
    """The log as files, receipts, and a change of its key."""
    transcript.chapter("The log: static files in all but name")
    size = running.service.sequencer.size
    await transcript.taken_in("The newest checkpoint.", "GET", "/log/checkpoint")
    await transcript.taken_in("A tile of hashes.", "GET", f"/log/tile/0/000.p/{size}")
    await transcript.taken_in("A bundle of entries.", "GET", f"/log/tile/entries/000.p/{size}", accept_encoding="gzip")
    await transcript.refusal("A tile that is not there yet.", "GET", "/log/tile/0/001")
    await transcript.refusal("No tile's name.", "GET", "/log/tile/0/1")
    await transcript.taken_in("A receipt.", "GET", "/v1/receipts/1")
    await transcript.refusal("For an entry that is not there yet.", "GET", "/v1/receipts/999")
    await transcript.taken_in("An entry.", "GET", "/v1/entries/0")
    await transcript.refusal("One that is not there yet.", "GET", "/v1/entries/999")
    await transcript.taken_in("What a reader may pin.", "GET", "/v1/trust")
    body = make_log_key_body(2, next_keys)
    alone = town.approved("log-key", body, ("city",))["signatures"]
    await transcript.refusal("One steward alone.", "POST", "/v1/log-keys", {"log_key": body, "signatures": alone})
    quorum = town.approved("log-key", body)["signatures"]
    wish = {"log_key": body, "signatures": quorum}
    await transcript.taken_in("The log's key changes.", "POST", "/v1/log-keys", wish)
    await transcript.taken_in("Every change of it, proven.", "GET", "/v1/log-keys")


async def rules(town: Town, transcript: Transcript) -> None:
    """Newer rules: every holder's node reads them, the stewards sign."""
    transcript.chapter("Other rules")
    wish = town.approved("rules", RulesBody(number=2))
    await transcript.refusal("Nobody has said yet that they read them.", "POST", "/v1/rules", wish)
    forged = make_rules_word(town.keys["clinic"], log=ORIGIN, holder="bus_co", number=2)
    await transcript.refusal("Signed by another node.", "POST", "/v1/node/rules", forged)
    for holder in HOLDERS:
        word = make_rules_word(town.keys[holder], log=ORIGIN, holder=holder, number=2)
        await transcript.taken_in("A node says that it reads them.", "POST", "/v1/node/rules", word)
    await transcript.taken_in("Who reads which.", "GET", "/v1/rules")
    alone = town.approved("rules", RulesBody(number=2), ("city",))
    await transcript.refusal("One steward alone.", "POST", "/v1/rules", alone)
    await transcript.taken_in("The ledger goes on by them.", "POST", "/v1/rules", wish)


async def stops(town: Town, running: Running, transcript: Transcript) -> None:
    """A resident without a device, whom the identity provider knows."""
    transcript.chapter("For residents and counters, without a key")
    emi, fuu = new_resident(transcript, "Emi"), new_resident(transcript, "Fuu")
    await running.enrol(emi, fuu)
    bundle = emi.consent(holders=["bus_co"])
    (index,) = await running.grant(bundle, key="emi-grant-1")
    path = "/v1/stops"
    await transcript.refusal("The consent is not Fuu's.", "POST", path, fuu.stop(town, bundle, index))
    await transcript.taken_in("The provider stops Emi's consent.", "POST", path, emi.stop(town, bundle, index))
    path = "/v1/residents/consents"
    await transcript.taken_in("Emi sees who did that.", "POST", path, jws.sign(emi.mine(), emi.key))
    stranger = new_resident(transcript, "a wrong seed")
    await transcript.refusal("A wrong seed.", "POST", path, jws.sign(stranger.mine(), stranger.key))


async def everybody(transcript: Transcript) -> None:
    """Pages, health, and what is no route at all."""
    transcript.chapter("For everybody")
    await transcript.taken_in("The town's page.", "GET", "/", accept_language="en")
    await transcript.taken_in("In Japanese, from now on.", "GET", "/?lang=ja")
    await transcript.taken_in("The interface as a page.", "GET", "/interface?lang=en")
    await transcript.taken_in("The page that checks receipts.", "GET", "/verify")
    await transcript.taken_in("The same to save.", "GET", "/verify/musubi-verify.html")
    await transcript.taken_in("The interface for machines.", "GET", "/openapi/openapi.json")
    await transcript.taken_in("Health.", "GET", "/healthz")
    await transcript.taken_in("Readiness.", "GET", "/readyz")
    await transcript.taken_in("Metrics.", "GET", "/metrics")
    await transcript.refusal("No such path.", "GET", "/v1/nothing")
    await transcript.refusal("No such method.", "POST", "/v1/trust", {})
    await transcript.refusal("More than a body may be.", "POST", "/v1/grants", '"' + "x" * 500_000 + '"')

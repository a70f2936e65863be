"""Bad input gets a clear error and changes nothing: every table, the state and the log's files are looked at after each.

One town stands for the whole module, with something of everything in it; that each case leaves it as it was is what
lets the next one use it.
"""

import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from msgspec import Raw, structs
from nacl.bindings import crypto_core_ed25519_scalar_add
from nacl.signing import SigningKey

from ledger import canonical, jws
from policies.consents.bundle import NONE, Bundle, Leaf, leaf_digest
from policies.consents.consent import General, SubGrant
from policies.document import Budget, Policy
from policies.governance import approve
from policies.pairwise_keys import pairwise_key, public_hex
from queries.rounds.messages import Countersign, Share, Word
from tests.kit.running import (
    HOLDERS,
    MOBILITY,
    ORIGIN,
    Node,
    Resident,
    Running,
    Town,
    lay_out,
    policy,
    query,
    question,
    refused,
    run,
    text,
)
from trust.service.acts.intake import SMALL

pytestmark = pytest.mark.anyio

TIGHT = policy(
    "tight",
    ["market"],
    ["planner"],
    ["market"],
    budget=Budget(delta="0.000001", window="day", per_window=10**5, life=10**6, per_partner=10**5),
)
OUTINGS = policy("outings", ["market"], ["planner"], ["market"])
OUTINGS_2 = structs.replace(OUTINGS, version=2)


@dataclass
class Standing:
    """The town that all cases attack, and what stands in it."""

    running: Running
    aoi: Resident
    ren: Resident
    stranger: Resident
    given: Bundle
    grant: int
    given_too: Bundle
    grant_too: int
    ended: Bundle
    ended_grant: int
    revocation: dict[str, Any]
    asked: str
    opened: int
    opened_entry: bytes
    closed: int
    closed_entry: bytes
    closed_shares: dict[str, str]
    worded: int
    worded_entry: bytes
    half: int
    half_entry: bytes
    half_transcript: list[str]
    half_share: str

    @property
    def town(self) -> Town:
        """The town."""
        return self.running.town

    def node(self, alias: str) -> Node:
        """One holder's node."""
        return self.running.nodes[alias]


@pytest.fixture(scope="module")
async def standing(tmp_path_factory: pytest.TempPathFactory, database: Callable[[], str]) -> AsyncIterator[Standing]:
    town = lay_out(tmp_path_factory.mktemp("standing"), database())
    async with run(town) as running:
        await running.found()
        for document in (TIGHT, OUTINGS, OUTINGS_2):
            await running.done("/v1/policies", town.approved("policy", document))
        aoi, ren, stranger = Resident(), Resident(), Resident()
        await running.enrol(aoi, ren)
        given, given_too, ended = aoi.consent(), aoi.consent(), ren.consent(holders=["bus_co"])
        grant, grant_too, ended_grant = [(await running.grant(each))[0] for each in (given, given_too, ended)]
        revocation = ren.revocation(ended, ended_grant, holders=["bus_co"])
        await running.done("/v1/revocations", revocation)

        asked = question(town, query())
        opened = (await running.ask(asked)).admit
        closed = (await running.ask(question(town, query(group_by=["ward"])))).admit
        worded = (await running.ask(question(town, query(measures=[{"as": "n", "count": "residents"}])))).admit
        half = (await running.ask(question(town, query(), fresh=True))).admit
        await running.countersign(opened, "bus_co")
        await running.countersign(closed, "bus_co", "clinic")
        await running.share(closed, "bus_co", [1, 2, 3])
        assert await running.share(closed, "clinic", [4, 5, 6]) is not None
        await running.countersign(worded, "bus_co", "clinic")
        await running.word(worded, "clinic")
        half_transcript = await running.countersign(half, "bus_co", "clinic")
        half_entry = await running.entry(half)
        bus = running.nodes["bus_co"]
        half_share = bus.sign(bus.share(half, half_entry, half_transcript, [7]))
        await running.done("/v1/node/share", half_share)

        yield Standing(
            running=running,
            aoi=aoi,
            ren=ren,
            stranger=stranger,
            given=given,
            grant=grant,
            given_too=given_too,
            grant_too=grant_too,
            ended=ended,
            ended_grant=ended_grant,
            revocation=revocation,
            asked=asked,
            opened=opened,
            opened_entry=await running.entry(opened),
            closed=closed,
            closed_entry=await running.entry(closed),
            closed_shares=(await running.client.get(f"/v1/rounds/{closed}/shares")).json()["shares"],
            worded=worded,
            worded_entry=await running.entry(worded),
            half=half,
            half_entry=half_entry,
            half_transcript=half_transcript,
            half_share=half_share,
        )


def with_leaf(bundle: Bundle, place: int, body: str, salt: str | None = None) -> Bundle:
    leaves = list(bundle.leaves)
    leaves[place] = Leaf(salt=salt or leaves[place].salt, body=body)
    return Bundle(leaves=leaves)


def flipped(token: str) -> str:
    """The token with one bit of its signature turned over."""
    head, _, signature = token.rpartition(".")
    data = bytearray(jws.unb64url(signature))
    data[5] ^= 1
    return f"{head}.{jws.b64url(bytes(data))}"


def stretched(token: str) -> str:
    """The token with the group's order added to its signature's scalar: another text that says the same (malleability)."""
    order = (2**252 + 27742317777372353535851937790883648493).to_bytes(32, "little")
    head, _, signature = token.rpartition(".")
    data = jws.unb64url(signature)
    added = (int.from_bytes(data[32:], "little") + int.from_bytes(order, "little")).to_bytes(32, "little")
    assert crypto_core_ed25519_scalar_add(added, bytes(32)) == crypto_core_ed25519_scalar_add(data[32:], bytes(32))
    return f"{head}.{jws.b64url(data[:32] + added)}"


def unsigned(token: str) -> str:
    """The message under an ``alg: none`` header, without a signature."""
    header = jws.b64url(b'{"alg":"none"}')
    return f"{header}.{token.split('.')[1]}."


def general(
    s: Standing, key: SigningKey | None = None, who: Resident | None = None, to: Policy = MOBILITY, **changes: Any
) -> dict[str, Any]:
    """A consent whose general part says something else than it should, everything else fitting that."""
    who = who or s.aoi
    honest = who.consent(to)
    said = structs.replace(jws.read_unverified(honest.leaves[0].body, General), **changes)
    first = Leaf(salt=honest.leaves[0].salt, body=jws.sign(said, key or who.key))
    shared = ("log", "consent", "policy", "version", "policy_sha256", "until", "notice_sha256")
    leaves = [first]
    for leaf in honest.leaves[1:]:
        sub = jws.read_unverified(leaf.body, SubGrant)
        sub = structs.replace(sub, general=leaf_digest(first).hex(), **{name: getattr(said, name) for name in shared})
        leaves.append(Leaf(salt=leaf.salt, body=jws.sign(sub, pairwise_key(who.seed, sub.holder))))
    return {"bundles": [Bundle(leaves=leaves)]}


def sub_grant(s: Standing, place: int = 1, by: SigningKey | None = None, **changes: Any) -> dict[str, Any]:
    """A consent of which one sub-grant says something else than it should."""
    honest = s.aoi.consent()
    sub = jws.read_unverified(honest.leaves[place].body, SubGrant)
    own = by or pairwise_key(s.aoi.seed, sub.holder)
    said = structs.replace(sub, **changes)
    return {"bundles": [with_leaf(honest, place, jws.sign(said, own))]}


def of_another(s: Standing) -> dict[str, Any]:
    """Aoi's bundle with Ren's own, well-signed sub-grant of the same identifier and policy."""
    consent = secrets.token_bytes(32)
    mine, other = s.aoi.consent(consent=consent), s.ren.consent(consent=consent)
    return {"bundles": [with_leaf(mine, 1, other.leaves[1].body)]}


def same_key_twice(s: Standing) -> dict[str, Any]:
    """A consent in which the clinic's sub-grant is signed with the key for the bus company."""
    key = pairwise_key(s.aoi.seed, "bus_co")
    return sub_grant(s, 2, key, key=public_hex(key))


def small_order(s: Standing) -> dict[str, Any]:
    """A sub-grant by a key of small order, for which a signature of zeros would be good over any message."""
    honest = s.aoi.consent()
    sub = jws.read_unverified(honest.leaves[1].body, SubGrant)
    point = (1).to_bytes(32, "little")
    token = jws.sign(structs.replace(sub, key=point.hex()), s.aoi.key)
    return {"bundles": [with_leaf(honest, 1, f"{token.rpartition('.')[0]}.{jws.b64url(point + bytes(32))}")]}


def two_with_one_bad(s: Standing) -> dict[str, Any]:
    return {"bundles": [s.aoi.consent(), with_leaf(good := s.aoi.consent(), 3, flipped(good.leaves[3].body))]}


def grants(*bundles: Bundle) -> dict[str, Any]:
    return {"bundles": list(bundles)}


Make = Callable[[Standing], Any]
BAD_GRANTS: dict[str, tuple[Make, str, str]] = {
    "an empty body": (lambda _: b"", "malformed", ""),
    "no JSON": (lambda _: b"SELECT 1", "malformed", ""),
    "not UTF-8": (lambda s: canonical.encode(grants(s.aoi.consent()))[:-9] + b'\xff\xfe"}]}]}', "malformed", ""),
    "UTF-16": (lambda s: canonical.encode(grants(s.aoi.consent())).decode().encode("utf-16"), "malformed", ""),
    "a byte order mark": (lambda s: b"\xef\xbb\xbf" + canonical.encode(grants(s.aoi.consent())), "malformed", ""),
    "a repeated key": (
        lambda s: canonical.encode(grants(s.aoi.consent()))[:-1] + b',"bundles":[]}',
        "malformed",
        "",
    ),
    "white space": (lambda s: canonical.encode(grants(s.aoi.consent())) + b"\n", "malformed", "canonical"),
    "an unknown field": (lambda s: grants(s.aoi.consent()) | {"urgent": True}, "malformed", ""),
    "no bundle": (lambda _: {"bundles": []}, "malformed", ""),
    "too many bundles": (
        lambda _: {"bundles": [{"leaves": [{"body": "x", "salt": "00" * 32}] * 2}] * 513},
        "malformed",
        "",
    ),
    "too deep": (lambda _: b'{"bundles":' + b"[" * 150_000, "malformed", ""),
    "too deep, and whole": (lambda _: b'{"bundles":' + b"[" * 90_000 + b"]" * 90_000 + b"}", "malformed", ""),
    "a body too large": (lambda _: b'{"bundles":"' + b"x" * 500_000 + b'"}', "too-large", ""),
    "a bad signature": (
        lambda s: grants(with_leaf(good := s.aoi.consent(), 0, flipped(good.leaves[0].body))),
        "consent-mismatch",  # each sub-grant names the hash of the whole of leaf 0, signature and all
        "general part",
    ),
    "a bad signature alone": (lambda s: general(s, key=SigningKey.generate()), "signature-invalid", ""),
    "another resident's signature": (lambda s: general(s, key=s.ren.key), "signature-invalid", ""),
    "a bad signature in a sub-grant": (
        lambda s: grants(with_leaf(good := s.aoi.consent(), 2, flipped(good.leaves[2].body))),
        "signature-invalid",
        "",
    ),
    "a signature made longer": (
        lambda s: grants(with_leaf(good := s.aoi.consent(), 2, good.leaves[2].body + "AA")),
        "malformed",
        "JWS",
    ),
    "a malleable signature": (
        lambda s: grants(with_leaf(good := s.aoi.consent(), 2, stretched(good.leaves[2].body))),
        "signature-invalid",
        "",
    ),
    "a key of small order": (small_order, "signature-invalid", ""),
    "no signature": (
        lambda s: grants(with_leaf(good := s.aoi.consent(), 0, good.leaves[0].body.rpartition(".")[0])),
        "malformed",
        "JWS",
    ),
    "alg none": (
        lambda s: grants(with_leaf(good := s.aoi.consent(), 0, unsigned(good.leaves[0].body))),
        "malformed",
        "JWS",
    ),
    "none for the general part": (lambda s: grants(with_leaf(s.aoi.consent(), 0, NONE)), "malformed", "JWS"),
    "one bad consent among good ones": (two_with_one_bad, "signature-invalid", ""),
    "the same consent again": (lambda s: grants(s.given), "replayed", "fresh identifier"),
    "the same identifier, signed anew": (
        lambda s: grants(
            s.aoi.consent(consent=bytes.fromhex(jws.read_unverified(s.given.leaves[0].body, General).consent))
        ),
        "replayed",
        "",
    ),
    "another resident's identifier": (
        lambda s: grants(
            s.ren.consent(consent=bytes.fromhex(jws.read_unverified(s.given.leaves[0].body, General).consent))
        ),
        "replayed",
        "",
    ),
    "a consent again after its revocation": (lambda s: grants(s.ended), "replayed", ""),
    "one consent twice in one request": (lambda s: grants(same := s.aoi.consent(), same), "replayed", ""),
    "another resident's sub-grant": (of_another, "consent-mismatch", "another consent's general part"),
    "a sub-grant at another holder's place": (
        lambda s: grants(with_leaf(good := s.aoi.consent(), 1, good.leaves[2].body)),
        "consent-mismatch",
        "place",
    ),
    "a sub-grant of another consent": (
        lambda s: grants(with_leaf(s.aoi.consent(), 1, s.given.leaves[1].body)),
        "consent-mismatch",
        "",
    ),
    "a sub-grant that lasts longer": (lambda s: sub_grant(s, until="2030-03-31"), "consent-mismatch", "same"),
    "a sub-grant for another ledger": (lambda s: sub_grant(s, log="elsewhere.test/log"), "consent-mismatch", "same"),
    "a sub-grant left out that is said": (
        lambda s: grants(with_leaf(s.aoi.consent(), 1, NONE)),
        "consent-mismatch",
        "",
    ),
    "one key at two holders": (same_key_twice, "consent-mismatch", "key twice"),
    "a leaf too few": (
        lambda s: grants(Bundle(leaves=s.aoi.consent().leaves[:-1])),
        "consent-mismatch",
        "one part for each",
    ),
    "a leaf too many": (
        lambda s: grants(Bundle(leaves=[*s.aoi.consent().leaves, Leaf(salt="00" * 32, body=NONE)])),
        "consent-mismatch",
        "one part for each",
    ),
    "another ledger": (lambda s: general(s, log="elsewhere.test/log"), "consent-mismatch", "another ledger"),
    "a wrong notice": (lambda s: general(s, notice_sha256="ab" * 32), "consent-mismatch", "notice"),
    "a notice in another language": (lambda s: general(s, language="fr"), "malformed", ""),
    "a last day that the policy does not offer": (
        lambda s: general(s, until="2090-11-30"),
        "consent-mismatch",
        "until",
    ),
    "a yearly cap that the policy does not offer": (lambda s: general(s, cap=5), "consent-mismatch", "cap"),
    "a negative cap": (lambda s: general(s, cap=-1), "malformed", ""),
    "another purpose": (lambda s: general(s, purpose="https://w3id.org/dpv#Marketing"), "consent-mismatch", "purpose"),
    "another controller": (lambda s: general(s, controller="bus_co"), "consent-mismatch", "controller"),
    "other measures": (lambda s: general(s, measures=[]), "consent-mismatch", "measures"),
    "fewer holders than parts": (lambda s: general(s, holders=["bus_co"]), "consent-mismatch", ""),
    "an unknown policy": (
        lambda s: grants(s.aoi.consent(policy("nowhere", list(HOLDERS), ["planner"], ["market"]))),
        "policy-not-current",
        "",
    ),
    "a version to come": (
        lambda s: grants(s.aoi.consent(structs.replace(MOBILITY, version=2))),
        "policy-not-current",
        "",
    ),
    "an old version": (lambda s: grants(s.aoi.consent(OUTINGS)), "policy-not-current", ""),
    "the right version with other words": (
        lambda s: grants(s.aoi.consent(structs.replace(MOBILITY, notice=text("Only a little")))),
        "policy-not-current",
        "",
    ),
    "a notice shown an hour from now": (
        lambda s: grants(s.aoi.consent(now=int(time.time()) + 3_600)),
        "consent-mismatch",
        "clock",
    ),
    "an unenrolled resident": (lambda s: grants(s.stranger.consent()), "not-permitted", "enrol"),
    "an unenrolled resident among others": (
        lambda s: grants(s.aoi.consent(), s.stranger.consent()),
        "not-permitted",
        "",
    ),
}


@pytest.mark.parametrize("what", BAD_GRANTS)
async def test_a_bad_consent_is_refused_and_changes_nothing(standing: Standing, what: str) -> None:
    make, code, says = BAD_GRANTS[what]
    async with standing.running.unchanged():
        refused(await standing.running.post("/v1/grants", make(standing)), code, says)


@pytest.mark.parametrize("what", [what for what, (_, code, _) in BAD_GRANTS.items() if code != "too-large"])
async def test_a_bad_consent_spoils_the_large_request_it_is_in(standing: Standing, what: str) -> None:
    """Large requests are read in worker processes: what is refused there is refused just so, and nothing is taken."""
    make, code, says = BAD_GRANTS[what]
    bad = make(standing)
    others = canonical.encode([standing.aoi.consent() for _ in range(SMALL)])[1:-1]
    body = bad if isinstance(bad, bytes) else canonical.encode(bad)
    async with standing.running.unchanged():
        response = await standing.running.post(
            "/v1/grants", body.replace(b'"bundles":[', b'"bundles":[' + others + b",", 1)
        )
        refused(response, code, says)


@pytest.mark.parametrize("key", ["short", "x" * 65])
async def test_an_idempotency_key_of_another_length_is_refused(standing: Standing, key: str) -> None:
    async with standing.running.unchanged():
        refused(await standing.running.post("/v1/grants", grants(standing.aoi.consent()), key), "malformed", "8 to 64")


def revoked(s: Standing, **changes: Any) -> dict[str, Any]:
    """A revocation of a grant in force in which something is off; ``by`` is who signs, ``grant`` what is sent."""
    by = changes.pop("by", s.aoi)
    sent = changes.pop("grant", s.grant)
    return {**by.revocation(s.given, changes.pop("signed", s.grant), **changes), "grant": sent}


def half_signed(s: Standing) -> dict[str, Any]:
    """The revocation's general part by the right resident, a holder's part by another."""
    mine, other = revoked(s), revoked(s, by=s.ren)
    return {**mine, "bundle": with_leaf(mine["bundle"], 2, other["bundle"].leaves[2].body)}


BAD_REVOCATIONS: dict[str, tuple[Make, str, str]] = {
    "by someone else": (lambda s: revoked(s, by=s.ren), "signature-invalid", ""),
    "by someone unknown": (lambda s: revoked(s, by=s.stranger), "signature-invalid", ""),
    "by the same resident only in part": (half_signed, "signature-invalid", ""),
    "a second time, signed anew": (
        lambda s: s.ren.revocation(s.ended, s.ended_grant, holders=["bus_co"]),
        "already-ended",
        "ended before",
    ),
    "sent for another grant of the same resident": (lambda s: revoked(s, grant=s.grant_too), "consent-mismatch", ""),
    "of a grant that is not there": (lambda s: revoked(s, grant=2**53 - 1), "not-found", ""),
    "of an entry that is no grant": (lambda s: revoked(s, grant=0), "not-found", ""),
    "of a negative index": (lambda s: revoked(s, grant=-1), "malformed", ""),
    "of an index past 2^53": (lambda s: revoked(s, grant=2**53), "malformed", ""),
    "of an index past 2^64": (lambda s: revoked(s, grant=2**70), "malformed", ""),
    "of an index of 5,000 digits": (
        lambda s: canonical.encode(revoked(s)).replace(b'"grant":%d' % s.grant, b'"grant":' + b"9" * 5_000),
        "malformed",
        "",
    ),
    "for another ledger": (lambda s: revoked(s, log="elsewhere.test/log"), "consent-mismatch", ""),
    "with a holder left out": (lambda s: revoked(s, holders=["bus_co"]), "malformed", ""),
    "with a holder that was not chosen": (
        lambda s: s.ren.revocation(s.ended, s.ended_grant),
        "consent-mismatch",
        "did not choose",
    ),
    "with a leaf too few": (
        lambda s: {**revoked(s), "bundle": Bundle(leaves=revoked(s)["bundle"].leaves[:-1])},
        "consent-mismatch",
        "",
    ),
    "a grant's own bundle": (lambda s: {"grant": s.grant, "bundle": s.given}, "malformed", ""),
}


@pytest.mark.parametrize("what", BAD_REVOCATIONS)
async def test_a_bad_revocation_is_refused_and_changes_nothing(standing: Standing, what: str) -> None:
    make, code, says = BAD_REVOCATIONS[what]
    async with standing.running.unchanged():
        refused(await standing.running.post("/v1/revocations", make(standing)), code, says)


def enrolled(s: Standing, who: Resident, provider: str = "idp", **changes: Any) -> dict[str, Any]:
    return {"enrolments": [who.enrolment(s.town, provider, **changes)]}


def crossed(s: Standing) -> dict[str, Any]:
    """A good attestation with the answer to another one by the same resident."""
    who = Resident()
    first, second = who.enrolment(s.town), who.enrolment(s.town, level="low")
    return {"enrolments": [{"attestation": first["attestation"], "enrolment": second["enrolment"]}]}


def not_mine(s: Standing) -> dict[str, Any]:
    """Another resident answers a stranger's attestation."""
    theirs = Resident().enrolment(s.town)
    return {"enrolments": [{"attestation": theirs["attestation"], "enrolment": s.aoi.enrolment(s.town)["enrolment"]}]}


BAD_ENROLMENTS: dict[str, tuple[Make, str, str]] = {
    "attested by a partner": (lambda s: enrolled(s, Resident(), "planner"), "signature-invalid", "identity provider"),
    "attested by nobody": (lambda s: enrolled(s, Resident(), from_="nobody"), "signature-invalid", ""),
    "in the provider's name, signed by another": (
        lambda s: enrolled(s, Resident(), "planner", from_="idp"),
        "signature-invalid",
        "",
    ),
    "answered by another resident": (not_mine, "signature-invalid", ""),
    "answered for another attestation": (crossed, "consent-mismatch", ""),
    "for another ledger": (lambda s: enrolled(s, Resident(), log="elsewhere.test/log"), "consent-mismatch", ""),
    "one person with a second key": (lambda s: enrolled(s, Resident(subject=s.aoi.subject)), "replayed", ""),
    "one key for a second person": (lambda s: enrolled(s, Resident(seed=s.aoi.seed)), "replayed", ""),
    "two keys for one new person at once": (
        lambda s: {
            "enrolments": [
                Resident(subject="same-person").enrolment(s.town),
                Resident(subject="same-person").enrolment(s.town),
            ]
        },
        "replayed",
        "",
    ),
    "a subject with a NUL": (lambda s: enrolled(s, Resident(subject="person\x00one")), "malformed", ""),
    "one bad among good ones": (
        lambda s: {"enrolments": [Resident().enrolment(s.town), Resident().enrolment(s.town, "planner")]},
        "signature-invalid",
        "",
    ),
}


@pytest.mark.parametrize("what", BAD_ENROLMENTS)
async def test_a_bad_enrolment_is_refused_and_changes_nothing(standing: Standing, what: str) -> None:
    make, code, says = BAD_ENROLMENTS[what]
    async with standing.running.unchanged():
        refused(await standing.running.post("/v1/enrolments", make(standing)), code, says)


async def test_enrolling_the_same_again_is_fine_and_changes_nothing(standing: Standing) -> None:
    async with standing.running.unchanged():
        assert await standing.running.done("/v1/enrolments", enrolled(standing, standing.aoi)) == {"enrolled": 1}


# Questions that are not well-formed, not well-signed or not of now leave nothing.


def spend(**how: Any) -> dict[str, Any]:
    return query(spend=how)


def huge_query() -> dict[str, Any]:
    """A question within the language's limits whose ``admit`` could not fit in an entry."""
    values = [n * 7 + 2**30 for n in range(512)]
    return query(where=[{"column": "hour", "in": values}] * 7)


BAD_QUESTIONS: dict[str, tuple[Make, str, str]] = {
    "no token": (lambda _: b"SELECT * FROM trips", "malformed", "JWS"),
    "other bytes than ASCII": (lambda s: s.asked.encode() + "質問".encode(), "malformed", "ASCII"),
    "by an unknown partner": (
        lambda s: question(s.town, query(), "nobody", key=s.town.keys["planner"]),
        "not-permitted",
        "",
    ),
    "by a holder": (lambda s: question(s.town, query(), "bus_co"), "not-permitted", ""),
    "by the operator": (lambda s: question(s.town, query(), "operator"), "not-permitted", ""),
    "in another partner's name": (
        lambda s: question(s.town, query(), key=s.town.keys["campus"]),
        "signature-invalid",
        "",
    ),
    "with a bad signature": (lambda s: flipped(question(s.town, query())), "signature-invalid", ""),
    "with a malleable signature": (lambda s: stretched(question(s.town, query())), "signature-invalid", ""),
    "unsigned": (lambda s: unsigned(question(s.town, query())), "malformed", "JWS"),
    "for another ledger": (lambda s: question(s.town, query(), log="elsewhere.test/log"), "not-permitted", ""),
    "by a clock an hour behind": (
        lambda s: question(s.town, query(), now=int(time.time()) - 3_600),
        "clock-skew",
        "clock",
    ),
    "by a clock an hour ahead": (
        lambda s: question(s.town, query(), now=int(time.time()) + 3_600),
        "clock-skew",
        "clock",
    ),
    "another question under a used id": (
        lambda s: question(s.town, query(group_by=["hour"]), id=jws.read_unverified(s.asked, dict)["id"]),
        "replayed",
        "",
    ),
    "an epsilon below zero": (lambda s: question(s.town, spend(epsilon="-1")), "malformed", ""),
    "an epsilon of minus zero": (lambda s: question(s.town, spend(epsilon="-0")), "malformed", ""),
    "an epsilon NaN": (lambda s: question(s.town, spend(epsilon="NaN")), "malformed", ""),
    "an epsilon Infinity": (lambda s: question(s.town, spend(epsilon="Infinity")), "malformed", ""),
    "an epsilon with an exponent": (lambda s: question(s.town, spend(epsilon="1e3")), "malformed", ""),
    "an epsilon of no digits": (lambda s: question(s.town, spend(epsilon="")), "malformed", ""),
    "an epsilon of 40 digits": (lambda s: question(s.town, spend(epsilon="1" * 40)), "malformed", ""),
    "an epsilon that is a float": (lambda s: question(s.town, spend(epsilon=0.5)), "malformed", ""),
    "a bare NaN": (
        lambda s: question(s.town, canonical.encode(query()).replace(b'"0.2"', b"NaN")),
        "malformed",
        "",
    ),
    "an interval of -50": (
        lambda s: question(s.town, spend(within={"measure": "rows", "plus_minus": -50, "confidence": "0.95"})),
        "malformed",
        "",
    ),
    "a filter on a float": (
        lambda s: question(s.town, query(where=[{"column": "hour", "equals": 7.5}])),
        "malformed",
        "",
    ),
    "a number of 5,000 digits": (
        lambda s: question(s.town, canonical.encode(query()).replace(b'"version":1', b'"version":' + b"9" * 5_000)),
        "malformed",
        "",
    ),
    "a repeated key": (lambda s: question(s.town, canonical.encode(query())[:-1] + b',"version":1}'), "malformed", ""),
    "white space in the query": (lambda s: question(s.town, canonical.encode(query()) + b" "), "malformed", ""),
    "an unknown field": (lambda s: question(s.town, query(limit=5)), "malformed", ""),
    "nested too deep": (lambda s: question(s.town, b"[" * 20_000 + b"]" * 20_000), "malformed", ""),
    "no measures": (lambda s: question(s.town, query(measures=[])), "malformed", ""),
    "a name that is SQL": (
        lambda s: question(s.town, query(group_by=["ward; DROP TABLE entries"])),
        "malformed",
        "",
    ),
}


@pytest.mark.parametrize("path", ["/v1/questions", "/v1/questions/preview"])
@pytest.mark.parametrize("what", BAD_QUESTIONS)
async def test_a_bad_question_is_refused_and_changes_nothing(standing: Standing, what: str, path: str) -> None:
    make, code, says = BAD_QUESTIONS[what]
    if what.endswith("used id") and path.endswith("preview"):
        return  # a preview takes no id
    async with standing.running.unchanged():
        refused(await standing.running.post(path, make(standing)), code, says)


async def test_a_question_that_no_entry_could_hold_is_refused_and_changes_nothing(standing: Standing) -> None:
    async with standing.running.unchanged():
        refused(await standing.running.post("/v1/questions", question(standing.town, huge_query())), "too-large")


# A partner's well-signed question that may not be asked leaves one ``refuse`` entry, and nothing else.

REFUSED_QUESTIONS: dict[str, tuple[Make, str, str]] = {
    "an epsilon of zero": (lambda s: question(s.town, spend(epsilon="0")), "query-invalid", "epsilon"),
    "an epsilon of 0.0": (lambda s: question(s.town, spend(epsilon="0.0")), "query-invalid", "epsilon"),
    "a huge epsilon": (lambda s: question(s.town, spend(epsilon="999999999999999999")), "query-invalid", "epsilon"),
    "an epsilon above the policy's limit": (
        lambda s: question(s.town, spend(epsilon="19")),
        "query-invalid",
        "limit|allows",
    ),
    "two ways to spend": (
        lambda s: question(
            s.town, spend(epsilon="0.2", within={"measure": "rows", "plus_minus": 50, "confidence": "0.95"})
        ),
        "query-invalid",
        "exactly one",
    ),
    "no way to spend": (lambda s: question(s.town, spend()), "query-invalid", "exactly one"),
    "an unknown view": (lambda s: question(s.town, query(**{"from": ["customers"]})), "query-invalid", "view"),
    "two views": (lambda s: question(s.town, query(**{"from": ["trips", "trips"]})), "query-invalid", "one view"),
    "an unknown column": (lambda s: question(s.town, query(group_by=["salary"])), "query-invalid", "'salary'"),
    "the resident's own column": (
        lambda s: question(s.town, query(group_by=["customer"])),
        "query-invalid",
        "'customer'",
    ),
    "an undeclared key": (
        lambda s: question(s.town, query(where=[{"column": "ward", "in": ["hill", "palace"]}])),
        "query-invalid",
        "does not list",
    ),
    "a type error in a filter": (
        lambda s: question(s.town, query(where=[{"column": "hour", "equals": "noon"}])),
        "query-invalid",
        "whole numbers",
    ),
    "a category between numbers": (
        lambda s: question(s.town, query(where=[{"column": "ward", "between": [1, 2]}])),
        "query-invalid",
        "category",
    ),
    "a sum of a category": (
        lambda s: question(s.town, query(measures=[{"as": "x", "sum": "ward"}])),
        "query-invalid",
        "not a measure",
    ),
    "a measure for a key": (lambda s: question(s.town, query(group_by=["fare"])), "query-invalid", "measure"),
    "two measures of one name": (
        lambda s: question(s.town, query(measures=[{"as": "x", "count": "rows"}, {"as": "x", "sum": "fare"}])),
        "query-invalid",
        "same name",
    ),
    "edges that fall": (
        lambda s: question(s.town, query(measures=[{"as": "x", "histogram": "fare", "edges": [10, 5]}])),
        "query-invalid",
        "rise",
    ),
    "too many groups": (
        lambda s: question(
            s.town,
            query(
                policy="health",
                group_by=["ward", "hour"],
                measures=[{"as": "h", "histogram": "fare", "edges": list(range(0, 1_000, 10))}],
            ),
        ),
        "query-invalid",
        "numbers",
    ),
    "an unknown policy": (lambda s: question(s.town, query(policy="nowhere")), "policy-not-current", ""),
    "an old policy version": (lambda s: question(s.town, query(policy="outings")), "policy-not-current", ""),
    "a policy version to come": (lambda s: question(s.town, query(version=2)), "policy-not-current", ""),
    "a policy that does not name the partner": (
        lambda s: question(s.town, query(policy="health"), "campus"),
        "not-permitted",
        "partner",
    ),
    "more than the budget": (lambda s: question(s.town, query(policy="tight")), "budget-exceeded", "left"),
}


@pytest.mark.parametrize("what", REFUSED_QUESTIONS)
async def test_a_question_that_may_not_be_asked_leaves_a_refusal_and_nothing_else(
    standing: Standing, what: str
) -> None:
    make, code, says = REFUSED_QUESTIONS[what]
    running = standing.running
    token = make(standing)
    async with running.unchanged():
        preview = await running.post("/v1/questions/preview", token)
        if code != "budget-exceeded":  # a preview shows what is left
            refused(preview, code)
    async with running.only_refused():
        document = refused(await running.post("/v1/questions", token), code)
    assert any(words in document["detail"] for words in says.split("|"))
    assert document["refused_at"] == running.service.store.size - 1
    if code == "budget-exceeded":
        assert document["asked"] > document["left"] == 10**5
        assert document["account"].startswith("policy/tight/")


async def test_the_same_signed_question_again_stands_where_it_stood_and_is_not_charged_again(
    standing: Standing,
) -> None:
    async with standing.running.unchanged():
        assert (await standing.running.ask(standing.asked)).admit == standing.opened


async def test_a_preview_writes_nothing(standing: Standing) -> None:
    async with standing.running.unchanged():
        await standing.running.done("/v1/questions/preview", question(standing.town, query(group_by=["hour"])))


# Nodes


def signed(s: Standing, alias: str, message: object, key: str | None = None) -> str:
    return s.node(alias).sign(message, s.town.keys[key] if key else None)


def polled(s: Standing, alias: str = "bus_co", key: str | None = None, **changes: Any) -> str:
    return signed(s, alias, s.node(alias).work(**changes), key)


def wanting(s: Standing, first: int, last: int, key: str | None = None, **changes: Any) -> str:
    return signed(s, "bus_co", s.node("bus_co").leaves(first, last, **changes), key)


HOUR = 3_600
BAD_POLLS: dict[str, tuple[str, Make, str, str]] = {
    "a poll by a partner": ("work", lambda s: polled(s, key="planner", from_="planner"), "signature-invalid", "holder"),
    "a poll by nobody": ("work", lambda s: polled(s, from_="nobody"), "signature-invalid", ""),
    "a poll with another node's key": ("work", lambda s: polled(s, key="clinic"), "signature-invalid", ""),
    "a poll with a bad signature": ("work", lambda s: flipped(polled(s)), "signature-invalid", ""),
    "a poll for another ledger": ("work", lambda s: polled(s, log="elsewhere.test/log"), "signature-invalid", "ledger"),
    "a poll by a clock an hour behind": ("work", lambda s: polled(s, at=int(time.time()) - HOUR), "clock-skew", ""),
    "a poll by a clock an hour ahead": ("work", lambda s: polled(s, at=int(time.time()) + HOUR), "clock-skew", ""),
    "a poll sent a second time": ("work", lambda s: polled(s, known=0), "replayed", "before"),
    "a poll ahead of what is published": ("work", lambda s: polled(s, size=10**6), "malformed", "published"),
    "a poll that would wait a year": ("work", lambda s: polled(s, wait=10**7), "malformed", ""),
    "a poll in place of a wish for leaves": ("leaves", polled, "malformed", ""),
    "leaves with another node's key": ("leaves", lambda s: wanting(s, 0, 5, key="clinic"), "signature-invalid", ""),
    "leaves of too many places": ("leaves", lambda s: wanting(s, 0, 2_048), "malformed", ""),
    "leaves of a range turned over": ("leaves", lambda s: wanting(s, 5, 4), "malformed", ""),
    "leaves by a clock an hour off": (
        "leaves",
        lambda s: wanting(s, 0, 5, at=int(time.time()) - HOUR),
        "clock-skew",
        "",
    ),
}


@pytest.mark.parametrize("what", BAD_POLLS)
async def test_a_bad_poll_of_a_node_is_refused_and_changes_nothing(standing: Standing, what: str) -> None:
    path, make, code, says = BAD_POLLS[what]
    token = make(standing)
    if code == "replayed":
        await standing.running.done(f"/v1/node/{path}", token)
    async with standing.running.unchanged():
        refused(await standing.running.post(f"/v1/node/{path}", token), code, says)


def countersigned(s: Standing, alias: str = "clinic", key: str | None = None, **changes: Any) -> str:
    return signed(s, alias, s.node(alias).countersign(s.opened, s.opened_entry, **changes), key)


def shared(
    s: Standing, alias: str = "clinic", key: str | None = None, vector: list[int] | None = None, **changes: Any
) -> str:
    """The clinic's share of the round that waits for it, in which something is off."""
    said = s.node(alias).share(s.half, s.half_entry, s.half_transcript, [8] if vector is None else vector)
    return signed(s, alias, structs.replace(said, **changes), key)


def worded(s: Standing, alias: str, admit: int, entry: bytes, key: str | None = None, **changes: Any) -> str:
    return signed(s, alias, s.node(alias).word(admit, entry, **changes), key)


def of_round(s: Standing, kind: type[Countersign | Word | Share], alias: str, admit: int, entry: bytes) -> str:
    node = s.node(alias)
    if kind is Share:
        return signed(s, alias, node.share(admit, entry, ["x"], [1]))
    return signed(s, alias, node.word(admit, entry) if kind is Word else node.countersign(admit, entry))


BAD_STEPS: dict[str, tuple[str, Make, str, str]] = {
    "a countersignature of an entry that is no question": (
        "countersign",
        lambda s: of_round(s, Countersign, "clinic", 1, s.opened_entry),
        "round-closed",
        "",
    ),
    "a countersignature past the ledger's end": (
        "countersign",
        lambda s: of_round(s, Countersign, "clinic", 2**53 - 1, s.opened_entry),
        "round-closed",
        "",
    ),
    "a countersignature of an answered question": (
        "countersign",
        lambda s: of_round(s, Countersign, "clinic", s.closed, s.closed_entry),
        "round-closed",
        "",
    ),
    "a countersignature by a holder that takes no part": (
        "countersign",
        lambda s: countersigned(s, "market"),
        "not-permitted",
        "",
    ),
    "a countersignature by a partner": (
        "countersign",
        lambda s: countersigned(s, key="planner", from_="planner"),
        "not-permitted",
        "",
    ),
    "a countersignature with another node's key": (
        "countersign",
        lambda s: countersigned(s, key="market"),
        "signature-invalid",
        "",
    ),
    "a countersignature of another entry": (
        "countersign",
        lambda s: countersigned(s, admit_sha256="ab" * 32),
        "proof-invalid",
        "another round",
    ),
    "a countersignature for another ledger": (
        "countersign",
        lambda s: countersigned(s, log="elsewhere.test/log"),
        "proof-invalid",
        "",
    ),
    "a second, different countersignature": (
        "countersign",
        lambda s: countersigned(s, "bus_co"),
        "replayed",
        "",
    ),
    "a countersignature after somebody's word": (
        "countersign",
        lambda s: of_round(s, Countersign, "bus_co", s.worded, s.worded_entry),
        "replayed",
        "",
    ),
    "a share before all have countersigned": (
        "share",
        lambda s: shared(
            s, "bus_co", admit=s.opened, admit_sha256=s.node("bus_co").word(s.opened, s.opened_entry).admit_sha256
        ),
        "round-closed",
        "countersigned",
    ),
    "a share for another transcript": (
        "share",
        lambda s: shared(s, transcript_sha256="ab" * 32),
        "proof-invalid",
        "transcript",
    ),
    "a share for another round": ("share", lambda s: shared(s, admit=s.worded), "proof-invalid", "another round"),
    "a share by name of another round": (
        "share",
        lambda s: shared(s, admit=s.worded, admit_sha256=s.node("clinic").word(s.worded, s.worded_entry).admit_sha256),
        "proof-invalid",
        "transcript",
    ),
    "another share for an answered question": (
        "share",
        lambda s: signed(
            s, "clinic", structs.replace(jws.read_unverified(s.closed_shares["clinic"], Share), vector=[1_000])
        ),
        "round-closed",
        "",
    ),
    "a share too long": ("share", lambda s: shared(s, vector=[8, 9]), "proof-invalid", "length"),
    "a share of nothing": ("share", lambda s: shared(s, vector=[]), "malformed", ""),
    "a share of numbers past 2^53": ("share", lambda s: shared(s, vector=[2**53]), "malformed", ""),
    "a share of numbers below -2^53": ("share", lambda s: shared(s, vector=[-(2**53)]), "malformed", ""),
    "a share of a number past 2^64": ("share", lambda s: shared(s, vector=[2**70]), "malformed", ""),
    "a share that another share would carry past 2^53": (
        "share",
        lambda s: shared(s, vector=[2**53 - 1]),
        "proof-invalid",
        "",
    ),
    "a share of floats": (
        "share",
        lambda s: s.node("clinic").sign(
            Raw(
                canonical.encode(s.node("clinic").share(s.half, s.half_entry, s.half_transcript, [8])).replace(
                    b"[8]", b"[8.5]"
                )
            )
        ),
        "malformed",
        "",
    ),
    "a share with another node's key": ("share", lambda s: shared(s, key="bus_co"), "signature-invalid", ""),
    "a share in another node's name": ("share", lambda s: shared(s, "market"), "not-permitted", ""),
    "a second, different share": ("share", lambda s: shared(s, "bus_co", vector=[9]), "replayed", ""),
    "a share after one's word": (
        "share",
        lambda s: shared(
            s,
            admit=s.worded,
            admit_sha256=s.node("clinic").word(s.worded, s.worded_entry).admit_sha256,
            transcript_sha256="cd" * 32,
        ),
        "proof-invalid",
        "",
    ),
    "a word after one's share": ("word", lambda s: worded(s, "bus_co", s.half, s.half_entry), "round-closed", "share"),
    "a word in an answered round": (
        "word",
        lambda s: worded(s, "clinic", s.closed, s.closed_entry),
        "round-closed",
        "",
    ),
    "a word for another round": ("word", lambda s: worded(s, "clinic", s.half, s.opened_entry), "proof-invalid", ""),
    "a word with another node's key": (
        "word",
        lambda s: worded(s, "clinic", s.half, s.half_entry, "market"),
        "signature-invalid",
        "",
    ),
    "a word by a holder that takes no part": (
        "word",
        lambda s: worded(s, "market", s.half, s.half_entry),
        "not-permitted",
        "",
    ),
    "a countersignature in place of a word": ("word", countersigned, "malformed", ""),
}


@pytest.mark.parametrize("what", BAD_STEPS)
async def test_a_bad_step_of_a_round_is_refused_and_changes_nothing(standing: Standing, what: str) -> None:
    path, make, code, says = BAD_STEPS[what]
    async with standing.running.unchanged():
        refused(await standing.running.post(f"/v1/node/{path}", make(standing)), code, says)


async def test_saying_the_same_step_again_is_fine_and_changes_nothing(standing: Standing) -> None:
    async with standing.running.unchanged():
        assert await standing.running.done("/v1/node/share", standing.half_share) == {"closed_by": None}


# Members and policies


def member(s: Standing, stewards: tuple[str, ...] = ("city", "firms"), **changes: Any) -> dict[str, Any]:
    body = structs.replace(s.town.member("market", ["holder"], 2), **changes)
    return dict(s.town.approved("member", body, stewards))


def document(s: Standing, stewards: tuple[str, ...] = ("city", "firms"), **changes: Any) -> dict[str, Any]:
    return dict(s.town.approved("policy", structs.replace(MOBILITY, **({"version": 2} | changes)), stewards))


def by_no_steward(s: Standing) -> dict[str, Any]:
    wanted = member(s, ("city",))
    alien = approve("member", wanted["member"], log=ORIGIN, steward="planner", key=s.town.keys["planner"])
    return wanted | {"signatures": [*wanted["signatures"], alien]}


def forged_steward(s: Standing) -> dict[str, Any]:
    wanted = member(s, ("city",))
    forged = approve("member", wanted["member"], log=ORIGIN, steward="firms", key=s.town.keys["operator"])
    return wanted | {"signatures": [*wanted["signatures"], forged]}


BAD_GOVERNANCE: dict[str, tuple[str, Make, str, str]] = {
    "a member with one approval": ("members", lambda s: member(s, ("city",)), "not-permitted", "2 stewards"),
    "a member approved twice by one steward": ("members", lambda s: member(s, ("city", "city")), "not-permitted", ""),
    "a member approved by no steward": ("members", by_no_steward, "signature-invalid", ""),
    "a member with a forged approval": ("members", forged_steward, "signature-invalid", ""),
    "a member with approvals of another body": (
        "members",
        lambda s: member(s) | {"member": s.town.member("clinic", ["holder"], 2)},
        "signature-invalid",
        "another document",
    ),
    "a member whose number does not follow": ("members", lambda s: member(s, number=3), "proof-invalid", "number"),
    "a member's other body under an old number": (
        "members",
        lambda s: member(s, number=1, sealing_key="11" * 32),
        "proof-invalid",
        "number",
    ),
    "a member with a role that is none": ("members", lambda s: member(s, roles=["king"]), "malformed", ""),
    "a policy with one approval": ("policies", lambda s: document(s, ("city",)), "not-permitted", ""),
    "a policy with approvals as a member": (
        "policies",
        lambda s: {
            "policy": structs.replace(MOBILITY, version=2),
            "signatures": [
                approve("member", structs.replace(MOBILITY, version=2), log=ORIGIN, steward=a, key=s.town.stewards[a])
                for a in ("city", "firms")
            ],
        },
        "signature-invalid",
        "",
    ),
    "a policy version that does not follow": ("policies", lambda s: document(s, version=3), "proof-invalid", "version"),
    "another policy under an old version": (
        "policies",
        lambda s: document(s, version=1, reuse=1),
        "proof-invalid",
        "version",
    ),
    "a policy naming no holder of the town": (
        "policies",
        lambda s: document(s, holders=[*HOLDERS, "bank"]),
        "proof-invalid",
        "bank",
    ),
    "a policy naming a holder as partner": (
        "policies",
        lambda s: document(s, partners=["market"]),
        "proof-invalid",
        "",
    ),
    "a policy that ends within a month": (
        "policies",
        lambda s: document(s, until=["2030-03-30"]),
        "malformed",
        "month",
    ),
    "a policy that is past": ("policies", lambda s: document(s, until=["2020-03-31"]), "malformed", "past"),
    "a policy without plain Japanese": (
        "policies",
        lambda s: document(s, notice={"ja": "x", "en": "x"}),
        "malformed",
        "",
    ),
    "a policy with a delta of 1": (
        "policies",
        lambda s: document(s, budget=structs.replace(MOBILITY.budget, delta="1")),
        "malformed",
        "delta",
    ),
    "a policy larger than an entry": (
        "policies",
        lambda s: document(s, notice={f"x{n}": "y" * 8_000 for n in range(9)} | text("z")),
        "too-large",
        "",
    ),
}


@pytest.mark.parametrize("what", BAD_GOVERNANCE)
async def test_a_member_or_policy_that_may_not_stand_is_refused_and_changes_nothing(
    standing: Standing, what: str
) -> None:
    path, make, code, says = BAD_GOVERNANCE[what]
    async with standing.running.unchanged():
        refused(await standing.running.post(f"/v1/{path}", make(standing)), code, says)


# Looking at one's own, and reading


BAD_LOOKS: dict[str, tuple[Make, str]] = {
    "with another resident's key": (lambda s: jws.sign(s.aoi.mine(), s.ren.key), "signature-invalid"),
    "for another ledger": (lambda s: jws.sign(s.aoi.mine(log="elsewhere.test/log"), s.aoi.key), "signature-invalid"),
    "by a clock an hour off": (lambda s: jws.sign(s.aoi.mine(at=int(time.time()) - HOUR), s.aoi.key), "clock-skew"),
    "a second time": (lambda s: jws.sign(s.aoi.mine(), s.aoi.key), "replayed"),
}


@pytest.mark.parametrize("what", BAD_LOOKS)
async def test_nobody_looks_at_a_residents_consents_but_the_resident_now(standing: Standing, what: str) -> None:
    make, code = BAD_LOOKS[what]
    token = make(standing)
    if code == "replayed":
        assert len(await standing.running.done("/v1/residents/consents", token)) == 2
    async with standing.running.unchanged():
        refused(await standing.running.post("/v1/residents/consents", token), code)


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/nowhere", "not-found"),
        ("/v1/entries/123456789", "not-found"),
        ("/v1/entries/" + "9" * 30, "not-found"),
        ("/v1/entries/-1", "not-found"),
        ("/v1/entries/one", "not-found"),
        ("/v1/receipts/123456789", "not-found"),
        ("/v1/receipts/" + "9" * 30, "not-found"),
        ("/v1/rounds/0", "not-found"),
        ("/v1/rounds/" + "9" * 30, "not-found"),
        ("/v1/rounds/0/shares", "not-found"),
        ("/v1/rounds/" + "9" * 30 + "/shares", "not-found"),
        ("/v1/rounds/" + "9" * 5_000 + "/shares", "not-found"),
        ("/v1/rounds/0?wait=long", "malformed"),
        ("/log/tile/0/123", "not-found"),
        ("/log/tile/0/000.p/255", "not-found"),
        ("/log/tile/0/000.p/256", "malformed"),
        ("/log/tile/0/0", "malformed"),
        ("/log/tile/64/000", "malformed"),
        ("/log/tile/entries/../../../keys/log.key", "not-found"),
        ("/log/tile/%2e%2e/%2e%2e/service.toml", "malformed"),
        ("/log/tile/0/" + "x999/" * 300 + "999", "malformed"),
    ],
)
async def test_a_bad_address_gets_a_problem_and_changes_nothing(standing: Standing, path: str, code: str) -> None:
    async with standing.running.unchanged():
        response = await standing.running.client.get(path)
        refused(response, code)
    assert b"seed" not in response.content


async def test_another_method_gets_a_problem(standing: Standing) -> None:
    response = await standing.running.client.delete("/v1/entries/0")
    assert response.status_code == httpx.codes.METHOD_NOT_ALLOWED
    assert response.json()["code"] == "not-permitted"


async def test_the_store_has_looked_at_every_table(standing: Standing) -> None:
    """What ``unchanged`` compares is not empty: each table has something that could have changed."""
    snapshot = await standing.running.snapshot()
    empty = {name.removeprefix("/") for name, rows in snapshot.items() if name.startswith("/") and not rows}
    assert empty <= {"caught_up", "confirmations", "erased_words", "erasures", "idempotency", "lost_keys", "refusals"}
    assert snapshot["files"]

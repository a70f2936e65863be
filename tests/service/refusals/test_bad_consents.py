"""A consent that is not whole, not true or not its signer's is refused and changes nothing."""

import secrets
import time
from typing import Any

import pytest
from msgspec import structs
from nacl.signing import SigningKey

from ledger import canonical, jws
from policies.consents.bundle import NONE, Bundle, Leaf, leaf_digest
from policies.consents.consent import General, SubGrant
from policies.pairwise_keys import pairwise_key, public_hex
from policies.policy_document import Policy
from tests.kit.logs.tampering import flipped, stretched, unsigned, with_body
from tests.kit.towns.running import Resident, refused
from tests.kit.towns.toy_town import HOLDERS, MOBILITY, policy, text
from tests.service.refusals.standing import OUTINGS, Make, Standing
from trust.service.acts.intake import SMALL

pytestmark = pytest.mark.anyio


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
    return {"bundles": [with_body(honest, place, jws.sign(said, own))]}


def of_another(s: Standing) -> dict[str, Any]:
    """Aoi's bundle with Ren's own, well-signed sub-grant of the same identifier and policy."""
    consent = secrets.token_bytes(32)
    mine, other = s.aoi.consent(consent=consent), s.ren.consent(consent=consent)
    return {"bundles": [with_body(mine, 1, other.leaves[1].body)]}


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
    return {"bundles": [with_body(honest, 1, f"{token.rpartition('.')[0]}.{jws.b64url(point + bytes(32))}")]}


def two_with_one_bad(s: Standing) -> dict[str, Any]:
    return {"bundles": [s.aoi.consent(), with_body(good := s.aoi.consent(), 3, flipped(good.leaves[3].body))]}


def grants(*bundles: Bundle) -> dict[str, Any]:
    return {"bundles": list(bundles)}


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
        lambda s: grants(with_body(good := s.aoi.consent(), 0, flipped(good.leaves[0].body))),
        "consent-mismatch",  # each sub-grant names the hash of the whole of leaf 0, signature and all
        "general part",
    ),
    "a bad signature alone": (lambda s: general(s, key=SigningKey.generate()), "signature-invalid", ""),
    "another resident's signature": (lambda s: general(s, key=s.ren.key), "signature-invalid", ""),
    "a bad signature in a sub-grant": (
        lambda s: grants(with_body(good := s.aoi.consent(), 2, flipped(good.leaves[2].body))),
        "signature-invalid",
        "",
    ),
    "a signature made longer": (
        lambda s: grants(with_body(good := s.aoi.consent(), 2, good.leaves[2].body + "AA")),
        "malformed",
        "JWS",
    ),
    "a malleable signature": (
        lambda s: grants(with_body(good := s.aoi.consent(), 2, stretched(good.leaves[2].body))),
        "signature-invalid",
        "",
    ),
    "a key of small order": (small_order, "signature-invalid", ""),
    "no signature": (
        lambda s: grants(with_body(good := s.aoi.consent(), 0, good.leaves[0].body.rpartition(".")[0])),
        "malformed",
        "JWS",
    ),
    "alg none": (
        lambda s: grants(with_body(good := s.aoi.consent(), 0, unsigned(good.leaves[0].body))),
        "malformed",
        "JWS",
    ),
    "none for the general part": (lambda s: grants(with_body(s.aoi.consent(), 0, NONE)), "malformed", "JWS"),
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
        lambda s: grants(with_body(good := s.aoi.consent(), 1, good.leaves[2].body)),
        "consent-mismatch",
        "place",
    ),
    "a sub-grant of another consent": (
        lambda s: grants(with_body(s.aoi.consent(), 1, s.given.leaves[1].body)),
        "consent-mismatch",
        "",
    ),
    "a sub-grant that lasts longer": (lambda s: sub_grant(s, until="2030-03-31"), "consent-mismatch", "same"),
    "a sub-grant for another ledger": (lambda s: sub_grant(s, log="elsewhere.test/log"), "consent-mismatch", "same"),
    "a sub-grant left out that is said": (
        lambda s: grants(with_body(s.aoi.consent(), 1, NONE)),
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
    "a yearly cap that the policy does not offer": (lambda s: general(s, yearly_cap=5), "consent-mismatch", "cap"),
    "a negative cap": (lambda s: general(s, yearly_cap=-1), "malformed", ""),
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

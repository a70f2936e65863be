"""A revocation that is not whole, not true or not its signer's is refused and changes nothing."""

from typing import Any

import pytest

from ledger import canonical
from policies.consents.bundle import Bundle
from tests.kit.logs.tampering import with_body
from tests.kit.towns.running import refused
from tests.service.refusals.standing import Make, Standing

pytestmark = pytest.mark.anyio


def revoked(s: Standing, **changes: Any) -> dict[str, Any]:
    """A revocation of a grant in force in which something is off; ``by`` is who signs, ``grant`` what is sent."""
    by = changes.pop("by", s.aoi)
    sent = changes.pop("grant", s.grant)
    return {**by.revocation(s.given, changes.pop("signed", s.grant), **changes), "grant": sent}


def half_signed(s: Standing) -> dict[str, Any]:
    """The revocation's general part by the right resident, a holder's part by another."""
    mine, other = revoked(s), revoked(s, by=s.ren)
    return {**mine, "bundle": with_body(mine["bundle"], 2, other["bundle"].leaves[2].body)}


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

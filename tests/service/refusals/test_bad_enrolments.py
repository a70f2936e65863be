"""An enrolment that no identity provider stands for, or no resident, is refused and changes nothing."""

from typing import Any

import pytest

from tests.kit.towns.running import Resident, refused
from tests.service.refusals.standing import Make, Standing

pytestmark = pytest.mark.anyio


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

"""The toy town: its name, its people, their keys and its policies. Whatever tests play is this one town.

A hand-made log (``log_builder``), a service in this event loop (``running``) or in a process of its own
(``processes``), nodes, witnesses and residents' devices all take from here who there is. Keys are those of names, so
that any part can be played without the others.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from msgspec import structs
from nacl.signing import SigningKey

from ledger.notes.note import VerifierKey
from policies.policy_document import Budget, Category, Limits, Measure, Policy, Range, View

ORIGIN = "musubi.test/hamlet"
STEWARDS = ("city", "citizens", "firms")
"""Two of them must sign."""
HOLDERS = ("bus_co", "clinic", "market")
ASKED = HOLDERS[:2]
"""The holders of what is asked about."""
PARTNERS = ("planner", "campus")
PARTNER = PARTNERS[0]
OPERATOR = "operator"
IDENTITY = "idp"
"""The identity provider."""
START = 1_790_000_000
"""When a hand-made history begins."""
FAR_DAY = "2090-12-31"
"""A last day that is far away."""


def text(english: str) -> dict[str, str]:
    """Return the same words as every language."""
    return {"ja": english, "en": english, "ja-easy": english}


TEXT = {"ja": "試し", "en": "Trial"}
"""The words of anything whose words do not matter, other in each language."""


def key_of(name: str) -> SigningKey:
    """Return the fixed key of a name."""
    return SigningKey(hashlib.sha256(b"toy town " + name.encode()).digest())


def public(name: str) -> str:
    """Return a name's public key in hexadecimal."""
    return bytes(key_of(name).verify_key).hex()


def log_key(name: str = "log") -> VerifierKey:
    """Return the verifier key that the log has where it signs with the key of a name."""
    return VerifierKey.ed25519(ORIGIN, bytes(key_of(name).verify_key))


def trips(*holders: str, wards: Sequence[str], rows: int, fare: int) -> View:
    """Return the view of trips by ward, hour and fare (0 to ``fare``); ``rows`` of a resident's count."""
    return View(
        name="trips",
        title=text("Trips"),
        holders=list(holders),
        source="trips",
        resident="customer",
        rows_per_resident=rows,
        holders_per_resident=len(holders),
        columns=[
            Category(name="ward", title=text("Ward"), values=list(wards)),
            Range(name="hour", title=text("Hour"), lo=0, hi=23),
            Measure(name="fare", title=text("Fare"), lo=0, hi=fare),
        ],
    )


def policy(
    name: str, holders: Sequence[str], partners: Sequence[str], asked_of: Sequence[str], **changes: Any
) -> Policy:
    """Return a whole policy with one view, ``trips``, at the holders ``asked_of``; its budget is ample."""
    made = Policy(
        id=name,
        version=1,
        title=text(name),
        notice=text(f"The notice of {name}"),
        purpose="https://w3id.org/dpv#ImprovePublicServices",
        group="living",
        controller=OPERATOR,
        holders=list(holders),
        partners=list(partners),
        until=["2030-03-31", FAR_DAY],
        yearly_caps=[10**12, 10**13],
        views=[trips(*asked_of, wards=["hill", "shore", "mill"], rows=2, fare=1_000)],
        budget=Budget(delta="0.000001", window="day", per_window=10**12, life=10**14, per_partner=10**12),
        limits=Limits(cells=100, measures=4, charge=10**9),
        aggregation="local",
        reuse=86_400,
    )
    return structs.replace(made, **changes)


MOBILITY = policy("mobility", HOLDERS, PARTNERS, ASKED)
HEALTH = policy("health", ["clinic"], [PARTNER], ["clinic"])
POLICIES = (MOBILITY, HEALTH)


def scarce(version: int = 1, **changes: Any) -> Policy:
    """Return the policy ``mobility`` as hand-made logs have it: two holders, and a budget that few questions use up."""
    made = policy(
        "mobility",
        ASKED,
        [PARTNER],
        ASKED,
        version=version,
        title=TEXT,
        notice={**TEXT, "ja-easy": "ためし"},
        controller=HOLDERS[0],  # not every such log has an operator
        until=["2027-03-31", "2028-03-31"],
        yearly_caps=[5_000_000, 1_000_000_000],
        views=[trips(*ASKED, wards=["north", "south"], rows=4, fare=500)],
        budget=Budget(
            delta="0.000001", window="month", per_window=20_000_000, life=100_000_000, per_partner=20_000_000
        ),
        limits=Limits(cells=64, measures=4, charge=20_000_000),
        reuse=0,
    )
    return structs.replace(made, **changes)

"""Residents' devices for tests: seeds, and whole consents for the hand-made town."""

import hashlib
from typing import Any

from msgspec import structs

from ledger import jws
from ledger.entries import Grant
from policies.consents.bundle import Bundle, commitment
from policies.consents.consent import General, make_consent
from policies.policy_document import Policy, document_sha256
from tests.kit.towns.toy_town import ORIGIN, START, scarce

SHOWN_AT = START
UNTIL = "2027-03-31"
CAP = 5_000_000


def seed_of(name: str | int) -> bytes:
    """Return the fixed seed of a resident's device; a number is a name too."""
    return hashlib.sha256(f"resident {name}".encode()).digest()


def salts_for(name: str, count: int) -> list[bytes]:
    """Return fixed salts, all different."""
    return [hashlib.sha256(f"salt {name} {place}".encode()).digest() for place in range(count)]


def consent_bundle(name: str | int, policy: Policy | None = None, **changes: Any) -> Bundle:
    """Return a right consent of a resident, to every holder unless told otherwise."""
    document = policy or scarce()
    said: dict[str, Any] = {
        "log": ORIGIN,
        "consent": hashlib.sha256(f"consent of {name}".encode()).digest(),
        "salts": salts_for(str(name), len(document.holders) + 1),
        "holders": list(document.holders),
        "until": UNTIL,
        "yearly_cap": CAP,
        "language": "ja",
        "shown_at": SHOWN_AT,
    }
    return make_consent(seed_of(name), document, **(said | changes))


def general_of(bundle: Bundle) -> General:
    """Return what leaf 0 says."""
    return jws.read_unverified(bundle.leaves[0].body, General)


def entry_for(bundle: Bundle, policy: Policy | None = None, **changes: Any) -> Grant:
    """Return the ledger entry that the service would append for a bundle."""
    said = general_of(bundle)
    grant = Grant(
        at=SHOWN_AT + 60,
        consent=said.consent,
        policy=said.policy,
        version=said.version,
        policy_sha256=document_sha256(policy or scarce()),
        until=said.until,
        yearly_cap=said.yearly_cap,
        commitment=commitment(bundle),
    )
    return structs.replace(grant, **changes)

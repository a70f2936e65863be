"""Replacing a lost device in a town on this machine: the parts of identity provider and holders' counters are played.

In a real town the resident goes to the identity provider with the new device, is seen in person, and later logs in at each
holder's own website to link it. Nothing of this goes through the ledger but the revocations.
"""

import time

from msgspec import Struct

from ledger import canonical, jws
from ledger import entries as e
from ledger.entries import Index, Token
from ledger.errors import ProofInvalid
from policies.consents.attestation import Attestation, make_challenge, make_enrolment, make_link
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from trust.client.service import ServiceClient
from trust.files.keys import read_secret
from trust.runtime.clock import system_clock
from trust.town.layout import Layout
from trust.town.loader import read_residents
from trust.town.play_residents import drop_links, subject_of


class EndedConsent(Struct, frozen=True, kw_only=True):
    """One consent that ended with the old device: where it stood, where its end stands, and the service's promise."""

    grant: Index
    revocation: Index
    operator: Index | None
    promise: Token


def attest_lost_device(layout: Layout, person: int, seed: bytes) -> tuple[str, str]:
    """Play the identity provider, who sees the resident again; return the attestation and the new device's answer."""
    origin, identity = layout.town.origin, layout.identity()
    key = pairwise_key(seed, SERVICE)
    attestation = Attestation(
        for_="lost-device",
        from_=identity,
        log=origin,
        key=public_hex(key),
        subject=subject_of(read_secret(layout.people / "seeds.key"), person),
        level="high",
        date=time.strftime("%Y-%m-%d", time.gmtime(system_clock())),
    )
    token = jws.sign(attestation, layout.member_key(identity))
    return token, make_enrolment(key, token, origin)


def replace_device(layout: Layout, client: ServiceClient, person: int, seed: bytes) -> list[EndedConsent]:
    """Enrol the new device of a resident and end what the old one agreed to; return that, each checked in the ledger.

    Raises what the service raises, and ProofInvalid where the ledger does not say what it should.
    """
    ended = []
    for each in client.replace_device(*attest_lost_device(layout, person, seed)):
        revoked = each["revoked"]
        consent = EndedConsent(
            grant=each["grant"],
            revocation=revoked["index"],
            operator=revoked["operator"],
            promise=revoked["promise"],
        )
        entry = client.prove(consent.revocation).entry
        if not isinstance(entry, e.Revoke) or (entry.grant, entry.reason) != (consent.grant, "lost-device"):
            raise ProofInvalid("The ledger does not say there that this consent ended; tell the town's stewards.")
        ended.append(consent)
    return ended


def link_again(layout: Layout, person: int, seed: bytes) -> list[str]:
    """Play the resident, logged in at each holder as its customer, who links the new device; return the holders."""
    customers = read_residents(layout.town, layout.people)[person]
    now = system_clock()
    for holder, customer in customers.items():
        challenge = make_challenge(read_secret(layout.node(holder) / "keys" / "link.key"), customer, now)
        line = {"customer": customer, "link": make_link(seed, holder, challenge, now)}
        drop_links(layout.node(holder) / "links", time.time_ns(), canonical.encode(line) + b"\n")
    return list(customers)

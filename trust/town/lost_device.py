"""Playing the offices that a resident with a lost device goes to: the identity provider, and each holder's website.

In a real town the resident goes to the identity provider with the new device, is seen in person, and later logs in at
each holder's own website to link it. Nothing of this goes through the ledger but the revocations.
"""

import time

from ledger import canonical, jws
from policies.consents.attestation import Attestation, make_challenge, make_link
from trust.client.place import Place
from trust.files.keys import read_secret
from trust.runtime.clock import system_clock
from trust.town.layout import Layout
from trust.town.loader import read_residents
from trust.town.play_residents import drop_links, subject_of


def attest_lost_device(layout: Layout, person: int, public_key: str) -> str:
    """Play the identity provider, who sees the resident again with a new device; return what it signs."""
    identity = layout.place(layout.identity())
    attestation = Attestation(
        for_="lost-device",
        from_=identity.alias,
        log=identity.trust.origin,
        key=public_key,
        subject=subject_of(read_secret(layout.people / "seeds.key"), person),
        level="high",
        date=time.strftime("%Y-%m-%d", time.gmtime(system_clock())),
    )
    return jws.sign(attestation, identity.key)


def link_again(layout: Layout, person: int, place: Place) -> list[str]:
    """Play the resident, logged in at each holder as its customer, who links the new device; return the holders."""
    customers = read_residents(layout.town, layout.people)[person]
    now = system_clock()
    for holder, customer in customers.items():
        challenge = make_challenge(read_secret(layout.node(holder) / "keys" / "link.key"), customer, now)
        line = {"customer": customer, "link": make_link(place.seed, holder, challenge, now)}
        drop_links(layout.node(holder) / "links", time.time_ns(), canonical.encode(line) + b"\n")
    return list(customers)

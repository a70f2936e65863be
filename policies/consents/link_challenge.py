"""A holder's link challenge as one line of text, which goes from the holder's site to the resident's device.

    musubi-link:<holder>:<asked_at>:<challenge>

The site shows it to the customer who is logged in; the device reads it, shows its owner which holder asks, and answers
(``policies.consents.attestation``). There is no secret in it: without the customer's session at the holder's site the
answer is good for nothing.
"""

import re

from msgspec import Struct

from ledger.entries import Alias, Hex32, Seconds
from ledger.errors import Malformed
from policies.consents.attestation import make_challenge

_FORM = re.compile(r"musubi-link:([a-z][a-z0-9_]{0,31}):(0|[1-9][0-9]{0,11}):([0-9a-f]{64})", re.ASCII)


class LinkChallenge(Struct, frozen=True, kw_only=True):
    """One challenge: which holder asks, when it was made (UTC seconds), and the holder's HMAC over the customer."""

    holder: Alias
    asked_at: Seconds
    challenge: Hex32

    @property
    def text(self) -> str:
        """The challenge as one line."""
        return f"musubi-link:{self.holder}:{self.asked_at}:{self.challenge}"


def challenge_for(secret: bytes, holder: Alias, customer: str, now: int) -> LinkChallenge:
    """Return a challenge for one logged-in customer of a holder; ``secret`` is the holder's own."""
    return LinkChallenge(holder=holder, asked_at=now, challenge=make_challenge(secret, customer, now))


def read_link_challenge(text: str) -> LinkChallenge:
    """Read a challenge as one line; raise Malformed where it is none."""
    found = _FORM.fullmatch(text.strip())
    if found is None:
        raise Malformed("This is no link challenge; copy the whole line that begins with 'musubi-link:'.")
    return LinkChallenge(holder=found[1], asked_at=int(found[2]), challenge=found[3])

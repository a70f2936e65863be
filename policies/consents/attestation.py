"""Who stands behind a key: the identity provider's attestation, and the link between a key and a holder's customer.

Both stay outside the ledger. An attestation binds the resident's key *at the service* to a verified person, named
only by the provider's own pairwise subject. A link binds the resident's key *at one holder* to a customer of that
holder; the service never sees it.
"""

import hashlib
import hmac
from typing import Annotated, Literal

from msgspec import Meta, Struct
from nacl.signing import SigningKey

from ledger import jws
from ledger.entries import Alias, Day, Hex32, Seconds
from ledger.errors import ClockSkew, ConsentMismatch, SignatureInvalid
from policies.pairwise_keys import pairwise_key, public_hex

Level = Literal["low", "substantial", "high"]
AttestedFor = Literal["attestation", "lost-device"]
PairwiseSubject = Annotated[str, Meta(min_length=8, max_length=128, pattern=r"^[A-Za-z0-9_-]+\Z")]
"""An identity provider's own name for a person: no other provider has it."""
CHALLENGE_SECONDS = 900
"""How long a customer has to answer a link challenge."""


class Attestation(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for", "from_": "from"}
):
    """A member with the role ``identity`` says: a real person, seen on ``date``, stands behind ``key``.

    For ``lost-device`` it says besides: this person's device is lost, and ``key`` is on the new one.
    """

    v: Literal[1] = 1
    for_: AttestedFor = "attestation"
    from_: Alias
    log: str
    key: Hex32
    subject: PairwiseSubject
    level: Level
    date: Day


class Enrolment(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The resident shows that the attested key is theirs by signing the attestation's hash with it."""

    v: Literal[1] = 1
    kind: Literal["enrolment"] = "enrolment"
    log: str
    key: Hex32
    attestation_sha256: Hex32


def make_enrolment(key: SigningKey, attestation: str, log: str) -> str:
    """Sign an enrolment with the resident's key at the service."""
    digest = hashlib.sha256(attestation.encode("ascii")).hexdigest()
    return jws.sign(Enrolment(log=log, key=public_hex(key), attestation_sha256=digest), key)


def check_enrolment(
    enrolment: str,
    attestation: str,
    providers: dict[str, bytes],
    log: str,
    attested_for: AttestedFor = "attestation",
) -> Attestation:
    """Check attestation and enrolment together; ``providers`` are the identity members' keys by alias.

    Raises Malformed, SignatureInvalid or ConsentMismatch.
    """
    provider = jws.read_unverified(attestation, Attestation, "attestation").from_
    if provider not in providers:
        raise SignatureInvalid("The attestation is not by an identity provider of this town.")
    attested = jws.verify(attestation, providers[provider], Attestation, "attestation")
    enrolled = jws.verify(enrolment, bytes.fromhex(attested.key), Enrolment, "enrolment")
    digest = hashlib.sha256(attestation.encode("ascii")).hexdigest()
    if attested.log != log or enrolled.log != log:
        raise ConsentMismatch("The attestation or enrolment is for another ledger.")
    if attested.for_ != attested_for:
        raise ConsentMismatch("The attestation is for something else: a lost device is not an ordinary enrolment.")
    if enrolled.key != attested.key or enrolled.attestation_sha256 != digest:
        raise ConsentMismatch("The enrolment is not for this attestation.")
    return attested


class Link(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The resident, logged in at the holder as a customer, answers the holder's challenge with the pairwise key."""

    v: Literal[1] = 1
    kind: Literal["link"] = "link"
    holder: Alias
    key: Hex32
    challenge: Hex32
    asked_at: Seconds


def make_challenge(secret: bytes, customer: str, asked_at: int) -> Hex32:
    """Return a holder's challenge for one logged-in customer: an HMAC, so nothing needs to be kept."""
    message = b"musubi/v1/link\x00" + asked_at.to_bytes(8, "big") + customer.encode("utf-8")
    return hmac.digest(secret, message, "sha256").hex()


def make_link(seed: bytes, holder: str, challenge: Hex32, asked_at: int) -> str:
    """Answer a challenge with the resident's pairwise key at that holder."""
    key = pairwise_key(seed, holder)
    return jws.sign(Link(holder=holder, key=public_hex(key), challenge=challenge, asked_at=asked_at), key)


def check_link(token: str, *, secret: bytes, customer: str, holder: str, now: int) -> Hex32:
    """Check a link for one customer; return the pairwise key it binds to the customer.

    Raises Malformed, SignatureInvalid, ConsentMismatch or ClockSkew.
    """
    key = jws.read_unverified(token, Link, "link").key
    link = jws.verify(token, bytes.fromhex(key), Link, "link")
    if link.holder != holder or not hmac.compare_digest(
        link.challenge, make_challenge(secret, customer, link.asked_at)
    ):
        raise ConsentMismatch("The link answers another challenge than this holder gave this customer.")
    if not 0 <= now - link.asked_at <= CHALLENGE_SECONDS:
        raise ClockSkew("The link challenge is older than 15 minutes; ask for a new one.")
    return key

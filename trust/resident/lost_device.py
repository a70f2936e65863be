"""A new device in a lost one's place: the identity provider has attested it, and everything of the old one ends."""

from msgspec import Struct

from ledger import entries as e
from ledger.entries import Index, Token
from ledger.errors import ProofInvalid
from policies.consents.attestation import make_enrolment
from policies.pairwise_keys import SERVICE, pairwise_key
from trust.client.service import ServiceClient


class EndedConsent(Struct, frozen=True, kw_only=True):
    """One consent that ended with the old device: where it stood, where its end stands, and the service's promise."""

    grant: Index
    revocation: Index
    operator: Index | None
    promise: Token


def replace_device(client: ServiceClient, seed: bytes, attestation: str) -> list[EndedConsent]:
    """Enrol the new device and end what the old one agreed to; return that, each checked in the ledger.

    ``seed`` is the new device's, and ``attestation`` the identity provider's word that the old one is lost. Raises what
    the service raises, and ProofInvalid where the ledger does not say what it should.
    """
    enrolment = make_enrolment(pairwise_key(seed, SERVICE), attestation, client.trust.origin)
    ended = []
    for each in client.replace_device(attestation, enrolment):
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

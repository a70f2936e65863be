"""A new device in a lost one's place: the identity provider has attested it, and everything of the old one ends."""

from ledger import entries as e
from ledger.errors import ProofInvalid
from policies.consents.attestation import make_enrolment
from policies.pairwise_keys import SERVICE, pairwise_key
from trust.client.service import ServiceClient
from trust.client.wire import EndedGrant


def replace_device(client: ServiceClient, seed: bytes, attestation: str) -> list[EndedGrant]:
    """Enrol the new device and end what the old one agreed to; return that, each checked in the ledger.

    ``seed`` is the new device's, and ``attestation`` the identity provider's word that the old one is lost. Raises what
    the service raises, and ProofInvalid where the ledger does not say what it should.
    """
    enrolment = make_enrolment(pairwise_key(seed, SERVICE), attestation, client.trust.origin)
    ended = client.replace_device(attestation, enrolment)
    for each in ended:
        entry = client.prove(each.revoked.index).entry
        if not isinstance(entry, e.Revoke) or (entry.grant, entry.reason) != (each.grant, "lost-device"):
            raise ProofInvalid("The ledger does not say there that this consent ended; tell the town's stewards.")
    return ended

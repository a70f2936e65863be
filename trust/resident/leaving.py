"""Whoever has left the town has nothing kept there, also no word that they left: only their own device knows."""

from ledger.errors import NotEnrolled
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from trust.client.service import ServiceClient
from trust.client.wire import MyConsent
from trust.resident.own_copies import OwnCopies

LEFT_SENTENCE = (
    "You have left this town: your enrolment is forgotten, and nothing of yours is kept or used. To take part again, enrol "
    "as if for the first time."
)


class LeftTheTown(NotEnrolled):
    """This key is not enrolled any more, because its owner asked to be forgotten from this very device."""


def own_consents_of(client: ServiceClient, seed: bytes, copies: OwnCopies) -> list[MyConsent]:
    """Return one's own consents as the service shows them.

    Raises LeftTheTown where the service does not know the key and this device has asked it to forget it; NotEnrolled
    where it does not know the key otherwise: the seed is another's, or nobody's yet.
    """
    try:
        return client.my_consents(seed)
    except NotEnrolled:
        if copies.left_at(public_hex(pairwise_key(seed, SERVICE))) is not None:
            raise LeftTheTown(LEFT_SENTENCE) from None
        raise

"""The identity provider ends a consent for a person whom it enrolled and sees now: at a desk, or signed in.

The provider signs on its own machine and believes no answer: that the consent has ended must stand in the ledger, under
its own name. It needs to know which consent: the person's receipt says where in the ledger it stands, and nobody tells
the provider whose the others are.
"""

import secrets

from msgspec import Struct
from nacl.signing import SigningKey

from ledger import entries as e
from ledger.errors import NotFound, ProofInvalid
from policies.consents.attested_stop import Stop, make_stop
from trust.client.service import ServiceClient
from trust.client.wire import Revoked
from trust.runtime.clock import system_clock


class StoppedFor(Struct, frozen=True, kw_only=True):
    """A consent that was ended for its resident: the proven entry, and what the service answered."""

    grant: int
    policy: str
    entry: e.Revoke
    revoked: Revoked


def stop_for(client: ServiceClient, provider: str, key: SigningKey, subject: str, grant: int) -> StoppedFor:
    """Sign and hand in that the person known as ``subject`` ends a grant; return it once the receipt was checked.

    Raises NotFound where no consent is there, ProofInvalid where the ledger does not say that this provider ended it,
    and what the service raises: RateLimited says from when on the next stop is taken.
    """
    given = client.prove(grant).entry
    if not isinstance(given, e.Grant):
        raise NotFound("There is no consent at that place of the ledger; the person's receipt says where it is.")
    said = Stop(
        from_=provider,
        log=client.trust.origin,
        consent=given.consent,
        grant=grant,
        subject=subject,
        at=system_clock(),
        nonce=secrets.token_hex(32),
    )
    answer = client.stop(make_stop(key, said))
    entry = client.prove(answer.index).entry
    if not isinstance(entry, e.Revoke) or (entry.grant, entry.reason, entry.by) != (grant, "attested", provider):
        raise ProofInvalid("The ledger does not say there that you ended this consent; tell the town's stewards.")
    return StoppedFor(grant=grant, policy=given.policy, entry=entry, revoked=answer)

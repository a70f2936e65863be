"""What enters the ledger only with the signatures of the stewards' quorum: members, policies, orders, log keys.

A steward signs a JWS over ``{"for":<subject>,"from":"<steward>","log":"<origin>","sha256":"<hash>","v":1}``. The
subject is ``member``, ``policy``, ``erasure``, ``log-key`` or ``rules``; the hash is that of the canonical JSON of the
member body, of the policy document, of the order (``policies.consents.erasure``), of the log-key body, or of the rules
body. Stewards and quorum are those of the genesis entry. The operator of the service holds no steward's key.
"""

import hashlib
from typing import Literal

from msgspec import Struct
from nacl.signing import SigningKey

from ledger import canonical, jws
from ledger.entries import Alias, Genesis, Hex32
from ledger.errors import NotPermitted, SignatureInvalid

Subject = Literal["member", "policy", "erasure", "log-key", "rules"]


class Approval(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for", "from_": "from"}):
    """One steward's signed yes to one exact document."""

    v: Literal[1] = 1
    for_: Subject
    from_: Alias
    log: str
    sha256: Hex32


def approve(subject: Subject, body: object, *, log: str, steward: str, key: SigningKey) -> str:
    """Sign one document as one steward; return the token for the entry's ``signatures``."""
    digest = hashlib.sha256(canonical.encode(body)).hexdigest()
    return jws.sign(Approval(for_=subject, from_=steward, log=log, sha256=digest), key)


def check_quorum(subject: Subject, body: bytes, signatures: list[str], genesis: Genesis) -> list[str]:
    """Return the aliases of the stewards that signed ``body`` (canonical bytes); at least the quorum.

    Raises SignatureInvalid for any signature that is bad or by no steward, NotPermitted below the quorum.
    """
    digest = hashlib.sha256(body).hexdigest()
    keys = {steward.alias: bytes.fromhex(steward.key) for steward in genesis.stewards}
    signed: set[str] = set()
    for token in signatures:
        steward = jws.read_unverified(token, Approval, "steward's approval").from_
        if steward not in keys:
            raise SignatureInvalid("An approval is not by a steward that the genesis entry names.")
        approval = jws.verify(token, keys[steward], Approval, "steward's approval")
        if (approval.for_, approval.log, approval.sha256) != (subject, genesis.origin, digest):
            raise SignatureInvalid("A steward's approval is for another document.")
        signed.add(steward)
    if len(signed) < genesis.quorum:
        raise NotPermitted(
            f"For the {subject} the approval of {genesis.quorum} stewards is needed; {len(signed)} have signed.",
            needed=genesis.quorum,
            signed=len(signed),
        )
    return sorted(signed)

"""A stop without the resident's key: the identity provider that enrolled a person signs that the person ends a grant.

To grant takes the key; to stop never does. Whoever has lost the device, or cannot work it, goes to the provider, which
sees who it is, and signs::

    {"at":1790000000,"consent":"<of the grant>","for":"stop","from":"city_id","grant":4711,"log":"<origin>",
     "nonce":"<32 random bytes>","subject":"<the provider's own name for the person>","v":1}

It names one grant twice, by its index and by its consent identifier, so that it stops nothing else; it is good once
and at its own time. The **record** behind the ``revoke`` entry (reason ``attested``, ``by`` the provider) has the shape
of a revocation: leaf 0 is the stop, the others are ``none``, with fresh salts. So the commitment tells nobody whose it
is, and the resident, who is shown the record, can check who it was: against the entry and the provider's key.
"""

from collections.abc import Sequence
from typing import Literal

from msgspec import Struct, UnsetType
from nacl.signing import SigningKey

from ledger import entries as e
from ledger import jws
from ledger.entries import Alias, Hex32, Index, Seconds
from ledger.errors import ConsentMismatch, ProofInvalid, SignatureInvalid
from policies.consents.attestation import PairwiseSubject
from policies.consents.bundle import NONE, Bundle, Leaf, commitment
from policies.rules import STOPS


class Stop(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for", "from_": "from"}):
    """A member with the role ``identity`` says: the person whom I know as ``subject`` ends this grant."""

    v: Literal[1] = 1
    for_: Literal["stop"] = "stop"
    from_: Alias
    log: str
    consent: Hex32
    grant: Index
    subject: PairwiseSubject
    at: Seconds
    nonce: Hex32


def make_stop(key: SigningKey, stop: Stop) -> str:
    """Sign a stop as the provider that it names."""
    return jws.sign(stop, key)


def check_stop(token: str, providers: dict[str, bytes], log: str) -> Stop:
    """Return a stop that one of the providers signed; ``providers`` are the identity members' keys by alias.

    Raises Malformed, SignatureInvalid or ConsentMismatch. Whose the grant is, and whether it is of now, is the caller's
    to look at.
    """
    provider = jws.read_unverified(token, Stop, "stop").from_
    if provider not in providers:
        raise SignatureInvalid("The stop is not by an identity provider of this town.")
    stop = jws.verify(token, providers[provider], Stop, "stop")
    if stop.log != log:
        raise ConsentMismatch("The stop was signed for another ledger.")
    return stop


def stop_record(token: str, salts: Sequence[bytes]) -> Bundle:
    """Return what stands behind the revocation: the stop in leaf 0, one ``none`` for each holder of the policy."""
    bodies = [token, *[NONE] * (len(salts) - 1)]
    return Bundle(leaves=[Leaf(salt=salt.hex(), body=body) for salt, body in zip(salts, bodies, strict=True)])


def read_stop(record: Bundle, entry: e.Revoke, keys: Sequence[bytes], *, log: str, consent: Hex32) -> Stop:
    """Return the stop behind an ``attested`` revocation, checked as the resident can.

    ``keys`` are those that the ledger gives for the provider that the entry names. Raises ProofInvalid where the record
    is not the one that the entry commits to, or says something else; Malformed or SignatureInvalid.
    """
    if isinstance(entry.by, UnsetType) or commitment(record) != entry.commitment:
        raise ProofInvalid("The record is not the one that the ledger's entry commits to.")
    stop = jws.verify_any(record.leaves[0].body, keys, Stop, "stop")
    if (stop.from_, stop.log, stop.grant, stop.consent) != (entry.by, log, entry.grant, consent):
        raise ProofInvalid("The identity provider signed something else than the ledger says.")
    return stop


def stopping_provider(entry: e.Revoke, rules: int) -> Alias | None:
    """Return the provider by which an entry says that its consent was ended, None where it was by none.

    Raises ProofInvalid where its parts do not fit, or the rules do not know of such an end.
    """
    if entry.reason != "attested" and isinstance(entry.by, UnsetType):
        return None
    if rules < STOPS:
        raise ProofInvalid("it is of a form that its rules do not know.")
    if entry.reason != "attested" or isinstance(entry.by, UnsetType):
        raise ProofInvalid("its reason does not fit whether it names an identity provider.")
    return entry.by

"""Asking for a record to be destroyed: what a resident signs, what stewards sign, what a holder's node signs then.

An **erasure** is a resident's wish, signed with the key at the service (JWS, ``ledger.jws``)::

    {"consent":"…","grant":4711,"key":"…","kind":"erasure","log":"…","said_at":1790000000,"v":1}

It names the log, the grant's place in it and the consent's identifier, so it fits no other consent and no other town.
It cannot be played again: a record is erased once, and an identifier is never used again.

A **farewell** asks the service to forget the enrolment as well, once no consent is left. What it undoes can be done
again (a resident may enrol anew), so it carries its time and a nonce, and is taken within a minute, once.

An **order** is what an authority has stewards approve (``policies.governance``, subject ``erasure``): one index each,
so that no list ties one person's consents together.

An **erased word** is a holder's: nothing of that consent is left at my node. It names the ``erase`` entry by index
*and* SHA-256, so it fits no other history::

    {"at":1790000000,"entry":4800,"entry_sha256":"…","for":"erased","from":"bus_co","index":4711,"log":"…","v":1}
"""

from typing import Literal

from msgspec import Struct
from nacl.signing import SigningKey

from ledger import jws
from ledger.entries import Alias, Hex32, Index, Seconds
from ledger.errors import ConsentMismatch, ProofInvalid, SignatureInvalid
from policies.pairwise_keys import public_hex


class Erasure(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The resident wants the record of one grant destroyed; if it is in force, it ends with that."""

    v: Literal[1] = 1
    kind: Literal["erasure"] = "erasure"
    log: str
    consent: Hex32
    grant: Index
    key: Hex32
    said_at: Seconds


class Farewell(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The resident wants the enrolment forgotten, now that no consent is left."""

    v: Literal[1] = 1
    kind: Literal["farewell"] = "farewell"
    log: str
    key: Hex32
    at: Seconds
    nonce: Hex32


class ErasureOrder(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An authority's order: the record of one grant is to be destroyed."""

    v: Literal[1] = 1
    kind: Literal["erasure-order"] = "erasure-order"
    log: str
    index: Index


class ErasedWord(
    Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename={"for_": "for", "from_": "from"}
):
    """A holder's word: leaf, salt, path, link and view rows of this consent are gone from my node."""

    v: Literal[1] = 1
    for_: Literal["erased"] = "erased"
    from_: Alias
    log: str
    at: Seconds
    index: Index
    entry: Index
    entry_sha256: Hex32


def make_erasure(key: SigningKey, *, log: str, consent: str, grant: int, said_at: int) -> str:
    """Sign a resident's wish with the key at the service."""
    said = Erasure(log=log, consent=consent, grant=grant, key=public_hex(key), said_at=said_at)
    return jws.sign(said, key)


def read_erasure(token: str, log: str) -> Erasure:
    """Check a resident's wish by the key that it names; whether that key is the grant's is for the caller to check.

    Raises Malformed, SignatureInvalid, or ConsentMismatch where it is for another ledger.
    """
    claimed = jws.read_unverified(token, Erasure, "erasure")
    said = jws.verify(token, bytes.fromhex(claimed.key), Erasure, "erasure")
    if said.log != log:
        raise ConsentMismatch("The erasure was signed for another ledger.")
    return said


def check_erased_word(
    token: str, keys: list[bytes], *, log: str, holder: str, index: int, entry: int, entry_sha256: str
) -> ErasedWord:
    """Check a holder's word by one of its ``keys`` (32 bytes each), against the ``erase`` entry that the reader knows.

    Raises Malformed, SignatureInvalid or ProofInvalid.
    """
    word = None
    for key in keys:
        try:
            word = jws.verify(token, key, ErasedWord, "erased word")
        except SignatureInvalid:
            continue
    if word is None:
        raise SignatureInvalid("The word that a consent is erased is not signed by its holder.")
    said = (word.from_, word.log, word.index, word.entry, word.entry_sha256)
    if said != (holder, log, index, entry, entry_sha256):
        raise ProofInvalid("The word is for another erasure.")
    return word

"""Links as a table: who is linked, by customer number, slot and salt.

At each start the table is made of all the links in the books, so a link takes a microsecond or two: one keyed hash,
copied from where it stands after what all of them begin with, and arithmetic on whole columns.
"""

import hmac
from collections.abc import Collection, Mapping

import numpy as np
import pyarrow as pa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

from trust.node.data.bounding import CUSTOMER, MODULUS, SALT, SLOT

_WORD = 2**32
_WORDS_IN_HASH, _WORDS_IN_SALT = 8, 4


def link_table(pairs: Mapping[str, int], secret: bytes) -> pa.Table:
    """Return (customer, slot) pairs with salts: the first 16 bytes of HMAC-SHA256(secret, customer) mod 2^31-1."""
    return pa.table(
        {
            CUSTOMER: pa.array(pairs, pa.string()),
            SLOT: pa.array(pairs.values(), pa.int32()),
            SALT: pa.array(_salts(pairs, secret)),
        }
    )


def _salts(customers: Collection[str], secret: bytes) -> np.ndarray:
    begun = HMAC(secret, SHA256())  # the standard library's takes twice as long to copy
    begun.update(b"musubi/v1/salt\n")
    found = bytearray()
    for customer in customers:
        one = begun.copy()
        one.update(customer.encode())
        found += one.finalize()
    words = np.frombuffer(bytes(found), ">u4").reshape(-1, _WORDS_IN_HASH).astype(np.int64)
    salts = np.zeros(len(words), np.int64)
    for place in range(_WORDS_IN_SALT):
        salts = (salts * (_WORD % MODULUS) + words[:, place]) % MODULUS  # below 2^34: no number is cut off
    return salts


def link_digest(links: pa.Table, secret: bytes) -> str:
    """Return what tells these (slot, salt) from any others, to whoever has the secret: HMAC-SHA256, in hexadecimal."""
    links = links.sort_by(SLOT)
    data = b"".join(column.to_numpy().astype("<i8").tobytes() for column in (links[SLOT], links[SALT]))
    return hmac.digest(secret, b"musubi/v1/links\n" + data, "sha256").hex()

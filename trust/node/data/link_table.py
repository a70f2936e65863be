"""Links as a table: who is linked, by customer number, slot and salt."""

import hmac
from collections.abc import Mapping

import pyarrow as pa

from trust.node.data.bounding import CUSTOMER, MODULUS, SALT, SLOT


def link_table(pairs: Mapping[str, int], secret: bytes) -> pa.Table:
    """Return (customer, slot) pairs with salts: the salt is HMAC-SHA256(secret, customer) mod 2^31-1."""
    salts = [
        int.from_bytes(hmac.digest(secret, b"musubi/v1/salt\n" + customer.encode(), "sha256")[:16]) % MODULUS
        for customer in pairs
    ]
    return pa.table(
        {
            CUSTOMER: pa.array(pairs, pa.string()),
            SLOT: pa.array(pairs.values(), pa.int32()),
            SALT: pa.array(salts, pa.int64()),
        }
    )


def link_digest(links: pa.Table, secret: bytes) -> str:
    """Return what tells these (slot, salt) from any others, to whoever has the secret: HMAC-SHA256, in hexadecimal."""
    links = links.sort_by(SLOT)
    data = b"".join(column.to_numpy().astype("<i8").tobytes() for column in (links[SLOT], links[SALT]))
    return hmac.digest(secret, b"musubi/v1/links\n" + data, "sha256").hex()

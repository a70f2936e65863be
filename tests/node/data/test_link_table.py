"""A customer's salt is what it always was, however many are made at once: which rows are kept hangs on it."""

import hmac

from hypothesis import given
from hypothesis import strategies as st

from trust.node.data.link_table import link_table


@given(
    st.dictionaries(st.text(max_size=12), st.integers(0, 2**31 - 2), max_size=40), st.binary(min_size=32, max_size=32)
)
def test_a_salt_is_the_first_half_of_a_keyed_hash_of_the_customer_alone(pairs: dict[str, int], secret: bytes) -> None:
    table = link_table(pairs, secret)
    assert table["customer"].to_pylist() == list(pairs)
    assert table["slot"].to_pylist() == list(pairs.values())
    hashes = [hmac.digest(secret, b"musubi/v1/salt\n" + customer.encode(), "sha256") for customer in pairs]
    assert table["salt"].to_pylist() == [int.from_bytes(each[:16]) % (2**31 - 1) for each in hashes]


def test_the_salts_of_today_are_those_of_tomorrow() -> None:
    # Which rows are kept in snapshots that nodes have on their disks hangs on them.
    assert link_table({"0012345": 3, "乗客": 4}, bytes(range(32)))["salt"].to_pylist() == [2040983749, 98490141]

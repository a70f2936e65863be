"""A link challenge as one line: what was made is what is read, and whatever else is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import ClockSkew, ConsentMismatch, Malformed
from policies.consents.attestation import CHALLENGE_SECONDS, check_link, make_link
from policies.consents.link_challenge import challenge_for, read_link_challenge
from policies.pairwise_keys import pairwise_key, public_hex

SECRET, SEED = b"s" * 32, b"d" * 32
CUSTOMERS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=30)
MOMENTS = st.integers(0, 2**37)


@given(customer=CUSTOMERS, now=MOMENTS, blanks=st.sampled_from(["", " ", "\n", "\r\n"]))
def test_a_challenge_that_was_copied_is_answered_for_its_customer_alone(customer: str, now: int, blanks: str) -> None:
    made = challenge_for(SECRET, "bus_co", customer, now)
    read = read_link_challenge(blanks + made.text + blanks)
    assert read == made
    token = make_link(SEED, read.holder, read.challenge, read.asked_at)
    key = check_link(token, secret=SECRET, customer=customer, holder="bus_co", now=now + CHALLENGE_SECONDS)
    assert key == public_hex(pairwise_key(SEED, "bus_co"))
    with pytest.raises(ConsentMismatch):
        check_link(token, secret=SECRET, customer=f"{customer}0", holder="bus_co", now=now)
    with pytest.raises(ClockSkew):
        check_link(token, secret=SECRET, customer=customer, holder="bus_co", now=now + CHALLENGE_SECONDS + 1)


@given(customer=CUSTOMERS, now=MOMENTS, data=st.data())
def test_a_line_that_lost_or_gained_something_is_none_or_another_ones(
    customer: str, now: int, data: st.DataObject
) -> None:
    text = challenge_for(SECRET, "bus_co", customer, now).text
    place = data.draw(st.integers(0, len(text) - 1))
    changed = text[:place] + data.draw(st.sampled_from(["", "x", "0", ":", "\u200b", "１"])) + text[place + 1 :]
    if changed == text:
        return
    try:
        read = read_link_challenge(changed)
    except Malformed:
        return
    token = make_link(SEED, read.holder, read.challenge, read.asked_at)
    with pytest.raises(ConsentMismatch):
        check_link(token, secret=SECRET, customer=customer, holder="bus_co", now=now)


@given(st.text(max_size=200))
def test_whatever_is_no_challenge_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        read_link_challenge(text)

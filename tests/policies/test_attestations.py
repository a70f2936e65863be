"""Who stands behind a key: attestations, enrolments and links fit one key, one ledger, one customer."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ledger import jws
from ledger.errors import ClockSkew, ConsentMismatch, Malformed, MusubiError, SignatureInvalid
from policies.consents.attestation import (
    CHALLENGE_SECONDS,
    Attestation,
    Enrolment,
    Link,
    check_enrolment,
    check_link,
    make_challenge,
    make_enrolment,
    make_link,
)
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from tests.kit.towns.residents import seed_of
from tests.kit.towns.toy_town import ORIGIN, key_of

ANN = pairwise_key(seed_of("ann"), SERVICE)
EVE = pairwise_key(seed_of("eve"), SERVICE)
PROVIDERS = {name: bytes(key_of(name).verify_key) for name in ("town_hall", "bank")}
SECRET = b"\x07" * 32
NOW = 1_790_000_000


def attest(signer: str = "town_hall", **changes: Any) -> str:
    """Sign an attestation of Ann's key as a provider."""
    said = Attestation(
        from_="town_hall",
        log=ORIGIN,
        key=public_hex(ANN),
        subject="pairwise-subject-1",
        level="high",
        date="2026-11-21",
    )
    return jws.sign(structs.replace(said, **changes), key_of(signer))


def test_an_attested_resident_enrols_with_their_own_key() -> None:
    attestation = attest()
    attested = check_enrolment(make_enrolment(ANN, attestation, ORIGIN), attestation, PROVIDERS, ORIGIN)
    assert (attested.key, attested.from_) == (public_hex(ANN), "town_hall")


def test_an_attestation_by_nobody_that_the_town_knows_is_refused() -> None:
    """A stranger, a provider under another's name, and a member that left or never had the role."""
    for attestation in (attest("stranger", from_="stranger"), attest("bank"), attest("stranger")):
        with pytest.raises(SignatureInvalid):
            check_enrolment(make_enrolment(ANN, attestation, ORIGIN), attestation, PROVIDERS, ORIGIN)
    attestation = attest()
    with pytest.raises(SignatureInvalid):
        check_enrolment(make_enrolment(ANN, attestation, ORIGIN), attestation, {"bank": PROVIDERS["bank"]}, ORIGIN)


def test_nobody_enrols_with_somebody_elses_attestation() -> None:
    attestation = attest()
    with pytest.raises(SignatureInvalid):
        check_enrolment(make_enrolment(EVE, attestation, ORIGIN), attestation, PROVIDERS, ORIGIN)
    claimed = Enrolment(log=ORIGIN, key=public_hex(ANN), attestation_sha256="00" * 32)
    with pytest.raises(SignatureInvalid):
        check_enrolment(jws.sign(claimed, EVE), attestation, PROVIDERS, ORIGIN)


def test_an_enrolment_fits_one_attestation_only() -> None:
    """An enrolment once made cannot be used with a later attestation of the same key: the person signs each."""
    first, second = attest(), attest(subject="pairwise-subject-2")
    with pytest.raises(ConsentMismatch, match="not for this attestation"):
        check_enrolment(make_enrolment(ANN, first, ORIGIN), second, PROVIDERS, ORIGIN)
    other_key = structs.replace(jws.read_unverified(make_enrolment(ANN, first, ORIGIN), Enrolment), key=public_hex(EVE))
    with pytest.raises(ConsentMismatch):
        check_enrolment(jws.sign(other_key, ANN), first, PROVIDERS, ORIGIN)


def test_attestation_and_enrolment_are_for_one_ledger() -> None:
    other = "other.example/log"
    elsewhere = attest(log=other)
    for attestation, log in ((elsewhere, ORIGIN), (attest(), other), (elsewhere, other)):
        with pytest.raises(ConsentMismatch, match="another ledger"):
            check_enrolment(make_enrolment(ANN, attestation, log), attestation, PROVIDERS, ORIGIN)


def test_attestation_and_enrolment_do_not_stand_for_each_other() -> None:
    attestation = attest()
    enrolment = make_enrolment(ANN, attestation, ORIGIN)
    for pair in ((attestation, attestation), (enrolment, enrolment), (attestation, enrolment)):
        with pytest.raises((Malformed, SignatureInvalid)):
            check_enrolment(*pair, PROVIDERS, ORIGIN)


@pytest.mark.parametrize(
    "change", [{"level": "certain"}, {"subject": "short"}, {"subject": "taro@example"}, {"date": "yesterday"}, {"v": 2}]
)
def test_an_attestation_that_is_not_of_its_form_is_malformed(change: dict[str, Any]) -> None:
    attestation = attest(**change)
    with pytest.raises(Malformed):
        check_enrolment(make_enrolment(ANN, attestation, ORIGIN), attestation, PROVIDERS, ORIGIN)


# Links


def link(**changes: Any) -> str:
    """Answer the bus firm's challenge for its customer 4711 as Ann."""
    said: dict[str, Any] = {"holder": "bus_co", "challenge": make_challenge(SECRET, "4711", NOW), "asked_at": NOW}
    return make_link(seed_of("ann"), **(said | changes))


def check(token: str, *, customer: str = "4711", holder: str = "bus_co", now: int = NOW, secret: bytes = SECRET) -> str:
    """Check a link as the bus firm's node does."""
    return check_link(token, secret=secret, customer=customer, holder=holder, now=now)


@pytest.mark.parametrize("later", [0, 1, CHALLENGE_SECONDS])
def test_a_link_gives_the_pairwise_key_at_that_holder(later: int) -> None:
    assert check(link(), now=NOW + later) == public_hex(pairwise_key(seed_of("ann"), "bus_co"))


@pytest.mark.parametrize("later", [-1, CHALLENGE_SECONDS + 1])
def test_a_link_is_taken_for_fifteen_minutes_and_not_before_it_was_asked(later: int) -> None:
    with pytest.raises(ClockSkew):
        check(link(), now=NOW + later)


def test_a_link_fits_no_other_customer_holder_or_secret() -> None:
    for how in ({"customer": "4712"}, {"holder": "clinic"}, {"secret": b"\x08" * 32}):
        with pytest.raises(ConsentMismatch):
            check(link(), **how)


def test_a_challenge_cannot_be_stretched_by_claiming_that_it_was_asked_later() -> None:
    with pytest.raises(ConsentMismatch):
        check(link(asked_at=NOW + 600), now=NOW + 1_000)


def test_nobody_links_anothers_key() -> None:
    stolen = jws.read_unverified(link(), Link)
    with pytest.raises(SignatureInvalid):
        check(jws.sign(stolen, pairwise_key(seed_of("eve"), "bus_co")))


@settings(deadline=None)
@given(st.text(max_size=8), st.text(max_size=8), st.integers(0, 2**40), st.integers(0, 2**40))
def test_challenges_are_the_same_only_for_the_same_customer_and_time(
    one: str, other: str, first: int, second: int
) -> None:
    same = (one, first) == (other, second)
    assert (make_challenge(SECRET, one, first) == make_challenge(SECRET, other, second)) == same


@settings(deadline=None)
@given(st.data())
def test_no_single_changed_character_of_a_link_is_taken(data: st.DataObject) -> None:
    token = link()
    spot = data.draw(st.integers(0, len(token) - 1))
    char = data.draw(st.sampled_from("ABCabc019_-.").filter(lambda c: c != token[spot]))
    with pytest.raises(MusubiError):
        check(token[:spot] + char + token[spot + 1 :])

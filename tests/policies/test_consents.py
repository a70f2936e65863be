"""What a resident signs: parts that agree, keys of their own, and nothing that fits anywhere else."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ledger import ed25519, jws
from ledger import entries as e
from ledger.errors import ConsentMismatch, Malformed, MusubiError, ProofInvalid, SignatureInvalid
from policies.consents.bundle import NONE, Bundle, Leaf, disclose, leaf_digest
from policies.consents.consent import Consent, General, SubGrant, check_sub_grant, read_consent
from policies.consents.revocation import ended_grant, make_revocation, read_revocation
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from policies.policy_document import document_sha256, notice_sha256
from tests.kit.logs.tampering import signed_anew, with_leaf
from tests.kit.towns.residents import CAP, SHOWN_AT, consent_bundle, entry_for, general_of, salts_for, seed_of
from tests.kit.towns.toy_town import ASKED, ORIGIN, TEXT, scarce

POLICY = scarce()
SHA256 = document_sha256(POLICY)
ANN, BEN = consent_bundle("ann"), consent_bundle("ben")
OTHER_HASH = "0f" * 32


def read(bundle: Bundle) -> Consent:
    """Read a bundle as the service does, signatures included."""
    consent = read_consent(bundle, lambda _: (POLICY, SHA256), ORIGIN)
    for signed_part, signature, key in consent.signatures:
        ed25519.check(signed_part, signature, key)
    return consent


def leaf_at(bundle: Bundle, holder: str) -> Any:
    """Return what a node gets."""
    return disclose(bundle, POLICY.holders.index(holder) + 1)


@pytest.mark.parametrize("holders", [["bus_co"], ["clinic"], ["bus_co", "clinic"], ["clinic", "bus_co"]])
@pytest.mark.parametrize("language", ["ja", "en", "ja-easy"])
def test_a_consent_is_read_by_the_service_and_by_each_holder_alone(holders: list[str], language: str) -> None:
    bundle = consent_bundle("ann", holders=holders, language=language)
    consent = read(bundle)
    assert consent.general.holders == [holder for holder in POLICY.holders if holder in holders]
    assert len(consent.signatures) == len(holders) + 1
    for holder in POLICY.holders:
        sub_grant = check_sub_grant(leaf_at(bundle, holder), entry_for(bundle), POLICY, ORIGIN, holder)
        assert (sub_grant is not None) == (holder in holders)
        if sub_grant is not None:
            assert sub_grant.key == public_hex(pairwise_key(seed_of("ann"), holder))


def test_what_two_holders_get_of_one_consent_shares_nothing_that_is_not_public() -> None:
    """Keys, salts and signatures differ; the salted hash of leaf 0 and the public terms are the same."""
    seen = [jws.read_unverified(leaf_at(ANN, holder).leaf.body, SubGrant) for holder in ASKED]
    assert seen[0].key != seen[1].key
    assert general_of(ANN).key not in {sub_grant.key for sub_grant in seen}
    assert structs.replace(seen[0], key="", holder="") == structs.replace(seen[1], key="", holder="")


GENERAL_CHANGES: dict[str, dict[str, Any]] = {
    "another ledger": {"log": "other.example/log"},
    "another policy": {"policy": "health"},
    "another version": {"version": 2},
    "another document": {"policy_sha256": OTHER_HASH},
    "a wrong notice": {"notice_sha256": OTHER_HASH},
    "the notice of another language": {"language": "en"},
    "an until that is no month's end of the list": {"until": "2027-04-30"},
    "a cap that is not on the grid": {"yearly_cap": CAP + 1},
    "another controller": {"controller": "clinic"},
    "another purpose": {"purpose": "https://w3id.org/dpv#Marketing"},
    "other measures": {"measures": []},
    "fewer holders than sub-grants": {"holders": ["bus_co"]},
    "holders out of order": {"holders": ["clinic", "bus_co"]},
    "a holder that the policy does not have": {"holders": ["bus_co", "clinic", "shop"]},
}


@pytest.mark.parametrize("change", GENERAL_CHANGES.values(), ids=GENERAL_CHANGES)
@pytest.mark.parametrize("everywhere", [True, False])
def test_a_consent_to_something_else_is_refused_even_when_all_parts_say_it(
    change: dict[str, Any], everywhere: bool
) -> None:
    shared = {name: value for name, value in change.items() if name in SubGrant.__struct_fields__}
    bundle = signed_anew(ANN, seed_of("ann"), general=change, sub_grant=shared if everywhere else {})
    with pytest.raises(ConsentMismatch):
        read(bundle)


SUB_GRANT_CHANGES: dict[str, dict[str, Any]] = {
    "another ledger": {"log": "other.example/log"},
    "another consent": {"consent": OTHER_HASH},
    "another policy": {"policy": "health"},
    "another version": {"version": 2},
    "another document": {"policy_sha256": OTHER_HASH},
    "another until": {"until": "2028-03-31"},
    "another cap": {"yearly_cap": CAP + 1},
    "a wrong notice": {"notice_sha256": OTHER_HASH},
    "one holder at both places": {"holder": "bus_co"},
    "another general part": {"general": OTHER_HASH},
}


@pytest.mark.parametrize("change", SUB_GRANT_CHANGES.values(), ids=SUB_GRANT_CHANGES)
def test_a_sub_grant_that_says_something_else_than_the_general_part_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(ConsentMismatch):
        read(signed_anew(ANN, seed_of("ann"), sub_grant=change))


NODE_SIDE = {
    name: change for name, change in SUB_GRANT_CHANGES.items() if name not in {"a wrong notice", "another general part"}
}


@pytest.mark.parametrize("change", NODE_SIDE.values(), ids=NODE_SIDE)
def test_a_node_alone_refuses_a_sub_grant_that_differs_from_the_entry(change: dict[str, Any]) -> None:
    """The service is lying here: it committed to the bad bundle and gives the leaf out."""
    bundle = signed_anew(ANN, seed_of("ann"), sub_grant=change)
    with pytest.raises(ConsentMismatch):
        check_sub_grant(leaf_at(bundle, "clinic"), entry_for(bundle), POLICY, ORIGIN, "clinic")


@pytest.mark.parametrize(
    "change",
    [
        {"consent": OTHER_HASH},
        {"policy": "health"},
        {"version": 2},
        {"policy_sha256": OTHER_HASH},
        {"until": "2028-03-31"},
        {"yearly_cap": CAP + 1},
    ],
)
def test_a_node_refuses_a_leaf_under_an_entry_that_says_something_else(change: dict[str, Any]) -> None:
    with pytest.raises(ConsentMismatch):
        check_sub_grant(leaf_at(ANN, "clinic"), entry_for(ANN, **change), POLICY, ORIGIN, "clinic")


def test_a_node_refuses_a_leaf_of_another_bundle_or_another_holder() -> None:
    with pytest.raises(ProofInvalid):
        check_sub_grant(leaf_at(BEN, "clinic"), entry_for(ANN), POLICY, ORIGIN, "clinic")
    with pytest.raises(ConsentMismatch, match="position"):
        check_sub_grant(leaf_at(ANN, "bus_co"), entry_for(ANN), POLICY, ORIGIN, "clinic")
    with pytest.raises(ConsentMismatch, match="position"):
        check_sub_grant(disclose(ANN, 0), entry_for(ANN), POLICY, ORIGIN, "clinic")
    moved = structs.replace(leaf_at(ANN, "bus_co"), position=2)
    with pytest.raises(ProofInvalid):
        check_sub_grant(moved, entry_for(ANN), POLICY, ORIGIN, "clinic")


def test_a_node_refuses_a_leaf_for_another_ledger() -> None:
    """The same consent, shown to a node of another town with the same policy."""
    with pytest.raises(ConsentMismatch, match="another ledger"):
        check_sub_grant(leaf_at(ANN, "clinic"), entry_for(ANN), POLICY, "other.example/log", "clinic")


def test_a_node_refuses_a_sub_grant_with_anothers_signature() -> None:
    token = ANN.leaves[2].body
    signed, _, signature = token.rpartition(".")
    flipped = signed + "." + ("A" if signature[0] != "A" else "B") + signature[1:]
    bundle = with_leaf(ANN, 2, structs.replace(ANN.leaves[2], body=flipped))
    with pytest.raises(SignatureInvalid):
        check_sub_grant(leaf_at(bundle, "clinic"), entry_for(bundle), POLICY, ORIGIN, "clinic")
    sub_grant = jws.read_unverified(token, SubGrant)
    forged = jws.sign(sub_grant, pairwise_key(seed_of("eve"), "clinic"))
    bundle = with_leaf(ANN, 2, structs.replace(ANN.leaves[2], body=forged))
    with pytest.raises(SignatureInvalid):
        check_sub_grant(leaf_at(bundle, "clinic"), entry_for(bundle), POLICY, ORIGIN, "clinic")


def test_one_residents_sub_grant_in_anothers_bundle_is_refused() -> None:
    """Also when the thief uses the victim's consent identifier, so that all public terms agree."""
    with pytest.raises(ConsentMismatch):
        read(with_leaf(BEN, 2, ANN.leaves[2]))
    same_id = consent_bundle("ben", consent=bytes.fromhex(general_of(ANN).consent))
    with pytest.raises(ConsentMismatch, match="another consent's general part"):
        read(with_leaf(same_id, 2, ANN.leaves[2]))


def test_a_consent_with_swapped_missing_or_added_parts_is_refused() -> None:
    first, bus, clinic = ANN.leaves
    none = Leaf(salt="cd" * 32, body=NONE)
    for leaves in (
        [first, clinic, bus],
        [first, bus],
        [first, bus, clinic, none],
        [first, bus, none],
        [first, none, none],
        [first, bus, bus],
    ):
        with pytest.raises(ConsentMismatch):
            read(Bundle(leaves=leaves))
    for leaves in ([none, bus, clinic], [bus, bus, clinic], [first, first, clinic]):
        with pytest.raises(Malformed):
            read(Bundle(leaves=leaves))


def test_a_consent_that_chooses_nobody_is_refused() -> None:
    with pytest.raises(ConsentMismatch, match="no holder"):
        read(consent_bundle("ann", holders=[]))


def test_a_key_that_is_used_twice_is_refused() -> None:
    """One key at two holders, or at a holder and at the service, would tie them together."""
    seed = seed_of("ann")
    for alias in ("bus_co", SERVICE):
        shared = pairwise_key(seed, alias)
        sub_grant = structs.replace(jws.read_unverified(ANN.leaves[2].body, SubGrant), key=public_hex(shared))
        bundle = with_leaf(ANN, 2, structs.replace(ANN.leaves[2], body=jws.sign(sub_grant, shared)))
        with pytest.raises(ConsentMismatch, match="one key twice"):
            read(bundle)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_part_signed_with_another_key_than_it_names_is_refused(place: int) -> None:
    """Swapped keys: all words are right, one signature is by the resident's key for somebody else."""
    aliases = [SERVICE, *ASKED]
    wrong = pairwise_key(seed_of("ann"), aliases[(place + 1) % 3])
    type_ = General if place == 0 else SubGrant
    body = jws.sign(jws.read_unverified(ANN.leaves[place].body, type_), wrong)
    bundle = with_leaf(ANN, place, structs.replace(ANN.leaves[place], body=body))
    if place == 0:  # sub-grants are bound to leaf 0, so bind them anew
        bound = leaf_digest(bundle.leaves[0]).hex()
        for other, alias in ((1, "bus_co"), (2, "clinic")):
            sub = structs.replace(jws.read_unverified(ANN.leaves[other].body, SubGrant), general=bound)
            token = jws.sign(sub, pairwise_key(seed_of("ann"), alias))
            bundle = with_leaf(bundle, other, structs.replace(ANN.leaves[other], body=token))
    with pytest.raises(SignatureInvalid):
        read(bundle)


@settings(max_examples=150, deadline=None)
@given(st.integers(0, 2), st.data())
def test_no_single_changed_character_of_a_signed_part_is_taken(place: int, data: st.DataObject) -> None:
    token = ANN.leaves[place].body
    spot = data.draw(st.integers(0, len(token) - 1))
    char = data.draw(st.sampled_from("ABCDEFabcdef0189_-.").filter(lambda c: c != token[spot]))
    changed = token[:spot] + char + token[spot + 1 :]
    with pytest.raises(MusubiError):
        read(with_leaf(ANN, place, structs.replace(ANN.leaves[place], body=changed)))


# Revocations


def revocation(name: str = "ann", grant: int = 9, **changes: Any) -> Bundle:
    """Return a revocation of ``name``'s consent."""
    said: dict[str, Any] = {
        "log": ORIGIN,
        "consent": general_of(ANN).consent,
        "grant": grant,
        "salts": salts_for("revocation", 3),
        "holders": list(ASKED),
        "said_at": SHOWN_AT + 90,
    }
    return make_revocation(seed_of(name), POLICY, **(said | changes))


@pytest.mark.parametrize("holders", [["bus_co"], ["clinic"], ["bus_co", "clinic"]])
def test_a_resident_ends_their_own_consent(holders: list[str]) -> None:
    granted = read(consent_bundle("ann", holders=holders))
    read_revocation(revocation(holders=holders), granted, 9, POLICY)


def test_nobody_else_ends_a_consent() -> None:
    with pytest.raises(SignatureInvalid):
        read_revocation(revocation("eve"), read(ANN), 9, POLICY)


@pytest.mark.parametrize("place", [0, 1, 2])
def test_not_even_one_part_of_a_revocation_may_be_somebody_elses(place: int) -> None:
    mixed = with_leaf(revocation(), place, revocation("eve").leaves[place])
    with pytest.raises(SignatureInvalid):
        read_revocation(mixed, read(ANN), 9, POLICY)


@pytest.mark.parametrize(
    "change", [{"log": "other.example/log"}, {"consent": OTHER_HASH}, {"grant": 8}], ids=["log", "consent", "index"]
)
def test_a_revocation_of_something_else_ends_nothing(change: dict[str, Any]) -> None:
    with pytest.raises(ConsentMismatch):
        read_revocation(revocation(**change), read(ANN), 9, POLICY)


def test_a_revocation_is_whole_or_refused() -> None:
    """Missing, swapped, surplus parts, and parts that name another holder."""
    first, bus, clinic = revocation().leaves
    none = Leaf(salt="cd" * 32, body=NONE)
    only_bus = read(consent_bundle("ann", holders=["bus_co"]))
    for leaves in ([first, bus], [first, bus, clinic, none]):
        with pytest.raises(ConsentMismatch):
            read_revocation(Bundle(leaves=leaves), read(ANN), 9, POLICY)
    for leaves in ([first, bus, none], [none, bus, clinic]):
        with pytest.raises(Malformed):
            read_revocation(Bundle(leaves=leaves), read(ANN), 9, POLICY)
    for leaves in ([first, clinic, bus], [bus, bus, clinic], [first, first, clinic]):
        with pytest.raises(SignatureInvalid):
            read_revocation(Bundle(leaves=leaves), read(ANN), 9, POLICY)
    with pytest.raises(ConsentMismatch, match="did not choose"):
        read_revocation(revocation(), only_bus, 9, POLICY)


def test_a_consent_signed_as_if_it_were_a_revocation_is_malformed() -> None:
    with pytest.raises(Malformed):
        read_revocation(ANN, read(ANN), 9, POLICY)
    with pytest.raises(Malformed):
        read_consent(revocation(), lambda _: (POLICY, SHA256), ORIGIN)


def test_the_notice_hash_is_of_the_exact_text_that_was_shown() -> None:
    changed = scarce(notice={**TEXT, "ja-easy": "ためし。"})
    assert notice_sha256(changed, "ja") == notice_sha256(POLICY, "ja")
    assert notice_sha256(changed, "ja-easy") != notice_sha256(POLICY, "ja-easy")
    with pytest.raises(Malformed):
        notice_sha256(POLICY, "fr")


def test_which_grant_an_entry_ends() -> None:
    revoke = e.Revoke(at=1, grant=4, reason="withdrawn", commitment="ab" * 32)
    grant = e.Grant(
        at=0,
        consent="ab" * 32,
        policy="p",
        version=1,
        policy_sha256="ab" * 32,
        until="2027-01-31",
        yearly_cap=1,
        commitment="cd" * 32,
    )
    assert ended_grant(revoke, None) == 4
    assert ended_grant(e.Erase(at=2, index=4, reason="requested"), grant) == 4
    assert ended_grant(e.Erase(at=2, index=5, reason="requested"), revoke) == 4
    assert ended_grant(grant, revoke) is None

"""Members and policies need a quorum of different stewards, each for this very document."""

from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger import jws
from ledger.canonical import encode
from ledger.entries import Genesis, Steward
from ledger.errors import Malformed, NotPermitted, SignatureInvalid
from policies.governance import Approval, approve, check_quorum
from tests.kit.towns.toy_town import ORIGIN, STEWARDS, TEXT, key_of, public, scarce

POLICY = scarce()
DATA = encode(POLICY)
NAMES = [f"steward_{number}" for number in range(5)]


def genesis(names: list[str], quorum: int) -> Genesis:
    """Return a root of trust with these stewards."""
    stewards = [Steward(alias=name, title=TEXT, key=public(name)) for name in names]
    return Genesis(
        at=0, origin=ORIGIN, title=TEXT, log_key="", time_zone="Asia/Tokyo", stewards=stewards, quorum=quorum
    )


def yes(steward: str, signer: str | None = None, log: str = ORIGIN) -> str:
    """Approve the policy as a steward, with their own key unless told otherwise."""
    return approve("policy", POLICY, log=log, steward=steward, key=key_of(signer or steward))


@settings(deadline=None)
@given(st.integers(1, 5), st.lists(st.sampled_from(NAMES), max_size=8))
def test_a_document_passes_exactly_when_enough_different_stewards_signed(quorum: int, signers: list[str]) -> None:
    """A steward who signs twice counts once."""
    root, signatures = genesis(NAMES, quorum), [yes(name) for name in signers]
    if len(set(signers)) >= quorum:
        assert check_quorum("policy", DATA, signatures, root) == sorted(set(signers))
    else:
        with pytest.raises(NotPermitted) as refused:
            check_quorum("policy", DATA, signatures, root)
        assert refused.value.details == {"needed": quorum, "signed": len(set(signers))}


@pytest.mark.parametrize("pair", list(combinations(STEWARDS, 2)))
def test_any_two_of_three_stewards_are_a_quorum_of_two(pair: tuple[str, str]) -> None:
    assert check_quorum("policy", DATA, [yes(name) for name in pair], genesis(list(STEWARDS), 2)) == sorted(pair)


def test_one_bad_approval_spoils_the_list_even_beside_a_quorum() -> None:
    """By a stranger, also under a steward's name, for another ledger, document or subject, or not an approval."""
    root = genesis(list(STEWARDS), 2)
    good = [yes("city"), yes("citizens")]
    bad = [
        yes("stranger"),
        yes("firms", signer="stranger"),
        yes("firms", signer="city"),
        yes("firms", log="other.example/log"),
        approve("policy", scarce(version=2), log=ORIGIN, steward="firms", key=key_of("firms")),
        approve("member", POLICY, log=ORIGIN, steward="firms", key=key_of("firms")),
    ]
    for token in bad:
        with pytest.raises(SignatureInvalid):
            check_quorum("policy", DATA, [*good, token], root)
    with pytest.raises(Malformed):
        check_quorum("policy", DATA, [*good, jws.sign({"v": 1}, key_of("firms"))], root)
    assert check_quorum("policy", DATA, good, root) == ["citizens", "city"]


def test_a_steward_of_another_town_with_the_same_name_does_not_count() -> None:
    token = jws.sign(
        Approval(for_="policy", from_="city", log=ORIGIN, sha256="00" * 32), key_of("the other town's city")
    )
    with pytest.raises(SignatureInvalid):
        check_quorum("policy", DATA, [token], genesis(list(STEWARDS), 1))


def test_an_approval_is_for_the_exact_bytes() -> None:
    with pytest.raises(SignatureInvalid):
        check_quorum("policy", DATA + b" ", [yes("city")], genesis(list(STEWARDS), 1))

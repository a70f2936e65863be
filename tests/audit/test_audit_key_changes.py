"""The auditor and members' keys that change in the middle of a round."""

from pathlib import Path

import pytest

from ledger import jws
from ledger.errors import ProofInvalid, SignatureInvalid
from policies.ledger_state import State
from policies.replay import MemoryConsents
from queries.replay import replay
from queries.rounds.admission import plan_of
from queries.rounds.messages import Share
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import ASKED, key_of
from trust.audit.auditor import audit
from trust.audit.shares import AnswerBasis

ME, OTHER = ASKED


@pytest.fixture
def town() -> LogBuilder:
    made = LogBuilder()
    made.found()
    for number in range(4):
        made.grant(number)
    return made


def verdict(town: LogBuilder, folder: Path) -> str:
    town.publish(folder / "log")
    return audit(str(folder / "log"), trust=town.trust, clock=lambda: town.at + 1).verdict


def signed_with(shares: dict[str, str], name: str) -> dict[str, str]:
    """The same shares, that of the first holder signed with another key."""
    return shares | {ME: jws.sign(jws.read_unverified(shares[ME], Share), key_of(name))}


@pytest.mark.parametrize("signer", [ME, "new_key"])
def test_a_share_counts_under_the_key_of_the_admit_and_under_one_that_came_before_the_release(
    town: LogBuilder, tmp_path: Path, signer: str
) -> None:
    admit = town.admit()
    basis = AnswerBasis(opened=town.state.rounds[admit], plan=plan_of(town.state, town.state.rounds[admit].admit))
    shares = signed_with(town.make_shares(admit), signer)
    town.change_key(ME, "new_key")
    release = town.make_release(admit, shares)
    town.add(release)
    basis.check(release, shares, town.state)
    assert verdict(town, tmp_path) == "ok"


@pytest.mark.parametrize("signer", ["older_key", "later_key", "thief"])
def test_a_share_under_a_key_from_before_the_round_from_after_it_or_of_nobody_is_refused(
    town: LogBuilder, signer: str
) -> None:
    town.change_key(ME, "older_key")
    town.change_key(ME, "new_key")
    admit = town.admit()
    basis = AnswerBasis(opened=town.state.rounds[admit], plan=plan_of(town.state, town.state.rounds[admit].admit))
    shares = signed_with(signed_with(town.make_shares(admit), "new_key"), signer)
    release = town.make_release(admit, shares)
    town.add(release)
    with pytest.raises(SignatureInvalid):
        basis.check(release, shares, town.state)


@pytest.mark.parametrize(("signer", "is_right"), [(ME, True), ("new_key", True), ("thief", False)])
def test_a_refunds_words_count_in_the_same_way(
    town: LogBuilder, tmp_path: Path, signer: str, *, is_right: bool
) -> None:
    admit = town.admit()
    words = town.make_refund(admit).words
    opened = jws.read_unverified(words[ME], dict)
    words[ME] = jws.sign(opened, key_of(signer))
    town.change_key(ME, "new_key")
    town.append(type(town.make_refund(admit))(at=town.now(), admit=admit, words=words))
    assert (verdict(town, tmp_path) == "ok") == is_right


def test_an_old_key_says_nothing_in_a_round_that_was_opened_after_its_end(town: LogBuilder) -> None:
    town.change_key(ME, "new_key")
    admit = town.admit()
    state, seen = State(), MemoryConsents()
    for index, data in enumerate(town.entries):
        replay(state, index, data, seen)
    refund = town.append(town.make_refund(admit))  # signed with the holders' first keys
    with pytest.raises(ProofInvalid, match="not by the key"):
        replay(state, refund, town.entries[refund], seen)

"""Each entry is judged by the rules in force at its index, and what this software cannot read it accuses nobody of."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace as changed

from ledger import canonical
from ledger import entries as e
from ledger.errors import MusubiError, ProofInvalid, UpgradeNeeded
from policies.ledger_state import State
from policies.replay import MemoryConsents
from policies.rules import FIRST_RULES, NEWEST_RULES, make_rules_word
from queries.replay import replay
from tests.kit.logs.histories import freeze
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import ASKED, ORIGIN, PARTNER, key_of


@pytest.fixture
def town() -> LogBuilder:
    builder = LogBuilder()
    builder.found()
    builder.grant(1)
    builder.add(e.Erase(at=builder.now(), index=5, reason="requested"))
    return builder


def judged(town: LogBuilder, entry: e.AnyEntry | bytes) -> MusubiError | None:
    """Apply one more entry; return the error, once the state is seen to be as it was."""
    before = freeze(town.state, MemoryConsents())
    data = entry if isinstance(entry, bytes) else e.encode(entry)
    try:
        replay(town.state, len(town.entries), data, MemoryConsents())
    except MusubiError as error:
        assert freeze(town.state, MemoryConsents()) == before
        return error
    return None


def test_a_ledger_goes_by_the_first_rules_until_an_entry_or_its_genesis_says_otherwise(town: LogBuilder) -> None:
    assert town.state.rules == FIRST_RULES
    index = town.rules(2)
    assert (town.state.rules, town.state.rules_entry) == (2, index)
    other = LogBuilder()
    other.genesis(rules=2)
    assert (other.state.rules, other.state.rules_entry) == (2, None)


def refusals(town: LogBuilder) -> dict[str, tuple[e.Rules, str]]:
    """Return rules that are not in order, and what is said of them."""
    right = town.make_rules(2)
    word = make_rules_word(key_of(ASKED[0]), log=ORIGIN, holder=ASKED[0], number=2)

    def with_word(holder: str, token: str) -> e.Rules:
        return changed(right, readers=right.readers | {holder: token})

    return {
        "below the quorum": (town.make_rules(2, signers=["city"]), "approval of 2 stewards"),
        "signed for another number": (changed(town.make_rules(3), rules=e.RulesBody(number=2)), "another document"),
        "a holder says nothing": (changed(right, readers={ASKED[0]: word}), "wait for the nodes of 1 holders"),
        "nobody says anything": (changed(right, readers={}), f"wait for the nodes of {len(ASKED)} holders"),
        "a holder reads older ones": (
            with_word(ASKED[1], make_rules_word(key_of(ASKED[1]), log=ORIGIN, holder=ASKED[1], number=1)),
            "wait for the nodes of 1 holders",
        ),
        "by another key": (
            with_word(ASKED[1], make_rules_word(key_of("thief"), log=ORIGIN, holder=ASKED[1], number=2)),
            "signature",
        ),
        "another holder's word": (with_word(ASKED[1], word), "signature"),
        "for another ledger": (
            with_word(ASKED[1], make_rules_word(key_of(ASKED[1]), log="other.town/log", holder=ASKED[1], number=2)),
            "another ledger",
        ),
        "a stranger's word": (
            with_word(PARTNER, make_rules_word(key_of(PARTNER), log=ORIGIN, holder=PARTNER, number=2)),
            "not those of the active holders alone",
        ),
    }


def test_other_rules_take_the_quorum_and_the_word_of_every_active_holder(town: LogBuilder) -> None:
    for name, (entry, says) in refusals(town).items():
        error = judged(town, entry)
        assert isinstance(error, ProofInvalid), name
        assert says in error.message, (name, error.message)
    town.rules(2)
    assert "not above" in str(judged(town, town.make_rules(2)))  # again


def test_a_word_counts_by_the_holders_key_of_today_and_for_every_number_up_to_its_own(town: LogBuilder) -> None:
    early = town.make_rules(2)
    town.change_key(ASKED[0], "the next")
    assert isinstance(judged(town, changed(early, at=town.now())), ProofInvalid)
    high = {each: make_rules_word(town.key_now(each), log=ORIGIN, holder=each, number=10_000) for each in ASKED}
    assert judged(town, town.make_rules(2, readers=high)) is None


def with_fields_to_come(entry: e.Rules) -> bytes:
    """Return the entry as rules to come may write it: with fields that nobody knows today."""
    return canonical.encode(canonical.decode(e.encode(entry), dict, "entry") | {"since": "2030", "v": 2})


def test_newer_rules_that_the_quorum_signed_ask_for_an_upgrade_and_accuse_nobody(town: LogBuilder) -> None:
    newer = town.make_rules(NEWEST_RULES + 1)
    for entry in (newer, changed(newer, readers={}), with_fields_to_come(newer)):
        error = judged(town, entry)
        assert isinstance(error, UpgradeNeeded)
        assert error.details == {"rules": NEWEST_RULES + 1, "newest": NEWEST_RULES}
        assert "install a newer Musubi" in error.message


def test_newer_rules_that_somebody_merely_claims_are_a_fault(town: LogBuilder) -> None:
    newer = town.make_rules(NEWEST_RULES + 1, signers=["city"])
    forged = changed(town.make_rules(2), rules=e.RulesBody(number=NEWEST_RULES + 1))
    for entry in (newer, forged, with_fields_to_come(newer), with_fields_to_come(forged)):
        assert isinstance(judged(town, entry), ProofInvalid)


def test_a_ledger_that_begins_with_newer_rules_asks_for_an_upgrade() -> None:
    builder = LogBuilder()
    builder.genesis()
    genesis = e.decode(builder.entries[0])
    assert isinstance(genesis, e.Genesis)
    with pytest.raises(UpgradeNeeded):
        replay(State(), 0, e.encode(changed(genesis, rules=NEWEST_RULES + 1)), MemoryConsents())


WRONG: dict[str, Callable[[LogBuilder], e.AnyEntry]] = {
    "erase of what is not there": lambda town: e.Erase(at=town.now(), index=10_000, reason="requested"),
    "erase of itself": lambda town: e.Erase(at=town.now(), index=len(town.entries), reason="requested"),
    "erase a second time": lambda town: e.Erase(at=town.now(), index=5, reason="requested"),
    "refuse of nobody's question": lambda town: e.Refuse(
        at=town.now(),
        query_sha256="00" * 32,
        by="nobody",
        policy="mobility",
        rule="query-invalid",
        account="",
        asked=0,
        left=0,
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_wrong_erase_or_refuse_halts_nobody_from_rules_2_on_and_is_a_finding(town: LogBuilder, name: str) -> None:
    assert isinstance(judged(town, WRONG[name](town)), ProofInvalid)
    town.rules(2)
    wrong = WRONG[name](town)
    before = freeze(changed(town.state, at=0, size=0, finding=""), MemoryConsents())
    town.add(wrong)
    assert f"Entry {len(town.entries) - 1}" in town.state.finding
    assert freeze(changed(town.state, at=0, size=0, finding=""), MemoryConsents()) == before
    town.grant(7)
    assert town.state.finding == ""

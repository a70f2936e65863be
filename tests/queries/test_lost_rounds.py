"""A round that nobody can finish any more is closed as lost: late enough, truthfully, and its charge stands."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace as changed

from ledger import entries as e
from ledger.errors import ProofInvalid
from policies.admit_expiry import last_of
from policies.replay import MemoryConsents
from queries.replay import replay
from tests.kit.logs.histories import freeze
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import ASKED, PARTNER

SENT, OUT = ASKED
Make = Callable[[LogBuilder, int], e.AnyEntry]


@pytest.fixture
def town() -> LogBuilder:
    builder = LogBuilder()
    builder.found()
    builder.rules(2)
    builder.grant(1)
    return builder


def refused(town: LogBuilder, entry: e.AnyEntry) -> str:
    """Apply an entry that is refused and changes nothing; return what is said of it."""
    before = freeze(town.state, MemoryConsents())
    with pytest.raises(ProofInvalid) as caught:
        replay(town.state, len(town.entries), e.encode(entry), MemoryConsents())
    assert freeze(town.state, MemoryConsents()) == before
    return caught.value.message


def books(town: LogBuilder) -> set[tuple[int, int]]:
    return {(each.reserved, each.spent) for each in town.state.accounts.values()}


@pytest.mark.parametrize(("sent", "out"), [([SENT], [OUT]), ([SENT], []), ([], [OUT]), ([], [])])
def test_whoever_sent_stepped_out_or_was_silent_the_charge_stands_and_the_place_is_free(
    town: LogBuilder, sent: list[str], out: list[str]
) -> None:
    admit = town.admit()
    charge = town.state.rounds[admit].admit.charge
    assert books(town) == {(charge, 0)}
    town.lost(admit, sent=sent, stepped_out=out)
    assert books(town) == {(0, charge)}
    assert town.state.rounds == {}
    (in_force,) = town.state.in_force.values()
    assert in_force.charges != in_force.charges.__class__(), "a consent's yearly cap counts it as before"


BAD: dict[str, tuple[Make, str]] = {
    "a second too early": (
        lambda b, n: changed(b.make_lost(n), at=last_of(b.state.rounds[n].admit) - 1),
        "may still be finished",
    ),
    "everybody sent": (lambda b, n: b.make_lost(n, sent=ASKED, stepped_out=[]), "spoken alike"),
    "everybody stepped out": (lambda b, n: b.make_lost(n, sent=[], stepped_out=ASKED), "spoken alike"),
    "a participant is not named": (lambda b, n: changed(b.make_lost(n), words={}), "exactly the round's participants"),
    "a participant is named twice": (lambda b, n: changed(b.make_lost(n), silent=[OUT]), "exactly the round's"),
    "a stranger is named": (
        lambda b, n: changed(b.make_lost(n, stepped_out=[]), silent=[PARTNER]),
        "exactly the round's participants",
    ),
    "another's word": (
        lambda b, n: changed(lost := b.make_lost(n, sent=[], stepped_out=[OUT]), words={SENT: lost.words[OUT]}),
        "not by the key",
    ),
    "no such round": (lambda b, n: changed(b.make_lost(n), admit=n - 1), "not open"),
}


@pytest.mark.parametrize(("make", "says"), BAD.values(), ids=BAD)
def test_a_loss_is_believed_only_under_its_conditions(town: LogBuilder, make: Make, says: str) -> None:
    admit = town.admit()
    assert says in refused(town, make(town, admit))


def test_a_round_is_lost_once_and_never_after_its_end(town: LogBuilder) -> None:
    admit = town.admit()
    lost, refund = town.make_lost(admit), town.make_refund(admit)
    town.add(changed(lost, at=town.now()))
    for late in (lost, refund, e.Release(at=0, admit=admit, vector=[1], shares=dict.fromkeys(ASKED, "00" * 32))):
        assert "not open" in refused(town, changed(late, at=town.now()))


def test_by_the_first_rules_nothing_is_lost_and_a_role_that_was_taken_silences_its_holder() -> None:
    town = LogBuilder()
    town.found()
    admit = town.admit()
    assert "no such entry" in refused(town, town.make_lost(admit))
    town.add(town.make_member(OUT, "partner", number=2))
    assert "by no holder" in refused(town, town.make_refund(admit))
    town.rules(2)
    town.refund(admit)
    assert books(town) == {(0, 0)}


def test_a_holder_whose_role_was_taken_can_end_what_it_began_and_nothing_else(town: LogBuilder) -> None:
    admit = town.admit()
    town.add(town.make_member(OUT, "identity", number=2))
    assert town.state.participant(OUT) is not None
    assert town.state.participant(PARTNER) is None
    assert town.state.participant("stranger") is None
    town.refund(admit)
    assert books(town) == {(0, 0)}

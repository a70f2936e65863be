"""A grant that takes another's place: which ones replay takes, and where it stands for the yearly cap."""

from collections.abc import Callable

import pytest
from msgspec import UNSET, UnsetType, structs

from ledger import entries as e
from ledger.errors import ConsentMismatch, ConsentStale, ProofInvalid
from policies.consents.age import MAX_AGE_SECONDS, LastEnd, check_age
from policies.in_force.chunk_tree import CHUNK_BITS, ChunkTree
from policies.in_force.sets import InForce, indices_in_force
from policies.policy_document import Policy
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import scarce

CAPS = [30_000_000, 1_000_000_000]


def document(version: int = 1) -> Policy:
    return scarce(version=version, yearly_caps=CAPS)


@pytest.fixture
def log() -> LogBuilder:
    """A town under rules number 2, with the consents number 1, 2 and 3."""
    builder = LogBuilder()
    builder.found(document(), rules=2)
    for number in (1, 2, 3):
        builder.grant(number)
    return builder


def eligible(log: LogBuilder, charge: int = 0) -> list[int]:
    """Return what counts under the current version for a charge now."""
    return indices_in_force(log.state.eligible(log.state.policies["mobility"].sha256, log.at, charge))


# What replay says.


def replacing(log: LogBuilder, grant: int, at: int | None = None) -> e.Grant:
    entry = log.make_grant(9)
    return structs.replace(entry, replaces=grant, at=entry.at if at is None else at)


def end(log: LogBuilder, grant: int, reason: e.RevokeReason = "replaced") -> int:
    """Append a revocation; return its time."""
    entry = log.make_revoke(grant, reason)
    log.add(entry)
    return entry.at


def after_other_reason(log: LogBuilder, first: int) -> e.Grant:
    return replacing(log, first, end(log, first, "withdrawn"))


def after_erasure(log: LogBuilder, first: int) -> e.Grant:
    entry = e.Erase(at=log.now(), index=first, reason="requested")
    log.add(entry)
    return replacing(log, first, entry.at)


def a_second_later(log: LogBuilder, first: int) -> e.Grant:
    return replacing(log, first, end(log, first) + 1)


def after_something_else(log: LogBuilder, first: int) -> e.Grant:
    at = end(log, first)
    log.add(log.make_grant(8, at=at))
    return replacing(log, first, at)


def a_second_time(log: LogBuilder, first: int) -> e.Grant:
    at = end(log, first)
    log.add(replacing(log, first, at))
    return structs.replace(replacing(log, first, at), consent="12" * 32)


def another_that_stands(log: LogBuilder, first: int) -> e.Grant:
    return replacing(log, first + 1, end(log, first))


def the_revocation_itself(log: LogBuilder, first: int) -> e.Grant:
    return replacing(log, len(log.entries), end(log, first))


def its_own_place(log: LogBuilder, first: int) -> e.Grant:
    return replacing(log, len(log.entries) + 1, end(log, first))


WRONG: dict[str, Callable[[LogBuilder, int], e.Grant]] = {
    "a grant that stands": replacing,
    "a grant that was withdrawn": after_other_reason,
    "a grant that was erased": after_erasure,
    "a grant that was ended for it a second before": a_second_later,
    "a grant that was ended for it before another entry": after_something_else,
    "a grant that was replaced before": a_second_time,
    "another grant than the one that was ended for it": another_that_stands,
    "a revocation": the_revocation_itself,
    "itself": its_own_place,
    "the genesis entry": lambda log, first: replacing(log, 0, end(log, first)),
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG)
def test_a_grant_replaces_nothing_but_what_was_ended_for_it_right_before(
    log: LogBuilder, wrong: Callable[[LogBuilder, int], e.Grant]
) -> None:
    entry = wrong(log, len(log.entries) - 3)
    size = log.state.size
    with pytest.raises(ProofInvalid, match="not ended for it right before"):
        log.add(entry)
    assert log.state.size == size


def test_a_grant_replaces_none_of_another_policy(log: LogBuilder) -> None:
    log.policy(structs.replace(document(), id="health"))
    health = log.state.policies["health"]
    other = log.grant(7, policy="health", policy_sha256=health.sha256)
    at = end(log, other)
    with pytest.raises(ProofInvalid, match="another policy"):
        log.add(replacing(log, other, at))


def test_under_the_first_rules_nothing_is_replaced() -> None:
    log = LogBuilder()
    log.found(document())
    grant = log.grant(1)
    with pytest.raises(ProofInvalid, match="reason"):
        log.add(log.make_revoke(grant, "replaced"))
    with pytest.raises(ProofInvalid, match="do not know"):
        log.add(structs.replace(log.make_grant(2), replaces=grant))
    log.rules()
    log.replace([grant], log.make_grant(2))


def test_a_grant_ends_several_and_stands_where_the_one_it_names_stood(log: LogBuilder) -> None:
    first = len(log.entries) - 3
    admit = log.admit()
    charge = log.state.rounds[admit].admit.charge
    new = log.replace([first, first + 1], log.make_grant(9, yearly_cap=CAPS[0]))
    assert eligible(log, CAPS[0] - charge) == [first + 2, new]
    assert eligible(log, CAPS[0] - charge + 1) == [first + 2]
    fresh = log.grant(10, yearly_cap=CAPS[0])
    assert eligible(log, CAPS[0]) == [first + 2, fresh]


# The yearly cap.


def test_a_consent_used_before_that_is_to_replace_one_ends_it_and_never_counts(log: LogBuilder) -> None:
    first = len(log.entries) - 3
    log.replace([first], log.make_grant(2))
    assert eligible(log) == [first + 1, first + 2]


def test_a_chain_over_versions_never_begins_its_cap_anew(log: LogBuilder) -> None:
    first = len(log.entries) - 3
    spent = log.state.rounds[log.admit()].admit.charge
    one = log.replace([first], log.make_grant(9, yearly_cap=CAPS[0]))
    assert eligible(log, CAPS[0] - spent)[-1:] == [one]
    log.policy(document(2))
    assert eligible(log) == []
    two = log.replace([one], log.make_grant(10, yearly_cap=CAPS[0]))
    three = log.replace([two], log.make_grant(11, yearly_cap=CAPS[0]))
    assert eligible(log, CAPS[0] - spent) == [three]
    assert eligible(log, CAPS[0] - spent + 1) == []
    log.policy(document(3))
    four = log.replace([three], log.make_grant(12, yearly_cap=CAPS[0]))
    assert eligible(log, CAPS[0] - spent) == [four]
    assert eligible(log, CAPS[0] - spent + 1) == []


def test_a_refund_under_an_older_version_is_given_back_to_a_chain_that_went_on(log: LogBuilder) -> None:
    first = len(log.entries) - 3
    admit = log.admit()
    log.policy(document(2))
    new = log.replace([first], log.make_grant(9, yearly_cap=CAPS[0]))
    assert eligible(log, CAPS[0]) == []
    log.refund(admit)
    assert eligible(log, CAPS[0]) == [new]


def test_a_set_kept_between_questions_follows_a_chain_into_another_chunk() -> None:
    """The threshold moves in the first chunk, and what it puts out of force lies in the third."""
    real, index = InForce(), 2 * CHUNK_BITS + 5
    grant = e.Grant(
        at=0,
        consent="00" * 32,
        policy="p",
        version=1,
        policy_sha256="00" * 32,
        until="2028-03-31",
        yearly_cap=10,
        commitment="00" * 32,
    )
    real.add(1, grant)
    real.charge(100, 2026, 6)
    real.end(1)
    real.add(index, grant, 1)
    assert real.root("2026-06-01", 4, index + 1) == ChunkTree({2: 1 << 5}).root(index + 1)
    assert real.root("2026-06-01", 5, index + 1) == ChunkTree({}).root(index + 1)
    assert real.root("2026-06-01", 4, index + 1) == ChunkTree({2: 1 << 5}).root(index + 1)


# Age.


@pytest.mark.parametrize(
    ("shown", "last", "replaces", "is_good"),
    [
        (0, None, UNSET, True),
        (-MAX_AGE_SECONDS, None, UNSET, True),
        (-MAX_AGE_SECONDS - 1, None, UNSET, False),
        (-MAX_AGE_SECONDS - 1, LastEnd(grant=7, at=-1), 7, False),
        (-5, LastEnd(grant=7, at=-6), UNSET, True),
        (-5, LastEnd(grant=7, at=-5), UNSET, False),
        (-5, LastEnd(grant=7, at=0), 6, False),
        (-5, LastEnd(grant=7, at=0), 7, True),
        (UNSET, None, UNSET, False),
    ],
)
def test_a_consent_is_as_old_as_its_notice_and_younger_than_the_last_end(
    shown: int | UnsetType, last: LastEnd | None, replaces: int | UnsetType, is_good: bool
) -> None:
    now = 1_790_000_000
    last = None if last is None else structs.replace(last, at=now + last.at)
    when = UNSET if isinstance(shown, UnsetType) else now + shown
    if is_good:
        check_age(when, now, last, replaces)
    else:
        with pytest.raises(ConsentStale):
            check_age(when, now, last, replaces)


def test_a_clock_may_be_a_minute_ahead_and_no_more() -> None:
    check_age(1_060, 1_000)
    with pytest.raises(ConsentMismatch, match="clock"):
        check_age(1_061, 1_000)

"""A consent that a provider ended: which entries the replay takes, under which rules, and what is counted of them."""

import pytest
from msgspec import UNSET, structs

from ledger import entries as e
from ledger.errors import MusubiError, ProofInvalid
from policies.consents.attested_stop import Stop, check_stop, make_stop, read_stop, stop_record
from policies.consents.bundle import commitment
from policies.replay import MemoryConsents, grant_in_force
from policies.rules import STOPS
from tests.kit.logs.histories import freeze
from tests.kit.logs.log_builder import LogBuilder, consent_id
from tests.kit.towns.residents import salts_for
from tests.kit.towns.toy_town import ASKED, ORIGIN, PARTNER, key_of, public

IDP = "city_id"


def stopped(log: LogBuilder, grant: int, **changes: object) -> e.Revoke:
    right = e.Revoke(at=log.now(), grant=grant, reason="attested", commitment="00" * 32, by=IDP)
    return structs.replace(right, **changes)


@pytest.fixture
def town() -> LogBuilder:
    log = LogBuilder()
    log.found()
    log.member(IDP, "identity")
    log.rules(STOPS)
    return log


def test_a_stop_ends_the_grant_and_is_counted_for_its_provider(town: LogBuilder) -> None:
    grants = [town.grant(number) for number in range(3)]
    town.add(stopped(town, grants[0]))
    town.add(stopped(town, grants[2]))
    assert [grant_in_force(town.state, grant) is None for grant in grants] == [True, False, True]
    assert town.state.attested_stops == {IDP: 2}


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"by": UNSET}, "does not fit"),
        ({"reason": "withdrawn"}, "does not fit"),
        ({"reason": "lost-device"}, "does not fit"),
        ({"by": PARTNER}, "no active identity provider"),
        ({"by": ASKED[0]}, "no active identity provider"),
        ({"by": "nobody"}, "no active identity provider"),
        ({"grant": 0}, "revokes no grant"),
    ],
    ids=str,
)
def test_a_stop_that_names_no_active_provider_or_a_name_without_a_stop_is_a_fault(
    town: LogBuilder, changes: dict[str, object], says: str
) -> None:
    grant = town.grant(1)
    before = freeze(town.state, MemoryConsents())
    with pytest.raises(ProofInvalid, match=says):
        town.add(structs.replace(stopped(town, grant), **changes))
    assert freeze(town.state, MemoryConsents()) == before


def test_whoever_has_left_or_lost_the_role_stops_nothing_any_more(town: LogBuilder) -> None:
    grant = town.grant(1)
    town.member("helper_id", "identity")
    gone = structs.replace(town.state.members["helper_id"], number=2, roles=["partner"])
    town.state.members["helper_id"] = gone
    with pytest.raises(ProofInvalid, match="no active identity provider"):
        town.add(stopped(town, grant, by="helper_id"))
    town.state.members["helper_id"] = structs.replace(gone, status="left", roles=["identity"])
    with pytest.raises(ProofInvalid, match="no active identity provider"):
        town.add(stopped(town, grant, by="helper_id"))


def test_under_the_first_rules_no_such_entry_is_taken() -> None:
    log = LogBuilder()
    log.found()
    log.member(IDP, "identity")
    grant = log.grant(1)
    for wrong in (stopped(log, grant), stopped(log, grant, reason="withdrawn"), stopped(log, grant, by=UNSET)):
        with pytest.raises(ProofInvalid, match=r"rules do not know|does not fit"):
            log.add(wrong)


def said(**changes: object) -> Stop:
    right = Stop(
        from_=IDP,
        log=ORIGIN,
        consent=consent_id(1),
        grant=7,
        subject="person-0001",
        at=1_800_000_000,
        nonce="ab" * 32,
    )
    return structs.replace(right, **changes)


def test_the_record_behind_a_stop_shows_who_signed_it_and_nothing_else_passes_for_it() -> None:
    keys = [bytes.fromhex(public(IDP))]
    token = make_stop(key_of(IDP), said())
    assert check_stop(token, {IDP: keys[0]}, ORIGIN) == said()
    record = stop_record(token, salts_for("stop", 3))
    entry = e.Revoke(at=1, grant=7, reason="attested", commitment=commitment(record), by=IDP)
    how = {"log": ORIGIN, "consent": consent_id(1)}
    assert read_stop(record, entry, keys, **how) == said()
    others = stop_record(make_stop(key_of(IDP), said(grant=8)), salts_for("stop", 3))
    thief = stop_record(make_stop(key_of("thief"), said()), salts_for("stop", 3))
    for shown, wrong, asked in (
        (others, entry, how),
        (others, structs.replace(entry, commitment=commitment(others)), how),
        (thief, structs.replace(entry, commitment=commitment(thief)), how),
        (record, structs.replace(entry, by="other_id"), how),
        (record, structs.replace(entry, by=UNSET), how),
        (record, entry, how | {"consent": consent_id(2)}),
        (record, entry, how | {"log": "other.test/log"}),
    ):
        with pytest.raises(MusubiError):
            read_stop(shown, wrong, keys, **asked)

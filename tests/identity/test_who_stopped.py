"""A resident's device checks who stopped a consent for them; what the service says besides is told as not shown."""

from types import SimpleNamespace
from typing import Any

import pytest
from msgspec import structs

from ledger import entries as e
from policies.consents.attested_stop import Stop, make_stop, stop_record
from policies.consents.bundle import Bundle, commitment
from policies.rules import STOPS
from tests.kit.logs.log_builder import LogBuilder, consent_id
from tests.kit.towns.residents import salts_for
from tests.kit.towns.toy_town import ASKED, ORIGIN, key_of
from trust.client.wire import AttestedEnd, MyConsent
from trust.resident.stopped import check_attested

IDP, OTHER = "city_id", "other_id"


class Ledger:
    """What a device can prove: the entries of a hand-made log."""

    trust = SimpleNamespace(origin=ORIGIN)

    def __init__(self) -> None:
        self.log = LogBuilder()
        self.log.found()
        self.members = {alias: self.log.member(alias, "identity") for alias in (IDP, OTHER)}
        self.log.rules(STOPS)
        self.grants = [self.log.grant(number) for number in range(3)]

    def prove(self, index: int) -> Any:
        """Return an entry."""
        return SimpleNamespace(index=index, entry=e.decode(self.log.entries[index]))

    def genesis(self) -> e.Genesis:
        """Return the first entry."""
        return self.log.state.trust_root

    def record(self, key: str = IDP, **changes: Any) -> Bundle:
        """Return the record behind a stop of the second grant."""
        how: dict[str, Any] = {"from_": IDP, "log": ORIGIN, "consent": consent_id(1), "grant": self.grants[1]}
        how |= {"subject": "person-0001", "at": self.log.at, "nonce": "ab" * 32}
        return stop_record(make_stop(key_of(key), Stop(**(how | changes))), salts_for("stop", 3))

    def stopped(self, record: Bundle, by: str = IDP) -> int:
        """Write the end into the ledger."""
        entry = e.Revoke(
            at=self.log.now(), grant=self.grants[1], reason="attested", commitment=commitment(record), by=by
        )
        return self.log.add(entry)

    def shown(self, index: int, record: Bundle | None, **changes: Any) -> MyConsent:
        """Return what the service shows of the consent."""
        grant = e.decode(self.log.entries[self.grants[1]])
        assert isinstance(grant, e.Grant)
        attested = AttestedEnd(by=IDP, member=self.members[IDP], record=record)
        return MyConsent(
            index=self.grants[1],
            consent=grant.consent,
            policy=grant.policy,
            version=grant.version,
            policy_sha256=grant.policy_sha256,
            until=grant.until,
            yearly_cap=grant.yearly_cap,
            holders=list(ASKED),
            ended_by=index,
            attested=structs.replace(attested, **changes),
        )


@pytest.fixture
def ledger() -> Ledger:
    return Ledger()


def test_what_the_provider_signed_and_the_ledger_names_is_believed(ledger: Ledger) -> None:
    record = ledger.record()
    found = check_attested(ledger, ledger.shown(ledger.stopped(record), record))  # type: ignore[arg-type]
    assert (found.by, found.grant, found.doubt) == (IDP, ledger.grants[1], "")


def test_whatever_else_the_service_shows_is_told_as_not_shown(ledger: Ledger) -> None:
    forged = ledger.record(key="thief")
    index = ledger.stopped(forged)
    genuine = ledger.record()
    lies: list[tuple[MyConsent, str]] = [
        (ledger.shown(index, forged), "signature"),
        (ledger.shown(index, genuine), "commits to"),
        (ledger.shown(index, None), "lost"),
        (ledger.shown(index, forged, by=OTHER), "another provider"),
        (ledger.shown(index, forged, member=ledger.members[OTHER]), "does not register"),
        (ledger.shown(index, forged, member=0), "does not register"),
        (structs.replace(ledger.shown(index, forged), index=ledger.grants[0]), "does not say there"),
        (structs.replace(ledger.shown(index, forged), ended_by=ledger.grants[0]), "does not say there"),
    ]
    for shown, says in lies:
        assert says in check_attested(ledger, shown).doubt.lower() or says in check_attested(ledger, shown).doubt  # type: ignore[arg-type]


def test_a_stop_that_was_signed_for_another_consent_does_not_pass_for_this_one(ledger: Ledger) -> None:
    for record in (ledger.record(grant=ledger.grants[2]), ledger.record(consent=consent_id(2))):
        fresh = Ledger()
        found = check_attested(fresh, fresh.shown(fresh.stopped(record), record))  # type: ignore[arg-type]
        assert "something else" in found.doubt

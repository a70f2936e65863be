"""Whom a node counts: by the newest consent that stands, and never by one that is too old; and what that holds up."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import structlog
from msgspec import UNSET, structs

from ledger import entries as e
from policies.consents.age import MAX_AGE_SECONDS
from policies.pairwise_keys import pairwise_key, public_hex
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.parties.attacked_node import NODE, AttackedNode
from tests.kit.towns.residents import seed_of
from tests.kit.towns.toy_town import scarce

CAPS = [5_000_000, 1_000_000_000]


@pytest.fixture
def service(tmp_path: Path) -> AttackedNode:
    """A node beside a service that lies, with one resident who is always counted."""
    node = AttackedNode(LogBuilder(), tmp_path, scarce(yearly_caps=CAPS))
    node.resident(0)
    return node


def linked(service: AttackedNode, number: int = 1) -> bytes:
    """Link a customer; return the resident's seed."""
    seed = seed_of(number)
    service.books.link([(public_hex(pairwise_key(seed, NODE)), str(number))])
    return seed


def counts(service: AttackedNode) -> int:
    """Ask; return how many customers the node counts besides the first, once it takes part."""
    admit = service.admit()
    assert service.countersigned(admit), "the node takes part, whatever is void"
    counted = service.counted(admit) - 1
    service.builder.release(admit)
    service.read()
    return counted


def voids(service: AttackedNode) -> dict[int, str]:
    """Return which leaves are void in the books, and by which code."""
    with closing(sqlite3.connect(service.folder / "books.sqlite")) as db:
        return dict(db.execute("SELECT place, void FROM leaves WHERE void IS NOT NULL"))


# Too old.


def test_a_copy_handed_in_after_a_withdrawal_counts_nobody_and_holds_up_nobody(service: AttackedNode) -> None:
    """The service lies: it has kept a second signed copy, and writes it into the ledger."""
    seed = linked(service)
    first, copy = service.consent(seed), service.consent(seed)
    grant = service.grant(first)
    assert counts(service) == 1
    service.builder.revoke(grant)
    assert counts(service) == 0
    again = service.grant(copy)
    with structlog.testing.capture_logs() as lines:
        assert counts(service) == 0
    assert [(each["grant"], each["code"]) for each in lines if each["event"] == "leaf-void"] == [
        (again, "consent-stale")
    ]
    service.crash()
    service.read()
    assert counts(service) == 0
    assert voids(service) == {again: "consent-stale"}
    fresh = service.grant(service.consent(seed, shown_at=service.builder.at + 1))
    assert fresh not in voids(service)
    assert counts(service) == 1


def test_the_last_withdrawal_decides_and_not_the_first(service: AttackedNode) -> None:
    seed = linked(service)
    service.builder.revoke(service.grant(service.consent(seed)))
    again = service.grant(service.consent(seed, shown_at=service.builder.at + 1))
    copy = service.consent(seed, shown_at=service.builder.at)
    service.builder.revoke(again)
    late = service.grant(copy)
    assert counts(service) == 0
    assert voids(service) == {late: "consent-stale"}


def test_a_copy_counts_nobody_in_another_version_of_the_policy_either(service: AttackedNode) -> None:
    seed = linked(service)
    grant = service.grant(service.consent(seed))
    service.read()
    service.policy = structs.replace(service.policy, version=2)
    copy = service.consent(seed)
    service.builder.policy(service.policy)
    service.builder.revoke(grant)
    again = service.grant(copy)
    service.read()
    assert voids(service) == {again: "consent-stale"}


@pytest.mark.parametrize("late", [0, 1])
def test_a_notice_shown_more_than_26_hours_before_counts_nobody(service: AttackedNode, late: int) -> None:
    seed = linked(service)
    bundle = service.consent(seed, shown_at=service.builder.at - MAX_AGE_SECONDS + 1 - late)
    grant = service.grant(bundle)
    assert counts(service) == 1 - late
    assert voids(service) == ({grant: "consent-stale"} if late else {})


def test_a_notice_shown_in_the_future_or_at_no_time_counts_nobody(service: AttackedNode) -> None:
    ahead = service.grant(service.consent(linked(service, 1), shown_at=service.builder.at + 63))
    silent = service.grant(service.consent(linked(service, 2), dated=False))
    assert counts(service) == 0
    assert voids(service) == {ahead: "consent-mismatch", silent: "consent-stale"}


def test_a_consent_from_before_the_rules_that_know_of_age_is_as_good_as_it_was(tmp_path: Path) -> None:
    builder = LogBuilder()
    service = AttackedNode(builder, tmp_path, rules=UNSET)
    service.grant(service.consent(linked(service, 1), dated=False, shown_at=1))
    builder.rules()
    service.grant(service.consent(linked(service, 2), dated=False, shown_at=1))
    service.read()
    assert list(voids(service).values()) == ["consent-stale"]
    service.resident(0)
    assert counts(service) == 1


def test_an_erased_consent_takes_its_verdict_along(service: AttackedNode) -> None:
    grant = service.grant(service.consent(linked(service), dated=False))
    service.read()
    assert voids(service)
    service.builder.add(e.Erase(at=service.builder.now(), index=grant, reason="requested"))
    service.read()
    assert voids(service) == {}


# Written before the resident took back what they had signed.


def test_a_copy_written_just_before_a_withdrawal_counts_nobody_after_it(service: AttackedNode) -> None:
    """Two were signed, as a first answer was lost. The service writes the copy, and then the withdrawal."""
    seed = linked(service)
    first, copy = service.consent(seed), service.consent(seed)
    grant = service.grant(first)
    assert counts(service) == 1
    service.grant(copy)
    service.builder.revoke(grant)
    assert counts(service) == 0
    service.crash()
    assert counts(service) == 0
    service.grant(service.consent(seed, shown_at=service.builder.at + 1))
    assert counts(service) == 1


@pytest.mark.parametrize("reason", ["lost-device", "attested"])
def test_no_copy_outlives_an_end_of_another_reason(service: AttackedNode, reason: str) -> None:
    seed = linked(service)
    service.builder.member("id_co", "identity")
    grant, _ = service.grant(service.consent(seed)), service.grant(service.consent(seed))
    end = service.builder.make_revoke(grant, reason)  # type: ignore[arg-type]
    service.builder.add(structs.replace(end, by="id_co") if reason == "attested" else end)
    assert counts(service) == 0


@pytest.mark.parametrize("is_withdrawn", [False, True])
def test_no_copy_outlives_an_erasure_nor_comes_back_with_it(service: AttackedNode, is_withdrawn: bool) -> None:
    seed = linked(service)
    grant, _ = service.grant(service.consent(seed)), service.grant(service.consent(seed))
    assert counts(service) == 1
    if is_withdrawn:
        service.builder.revoke(grant)
    service.builder.add(e.Erase(at=service.builder.now(), index=grant, reason="requested"))
    assert counts(service) == 0
    service.crash()
    assert counts(service) == 0


def test_a_copy_of_an_end_that_a_fresh_node_reads_in_one_go_counts_nobody(service: AttackedNode) -> None:
    """Leaf and end come in any order: a node that was away gets the leaves after all entries."""
    seed = linked(service)
    grant, _ = service.grant(service.consent(seed)), service.grant(service.consent(seed))
    service.builder.revoke(grant)
    service.grant(service.consent(linked(service, 2)))
    assert counts(service) == 1


def test_a_question_from_before_the_withdrawal_counts_whom_it_counted(service: AttackedNode) -> None:
    seed = linked(service)
    grant, _ = service.grant(service.consent(seed)), service.grant(service.consent(seed))
    admit = service.admit()
    assert service.counted(admit) == 2
    service.builder.revoke(grant)
    service.read()
    assert service.counted(admit) == 2


def test_what_was_replaced_takes_the_copies_that_stood_beside_it_along_and_not_its_heir(service: AttackedNode) -> None:
    seed = linked(service)
    first = service.grant(service.consent(seed))
    service.grant(service.consent(seed, yearly_cap=CAPS[1]))
    heir = service.grant(service.consent(seed, yearly_cap=CAPS[0], replaces=first), ends=[first])
    assert counts(service) == 1
    assert counts(service) == 0, "the heir's cap is used up, and the wider copy is older than it"
    service.builder.revoke(heir)
    assert counts(service) == 0


def test_a_held_back_wide_consent_begins_no_cap_anew_and_undoes_no_narrowing(service: AttackedNode) -> None:
    seed = linked(service)
    broad = service.consent(seed, yearly_cap=CAPS[1])
    small = service.consent(seed, yearly_cap=CAPS[0], shown_at=service.builder.at + 1)
    service.grant(small)
    assert counts(service) == 1
    assert counts(service) == 0
    service.grant(broad)
    assert counts(service) == 0
    assert voids(service) == {}


def test_a_newer_consent_that_a_restored_service_knew_nothing_to_replace_for_counts_with_the_narrower(
    service: AttackedNode,
) -> None:
    """An honest service that has lost its newest records: what the resident signs anew is no wider, and no less."""
    seed = linked(service)
    lost = service.grant(service.consent(seed, yearly_cap=CAPS[1]))
    service.grant(service.consent(seed, yearly_cap=CAPS[0], shown_at=service.builder.at + 1))
    assert counts(service) == 1
    assert counts(service) == 0
    service.builder.revoke(lost)
    assert counts(service) == 0, "who takes the forgotten one back takes back what they had signed by then"
    service.grant(service.consent(seed, yearly_cap=CAPS[1], shown_at=service.builder.at + 1))
    assert counts(service) == 1


# The newest that stands.


def test_the_replacing_consent_counts_also_where_it_was_signed_before_the_other_ended(service: AttackedNode) -> None:
    seed = linked(service)
    first = service.grant(service.consent(seed))
    bundle = service.consent(seed, replaces=first)
    service.builder.at += 100
    new = service.grant(bundle, ends=[first])
    assert counts(service) == 1
    assert new not in voids(service)


def test_a_consent_that_the_resident_signed_to_replace_another_one_is_void(service: AttackedNode) -> None:
    """The service writes another grant into ``replaces`` than the resident signed: the chain is the resident's."""
    seed = linked(service)
    first, other = service.grant(service.consent(seed)), service.resident(2)
    bundle = service.consent(seed, replaces=first)
    new = service.grant(bundle, ends=[first, other])
    assert counts(service) == 0
    assert voids(service) == {new: "consent-mismatch"}


def test_by_the_first_rules_no_older_one_counts_where_the_newest_has_used_up_its_cap(tmp_path: Path) -> None:
    """Two stand side by side, as old rules allowed: the narrower, newer one decides, until it ends."""
    service = AttackedNode(LogBuilder(), tmp_path, scarce(yearly_caps=CAPS), rules=UNSET)
    service.resident(0, dated=False)
    seed = linked(service)
    service.grant(service.consent(seed, yearly_cap=CAPS[1], dated=False))
    narrow = service.grant(service.consent(seed, yearly_cap=CAPS[0], dated=False))
    assert counts(service) == 1
    service.builder.release(service.builder.admit())
    assert counts(service) == 0
    service.builder.revoke(narrow)
    assert counts(service) == 1


def test_by_the_first_rules_the_newest_widens_and_by_the_next_it_does_not(tmp_path: Path) -> None:
    service = AttackedNode(LogBuilder(), tmp_path, scarce(yearly_caps=CAPS), rules=UNSET)
    service.resident(0, dated=False)
    old, mixed = linked(service, 1), linked(service, 2)
    for seed in (old, mixed):
        service.grant(service.consent(seed, yearly_cap=CAPS[0], dated=False))
    assert counts(service) == 2
    service.grant(service.consent(old, yearly_cap=CAPS[1], dated=False))
    service.builder.rules()
    service.grant(service.consent(mixed, yearly_cap=CAPS[1]))
    assert counts(service) == 1

"""The auditor names the first entry that says something it may not, whoever signed the log."""

import hashlib
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from msgspec import Raw

from ledger import entries as e
from ledger import jws
from ledger.errors import ClockSkew
from tests.kit.logs.log_builder import LogBuilder, consent_id
from tests.kit.towns.toy_town import ASKED, ORIGIN, PARTNER, key_of, scarce
from trust.audit.auditor import audit

replace = msgspec.structs.replace
Fault = Callable[[LogBuilder], e.AnyEntry | bytes]
FAULTS: dict[str, tuple[Fault, str]] = {}


def fault(says: str) -> Callable[[Fault], Fault]:
    """Register a fault: an entry that must not follow a good log, and what the verdict must say."""

    def register(make: Fault) -> Fault:
        FAULTS[make.__name__] = (make, says)
        return make

    return register


@fault("For the member the approval of 2 stewards is needed")
def member_with_one_approval(log: LogBuilder) -> e.AnyEntry:
    return log.make_member("shop", "holder", signers=["city"])


@fault("approval of 2 stewards is needed; 0 have signed")
def member_without_approvals(log: LogBuilder) -> e.AnyEntry:
    return log.make_member("shop", "holder", signers=[])


@fault("not by a steward")
def member_approved_by_no_steward(log: LogBuilder) -> e.AnyEntry:
    return log.make_member("shop", "holder", signers=["city", PARTNER])


@fault("for another document")
def member_changed_after_approval(log: LogBuilder) -> e.AnyEntry:
    member = log.make_member("shop", "holder")
    return replace(member, member=replace(member.member, roles=["holder", "partner"]))


@fault("number does not follow")
def member_of_an_old_number(log: LogBuilder) -> e.AnyEntry:
    return log.make_member(ASKED[0], "holder", number=1)


@fault("approval of 2 stewards")
def policy_with_one_approval(log: LogBuilder) -> e.AnyEntry:
    return log.make_policy(scarce(2), signers=["city"])


@fault("version does not follow")
def policy_of_the_same_version(log: LogBuilder) -> e.AnyEntry:
    return log.make_policy(scarce(1))


@fault("no active member")
def policy_with_an_unknown_partner(log: LogBuilder) -> e.AnyEntry:
    return log.make_policy(scarce(2, partners=["stranger"]))


@fault("unknown or old policy version")
def grant_for_an_old_policy(log: LogBuilder) -> e.AnyEntry:
    grant = log.make_grant(900)
    log.policy(scarce(2))
    return replace(grant, at=log.at)


@fault("unknown or old policy version")
def grant_for_another_document(log: LogBuilder) -> e.AnyEntry:
    return log.make_grant(900, policy_sha256="00" * 32)


@fault("until or cap")
def grant_until_a_day_not_offered(log: LogBuilder) -> e.AnyEntry:
    return log.make_grant(900, until="2099-12-31")


@fault("runs backwards in time")
def at_runs_backwards(log: LogBuilder) -> e.AnyEntry:
    return log.make_grant(900, at=log.state.at - 1)


@fault("no grant that is in force")
def revocation_of_no_grant(log: LogBuilder) -> e.AnyEntry:
    return e.Revoke(at=log.now(), grant=0, reason="withdrawn", commitment="00" * 32)


@fault("no grant that is in force")
def second_revocation(log: LogBuilder) -> e.AnyEntry:
    grant = log.grant(900)
    log.revoke(grant)
    return e.Revoke(at=log.now(), grant=grant, reason="withdrawn", commitment="00" * 32)


@fault("not there, or was erased before")
def erasure_of_the_future(log: LogBuilder) -> e.AnyEntry:
    return e.Erase(at=log.now(), index=len(log.entries) + 5, reason="requested")


@fault("comes first and only once")
def second_genesis(log: LogBuilder) -> e.AnyEntry:
    return replace(e.decode(log.entries[0]), at=log.now())


@fault("charge is less than what the stated noise costs")
def lying_price(log: LogBuilder) -> e.AnyEntry:
    admit = log.make_admit()
    return replace(admit, charge=admit.charge - 1)


@fault("charge is less than what the stated noise costs")
def less_noise_than_paid_for(log: LogBuilder) -> e.AnyEntry:
    admit = log.make_admit()
    first = replace(admit.noise[0], scale="1")
    return replace(admit, noise=[first, *admit.noise[1:]])


@fault("but the account 'policy/mobility/2026-09' has")
def cap_exceeded(log: LogBuilder) -> e.AnyEntry:
    for _ in range(6):
        admit = log.make_admit()
        if log.state.accounts["policy/mobility/life"].charged + 2 * admit.charge > 20_000_000:
            break
        log.add(admit)
    else:
        pytest.fail("the budget was never used up")
    big = log.make_admit()
    log.add(big)
    # The account is full now. An operator who lets one more question in has to lie about it.
    return replace(big, at=log.now(), question=log.ask(), expires=log.at + 600)


@fault("in-force root")
def wrong_in_force_root(log: LogBuilder) -> e.AnyEntry:
    return log.make_admit(in_force_root="00" * 32)


@fault("in-force root")
def in_force_root_of_before_a_revocation(log: LogBuilder) -> e.AnyEntry:
    grant = log.grant(900)
    admit = log.make_admit()
    log.revoke(grant)
    return replace(admit, at=log.now(), expires=log.at + 600)


@fault("a second time")
def one_question_admitted_twice(log: LogBuilder) -> e.AnyEntry:
    token = log.ask()
    admit = log.make_admit(token)
    log.add(admit)
    chunks = log.state.eligible(admit.policy_sha256, log.at, admit.charge)
    from policies.in_force.chunk_tree import ChunkTree

    return replace(admit, in_force_root=ChunkTree(chunks).root(len(log.entries)))


@fault("not by the key")
def question_signed_by_another(log: LogBuilder) -> e.AnyEntry:
    admit = log.make_admit()
    payload = jws.parts(admit.question)[1]
    return replace(admit, question=jws.sign(Raw(payload), key_of("clinic")))


@fault("not the one that the partner signed")
def query_that_the_partner_did_not_sign(log: LogBuilder) -> e.AnyEntry:
    other = log.make_admit(log.ask(where=[{"column": "hour", "between": [7, 9]}]))
    return replace(log.make_admit(), query=other.query)


@fault("the policy's")
def longer_expiry(log: LogBuilder) -> e.AnyEntry:
    admit = log.make_admit()
    return replace(admit, expires=admit.expires + 3_600)


@fault("participants")
def participant_left_out(log: LogBuilder) -> e.AnyEntry:
    return log.make_admit(participants=[ASKED[0]])


@fault("round that is not open")
def double_release(log: LogBuilder) -> e.AnyEntry:
    admit = log.admit()
    release = log.make_release(admit)
    log.add(release)
    return replace(release, at=log.now())


@fault("round that is not open")
def refund_after_release(log: LogBuilder) -> e.AnyEntry:
    admit = log.admit()
    refund = log.make_refund(admit)
    log.release(admit)
    return replace(refund, at=log.now())


@fault("round that is not open")
def release_of_nothing(log: LogBuilder) -> e.AnyEntry:
    return e.Release(at=log.now(), admit=2, vector=[1], shares={})


@fault("exactly the round's participants")
def release_by_one_holder(log: LogBuilder) -> e.AnyEntry:
    release = log.make_release(log.admit())
    return replace(release, shares={ASKED[0]: release.shares[ASKED[0]]})


@fault("length")
def release_of_another_length(log: LogBuilder) -> e.AnyEntry:
    release = log.make_release(log.admit())
    return replace(release, vector=[*release.vector, 0])


@fault("not by the key")
def refund_without_the_holders_word(log: LogBuilder) -> e.AnyEntry:
    return log.make_refund(log.admit(), signer="operator")


@fault("refuses a question by no member")
def refusal_of_nobody(log: LogBuilder) -> e.AnyEntry:
    return e.Refuse(
        at=log.now(),
        query_sha256="00" * 32,
        by="stranger",
        policy="mobility",
        rule="not-permitted",
        account="",
        asked=0,
        left=0,
    )


@fault("not canonical")
def entry_with_white_space(log: LogBuilder) -> bytes:
    return e.encode(log.make_grant(900)).replace(b",", b", ", 1)


@fault("not canonical")
def entry_with_a_repeated_key(log: LogBuilder) -> bytes:
    return e.encode(log.make_grant(900)).replace(b'"at":', b'"at":0,"at":', 1)


@fault("not of its format")
def entry_with_an_unknown_field(log: LogBuilder) -> bytes:
    return e.encode(log.make_grant(900))[:-1] + b',"x":1}'


@fault("not a ledger entry")
def entry_that_is_not_json(log: LogBuilder) -> bytes:
    return b"\xff\xfe not an entry"


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_the_verdict_names_the_entry_and_what_is_wrong_with_it(name: str, tmp_path: Path) -> None:
    make, says = FAULTS[name]
    log = LogBuilder().town()
    bad = make(log)
    good = len(log.entries)
    log.append(bad)
    log.append(log.make_grant(901))
    log.publish(tmp_path / "log")
    report = audit(str(tmp_path / "log"), trust=log.trust, clock=lambda: log.at + 5)
    assert report.first_fault == good
    assert report.verdict.startswith(f"Entry {good}")
    assert says.lower() in report.verdict.lower()
    # What precedes the fault is sound: only following the whole batch can say otherwise.
    log.publish(tmp_path / "before", log.entries[:good])
    assert audit(str(tmp_path / "before"), trust=log.trust, clock=lambda: log.at + 5).verdict == "ok"


def test_a_consent_used_before_is_void_and_never_counts(tmp_path: Path) -> None:
    log = LogBuilder().town()
    before = log.state.eligible(log.state.policies["mobility"].sha256, log.at, 1)
    log.add(log.make_grant(0))
    assert log.state.eligible(log.state.policies["mobility"].sha256, log.at, 1) == before
    log.publish(tmp_path)
    assert audit(str(tmp_path), trust=log.trust, clock=lambda: log.at).verdict == "ok"


def test_an_auditor_whose_own_clock_is_behind_accuses_nobody_and_says_so(tmp_path: Path) -> None:
    log = LogBuilder().town()
    log.publish(tmp_path / "log")
    for late in (61, 3_600, 10**8):
        with pytest.raises(ClockSkew, match="check this machine's clock"):
            audit(
                str(tmp_path / "log"),
                trust=log.trust,
                state_folder=tmp_path / "state",
                clock=lambda late=late: log.at - late,  # type: ignore[misc]
            )
    report = audit(str(tmp_path / "log"), trust=log.trust, state_folder=tmp_path / "state", clock=lambda: log.at - 60)
    assert report.verdict == "ok", "nothing of that was kept"


def test_an_entry_from_the_future_is_named_by_the_witnesses_clocks(tmp_path: Path) -> None:
    log = LogBuilder().town()
    early = log.at
    index = log.add(log.make_grant(900, at=early + 200))
    log.publish(tmp_path, at=early + 100)
    report = audit(str(tmp_path), trust=log.trust, clock=lambda: early + 100_000)
    assert (report.first_fault, report.rule) == (index, "clock-skew")
    log.publish(tmp_path / "later", at=early + 140)
    assert audit(str(tmp_path / "later"), trust=log.trust, clock=lambda: early + 100_000).verdict == "ok"


def test_a_verdict_holds_no_value_of_the_log(tmp_path: Path) -> None:
    log = LogBuilder().town()
    log.append(log.make_grant(900, until="2099-12-31"))
    log.publish(tmp_path)
    text = audit(str(tmp_path), trust=log.trust, clock=lambda: log.at).to_json().decode()
    assert consent_id(900) not in text
    assert hashlib.sha256(b"commitment 900").hexdigest() not in text
    assert ORIGIN in text

"""What an operator could write and nobody looked at: seen by rules 3, and judged as ever by those before."""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import UNSET, structs

from ledger import entries as e
from ledger.errors import ProofInvalid
from policies.consents.erasure import ErasureOrder
from policies.governance import approve
from policies.replay import MemoryConsents
from policies.rules import LIES_SEEN
from queries.price.cost import epsilon_of
from queries.replay import replay
from tests.kit.logs.histories import freeze
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import ASKED, PARTNER, key_of, scarce
from trust.audit.auditor import audit
from trust.audit.report import AuditReport

Make = Callable[[LogBuilder], e.AnyEntry]
GRANT = 6
"""The index of the first consent."""
QUORUM = ("city", "firms")


def town_by(rules: int) -> LogBuilder:
    """Return a town with three consents in force, one revoked, and one question answered."""
    log = LogBuilder()
    log.found(rules=rules)
    assert len(log.entries) == GRANT - 1
    log.member("other", "partner")
    for number in range(4):
        log.grant(number, until="2027-03-31")
    log.revoke(GRANT + 3)
    log.release(log.admit())
    return log


def audited(log: LogBuilder, folder: Path) -> AuditReport:
    log.publish(folder)
    return audit(str(folder), trust=log.trust, clock=lambda: log.at + 5)


def revoked(log: LogBuilder) -> int:
    """Return the index of the revocation."""
    return next(index for index, data in enumerate(log.entries) if b'"kind":"revoke"' in data)


def order_for(index: int, *, log: LogBuilder, signed_for: int) -> e.Erase:
    """Return an erasure that bears the order for another record."""
    return structs.replace(
        log.make_erase(index, "authority"), approvals=log.make_erase(signed_for, "authority", QUORUM).approvals
    )


LIES: dict[str, tuple[Make, str]] = {
    "erase: retention in force": (lambda log: log.make_erase(GRANT, "retention"), "which is in force"),
    "erase: authority alone": (lambda log: log.make_erase(GRANT, "authority"), "no order"),
    "erase: authority of one steward": (lambda log: log.make_erase(GRANT, "authority", ["city"]), "not the stewards'"),
    "erase: authority of strangers": (
        lambda log: log.make_erase(GRANT, "authority", ["city", PARTNER]),
        "not the stewards'",
    ),
    "erase: one steward twice": (lambda log: log.make_erase(GRANT, "authority", ["city", "city"]), "not the stewards'"),
    "erase: another's order": (lambda log: order_for(GRANT, log=log, signed_for=GRANT + 1), "not the stewards'"),
    "erase: an end by authority": (lambda log: log.make_erase(revoked(log), "authority"), "no order"),
    "erase: an end with an order": (lambda log: log.make_erase(revoked(log), "authority", QUORUM), "not what ended it"),
    "erase: an order for nothing": (lambda log: log.make_erase(GRANT, "requested", QUORUM), "names no authority"),
    "erase: the genesis": (lambda log: log.make_erase(0), "no consent's record"),
    "erase: a member": (lambda log: log.make_erase(1), "no consent's record"),
    "erase: a policy": (lambda log: log.make_erase(4, "retention"), "no consent's record"),
    "erase: an answer": (lambda log: log.make_erase(len(log.entries) - 1), "no consent's record"),
    "erase: a question by authority": (
        lambda log: log.make_erase(len(log.entries) - 2, "authority", QUORUM),
        "no consent's record",
    ),
    "refuse: no such policy": (lambda log: log.make_refuse("policy-not-current", policy="nowhere"), "not there"),
    "refuse: by a holder": (lambda log: log.make_refuse(by=ASKED[0]), "by no partner"),
    "refuse: permitted": (lambda log: log.make_refuse("not-permitted"), "list of partners"),
    "refuse: another's budget": (lambda log: log.make_refuse("budget-exceeded", by="other"), "list of partners"),
    "refuse: words": (lambda log: log.make_refuse(account="c-4711 of bus_co, ill"), "no budget"),
    "refuse: words for a budget": (
        lambda log: log.make_refuse("budget-exceeded", account="c-4711"),
        "not be charged to",
    ),
    "refuse: another's account": (
        lambda log: log.make_refuse("budget-exceeded", account="partner/other/mobility/2026-09"),
        "not be charged to",
    ),
    "refuse: another account": (
        lambda log: log.make_refuse("budget-exceeded", account="policy/mobility/life"),
        "another account is the tightest",
    ),
    "refuse: nothing left": (lambda log: log.make_refuse("budget-exceeded", left=0), "another sum is left"),
    "refuse: it was left": (lambda log: log.make_refuse("budget-exceeded", asked=1), "is left, or is more"),
    "refuse: more than one may ask": (
        lambda log: log.make_refuse("budget-exceeded", asked=2**52),
        "is left, or is more",
    ),
    "refuse: a sum without a budget": (lambda log: log.make_refuse(left=3), "no budget"),
}


def tight(rules: int) -> LogBuilder:
    """Return that town, with a budget of the month in which another large question finds no room."""
    log = town_by(rules)
    limit = log.state.policies["mobility"].document.limits.charge
    policy = scarce(2, limits=structs.replace(scarce().limits, charge=limit))
    spent = log.state.accounts["policy/mobility/life"].charged
    budget = structs.replace(policy.budget, per_window=spent + limit // 2)
    log.policy(structs.replace(policy, budget=budget))
    return log


@pytest.mark.parametrize("name", LIES)
def test_a_lie_in_a_refusal_or_an_erasure_is_an_auditors_finding_by_rules_3_and_changes_nothing(
    name: str, tmp_path: Path
) -> None:
    make, says = LIES[name]
    log = tight(LIES_SEEN)
    entry = make(log)
    before = freeze(structs.replace(log.state, at=0, size=0, finding=""), MemoryConsents())
    index = log.add(entry)
    after = structs.replace(log.state, at=0, size=0, finding="")
    assert says in log.state.finding
    assert freeze(after, MemoryConsents()) == before
    log.grant(7)
    log.release(log.admit(log.ask(version=2, spend={"epsilon": "0.1"})))  # it halts nobody
    report = audited(log, tmp_path)
    assert (report.entries, report.first_fault) == (len(log.entries), index)
    assert says in report.verdict


@pytest.mark.parametrize("name", LIES)
def test_by_the_rules_before_the_same_entry_is_judged_as_it_was(name: str, tmp_path: Path) -> None:
    """Taken, but for approvals: the software of then knew of no such field, and stops at it."""
    log = tight(2)
    entry = LIES[name][0](log)
    if isinstance(entry, e.Erase) and entry.approvals is not UNSET:
        with pytest.raises(ProofInvalid, match="approvals"):
            log.add(entry)
        return
    log.add(entry)
    assert log.state.finding == ""
    assert audited(log, tmp_path).verdict == "ok"


def test_the_honest_entries_beside_those_lies_are_right(tmp_path: Path) -> None:
    log = tight(LIES_SEEN)
    for entry in (
        log.make_refuse("budget-exceeded"),
        log.make_refuse("query-invalid"),
        log.make_refuse("policy-not-current"),
        log.make_refuse("not-permitted", by="other"),
    ):
        log.add(structs.replace(entry, at=log.now()))
        assert log.state.finding == ""
    log.add(log.make_erase(GRANT))
    log.add(log.make_erase(GRANT + 1, "authority", QUORUM))
    log.add(log.make_erase(GRANT + 3, "authority", ["citizens", "city", "firms"]))
    log.add(structs.replace(log.make_erase(revoked(log), "authority"), at=log.state.at))  # right behind, in its second
    assert log.state.finding == ""
    log.at = 1_838_127_600  # the day after the last day of all
    log.add(log.make_erase(GRANT + 2, "retention"))
    assert log.state.finding == ""
    assert audited(log, tmp_path).verdict == "ok"


@pytest.mark.parametrize("how", ["a second later", "behind another entry", "a grant", "a second one"])
def test_an_order_lets_in_one_more_erasure_right_behind_and_of_an_end_alone(how: str) -> None:
    log = town_by(LIES_SEEN)
    other = log.revoke(GRANT + 2)
    log.add(log.make_erase(GRANT + 3, "authority", QUORUM))
    if how == "behind another entry":
        log.add(structs.replace(log.make_grant(7), at=log.state.at))
    if how == "a second one":
        log.add(structs.replace(log.make_erase(other, "authority"), at=log.state.at))
        assert log.state.finding == ""
    at = log.state.at + 1 if how == "a second later" else log.state.at
    log.add(structs.replace(log.make_erase(GRANT if how == "a grant" else revoked(log), "authority"), at=at))
    assert "no order" in log.state.finding


def test_what_is_kept_for_a_while_may_be_erased_once_it_has_ended_in_any_way() -> None:
    log = town_by(LIES_SEEN)
    log.add(log.make_erase(GRANT + 3, "retention"))
    log.add(log.make_erase(revoked(log), "retention"))
    assert log.state.finding == ""
    last = 1_806_505_199  # 2027-03-31 23:59:59 in Tokyo
    log.add(structs.replace(log.make_erase(GRANT, "retention"), at=last))
    assert "in force" in log.state.finding
    log.add(structs.replace(log.make_erase(GRANT, "retention"), at=last + 1))
    assert log.state.finding == ""


def test_an_order_under_another_towns_name_is_none() -> None:
    log = town_by(LIES_SEEN)
    order = ErasureOrder(log="other.example/log", index=GRANT)
    signed = [approve("erasure", order, log="other.example/log", steward=name, key=key_of(name)) for name in QUORUM]
    log.add(structs.replace(log.make_erase(GRANT, "authority"), approvals=signed))
    assert "not the stewards'" in log.state.finding


# Noise and charge


def test_ten_times_the_noise_for_a_hundredth_of_the_charge_is_no_answer_to_what_was_asked(tmp_path: Path) -> None:
    log = town_by(LIES_SEEN)
    admit = log.make_useless(spend={"epsilon": "0.05"})
    assert float(epsilon_of(admit.charge, "0.000001")) < 0.01
    with pytest.raises(ProofInvalid, match="less exactly than the partner signed for"):
        log.add(admit)
    index = log.append(admit)
    report = audited(log, tmp_path)
    assert report.first_fault == index
    assert "less exactly" in report.verdict


@pytest.mark.parametrize("rules", [1, 2])
def test_by_the_rules_before_it_is_judged_as_it_was(rules: int, tmp_path: Path) -> None:
    log = town_by(rules) if rules > 1 else LogBuilder().town()
    log.release(log.add(log.make_useless(spend={"epsilon": "0.05"})))
    assert audited(log, tmp_path).verdict == "ok"


@settings(max_examples=40, deadline=None)
@given(
    spend=st.sampled_from(
        [
            {"epsilon": "0.05"},
            {"epsilon": "0.3"},
            {"within": {"measure": "trips", "plus_minus": 900, "confidence": "0.95"}},
        ]
    ),
    factor=st.floats(1.02, 40).map(lambda number: round(number, 3)),
    place=st.sampled_from([0, 1, None]),
)
def test_no_measure_gets_more_noise_than_was_signed_for(
    spend: dict[str, object], factor: float, place: int | None
) -> None:
    """Nobody has to be told how much: the checker knows it from the question alone."""
    log = town_by(LIES_SEEN)
    before = log.make_admit(log.ask(spend=spend))
    scales = [
        part.scale if place not in {None, at} else f"{float(part.scale) * factor:.4f}"
        for at, part in enumerate(before.noise)
    ]
    noise = [structs.replace(part, scale=scale) for part, scale in zip(before.noise, scales, strict=True)]
    lie = log.charged(structs.replace(before, noise=noise))
    with pytest.raises(ProofInvalid, match=r"less exactly|more than the interval"):
        replay(log.state, len(log.entries), e.encode(lie), MemoryConsents())

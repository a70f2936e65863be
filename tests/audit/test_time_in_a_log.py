"""A log with a column of time is judged by rules number 4: "ok" here, and for older software a word to upgrade."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from ledger.errors import UpgradeNeeded
from policies import rules as policies_rules
from policies.policy_document import Policy, Time
from policies.rules import FIRST_RULES, WIDER_QUESTIONS
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.towns.toy_town import scarce
from trust.audit.auditor import audit
from trust.audit.report import AuditReport

MONTH = Time(name="month", title={"ja": "月", "en": "Month"}, unit="month", first="2026-01", last="2026-12")


def with_months(version: int) -> Policy:
    policy = scarce()
    (view,) = policy.views
    return replace(policy, version=version, views=[replace(view, columns=[*view.columns, MONTH])])


def town_by(rules: int) -> LogBuilder:
    log = LogBuilder()
    log.found(rules=rules)
    log.grant(1)
    return log


def audited(log: LogBuilder, folder: Path) -> AuditReport:
    log.publish(folder)
    return audit(str(folder), trust=log.trust, clock=lambda: log.at + 5)


def with_a_trend(log: LogBuilder) -> LogBuilder:
    """Publish a version with months, and have a question about them answered."""
    log.policy(with_months(2))
    log.grant(2)
    where = [{"column": "month", "between": ["2026-04", "2026-09"]}]
    log.release(log.admit(log.ask(version=2, group_by=["month"], where=where)))
    return log


def test_a_trend_that_was_asked_by_rules_number_4_is_audited_to_the_sum(tmp_path: Path) -> None:
    report = audited(with_a_trend(town_by(WIDER_QUESTIONS)), tmp_path)
    assert (report.verdict, report.findings) == ("ok", [])
    assert report.kinds["release"] == 1


@pytest.mark.parametrize("first", [FIRST_RULES, WIDER_QUESTIONS - 1])
def test_a_town_comes_to_time_by_signing_rules_number_4(tmp_path: Path, first: int) -> None:
    log = town_by(first)
    log.rules(WIDER_QUESTIONS)
    assert audited(with_a_trend(log), tmp_path).verdict == "ok"


@pytest.mark.parametrize("first", [FIRST_RULES, WIDER_QUESTIONS])
def test_an_older_auditor_asks_for_an_upgrade_and_accuses_nobody(
    tmp_path: Path, first: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whether the rules came by the first entry or by a later one: it stops before the column."""
    log = town_by(first)
    if first < WIDER_QUESTIONS:
        log.rules(WIDER_QUESTIONS)
    with_a_trend(log)
    monkeypatch.setattr(policies_rules, "NEWEST_RULES", WIDER_QUESTIONS - 1)
    with pytest.raises(UpgradeNeeded, match="Nothing is wrong with the ledger"):
        audited(log, tmp_path / "log")
    assert not list(tmp_path.rglob("*evidence*"))


@pytest.mark.parametrize("rules", [FIRST_RULES, WIDER_QUESTIONS - 1])
def test_a_column_of_time_under_older_rules_is_the_fault_that_it_ever_was(tmp_path: Path, rules: int) -> None:
    log = town_by(rules)
    index = log.append(log.make_policy(with_months(2)))
    report = audited(log, tmp_path)
    assert (report.first_fault, report.rule) == (index, "malformed")
    assert f"Entry {index} (policy): The policy is not of its format at `$.views[0].columns[3].type`." in report.verdict

"""An honest ledger stays honest: logs by old rules, made by the code of their day and kept here, are for ever "ok"."""

from pathlib import Path

import pytest

from trust.audit.auditor import audit
from trust.log.pins import load_trust

KEPT = Path(__file__).parent
ENTRIES = {
    "logs_by_rules_1/built": {
        "genesis": 1,
        "member": 6,
        "policy": 2,
        "log-key": 1,
        "grant": 23,
        "revoke": 2,
        "erase": 1,
        "admit": 4,
        "release": 2,
        "refund": 1,
        "refuse": 1,
    },
    "logs_by_rules_1/served": {
        "genesis": 1,
        "member": 9,
        "policy": 5,
        "grant": 32,
        "revoke": 10,
        "admit": 10,
        "release": 10,
        "refuse": 1,
    },
    "logs_by_rules_2/built": {
        "genesis": 1,
        "member": 6,
        "policy": 2,
        "log-key": 1,
        "grant": 22,
        "revoke": 3,
        "erase": 4,
        "admit": 5,
        "release": 2,
        "refund": 1,
        "lost": 1,
        "refuse": 4,
    },
    "logs_by_rules_2/served": {
        "genesis": 1,
        "member": 9,
        "policy": 5,
        "grant": 32,
        "revoke": 10,
        "admit": 10,
        "release": 10,
        "refuse": 1,
    },
    "logs_by_rules_3/built": {
        "genesis": 1,
        "member": 4,
        "policy": 1,
        "log-key": 1,
        "grant": 22,
        "revoke": 2,
        "erase": 1,
        "admit": 4,
        "release": 1,
        "refund": 1,
        "lost": 1,
        "refuse": 2,
    },
    "logs_by_rules_3/served": {
        "genesis": 1,
        "member": 9,
        "policy": 5,
        "grant": 32,
        "revoke": 10,
        "admit": 10,
        "release": 10,
        "refuse": 1,
    },
}
"""By hand, with every kind of entry; and by a service with its nodes (the demo, 12 residents).

That by hand under rules number 2 also has what only number 3 finds fault with: noise and charge that nobody signed for,
erasures for no reason, refusals that are not true.
"""


@pytest.mark.parametrize("name", ENTRIES)
def test_a_log_by_older_rules_is_ok_for_ever(name: str, tmp_path: Path) -> None:
    report = audit(str(KEPT / name), trust=load_trust(KEPT / name / "trust.json"), state_folder=tmp_path)
    assert (report.verdict, report.findings) == ("ok", [])
    assert report.kinds == ENTRIES[name]
    assert report.entries == sum(ENTRIES[name].values())

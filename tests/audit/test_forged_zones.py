"""What day it was in the town does not hang on the machine of whoever judges: its own folder of zones may be any."""

import os
import re
import shutil
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

from policies.time_zones import ZONES
from tests.kit.logs.log_builder import LogBuilder
from tests.kit.waiting import PATIENCE

MIDNIGHT = 1_806_505_200
"""The end of March 2027 in Japan."""
JUDGE = """
import sys
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo
from trust.audit.auditor import audit
from trust.log.pins import load_trust

log, state = map(Path, sys.argv[1:])
assert datetime.fromtimestamp(0, ZoneInfo("Asia/Tokyo")).hour == 12, "the machine's zones are forged"
print(audit(str(log), trust=load_trust(log / "trust.json"), state_folder=state, clock=lambda: 1806505260).verdict)
"""
DAY_IS_THERE = """
from policies.accounts.budgets import local_day, window_ends
from policies.time_zones import time_zone_of
assert local_day(15 * 3_600, "Asia/Tokyo") == "1970-01-02"
assert window_ends(0, "day", "Asia/Tokyo") == 15 * 3_600
assert time_zone_of("Asia/Tokyo").key == "Asia/Tokyo"
"""


@pytest.fixture
def forged(tmp_path: Path) -> dict[str, str]:
    """An environment whose machine has a folder of zones in which Japan is on the other side of the date line."""
    zones = tmp_path / "zoneinfo" / "Asia"
    zones.mkdir(parents=True)
    other = resources.files("tzdata.zoneinfo").joinpath("Etc", "GMT+12")
    with resources.as_file(other) as path:
        for name in ("Tokyo", "Nowhere"):
            shutil.copy(path, zones / name)
    return {**os.environ, "PYTHONTZPATH": str(zones.parent)}


def said(program: str, environment: dict[str, str], *arguments: str) -> str:
    """Run a program in a process of its own; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        env=environment, cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A log with a question just after midnight in Japan, when one of two consents has been over for a few seconds."""
    builder = LogBuilder()
    builder.at = MIDNIGHT - 3_600
    builder.found()
    builder.grant(0, until="2027-03-31")
    builder.grant(1)
    builder.at = MIDNIGHT
    builder.admit()
    builder.publish(tmp_path / "log")
    return tmp_path / "log"


def test_an_honest_log_is_ok_also_where_the_machine_has_other_zones(
    log: Path, tmp_path: Path, forged: dict[str, str]
) -> None:
    assert said(JUDGE, forged, str(log), str(tmp_path / "state")) == "ok"


def test_the_days_and_windows_of_the_ledger_are_those_of_the_package(forged: dict[str, str]) -> None:
    said(DAY_IS_THERE, forged)


def test_a_zone_that_only_the_machine_knows_is_no_zone(forged: dict[str, str]) -> None:
    program = """
from zoneinfo import ZoneInfo
from ledger.errors import Malformed
from policies.time_zones import time_zone_of
ZoneInfo("Asia/Nowhere")
for name in ("Asia/Nowhere", "Asia", "", "../Asia/Tokyo", "/etc/passwd", "Asia/Tokyo/", "__init__", "zones", "tzdata.zi"):
    try:
        time_zone_of(name)
    except Malformed:
        continue
    raise AssertionError(name)
"""
    said(program, forged)


OTHER_VERSION = """
import tzdata
tzdata.IANA_VERSION = "2019a"
"""


def test_an_auditor_with_another_version_of_the_zones_is_told_to_upgrade_and_accuses_nobody(
    log: Path, tmp_path: Path, forged: dict[str, str]
) -> None:
    program = JUDGE.replace("print(", "from ledger.errors import UpgradeNeeded\ntry:\n    print(")
    program += "except UpgradeNeeded as error:\n    print(error.message)\n"
    told = said(OTHER_VERSION + program, forged, str(log), str(tmp_path / "state"))
    assert told == f"Time zones of 2019a are installed, not {ZONES}: install Musubi anew."


def test_the_version_of_the_zones_is_the_one_that_the_wheel_asks_for() -> None:
    asked = re.search(r'"tzdata==(\d+)\.(\d+)"', (Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))
    assert asked is not None
    assert f"{asked[1]}{chr(ord('a') + int(asked[2]) - 1)}" == ZONES

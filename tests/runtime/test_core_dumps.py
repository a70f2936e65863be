"""No process of ours leaves an image of its memory on a disk."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.kit.towns.town_of_two import TownOfTwo, town_of_two

PROGRAM = """
import ctypes, sys
from trust.cli import main
from trust.service.acts import intake
if sys.argv[1] == "intake":
    intake.main()
elif sys.argv[1] == "cli":
    main(["place", "--help"], standalone_mode=False)
print("dumpable", ctypes.CDLL(None).prctl(3))  # PR_GET_DUMPABLE
"""


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and prctl are Linux's")
@pytest.mark.slow
def test_every_process_of_a_town_may_write_none(tmp_path: Path) -> None:
    with town_of_two(tmp_path / "town") as town:
        for name in _names(town):
            limits = Path(f"/proc/{town.processes.pid(name)}/limits").read_text()
            (line,) = [line for line in limits.splitlines() if line.startswith("Max core file size")]
            assert line.split()[4:6] == ["0", "0"], name


def _names(town: TownOfTwo) -> list[str]:
    return ["service", "witness", *town.holders]


@pytest.mark.skipif(sys.platform != "linux", reason="/proc and prctl are Linux's")
@pytest.mark.parametrize(("what", "dumpable"), [("intake", 0), ("cli", 0), ("neither", 1)])
def test_nor_does_a_collector_get_one(what: str, dumpable: int) -> None:
    """A collector reads through a pipe, which no limit holds back: the process itself is not to be dumped."""
    done = subprocess.run([sys.executable, "-c", PROGRAM, what], input=b"", capture_output=True, check=True)
    assert done.stdout.splitlines()[-1] == f"dumpable {dumpable}".encode()

"""The Go client of ``tests/interop/go_client``, built and run: other people's code (golang.org/x/mod) reads our log.

Debian's ``golang-go`` and ``golang-golang-x-mod-dev`` are all it takes; nothing is fetched.
"""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.kit.waiting import PATIENCE

SOURCE = Path(__file__).parents[2] / "interop" / "go_client"
GOPATH = Path("/usr/share/gocode")


def build_go_client(folder: Path) -> Path:
    """Build the client into ``folder``; skip where Go or its library is missing, and fail there under CI."""
    go = shutil.which("go")
    if go is None or not (GOPATH / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        reason = "Go is not here: install Debian's golang-go and golang-golang-x-mod-dev"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    made = folder / "go_client"
    settings = {"GO111MODULE": "off", "GOPATH": str(GOPATH), "GOFLAGS": "", "GOCACHE": str(folder / "cache")}
    subprocess.run(
        [go, "build", "-o", str(made), "."], cwd=SOURCE, env=os.environ | settings, check=True, timeout=PATIENCE
    )
    return made


def run_go_client(
    client: Path, log: str | Path, pins: Path, *more: str | Path, records: int = 0
) -> subprocess.CompletedProcess[str]:
    """Have the client check the log at a URL prefix or in a folder, by ``log.vkey`` and the policy in ``pins``."""
    believed: list[str | Path] = [
        "-vkey",
        pins / "log.vkey",
        "-policy",
        pins / "witnesses.txt",
        "-records",
        str(records),
    ]
    return subprocess.run(
        [client, "-log", str(log), *believed, *more], capture_output=True, text=True, timeout=PATIENCE, check=False
    )

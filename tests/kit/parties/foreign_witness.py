"""A witness that other people wrote (PyPI ``aics-witness``, Python 3.12), as a real process."""

import fcntl
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ledger.notes.note import VerifierKey
from tests.kit.machine.ports import free_port
from tests.kit.parties.witnesses import WitnessProcess, running_witness
from tests.kit.waiting import PATIENCE

FOREIGN = "aics-witness==0.1.0"


@contextmanager
def foreign_witness(folder: Path, name: str, log: VerifierKey) -> Iterator[WitnessProcess]:
    """Run the foreign witness for a log; skip, with the reason, where it cannot be had."""
    python = _foreign_python()
    folder.mkdir(parents=True)
    config = ["--config", str(folder / "witness.json")]
    port = free_port()
    run = [str(python), "-m", "aics_witness"]
    made = subprocess.run(
        [*run, "init", *config, "--name", name, "--listen", f"127.0.0.1:{port}"],
        check=True,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    key = VerifierKey.parse(made.stdout.strip().splitlines()[-1])
    subprocess.run(
        [*run, "add-log", *config, "--origin", log.name, "--vkey", str(log)],
        check=True,
        capture_output=True,
        timeout=PATIENCE,
    )

    def launch() -> subprocess.Popen[bytes]:
        with (folder / "out.log").open("ab") as out:
            return subprocess.Popen([*run, "serve", *config], stdout=out, stderr=out)

    with running_witness(WitnessProcess(key, port, "/healthz", launch, folder / "out.log")) as process:
        yield process


def _foreign_python() -> Path:
    """Return the Python of an environment that has the foreign witness; it is made once and kept."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "musubi-tests"
    environment = cache / FOREIGN.replace("==", "-")
    python, done = environment / "bin" / "python", environment / "done"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes may want it at the same time
        if not done.exists():
            base = _python312()
            if base is None:
                pytest.skip(f"{FOREIGN} needs Python 3.12: put python3.12 on the PATH or set MUSUBI_PYTHON312")
            shutil.rmtree(environment, ignore_errors=True)
            subprocess.run([base, "-m", "venv", environment], check=True, capture_output=True, timeout=PATIENCE)
            install: list[str | Path] = [
                python,
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                FOREIGN,
            ]
            try:
                got = subprocess.run(install, capture_output=True, timeout=PATIENCE, check=False).returncode == 0
            except subprocess.TimeoutExpired:
                got = False
            if not got:
                pytest.skip(f"{FOREIGN} could not be installed from the package index")
            done.touch()
    return python


def _python312() -> str | None:
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    found = [os.environ.get("MUSUBI_PYTHON312"), shutil.which("python3.12")]
    if Path(uv).exists():
        asked = subprocess.run(
            [uv, "python", "find", "3.12"], capture_output=True, text=True, check=False, timeout=PATIENCE
        )
        found.append(asked.stdout.strip() or None)
    found += map(str, sorted((Path.home() / ".pyenv" / "versions").glob("3.12.*/bin/python")))
    check = "import sys; sys.exit(sys.version_info[:2] != (3, 12))"
    for each in found:
        if (
            each
            and subprocess.run([each, "-c", check], capture_output=True, check=False, timeout=PATIENCE).returncode == 0
        ):
            return each
    return None

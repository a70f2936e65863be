"""Our durable appending beside other people's: aics-tlog to tiles, and pymerkle on SQLite, in the same run.

Rounds alternate: one batch of 10,000 entries by theirs, then the same batch by ours, each with a checkpoint (pymerkle,
which has none: the root). aics-tlog writes the same files as we do, so its last checkpoint's root is held against ours.
It needs Python 3.12: ``MUSUBI_PYTHON312`` says where that is, else the PATH and pyenv's folder are looked in; where
there is none, that row is missing. Each is installed into a folder of its own, outside the project's environment.
"""

import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from nacl.signing import SigningKey

from benchmarks.append import BATCH
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.tlog.tiles import TileAppender
from trust.log.tile_folder import TileFolder

ORIGIN = "bench.example/log"
ROUNDS = 8
TARGET = ">= 8"
ENVIRONMENTS = Path(__file__).parent / ".others"
SCRIPT = Path(__file__).parent / "other_log_append.py"


def python_312() -> str | None:
    """Return a Python 3.12 of this machine, or None."""
    said = os.environ.get("MUSUBI_PYTHON312")
    pyenv = sorted(Path.home().glob(".pyenv/versions/3.12*/bin/python"))
    for candidate in (said, shutil.which("python3.12"), *map(str, pyenv)):
        if candidate and _answers(candidate):
            return candidate
    return None


def _answers(python: str) -> bool:
    check = [python, "-c", "import sys; sys.exit(sys.version_info[:2] != (3, 12))"]
    return subprocess.run(check, check=False, capture_output=True).returncode == 0


def install(python: str, package: str) -> Path:
    """Install a package into an environment of its own; return that environment's Python."""
    folder = ENVIRONMENTS / package
    inside = folder / "bin" / "python"
    if not inside.exists():
        subprocess.run([python, "-m", "venv", folder], check=True)
    subprocess.run([inside, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", package], check=True)
    return inside


def run() -> list[dict[str, object]]:
    """Return how many times longer theirs take than ours: one row for each that can be had here."""
    rows = []
    if python := python_312():
        rows.append(compare("aics-tlog", install(python, "aics-tlog"), BATCH, "to tiles, every file fsynced"))
    merkle = install(sys.executable, "pymerkle")
    rows.append(compare("pymerkle", merkle, BATCH, "to SQLite, all entries in one call"))
    rows.append(compare("pymerkle-each", merkle, BATCH // 20, "to SQLite, an entry a call"))
    return rows


def compare(kind: str, python: Path, count: int, how: str) -> dict[str, object]:
    """Let both append the same entries by turns; theirs gets ``count`` of a batch, and the time is scaled up."""
    source = random.Random(2)
    batches = [[source.randbytes(source.randint(100, 300)) for _ in range(BATCH)] for _ in range(ROUNDS)]
    key = SigningKey(bytes(32))
    ours, theirs = [], []
    with tempfile.TemporaryDirectory(dir=Path.cwd(), prefix=".bench-") as root:
        folder, appender = TileFolder(Path(root) / "ours"), TileAppender()
        command = [str(python), str(SCRIPT), kind, str(Path(root) / "theirs")]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
            for batch in batches:
                seconds, their_root = _ask(other, batch[:count])
                theirs.append(seconds * BATCH / count)
                start = time.perf_counter()
                folder.write_tiles(appender.append(batch))
                note = sign_checkpoint(Checkpoint(ORIGIN, appender.size, appender.root()), key)
                folder.write_checkpoint(note)
                ours.append(time.perf_counter() - start)
                if kind == "aics-tlog" and their_root != appender.root().hex():
                    raise RuntimeError("The two logs have different roots for the same entries.")
        folder.close()
    medians = statistics.median(ours), statistics.median(theirs)
    return {
        "name": f"append durably: {kind.partition('-each')[0]} {how} ÷ ours",
        "ratio": medians[1] / medians[0],
        "target": TARGET,
        "detail": f"{ROUNDS} batches of {BATCH:,} by turns: ours {1e3 * medians[0]:.0f} ms a batch, "
        f"theirs {1e3 * medians[1]:.0f} ms",
    }


def _ask(other: subprocess.Popen[bytes], batch: list[bytes]) -> tuple[float, str]:
    """Have the other process append a batch; return its own seconds, and the root it came to (hexadecimal)."""
    assert other.stdin is not None
    assert other.stdout is not None
    data = b"".join([len(entry).to_bytes(2, "big") + entry for entry in batch])
    other.stdin.write(len(data).to_bytes(4, "big") + data)
    other.stdin.flush()
    answer: list[Any] = other.stdout.readline().decode().split()
    if len(answer) != 2:
        raise RuntimeError("The other log's process ended before it answered.")
    return float(answer[0]), answer[1]

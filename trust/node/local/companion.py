"""The local interface as a companion of a running node: a process of its own that lives no longer than the node.

Whatever is done to it (connections that fill up, a file that takes all memory) is done to it alone. Where it ends by
itself it is started again after a while. It ends when its standard input does, so also where the node was killed.
"""

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import structlog

PAUSES = (1, 5, 30)
"""Seconds before it is started again; the last one from then on."""
END_SECONDS = 7
"""How long it may take to end: a little more than its requests under way are given, and then the node waits no more."""
ENDED = "The node's local interface has ended by itself; the lines before this one say why. It is started again."
logger = structlog.get_logger()


class _Companion:
    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._run, name="local", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def _run(self) -> None:
        failed = 0
        while not self._stopping.is_set():
            code = self._run_once()
            if self._stopping.is_set():
                return
            logger.warning("local-ended", code=code, why=ENDED)
            self._stopping.wait(PAUSES[min(failed, len(PAUSES) - 1)])
            failed += 1

    def _run_once(self) -> int | None:
        """Run it to its end; return its exit code, or None where the system did not start it."""
        with self._lock:
            if self._stopping.is_set():
                return None
            try:
                # In a group of its own: Ctrl-C is for the node, which ends this one.
                self._process = subprocess.Popen(self._command, stdin=subprocess.PIPE, process_group=0)  # noqa: S603
            except OSError:
                return None
        return self._process.wait()

    def stop(self) -> None:
        self._stopping.set()
        with self._lock:
            if self._process is not None:
                self._process.terminate()
        self._thread.join(END_SECONDS)
        if self._thread.is_alive() and self._process is not None:
            self._process.kill()  # what it leaves in local.tmp is gone at its next start
            self._thread.join()


@contextmanager
def companion(folder: Path, port: int | None, *, wanted: bool) -> Iterator[None]:
    """Run the local interface of a node's folder for as long as the block lasts, where it is wanted."""
    if not wanted:
        yield
        return
    command = [sys.executable, "-m", "trust.cli", "node", "local", "--dir", str(folder), "--with-node"]
    running = _Companion(command if port is None else [*command, "--port", str(port)])
    running.start()
    try:
        yield
    finally:
        running.stop()

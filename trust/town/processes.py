"""A town's processes on this machine: started, watched, killed and stopped, each with its own folder and log file."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx

from ledger.errors import Unavailable
from trust.runtime.http_clients import open_http
from trust.town.layout import HOST, Layout

START_SECONDS = 60
STOP_SECONDS = 15


@contextlib.contextmanager
def _uninterrupted() -> Iterator[None]:
    """Hold Ctrl-C back until the end: a process that was started and not yet noted down would be left behind."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    held: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: held.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if held:
        signal.raise_signal(signal.SIGINT)


class Processes:
    """The running processes by name: ``service``, ``witness`` and one per holder."""

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def start(self, name: str, *arguments: str, crash_at: str = "") -> None:
        """Start ``musubi <arguments>``; what it prints goes to ``logs/<name>.log``."""
        environment = {**os.environ, "MUSUBI_CRASH_AT": crash_at}
        path = self._layout.logs / f"{name}.log"
        with path.open("ab") as log, _uninterrupted():
            self._running[name] = subprocess.Popen(  # noqa: S603 - our own program with our own arguments
                [sys.executable, "-m", "trust.cli", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                start_new_session=True,  # Ctrl-C reaches us alone; we stop the others in order
            )

    def start_node(self, holder: str, crash_at: str = "") -> None:
        """Start one holder's node."""
        self.start(holder, "node", "--dir", str(self._layout.node(holder)), crash_at=crash_at)

    def start_service(self, crash_at: str = "") -> None:
        """Start the service."""
        self.start("service", "serve", "--dir", str(self._layout.service), crash_at=crash_at)

    def start_witness(self) -> None:
        """Start the witness."""
        port = str(self._layout.settings.witness_port)
        self.start("witness", "witness", "--dir", str(self._layout.witness), "--host", HOST, "--port", port)

    def start_all(self, holders: list[str]) -> None:
        """Start witness, service and nodes; return when the service is ready."""
        self.start_witness()
        self.wait_for_port("witness", self._layout.settings.witness_port)
        self.start_service()
        self.wait_until_ready()
        for holder in holders:
            self.start_node(holder)

    def pid(self, name: str) -> int:
        """Return a running process's number."""
        return self._running[name].pid

    def wait_for_port(self, name: str, port: int) -> None:
        """Wait until something answers HTTP at the port."""
        self._wait_for_answer(name, f"http://{HOST}:{port}/", lambda _: True, "did not start")

    def wait_until_ready(self) -> None:
        """Wait until the service says that it is ready."""
        self._wait_for_answer(
            "service",
            f"{self._layout.url}/readyz",
            lambda answer: answer.status_code == httpx.codes.OK,
            "was not ready",
        )

    def _wait_for_answer(self, name: str, url: str, is_it: Callable[[httpx.Response], bool], otherwise: str) -> None:
        deadline = time.monotonic() + START_SECONDS
        with open_http(seconds=2) as http:
            while time.monotonic() < deadline:
                self.check_alive(name)
                with contextlib.suppress(httpx.HTTPError):
                    if is_it(http.get(url)):
                        return
                time.sleep(0.05)
        raise Unavailable(f"The {name} {otherwise} within {START_SECONDS} s; see {self._log(name)}.")

    def _log(self, name: str) -> Path:
        return self._layout.logs / f"{name}.log"

    def check_alive(self, name: str) -> None:
        """Raise Unavailable, naming its log file, if a process has ended."""
        process = self._running.get(name)
        if process is None or process.poll() is not None:
            raise Unavailable(f"The process '{name}' has ended; its log {self._log(name)} says why.")

    def dead(self) -> list[str]:
        """Return the names of processes that have ended by themselves."""
        return [name for name, process in self._running.items() if process.poll() is not None]

    def kill(self, name: str) -> None:
        """End a process as a power cut would: SIGKILL."""
        self._running[name].kill()
        self._running.pop(name).wait()

    def wait_dead(self, name: str, seconds: float) -> int:
        """Wait until a process has ended; return its exit code (negative: the signal). Raises Unavailable."""
        try:
            code = self._running[name].wait(seconds)
        except subprocess.TimeoutExpired:
            raise Unavailable(f"The process '{name}' was expected to end and did not.") from None
        self._running.pop(name)
        return code

    def stop(self, name: str) -> None:
        """Ask one process to end, and wait."""
        self._stop([name])

    def stop_all(self) -> None:
        """Ask all processes to end, nodes first, and wait; kill what has not ended in time."""
        self._stop([name for name in self._running if name not in {"service", "witness"}])
        self._stop([name for name in ("service", "witness") if name in self._running])

    def _stop(self, names: list[str]) -> None:
        for name in names:
            with contextlib.suppress(ProcessLookupError):
                self._running[name].send_signal(signal.SIGTERM)
        deadline = time.monotonic() + STOP_SECONDS
        for name in names:
            process = self._running.pop(name)
            try:
                process.wait(max(0.1, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextlib.contextmanager
def running(layout: Layout, holders: list[str]) -> Iterator[Processes]:
    """Run a whole town for as long as the block lasts; whatever happens, no process is left behind."""
    processes = Processes(layout)
    try:
        processes.start_all(holders)
        yield processes
    finally:
        processes.stop_all()

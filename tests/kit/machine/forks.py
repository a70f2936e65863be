"""The command line in processes that are forked from one that has everything imported.

To import it all takes seconds, and tests start hundreds of processes; a fork takes a fraction of a second. What runs in
them is ``musubi`` itself. The tests of the command line, of the demo and of a town's processes start it the slow way.
"""

import contextlib
import json
import multiprocessing
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.kit.waiting import PATIENCE, until
from trust.cli import COMMANDS
from trust.cli.resident.consents import COMMANDS as OF_RESIDENTS
from trust.town.layout import Layout
from trust.town.processes import Processes

forks = multiprocessing.get_context("forkserver")
forks.set_forkserver_preload(
    [
        *sorted({where.partition(":")[0] for where, _ in [*COMMANDS.values(), *OF_RESIDENTS.values()]}),
        *("trust.service.app", "trust.node.process", "trust.audit.witness", "trust.runtime.serving", __name__),
    ]
)


def be_musubi(arguments: list[str], log: str, crash_at: str = "", wrong: str = "") -> None:
    """Be ``musubi``, in a process that was forked for it. What it prints goes to the end of the file ``log``."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    if wrong:
        _set_clock_by(Path(wrong))
    _run(arguments, crash_at)


def _set_clock_by(file: Path) -> None:
    """Have this process's clock be off by the seconds that stand in a file now; how many pass stays true."""
    from trust.runtime import clock

    class _Time:
        def __getattr__(self, name: str) -> object:
            return getattr(time, name)

        def time(self) -> float:
            return time.time() + int(file.read_text())

    clock.time = _Time()  # type: ignore[assignment, attr-defined]


def _run(arguments: list[str], crash_at: str) -> None:
    from trust.cli import main
    from trust.runtime import crash_points

    os.setsid()  # Ctrl-C at the tests' terminal is not for it
    crash_points._AT = crash_at
    main(arguments, prog_name="musubi")


def start_musubi(*arguments: str, log: Path, crash_at: str = "", wrong: Path | None = None) -> BaseProcess:
    """Start ``musubi`` with arguments; it prints to ``log``, and kills itself at a durable step if told to.

    Its clock is off by the seconds that the file ``wrong`` holds, whenever it looks.
    """
    process = forks.Process(target=be_musubi, args=(list(arguments), str(log), crash_at, str(wrong or "")))
    process.start()
    return process


class _Popen:
    """A forked process with the methods of ``subprocess.Popen``."""

    def __init__(self, process: BaseProcess) -> None:
        self._process = process
        assert process.pid is not None
        self.pid = process.pid

    def poll(self) -> int | None:
        """Return the exit code, if it has ended."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """Wait until it has ended; return the exit code. Raises subprocess.TimeoutExpired."""
        self._process.join(timeout)
        code = self._process.exitcode
        if code is None:
            raise subprocess.TimeoutExpired("musubi", timeout or 0)
        return code

    def send_signal(self, number: int) -> None:
        """Send a signal, if it has not ended."""
        if self._process.is_alive():
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()


class ForkedProcesses(Processes):
    """A town's processes, forked."""

    def start(self, name: str, *arguments: str, crash_at: str = "") -> None:
        """Start ``musubi <arguments>``; what it prints goes to ``logs/<name>.log``."""
        process = start_musubi(*arguments, log=self._layout.logs / f"{name}.log", crash_at=crash_at)
        self._running[name] = _Popen(process)  # type: ignore[assignment] # it has the methods that are used


@contextlib.contextmanager
def running_town(layout: Layout, holders: list[str]) -> Iterator[ForkedProcesses]:
    """Run a whole town for as long as the block lasts; no process is left behind."""
    processes = ForkedProcesses(layout)
    try:
        processes.start_all(holders)
        yield processes
    finally:
        processes.stop_all()


# ``musubi`` for a shell: a small program that asks a process with everything imported to fork and be the command.

_PROGRAM = """#!{python} -IS
import json, os, signal, socket, struct, sys
line = socket.socket(socket.AF_UNIX)
line.connect({address!r})
said = {{"arguments": sys.argv[1:], "folder": os.getcwd(), "environment": dict(os.environ)}}
data = json.dumps(said).encode()
socket.send_fds(line, [struct.pack("!I", len(data))], [0, 1, 2])
line.sendall(data)
for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(number, lambda number, _: line.sendall(bytes([number])))
answer = line.recv(4, socket.MSG_WAITALL)
code = struct.unpack("!i", answer)[0] if len(answer) == 4 else 70
if code < 0:
    signal.signal(-code, signal.SIG_DFL)
    os.kill(os.getpid(), -code)
sys.exit(code)
"""


@contextlib.contextmanager
def musubi_for_shells() -> Iterator[Path]:
    """Give a folder for the ``PATH`` whose ``musubi`` takes no time to start, and is stopped like the real one."""
    with tempfile.TemporaryDirectory(prefix="musubi-") as name:  # pytest's own folders have names too long for sockets
        folder = Path(name)
        address = folder / "forks"
        program = folder / "bin" / "musubi"
        program.parent.mkdir()
        program.write_text(_PROGRAM.format(python=sys.executable, address=str(address)))
        program.chmod(0o755)
        server = forks.Process(target=_serve_commands, args=(str(address),))
        server.start()
        until(address.exists)
        try:
            yield program.parent
        finally:
            server.kill()
            server.join(PATIENCE)


def _serve_commands(address: str) -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # who looks after a command is not waited for
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(f"{address}.new")
        server.listen()
        Path(f"{address}.new").rename(address)
        tests = multiprocessing.parent_process()
        assert tests is not None
        while tests.sentinel not in select.select([server.fileno(), tests.sentinel], [], [])[0]:
            line, _ = server.accept()
            if os.fork() == 0:
                server.close()
                _be_command(line)
                return
            line.close()


def _be_command(line: socket.socket) -> None:
    """Fork once more: one process is the command, the other passes signals on and says how the command ended."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    head, descriptors, _, _ = socket.recv_fds(line, 4, 3)
    data = line.recv(struct.unpack("!I", head)[0], socket.MSG_WAITALL)
    if (command := os.fork()) == 0:
        line.close()
        for place, descriptor in enumerate(descriptors):
            os.dup2(descriptor, place)
        sys.stdin = os.fdopen(0, closefd=False)
        said = json.loads(data)
        os.chdir(said["folder"])
        os.environ.clear()
        os.environ.update(said["environment"])
        _run(said["arguments"], said["environment"].get("MUSUBI_CRASH_AT", ""))
        return
    for descriptor in descriptors:
        os.close(descriptor)
    ended = os.pidfd_open(command)
    heard = line.fileno()
    while True:
        ready, _, _ = select.select([heard, ended], [], [])
        if ended in ready:
            _, status = os.waitpid(command, 0)
            with contextlib.suppress(OSError):  # nobody may be left to hear it
                line.sendall(struct.pack("!i", os.waitstatus_to_exitcode(status)))
            os._exit(0)
        for number in line.recv(16) or [signal.SIGKILL]:  # whoever asked has gone
            os.kill(command, number)

"""The service as a real process that can be killed, and its witness on a thread beside the tests."""

import contextlib
import os
import resource
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from multiprocessing.process import BaseProcess

import httpx

from tests.kit.machine.forks import start_musubi
from tests.kit.parties.witnesses import witness_at
from tests.kit.towns.running import Clock, Running, Town
from tests.kit.waiting import PATIENCE, eventually


class ServiceProcess(Running):
    """A town whose service is a process. Its folder outlives it."""

    def __init__(self, town: Town, port: int, client: httpx.AsyncClient) -> None:
        super().__init__(town, None, Clock(), None, client)  # type: ignore[arg-type]
        self.port = port
        self.log = town.folder / f"service-{port}.log"
        self.wrong = town.folder / f"wrong-{port}"
        """How many seconds the process's clock is off: the file may change while it runs."""
        self.wrong.write_text("0")
        self._process: BaseProcess | None = None

    async def start(self, crash_at: str = "", *, ready: str = "/readyz") -> None:
        """Start the service and wait until it is ready (or dead, where it is to crash); or until ``ready`` answers."""
        arguments = ("serve", "--dir", str(self.town.service), "--port", str(self.port))
        self._process = process = start_musubi(*arguments, log=self.log, crash_at=crash_at, wrong=self.wrong)
        await eventually(lambda: self._ready_or_dead(process, ready))
        assert crash_at or process.is_alive(), self.log.read_text()

    async def _ready_or_dead(self, process: BaseProcess, ready: str) -> bool:
        if not process.is_alive():
            return True
        with contextlib.suppress(httpx.TransportError):
            return (await self.client.get(ready)).status_code == httpx.codes.OK
        return False

    @property
    def pid(self) -> int:
        """The process's number."""
        assert self._process is not None
        assert self._process.pid is not None
        return self._process.pid

    def pause(self) -> None:
        """Stop it where it is, as a machine that is overloaded or cut off would."""
        os.kill(self.pid, signal.SIGSTOP)

    def go_on(self) -> None:
        """Let it go on from there."""
        os.kill(self.pid, signal.SIGCONT)

    def kill(self) -> None:
        """End it as a power cut would."""
        assert self._process is not None
        self._process.kill()
        self._process.join()
        self._process = None

    async def died(self) -> int | None:
        """Wait until it has ended by itself; return its exit code."""
        assert self._process is not None
        process = self._process
        await eventually(lambda: not process.is_alive(), lambda: "the process was to die and did not")
        code = process.exitcode
        self._process = None
        return code

    def stop(self) -> None:
        """Ask it to end, and wait."""
        if self._process is not None:
            self._process.terminate()
            self._process.join(PATIENCE)
            if self._process.is_alive():
                self.kill()
            self._process = None

    def limit_files_to(self, most: int) -> None:
        """Let no file of the process grow past ``most`` bytes; ``resource.RLIM_INFINITY`` lifts the limit."""
        resource.prlimit(self.pid, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))

    async def settle(self) -> None:
        """Wait until everything committed is published."""
        await eventually(self._published, lambda: "what is committed was not published")

    async def _published(self) -> bool:
        answer = await self.client.get("/readyz")
        return answer.status_code == httpx.codes.OK and answer.json()["size"] == answer.json()["published"]


@asynccontextmanager
async def process_of(town: Town, port: int, witness_port: int) -> AsyncIterator[ServiceProcess]:
    """Run the witness; the service is started by the test, and ended here."""
    with witness_at(town.witness, witness_port):
        async with service_alone(town, port) as service:
            yield service


@asynccontextmanager
async def service_alone(town: Town, port: int) -> AsyncIterator[ServiceProcess]:
    """Give a service whose witnesses run elsewhere; it is started by the test, and ended here."""
    limits = httpx.Limits(max_keepalive_connections=0)
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=PATIENCE, limits=limits) as client:
        service = ServiceProcess(town, port, client)
        try:
            yield service
        finally:
            service.stop()

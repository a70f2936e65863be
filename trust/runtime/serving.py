"""Running one web application in one process, until it is told to stop.

granian's embedded server runs on this process' own event loop: there is no second process to outlive a kill, so what
SIGKILL ends is everything. SIGTERM and SIGINT stop it in order: no new connections; ``app.state.stopping`` (an
``asyncio.Event``) is set, so that handlers that wait for something can answer at once; running requests get
``GRACE_SECONDS`` and are then cancelled; last come the application's own shutdown hooks. Access logs are off: they
would hold addresses.
"""

import asyncio
import atexit
import os
import resource
import signal
import socket
import sys
from collections import Counter
from functools import partial
from typing import Any, cast

from granian.constants import HTTPModes, Interfaces
from granian.errors import FatalError
from granian.http import HTTP1Settings
from granian.log import LogLevels
from granian.server.embed import Server
from litestar import Litestar
from litestar.types import HTTPScope, Receive, Scope, Send

from ledger import canonical
from ledger.errors import Malformed, MusubiError, TooLarge, Unavailable
from trust.runtime.callers.bounds import ORDINARY, Bounds
from trust.runtime.callers.connections import Peer, keep_few
from trust.runtime.problems import MEDIA_TYPE, headers_of, kind_of, problem

HEAD_MILLISECONDS = 30_000
"""How long the head of a request may take."""
GRACE_SECONDS = 5
"""How long running requests may take once the process is told to stop."""
MAX_CONNECTIONS = 4_096
"""Open connections at once; granian takes no more. Well above the places of all lanes together, so that whoever is
refused a place is told so and does not wait for another's connection to end."""
BUFFER_BYTES = 64 * 1024
"""What the server below reads ahead of each connection: by its own default 400 KiB, so 200 strangers' are 80 MiB."""
REFUSED_BYTES = 16 * 1024 * 1024
REFUSED_SECONDS = 5
"""How much of a body that the application did not read is still taken in before the answer goes out, and for how
long."""

IS_HEAD = "musubi.is_head"
"""In the scope of a HEAD, which the application is shown as a GET: whoever asks so wants nothing to come of it."""

_TO_STDERR = {"formatter": "generic", "class": "logging.StreamHandler", "stream": "ext://sys.stderr"}


def serve(
    app: Litestar, host: str, port: int, bounds: Bounds | None = None, *, head_milliseconds: int = HEAD_MILLISECONDS
) -> None:
    """Serve ``app`` over HTTP/1.1 at ``host``:``port``; return after SIGTERM or SIGINT, when everything has ended.

    ``bounds`` say what its callers may hold; without them all have the ordinary ones. A request's head has to come
    within ``head_milliseconds``.

    The process is then meant to end, and does so with exit code 0 (see ``_leave``). Raises Unavailable when the address
    is taken, or the application does not start; where it has put an error of ours in ``app.state.failed``, that one.
    """
    _check_free(host, port)
    _allow_connections()
    asyncio.run(_serve(app, host, port, bounds or Bounds(ORDINARY), head_milliseconds))
    atexit.register(_leave)


def _leave() -> None:
    """End the process with code 0 once all other exit handlers have run, without taking the interpreter down.

    granian 2.8 leaves a native thread behind that waits for Python. Some times in a hundred it wakes up while the
    interpreter is being taken down and aborts the process: exit code 134 after a stop in perfect order.
    """
    atexit.unregister(_leave)
    atexit._run_exitfuncs()  # noqa: SLF001 - what atexit itself does at exit: the others, last registered first
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def _allow_connections() -> None:
    """Let this process open as many files as the system lets it: a connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * MAX_CONNECTIONS
    if hard != resource.RLIM_INFINITY:
        wanted = min(wanted, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _check_free(host: str, port: int) -> None:
    """Raise Unavailable where the port cannot be had; granian itself would share it with whoever has it (REUSEPORT)."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except OSError:
        raise Unavailable(f"Port {port} is taken or not allowed; choose another one with --port.") from None


class _Requests:
    """The application, with its running requests known, so that they can be ended."""

    def __init__(self, app: Litestar, bounds: Bounds) -> None:
        self._app = app
        self._bounds = bounds
        self._running: set[asyncio.Task[None]] = set()
        self._busy: Counter[Peer] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()
        if task is None or str(scope["type"]) != "http":
            try:
                await self._app(scope, receive, partial(self._say_why, send))
            except Exception:
                if self._app.state.get("failed") is None:
                    raise
            return
        client = scope.get("client")
        peer = (client[0], client[1]) if client else ("", 0)
        try:
            place = self._bounds.take(scope)
        except MusubiError as error:
            await _refuse(send, error, closes=True)
            return
        self._running.add(task)
        self._busy[peer] += 1
        body = _Body(receive, send) if _has_body(scope) else None
        try:
            if body is not None:
                receive = await self._bounds.read(place, scope, body.receive)
                send = body.send
        except MusubiError as error:
            # What is too large is mostly sent in good faith: its sender gets to read why. Nobody else is waited for.
            is_large = body is not None and isinstance(error, TooLarge)
            await _refuse(body.send if body is not None and is_large else send, error, closes=not is_large)
        else:
            await self._run(scope, receive, send)
        finally:
            self._bounds.leave(place)
            self._running.discard(task)
            self._busy[peer] -= 1
            if not self._busy[peer]:
                del self._busy[peer]

    def busy(self) -> frozenset[Peer]:
        """Return the other ends that a request is under way from."""
        return frozenset(self._busy)

    async def _run(self, scope: Any, receive: Receive, send: Send) -> None:
        if not _names_its_host(scope):
            await _refuse(send, Malformed("The request has no Host, or more than one."))
        elif scope["method"] == "HEAD":
            asked = cast("HTTPScope", {**scope, "method": "GET", IS_HEAD: True})
            await self._app(asked, receive, partial(_send_head, send))
        else:
            await self._app(scope, receive, send)

    async def _say_why(self, send: Send, message: Any) -> None:
        """Pass a word on; where the application did not start for a reason of ours, the reason instead of a trace."""
        failed = self._app.state.get("failed")
        if message["type"] == "lifespan.startup.failed" and failed is not None:
            message["message"] = str(failed)
        await send(message)

    async def end(self) -> None:
        await asyncio.sleep(GRACE_SECONDS)
        for task in self._running:
            task.cancel()


class _Body:
    """One request's body: what the application leaves of it is read before the answer goes out.

    hyper closes a connection whose request was not read whole. The client, which sends its next request on it, would
    then meet a closed connection; and where bytes of the body were still on their way, the reset could overtake the
    answer. A body beyond the bounds is left where it is, and the answer says that the connection ends.
    """

    def __init__(self, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._whole = False

    async def receive(self) -> Any:
        """Pass one part of the body on."""
        message = await self._receive()
        self._whole = message["type"] != "http.request" or not message.get("more_body", False)
        return message

    async def send(self, message: Any) -> None:
        """Pass the answer on, after what is left of the body."""
        if message["type"] == "http.response.start" and not await self._read_rest():
            message["headers"] = [*message.get("headers", ()), (b"connection", b"close")]
        await self._send(message)

    async def _read_rest(self) -> bool:
        taken = 0
        try:
            async with asyncio.timeout(REFUSED_SECONDS):
                while not self._whole and taken <= REFUSED_BYTES:
                    taken += len((await self.receive()).get("body", b""))
        except TimeoutError:
            return False
        return self._whole


def _names_its_host(scope: Scope) -> bool:
    """Whether an HTTP/1.1 request has one ``Host`` (RFC 9112, section 3.2); the server below puts in an empty one."""
    named = [value for name, value in scope["headers"] if name == b"host"]
    return str(scope["http_version"]) != "1.1" or (len(named) == 1 and named[0] != b"")


async def _refuse(send: Send, error: MusubiError, *, closes: bool = False) -> None:
    """Answer with a problem before the application is called; ``closes``: the connection ends with it."""
    status = kind_of(error).status
    body = canonical.encode(problem(error))
    said = {"Content-Type": MEDIA_TYPE, "Content-Length": str(len(body)), **headers_of(status)}
    headers = [(name.lower().encode(), value.encode()) for name, value in said.items()]
    if closes:
        headers.append((b"connection", b"close"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body, "more_body": False})


async def _send_head(send: Send, message: Any) -> None:
    """Pass the answer to a HEAD on: what a GET would bring, without its content (RFC 9110, section 9.3.2)."""
    passed: Any = {**message, "body": b""} if message["type"] == "http.response.body" else message
    await send(passed)


def _has_body(scope: Scope) -> bool:
    return any(name in {b"content-length", b"transfer-encoding"} for name, _ in scope["headers"])


async def _serve(app: Litestar, host: str, port: int, bounds: Bounds, head_milliseconds: int) -> None:
    requests = _Requests(app, bounds)
    server = Server(
        requests,
        address=host,
        port=port,
        interface=Interfaces.ASGI,
        http=HTTPModes.http1,
        websockets=False,
        backlog=1_024,
        backpressure=MAX_CONNECTIONS,
        http1_settings=HTTP1Settings(header_read_timeout=head_milliseconds, max_buffer_size=BUFFER_BYTES),
        log_level=LogLevels.error,
        log_dictconfig={"handlers": {"console": _TO_STDERR, "access": _TO_STDERR}},
        log_access=False,
    )
    stopping = app.state.stopping = asyncio.Event()
    enders: list[asyncio.Task[None]] = []
    keeper = asyncio.create_task(
        keep_few(port, requests.busy, bounds.is_trusted, bounds.count_shut), name="connections"
    )

    def stop() -> None:
        if not stopping.is_set():
            stopping.set()
            enders.append(asyncio.create_task(requests.end()))
            server.stop()  # type: ignore[no-untyped-call]

    loop = asyncio.get_running_loop()
    for each in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(each, stop)
    try:
        await server.serve()
    except FatalError:
        failed = app.state.get("failed")
        raise failed or Unavailable("The application did not start; its log says why.") from None
    finally:
        for ender in (keeper, *enders):
            ender.cancel()
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
    if server.interrupt_children:
        raise Unavailable("The application ended by itself; its log says why.")

"""Reading and checking signed consents: the heavy half of a grant, without any state but the policies.

Small requests are read in the service itself. Large ones go to worker processes, because reading is bound by Python's
global lock and a thread that verifies signatures starves beside one that reads. A worker is ``python -m
trust.service.acts.intake`` on a pair of pipes, one length-prefixed message each way. It ends when its pipe does, so a
killed service leaves none behind.
"""

import asyncio
import contextlib
import os
import sys
from typing import BinaryIO

import msgspec
import structlog
from msgspec import Raw, Struct, UnsetType

from ledger import canonical, ed25519
from ledger.errors import MusubiError, PolicyNotCurrent, RateLimited, Unavailable
from policies.consents.bundle import Bundle, commitment
from policies.consents.consent import General, read_consent
from policies.policy_document import Policy
from trust.client.wire import GrantRequest
from trust.runtime.core_dumps import forbid_core_dumps
from trust.runtime.json_lines import log_to_stderr
from trust.runtime.problems import error_of, problem
from trust.service.keys.records import seal_record

MAX_WAITING = 64
"""How many large requests may wait for a worker; each is at most one body in memory."""
SMALL = 8
"""Up to so many consents are read in the service itself."""
WORKER_FAILED = "A worker that reads consents failed. What it was reading is refused; another worker takes its place."
logger = structlog.get_logger()


class CheckedConsent(Struct, frozen=True, kw_only=True, array_like=True):
    """A consent whose parts agree and whose signatures are good; its bundle is sealed with a key of its own."""

    consent: str
    policy: str
    version: int
    policy_sha256: str
    until: str
    yearly_cap: int
    key: bytes
    shown_at: int
    is_dated: bool
    replaces: int | None
    commitment: str
    record_key: bytes
    sealed: bytes


class CurrentPolicies(Struct, frozen=True, kw_only=True):
    """What consents are read against: the log's origin, and the current documents by hash."""

    log: str
    documents: dict[str, Policy]


class _Job(Struct, frozen=True, kw_only=True, array_like=True):
    policies: bytes
    body: bytes


class _Result(Struct, frozen=True, kw_only=True, array_like=True):
    consents: list[CheckedConsent] | None
    problem: Raw


def read_consents(body: bytes, policies: CurrentPolicies) -> list[CheckedConsent]:
    """Read a request's consents and check every signature.

    Raises Malformed, ConsentMismatch, PolicyNotCurrent or SignatureInvalid.
    """

    def find_policy(general: General) -> tuple[Policy, str]:
        policy = policies.documents.get(general.policy_sha256)
        if policy is None or (policy.id, policy.version) != (general.policy, general.version):
            raise PolicyNotCurrent("The consent is for an unknown or old policy version; read the current one.")
        return policy, general.policy_sha256

    checked = []
    for raw in canonical.decode(body, GrantRequest, "consent").bundles:
        data = bytes(raw)
        bundle = canonical.decode(data, Bundle, "consent")
        consent = read_consent(bundle, find_policy, policies.log)
        for signed_part, signature, key in consent.signatures:
            ed25519.check(signed_part, signature, key)
        general = consent.general
        record_key, sealed = seal_record(data)
        checked.append(
            CheckedConsent(
                consent=general.consent,
                policy=general.policy,
                version=general.version,
                policy_sha256=general.policy_sha256,
                until=general.until,
                yearly_cap=general.yearly_cap,
                key=bytes.fromhex(general.key),
                shown_at=general.shown_at,
                is_dated=consent.is_dated,
                replaces=None if isinstance(general.replaces, UnsetType) else general.replaces,
                commitment=commitment(bundle),
                record_key=record_key,
                sealed=sealed,
            )
        )
    return checked


class Workers:
    """Worker processes, started when they are first needed, each with one job at a time."""

    def __init__(self, count: int | None = None) -> None:
        self._waiting = 0
        self._free = asyncio.Semaphore(count or os.cpu_count() or 1)
        self._idle: list[asyncio.subprocess.Process] = []
        self._all: set[asyncio.subprocess.Process] = set()

    async def read(self, body: bytes, policies: CurrentPolicies) -> list[CheckedConsent]:
        """Read a request in a worker; raises what ``read_consents`` raises.

        Raises RateLimited when too many wait already, and Unavailable when the worker was lost.
        """
        if self._waiting >= MAX_WAITING:
            raise RateLimited("Too many large requests are waiting; try again in a few seconds.")
        self._waiting += 1
        try:
            return await self._read(body, policies)
        finally:
            self._waiting -= 1

    async def _read(self, body: bytes, policies: CurrentPolicies) -> list[CheckedConsent]:
        job = msgspec.msgpack.encode(_Job(policies=msgspec.msgpack.encode(policies), body=body))
        async with self._free:
            worker = self._idle.pop() if self._idle else await self._start()
            try:
                answer = await _exchange(worker, job)
            except (OSError, EOFError, asyncio.CancelledError) as error:
                # whatever it was in the middle of, its pipe is not in step any more
                self._all.discard(worker)
                with contextlib.suppress(ProcessLookupError):
                    worker.kill()
                if isinstance(error, asyncio.CancelledError):
                    raise
                raise Unavailable("The service lost a worker; nothing was written. Try again.") from None
            self._idle.append(worker)
        result = msgspec.msgpack.decode(answer, type=_Result)
        if result.consents is None:
            raise error_of(msgspec.msgpack.decode(result.problem))
        return result.consents

    async def _start(self) -> asyncio.subprocess.Process:
        worker = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "trust.service.acts.intake",
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=1 << 22,
            start_new_session=True,  # Ctrl-C is for the service, which ends its workers itself
        )
        self._all.add(worker)
        return worker

    async def stop(self) -> None:
        """End all workers."""
        for worker in self._all:
            with contextlib.suppress(ProcessLookupError):
                worker.kill()
            await worker.wait()
        self._all.clear()


async def _exchange(worker: asyncio.subprocess.Process, job: bytes) -> bytes:
    if worker.stdin is None or worker.stdout is None:
        raise EOFError
    worker.stdin.write(len(job).to_bytes(8, "big"))
    worker.stdin.write(job)
    await worker.stdin.drain()
    size = int.from_bytes(await worker.stdout.readexactly(8), "big")
    return await worker.stdout.readexactly(size)


def work(jobs: BinaryIO, results: BinaryIO) -> None:
    """Be a worker: read jobs until the pipe ends."""
    kept: tuple[bytes, CurrentPolicies] | None = None
    while len(prefix := jobs.read(8)) == 8:
        size = int.from_bytes(prefix, "big")
        if len(data := jobs.read(size)) < size:
            return  # the service ended in the middle of it
        job = msgspec.msgpack.decode(data, type=_Job)
        if kept is None or kept[0] != job.policies:
            kept = (job.policies, msgspec.msgpack.decode(job.policies, type=CurrentPolicies))
        try:
            result = _Result(consents=read_consents(job.body, kept[1]), problem=Raw(b"\xc0"))
        except MusubiError as error:
            result = _Result(consents=None, problem=Raw(msgspec.msgpack.encode(problem(error))))
        answer = msgspec.msgpack.encode(result)
        results.write(len(answer).to_bytes(8, "big") + answer)
        results.flush()


def main() -> None:
    """Be a worker process: end with its pipe, and leave no trace in a log, which could hold what it was reading."""
    forbid_core_dumps()
    try:
        work(sys.stdin.buffer, sys.stdout.buffer)
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(0)  # the service is gone: there is nobody left to flush to
    except Exception as error:  # noqa: BLE001 - whatever it was, the service sees the pipe end
        log_to_stderr()
        logger.error("intake-worker-failed", kind=type(error).__name__, why=WORKER_FAILED)  # noqa: TRY400 - a trace could hold rows
        os._exit(1)


if __name__ == "__main__":
    main()

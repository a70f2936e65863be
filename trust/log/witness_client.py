"""Asking all witnesses of a policy at once, to cosign a checkpoint or for the last one; none waits for a slow one.

This is the log's side of C2SP tlog-witness. No witness can hold up or spoil the others: each has its own time limit
(``service.toml``: ``witness_timeout_seconds``), each answer is checked before it counts, and what went wrong is told by
the witness' name. As soon as the quorum is met, the rest get ``LATE_SECONDS`` more. What the log does without a quorum
is in ``trust.service.publish.sequencer``.

A witness with several keys stands on several lines of the policy with one address: it is asked once, and its answer is
looked at for each of them.
"""

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import httpx

from ledger.errors import Malformed, MusubiError, SignatureInvalid
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import Note, NoteSignature, cosignature_time, parse_note
from ledger.notes.witness_policy import NO_WITNESS, PolicyWitness, WitnessPolicy
from ledger.notes.witness_protocol import AddCheckpoint
from ledger.text_forms import to_number
from trust.runtime.clock import MAX_SKEW_SECONDS, Clock, system_clock

MAX_ANSWER_BYTES = 20_000
_Names = dict[str, PolicyWitness]
"""One witness's lines of the policy, by their names: all have its address."""
LATE_SECONDS = 0.1
"""How long the other witnesses may still take once the quorum is met."""

_PLAIN = {"accept-encoding": "identity"}
_HAS_NONE = (httpx.codes.NOT_FOUND, httpx.codes.METHOD_NOT_ALLOWED, httpx.codes.NOT_IMPLEMENTED)

Prove = Callable[[int, int], list[bytes]]
"""(old size, new size) to consistency proof: ``ledger.tlog.tree.prove_consistency`` over the log's tiles."""


@dataclass(slots=True)
class Cosigned:
    """What came back: checked signature lines, and why each other witness did not sign, by its name in the policy."""

    signatures: list[NoteSignature] = field(default_factory=list)
    failures: dict[str, str] = field(default_factory=dict)
    times: dict[str, int] = field(default_factory=dict)
    """When each witness whose line verified says that it cosigned, also where its clock is too far from ours to count.
    """
    disputed: bool = False
    """Whether a witness said that it knows a larger or another tree of this log: it is to be asked for its evidence."""


class _Refused(Exception):
    """Why one witness' answer does not count, in a few words."""


class _Disputed(_Refused):
    """The witness says that it knows another history, or more of this one."""


@dataclass(frozen=True, slots=True)
class _Asking:
    client: httpx.AsyncClient
    note: bytes
    checkpoint: Checkpoint
    prove: Prove
    known: dict[str, int]
    clock: Clock | None
    times: dict[str, int]

    async def ask(self, names: _Names) -> dict[str, "NoteSignature | _Refused"]:
        """Ask one witness, a second time from the size it names; return the checked line of each of its names.

        Raises _Refused where its answer counts for none of them.
        """
        first, witness = next(iter(names.items()))
        if witness.url is None:
            raise _Refused("the policy gives no address")
        old = min(self.known.get(first, 0), self.checkpoint.size)
        status, body = await self._post(witness.url, old)
        if status == httpx.codes.CONFLICT:
            old = self._named_size(body)
            self.known.update(dict.fromkeys(names, old))
            if old > self.checkpoint.size:
                raise _Disputed("it has cosigned a larger tree of this log")
            status, body = await self._post(witness.url, old)
        if status == httpx.codes.UNPROCESSABLE_ENTITY:
            raise _Disputed("it answered 422: the tree does not grow from the one that it has cosigned")
        if status != httpx.codes.OK:
            raise _Refused(f"it answered {status}")
        lines = {name: self._line_or_refusal(name, each, body) for name, each in names.items()}
        if any(isinstance(line, NoteSignature) for line in lines.values()):
            self.known.update(dict.fromkeys(names, self.checkpoint.size))
        return lines

    async def _post(self, url: str, old: int) -> tuple[int, bytes]:
        proof = self.prove(old, self.checkpoint.size) if old else []
        content = AddCheckpoint(old, proof, self.note).format()
        try:
            try:
                return await self._send(url, content)
            except (httpx.RemoteProtocolError, httpx.ReadError):
                # A kept connection that the witness had closed meanwhile. Asking twice does no harm.
                return await self._send(url, content)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise _Refused(f"it cannot be reached ({type(error).__name__})") from None

    async def _send(self, url: str, content: bytes) -> tuple[int, bytes]:
        body = bytearray()
        address = f"{url.rstrip('/')}/add-checkpoint"
        async with self.client.stream(
            "POST", address, content=content, headers=_PLAIN, follow_redirects=False
        ) as response:
            if response.headers.get("content-encoding", "identity") != "identity":
                raise _Refused("its answer is packed, although we asked for it plain")  # a few bytes could fill us
            async for part in response.aiter_bytes():
                body += part
                if len(body) > MAX_ANSWER_BYTES:
                    raise _Refused("its answer is too large")
        return response.status_code, bytes(body)

    def _named_size(self, body: bytes) -> int:
        try:
            return to_number(body.decode("ascii").removesuffix("\n"), "stored size")
        except (Malformed, UnicodeDecodeError):
            raise _Refused("it answered 409 without a size") from None

    def _line_or_refusal(self, name: str, witness: PolicyWitness, body: bytes) -> "NoteSignature | _Refused":
        try:
            return self._read_line(name, witness, body)
        except _Refused as refusal:
            return refusal

    def _read_line(self, name: str, witness: PolicyWitness, body: bytes) -> NoteSignature:
        try:
            lines = [NoteSignature.parse(line) for line in body.decode().splitlines()]
            mine = [line for line in lines if line.is_by(witness.key)]
            if len(mine) != 1:
                raise _Refused(f"its answer holds {len(mine)} lines by its key, not one")
            witness.key.check(self.checkpoint.text, mine[0].signature)
            at = cosignature_time(mine[0].signature)
        except (Malformed, SignatureInvalid, UnicodeDecodeError):
            raise _Refused("its cosignature does not verify") from None
        if not at:
            raise _Refused("its cosignature says no time")
        self.times[name] = at
        if self.clock is not None and abs(at - self.clock()) > MAX_SKEW_SECONDS:
            # readers would refuse it, and us with it
            raise _Refused("its clock is more than 60 seconds from ours")
        return mine[0]


async def collect_cosignatures(
    client: httpx.AsyncClient,
    policy: WitnessPolicy,
    note: bytes,
    checkpoint: Checkpoint,
    prove: Prove,
    known: dict[str, int],
    timeout: float,  # noqa: ASYNC109 - for each witness by itself; one slow witness must not cancel the others
    clock: Clock | None = system_clock,
    late: float = LATE_SECONDS,
) -> Cosigned:
    """Ask every witness of ``policy`` to cosign ``note``, the log's signed ``checkpoint``; never raise for one of them.

    ``known`` holds the size that each witness last cosigned, by name; it is brought up to date. ``timeout`` is seconds
    for each witness; ``clock`` gives seconds since 1970: a witness further from it than a minute does not count, and
    with None each does. Whoever has not answered ``late`` seconds after the quorum is not waited for. Whether what came
    is a quorum is for ``policy.check`` to say.
    """
    result = Cosigned()
    opened = parse_note(note)
    asking = _Asking(client, note, checkpoint, prove, known, clock, result.times)
    tasks = {asyncio.create_task(_ask_in_time(asking, names, timeout)): names for names in _by_address(policy)}
    waiting = set(tasks)
    deadline: float | None = None
    try:
        while waiting:
            left = None if deadline is None else max(0.0, deadline - time.monotonic())
            done, waiting = await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
            if not done:
                break
            for task in done:
                for name, answer in task.result().items():
                    if isinstance(answer, NoteSignature):
                        result.signatures.append(answer)
                    else:
                        result.failures[name] = str(answer)
                        result.disputed = result.disputed or isinstance(answer, _Disputed)
            if deadline is None and _is_quorum(policy, opened, result.signatures):
                deadline = time.monotonic() + late
    finally:
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
    result.failures |= {name: "it was slower than the quorum" for task in waiting for name in tasks[task]}
    return result


async def fetch_latest(
    client: httpx.AsyncClient,
    policy: WitnessPolicy,
    origin: str,
    timeout: float,  # noqa: ASYNC109 - for each witness by itself
) -> dict[str, bytes]:
    """Ask every witness for the latest checkpoint of a log that it has cosigned; return the notes by witness name.

    Empty where it has cosigned none (404), or has no such address (405, 501): what it has cosigned it still says when
    it is asked to cosign (409). A witness that cannot be reached, or answers anything else, is not in the result. What
    the notes say is not checked here.
    """
    path = f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"

    async def fetch(url: str | None) -> bytes | None:
        if url is None:
            return None
        body = bytearray()
        try:
            async with (
                asyncio.timeout(timeout),
                client.stream("GET", url.rstrip("/") + path, headers=_PLAIN) as response,
            ):
                if response.status_code in _HAS_NONE:
                    return b""
                if response.headers.get("content-encoding", "identity") != "identity":
                    return None  # as in _send
                async for part in response.aiter_bytes():
                    body += part
                    if len(body) > MAX_ANSWER_BYTES:
                        return None
                return bytes(body) if response.status_code == httpx.codes.OK and body else None
        except (TimeoutError, httpx.HTTPError, httpx.InvalidURL):
            return None

    answers = await asyncio.gather(*(fetch(witness.url) for witness in policy.witnesses.values()))
    return {name: answer for name, answer in zip(policy.witnesses, answers, strict=True) if answer is not None}


def _by_address(policy: WitnessPolicy) -> list[_Names]:
    """Return the policy's witnesses, those with the same address together."""
    places: dict[str, _Names] = {}
    for name, witness in policy.witnesses.items():
        places.setdefault(witness.url or f" {name}", {})[name] = witness
    return list(places.values())


async def _ask_in_time(asking: _Asking, names: _Names, seconds: float) -> dict[str, NoteSignature | _Refused]:
    try:
        async with asyncio.timeout(seconds):
            return await asking.ask(names)
    except TimeoutError:
        refusal = _Refused(f"it did not answer within {seconds:g} seconds")
    except _Refused as refused:
        refusal = refused
    except MusubiError as error:  # our own proof could not be made
        refusal = _Refused(f"it could not be asked: {error.message}")
    return dict.fromkeys(names, refusal)


def _is_quorum(policy: WitnessPolicy, note: Note, signatures: list[NoteSignature]) -> bool:
    if policy.quorum == NO_WITNESS:
        return False  # nobody is needed, so everybody gets the whole time
    try:
        policy.check_quorum(Note(note.text, (*note.signatures, *signatures)))
    except MusubiError:
        return False
    return True

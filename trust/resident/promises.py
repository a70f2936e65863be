"""The service's signed promises that a resident's device was given: kept, and held against the ledger.

When a consent is taken back, the service promises at once where in the ledger the revocation will stand, and by when.
The device keeps that promise before it asks for anything else, and checks it: signed with the key of the operator, whom
the ledger's own ``member`` entry names, about this very revocation, for a time within a minute. ``PromiseCheck`` later
looks whether each kept promise was kept. One that was broken gives the file that convicts the service
(``policies.consents.promises``), which needs nothing but itself.

A service that simply stops shows no new tree, and so nobody has said yet what time it is. Anyone may ask: a witness
that has seen no larger tree cosigns the same one again, with its own time (C2SP tlog-witness). So the device asks them.

Files: ``<SHA-256 of the promise, 16 digits>.json``, one promise each, mode 0600: it names the resident's own grant.
"""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Literal, Self

import httpx
from msgspec import Struct

from ledger import canonical, jws
from ledger import entries as e
from ledger.entries import Index, Token
from ledger.errors import (
    Malformed,
    MusubiError,
    NotFound,
    NotPermitted,
    ProofInvalid,
    SignatureInvalid,
    TooLarge,
    Unavailable,
)
from ledger.evidence import signers
from ledger.notes.cosignatures import newest_of_each
from ledger.notes.note import Note, NoteSignature, format_note, parse_note
from ledger.notes.witness_policy import NO_WITNESS
from ledger.tlog.tree import prove_consistency, prove_inclusion
from policies.consents.promises import (
    LATE_SECONDS,
    PROMISE_SECONDS,
    BrokenPromise,
    Included,
    Promise,
    are_late,
    check_broken_promise,
    keeps,
    open_promise,
)
from policies.rules import decode_in_ledger
from trust.client.service import ServiceClient
from trust.client.wire import Revoked
from trust.files.durable import write_whole
from trust.log.follower import LogFollower
from trust.log.pins import Trust, open_genesis
from trust.log.source import LogSource, tiles_of
from trust.log.witness_client import collect_cosignatures
from trust.runtime.clock import MAX_SKEW_SECONDS, Clock, system_clock
from trust.runtime.http_clients import open_async_http

MAX_FILE_BYTES = 100_000
WITNESS_SECONDS = 10.0
OpenWitnesses = Callable[[float], httpx.AsyncClient]
"""Gives a client by which witnesses are asked, which waits so many seconds: a place has a way of its own to them."""


class KeptPromise(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A promise as it came, and the index of the ``member`` entry that the service named for its operator, if any."""

    v: Literal[1] = 1
    promise: Token
    operator: Index | None

    @classmethod
    def of(cls, revoked: Revoked) -> Self:
        """Return what is kept of a revocation's answer."""
        return cls(promise=revoked.promise, operator=revoked.operator)


StateName = Literal["kept", "open", "overdue", "broken", "void"]


class PromiseState(Struct, frozen=True, kw_only=True):
    """What became of one promise. ``says`` is one sentence for the resident; ``by`` is seconds since 1970.

    ``kept``: the ledger has it. ``open``: its time is not past. ``overdue``: it is past, and it cannot be shown yet to
    everybody. ``broken``: it is shown. ``void``: it is no promise by the town's operator, so it binds nobody.
    """

    state: StateName
    grant: int
    index: int
    by: int
    says: str


class PromiseFolder:
    """The promises of one resident."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def keep(self, kept: KeptPromise) -> None:
        """Write one promise, durably; raise Unavailable where the disk does not take it."""
        name = hashlib.sha256(kept.promise.encode()).hexdigest()[:16]
        write_whole(self.folder / f"{name}.json", canonical.encode(kept))

    def all(self) -> list[KeptPromise]:
        """Return all promises that can be read; those that are ``damaged`` keep nobody from the others.

        Raises Unavailable where a file may not be read.
        """
        return [kept for kept in self._read_all().values() if kept is not None]

    def damaged(self) -> list[str]:
        """Return the names of the files whose promise is damaged: it can be held against nobody any more."""
        return [name for name, kept in self._read_all().items() if kept is None]

    def _read_all(self) -> dict[str, KeptPromise | None]:
        return {path.name: self._read(path) for path in sorted(self.folder.glob("*.json"))}

    @staticmethod
    def _read(path: Path) -> KeptPromise | None:
        try:
            with path.open("rb") as file:
                kept = canonical.decode(file.read(MAX_FILE_BYTES), KeptPromise, "kept promise")
            jws.read_unverified(kept.promise, Promise, "kept promise")
        except (Malformed, TooLarge):
            return None
        except OSError:
            raise Unavailable("A kept promise cannot be read; check the folder's permissions.") from None
        return kept


def check_new(client: ServiceClient, kept: KeptPromise, revoke: e.Revoke, index: int) -> None:
    """Check a promise that has just come for a revocation at ``index``; raise an error that says what it lacks.

    Raises SignatureInvalid where it is not the operator's, ProofInvalid where it promises something else, and what the
    service's answers raise.
    """
    if kept.operator is None:
        raise SignatureInvalid("The service does not say whose the promise is.")
    genesis = client.genesis()
    promise = open_promise(kept.promise, genesis, client.prove(kept.operator).entry)
    if (promise.grant, promise.commitment, promise.index) != (revoke.grant, revoke.commitment, index):
        raise ProofInvalid("The service's promise is about something else than this revocation.")
    now = system_clock()
    if promise.by > min(promise.promised_at, now + MAX_SKEW_SECONDS) + PROMISE_SECONDS:
        raise ProofInvalid("The service's promise is for later than within a minute.")


def doubt_of(client: ServiceClient, kept: KeptPromise, revoke: e.Revoke, index: int) -> str:
    """Return what is wrong with a promise that has just come, or "": as ``check_new``, for who goes on all the same."""
    try:
        check_new(client, kept, revoke, index)
    except (ProofInvalid, SignatureInvalid, NotPermitted, Malformed) as error:
        return error.message
    return ""


class PromiseCheck:
    """One look at the ledger, to hold promises against.

    Raises what ``LogFollower.fetch`` and ``VerifiedTiles`` do where the log cannot be read or believed.
    """

    def __init__(
        self, source: LogSource, trust: Trust, clock: Clock = system_clock, open_witnesses: OpenWitnesses | None = None
    ) -> None:
        self._open_witnesses = open_witnesses or (lambda seconds: open_async_http(seconds=seconds))
        self._trust = trust
        self._clock = clock
        self._witnesses = trust.witnesses
        follower = LogFollower(source, trust.log_keys, self._witnesses, clock=clock)
        seen = follower.fetch()
        self._keys = follower.history.signing_keys
        self._checkpoint, self._note, self._times = seen.checkpoint, seen.note, seen.cosigned
        self._tiles = tiles_of(source, self._checkpoint)
        self._has_asked = False

    def check(self, kept: KeptPromise) -> tuple[PromiseState, BrokenPromise | None]:
        """Return what became of one promise, and the evidence where it was broken.

        Raises Malformed where it is no promise, ProofInvalid and what the source raises where the log cannot be read.
        """
        promise = jws.read_unverified(kept.promise, Promise, "kept promise")
        try:
            self._open(kept)
        except MusubiError as error:
            return _state("void", promise, f"This is no promise by the town's operator: {error.message}"), None
        if promise.index < self._checkpoint.size:
            entry = self._entry(promise.index)
            if keeps(entry, promise):
                return _state("kept", promise, f"The revocation stands in the ledger at {promise.index}."), None
            return self._broken(kept, promise, instead=self._include(promise.index))
        return self._check_missing(kept, promise)

    def _check_missing(self, kept: KeptPromise, promise: Promise) -> tuple[PromiseState, BrokenPromise | None]:
        if self._clock() <= promise.by + LATE_SECONDS:
            return _state("open", promise, "The revocation is not in the ledger yet; its time is not past."), None
        if not are_late(self._witnesses, self._times, promise):
            self._ask_witnesses()
        if not are_late(self._witnesses, self._times, promise):
            says = "The revocation is not in the ledger that is shown here, and its time is past. Too few witnesses say so."
            return _state("overdue", promise, says), None
        return self._broken(kept, promise, instead=None)

    def _broken(
        self, kept: KeptPromise, promise: Promise, instead: Included | None
    ) -> tuple[PromiseState, BrokenPromise]:
        evidence = BrokenPromise(
            log_keys=signers([self._note], self._keys),
            checkpoint=self._note.decode(),
            genesis=self._include(0),
            operator=self._include(kept.operator or 0),
            promise=kept.promise,
            instead=instead,
            witness_policy="" if instead is not None else self._trust.witness_policy,
        )
        conviction = check_broken_promise(
            evidence, self._keys, self._witnesses
        )  # nothing is claimed that does not hold
        return _state("broken", promise, conviction.says), evidence

    def _open(self, kept: KeptPromise) -> Promise:
        genesis = open_genesis(self._entry(0), self._trust.genesis_sha256)
        if kept.operator is None:
            raise SignatureInvalid("the service did not say whose it is.")
        return open_promise(kept.promise, genesis, decode_in_ledger(self._entry(kept.operator)))

    def _entry(self, index: int) -> bytes:
        if index >= self._checkpoint.size:
            raise NotFound("The ledger does not reach the entry that names its operator.")
        return self._tiles.entry(index)

    def _include(self, index: int) -> Included:
        proof = prove_inclusion(index, self._checkpoint.size, self._tiles)
        return Included(index=index, entry=self._entry(index), proof=proof)

    def _ask_witnesses(self) -> None:
        """Ask every witness to cosign the log's last checkpoint again, once; take over the times of those that do."""
        if self._has_asked:
            return
        self._has_asked = True
        opened = parse_note(self._note)
        lines = asyncio.run(self._collect())
        keys = [witness.key for witness in self._witnesses.witnesses.values()]
        self._note = format_note(Note(opened.text, newest_of_each((*opened.signatures, *lines), keys)))
        self._times = self._witnesses.check_quorum(parse_note(self._note))

    async def _collect(self) -> list[NoteSignature]:
        size = self._checkpoint.size
        everybody = replace(self._witnesses, quorum=NO_WITNESS)  # do not stop at a quorum: all their times are wanted
        async with self._open_witnesses(WITNESS_SECONDS) as client:
            answers = await collect_cosignatures(
                client,
                everybody,
                self._note,
                self._checkpoint,
                lambda old, new: prove_consistency(old, new, self._tiles),
                dict.fromkeys(self._witnesses.witnesses, size),
                WITNESS_SECONDS,
                self._clock,
            )
        return answers.signatures


def _state(state: StateName, promise: Promise, says: str) -> PromiseState:
    return PromiseState(state=state, grant=promise.grant, index=promise.index, by=promise.by, says=says)

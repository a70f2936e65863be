"""A witness (C2SP tlog-witness): it remembers the largest tree that it saw of each log, and cosigns what extends it.

A log whose checkpoints need a witness' cosignature cannot show two histories to two people without showing both to
the witness, which signs only one of them. ``ledger.notes.witness_protocol`` has the format, the statuses and the
decision; this is the shell around it: one SQLite database, and two addresses.

==========================================  =====================================================================
``POST /add-checkpoint``                    200 with the cosignature lines, or the protocol's refusals (400 to 422)
``GET /<hex SHA-256 of origin>/checkpoint`` the latest checkpoint cosigned for that log, with the cosignature
``GET /health``                             200 while the database can be read
==========================================  =====================================================================

A body above 1,000,000 bytes gets 413, and a disk that does not take the new state 503: nothing is cosigned then.

**Durable first.** Reading the stored size, deciding and writing the new one are one SQLite transaction (``BEGIN
IMMEDIATE``), committed with ``synchronous=FULL`` before the answer leaves. A crash before the commit leaves the old
state, and nobody has the cosignature; a crash after it leaves the new state, and the log asks again from the size that
the 409 names. So no two answers of this witness can contradict each other.

The folder: ``witness.toml`` (``trust.audit.witness_folder``), ``witness.key`` (a hexadecimal seed, mode 0600),
``witness.pq.key`` (the same for ML-DSA-44; where it is there, every answer has two lines, one of each kind),
``witness.sqlite``, and ``evidence/``: where a log asks for a cosignature on what contradicts the checkpoint stored
here, the file that convicts it (``trust.files.evidence``), written before the refusal leaves. Another tree of the
stored size convicts also where the log asks from the wrong size (409).
"""

import asyncio
import hashlib
import sqlite3
import threading
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from litestar import Litestar, MediaType, Request, Response, get, post
from litestar.datastructures import State
from litestar.params import FromPath
from nacl.signing import SigningKey

from ledger.errors import Malformed, NotFound, TooLarge, Unavailable
from ledger.evidence import split_view_of_refused
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.cosignatures import cosign
from ledger.notes.note import Note, VerifierKey, format_note, parse_note
from ledger.notes.witness_protocol import (
    CONFLICT_TYPE,
    MAX_REQUEST_BYTES,
    AddCheckpoint,
    BadRequest,
    InconsistentCheckpoint,
    SizeConflict,
    WitnessRefusal,
    decide,
)
from trust.audit.witness_folder import KEY, POST_QUANTUM_KEY, read_config
from trust.files.evidence import keep_evidence
from trust.files.keys import read_key, read_post_quantum_key
from trust.runtime.callers.bounds import Bounds, Lane
from trust.runtime.clock import Clock, system_clock
from trust.runtime.serving import serve

DATABASE = "witness.sqlite"
LANES = (
    Lane(
        name="logs",
        paths=("/add-checkpoint",),
        places=256,
        places_each=32,
        body_bytes=MAX_REQUEST_BYTES,
        own_bytes=4 * MAX_REQUEST_BYTES,
    ),
    Lane(name="health", paths=("/health",), places=32, places_each=8, body_bytes=1_024),
    Lane(name="readers", paths=(), places=256, places_each=32, body_bytes=1_024),
)
"""What callers may hold at once: a stranger at another address than the log's leaves the log its places."""
MAX_EVIDENCE = 1_000
"""How many files of evidence are kept; a log that earns one is convicted already."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS latest (
  origin TEXT PRIMARY KEY, origin_sha256 TEXT NOT NULL UNIQUE,
  size INTEGER NOT NULL, root BLOB NOT NULL, note BLOB NOT NULL
) STRICT;
"""


class Witness:
    """One witness with its database. Safe to call from several threads."""

    def __init__(
        self,
        database: Path | str,
        name: str,
        key: SigningKey,
        log_keys: list[VerifierKey],
        clock: Clock = system_clock,
        evidence: Path | None = None,
        post_quantum: MLDSA44PrivateKey | None = None,
    ) -> None:
        self.name = name
        self._evidence = evidence
        self._keys: list[SigningKey | MLDSA44PrivateKey] = [key] if post_quantum is None else [key, post_quantum]
        self.verifier = VerifierKey.cosignature(name, bytes(key.verify_key))
        """The Ed25519 key that others check this witness' cosignatures with."""
        self._log_keys: dict[str, list[VerifierKey]] = {}
        for each in log_keys:
            self._log_keys.setdefault(each.name, []).append(each)
        self._clock = clock
        self._lock = threading.Lock()
        self._database = sqlite3.connect(database, isolation_level=None, check_same_thread=False)
        self._database.execute("PRAGMA journal_mode=WAL")
        self._database.execute("PRAGMA synchronous=FULL")
        self._database.executescript(_SCHEMA)

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._database.close()

    def add_checkpoint(self, body: bytes) -> bytes:
        """Answer one add-checkpoint request: return the cosignature lines once the new state is durable.

        Raises a WitnessRefusal, and then nothing has changed; or Unavailable when the database does not take it.
        """
        try:
            request = AddCheckpoint.parse(body)
        except (Malformed, TooLarge) as error:
            raise BadRequest(error.message) from None
        try:
            with self._lock:
                return self._check_and_write(request)
        except sqlite3.Error:
            raise Unavailable("The witness cannot write its state now; try again later.") from None

    def _check_and_write(self, request: AddCheckpoint) -> bytes:
        self._database.execute("BEGIN IMMEDIATE")
        try:
            lines = self._decide_and_sign(request)
            # A crash here leaves the old state; the signature was not given to anyone.
            self._database.execute("COMMIT")
            # A crash here leaves the new state; the log will be told so by a 409, and asks again.
        finally:
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
        return lines

    def _decide_and_sign(self, request: AddCheckpoint) -> bytes:
        note = parse_note(request.checkpoint)
        origin = note.text.partition("\n")[0]
        row = self._database.execute("SELECT size, root, note FROM latest WHERE origin = ?", (origin,)).fetchone()
        stored = Checkpoint(origin, row[0], row[1]) if row else None
        try:
            checkpoint = decide(request, stored, self._log_keys)
        except (InconsistentCheckpoint, SizeConflict):
            if stored is not None:
                self._keep_evidence(row[2], request, self._log_keys[origin])
            raise
        now = self._clock()
        # An ML-DSA-44 cosignature says nothing of extension lines, so a checkpoint that has some gets none.
        keys = self._keys if note.text == checkpoint.text else self._keys[:1]
        lines = [cosign(note.text, self.name, key, now) for key in keys]
        signed = tuple(each for each in note.signatures if any(each.is_by(key) for key in self._log_keys[origin]))
        self._database.execute(
            "INSERT INTO latest VALUES (?, ?, ?, ?, ?) ON CONFLICT (origin) DO UPDATE"
            " SET size = excluded.size, root = excluded.root, note = excluded.note",
            (
                origin,
                hashlib.sha256(origin.encode()).hexdigest(),
                checkpoint.size,
                checkpoint.root,
                format_note(Note(note.text, (*signed, *lines))),
            ),
        )
        return "".join(f"{line}\n" for line in lines).encode()

    def _keep_evidence(self, stored: bytes, request: AddCheckpoint, log_keys: list[VerifierKey]) -> None:
        """Keep what convicts the log, if the refused checkpoint does; a bad proof alone contradicts nothing."""
        evidence = split_view_of_refused(stored, request.checkpoint, request.proof, log_keys)
        if evidence is not None and self._evidence is not None and len(self.evidence()) < MAX_EVIDENCE:
            keep_evidence(self._evidence, evidence)

    def latest(self, origin_sha256: str) -> bytes:
        """Return the latest cosigned checkpoint of the log whose origin has that SHA-256; raise NotFound."""
        with self._lock:
            row = self._database.execute("SELECT note FROM latest WHERE origin_sha256 = ?", (origin_sha256,)).fetchone()
        if row is None:
            raise NotFound("The witness has cosigned no such log.")
        return bytes(row[0])

    def evidence(self) -> list[Path]:
        """Return the files of evidence that were kept."""
        return sorted(self._evidence.glob("*.json")) if self._evidence is not None else []

    def check(self) -> None:
        """Raise sqlite3.Error where the database cannot be read."""
        with self._lock:
            self._database.execute("SELECT size FROM latest LIMIT 1").fetchone()


def open_witness(folder: Path) -> Witness:
    """Open the witness of a folder; raise NotFound, Malformed, NotPermitted or Unavailable."""
    name, keys = read_config(folder)
    post_quantum = folder / POST_QUANTUM_KEY
    try:
        return Witness(
            folder / DATABASE,
            name,
            read_key(folder / KEY),
            keys,
            evidence=folder / "evidence",
            post_quantum=read_post_quantum_key(post_quantum) if post_quantum.exists() else None,
        )
    except sqlite3.Error:
        raise Unavailable("The witness' database cannot be opened; check the folder's permissions.") from None


def _text(content: str | bytes, status: int = 200, type_: str = "text/plain; charset=utf-8") -> Response[bytes]:
    body = content.encode() if isinstance(content, str) else content
    return Response(body, status_code=status, headers={"content-type": type_})  # exactly: a charset would be added


@post("/add-checkpoint", status_code=200, media_type=MediaType.TEXT)
async def add_checkpoint(request: Request[None, None, State], state: State) -> Response[bytes]:
    """Cosign a checkpoint that extends the last one."""
    witness: Witness = state.witness
    body = await request.body()
    try:
        return _text(await asyncio.to_thread(witness.add_checkpoint, body))
    except SizeConflict as conflict:
        return _text(conflict.body, conflict.status, CONFLICT_TYPE)
    except WitnessRefusal as refusal:
        return _text(f"{refusal.message}\n", refusal.status)
    except Unavailable as error:
        return _text(f"{error.message}\n", 503)


@get("/{origin_sha256:str}/checkpoint", media_type=MediaType.TEXT)
async def latest_checkpoint(origin_sha256: FromPath[str], state: State) -> Response[bytes]:
    """Give the latest cosigned checkpoint."""
    witness: Witness = state.witness
    try:
        return _text(await asyncio.to_thread(witness.latest, origin_sha256))
    except NotFound as error:
        return _text(f"{error.message}\n", 404)


@get("/health", media_type=MediaType.TEXT)
async def health(state: State) -> Response[bytes]:
    """Say that the witness is up."""
    witness: Witness = state.witness
    await asyncio.to_thread(witness.check)
    return _text("ok\n")


def create_witness(folder: Path) -> Litestar:
    """Return the web application of the witness in ``folder``; raises what ``open_witness`` does."""
    witness = open_witness(folder)

    def close(_: Litestar) -> None:
        witness.close()

    return Litestar(
        [add_checkpoint, latest_checkpoint, health],
        state=State({"witness": witness}),
        on_shutdown=[close],
        openapi_config=None,
        request_max_body_size=MAX_REQUEST_BYTES,
    )


def run_witness(folder: Path, host: str, port: int) -> None:
    """Run the witness in this process until SIGTERM or SIGINT; raises what ``create_witness`` and ``serve`` do."""
    serve(create_witness(folder), host, port, Bounds(LANES))

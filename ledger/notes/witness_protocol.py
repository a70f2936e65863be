r"""Asking a witness to cosign (C2SP tlog-witness): the request body, and the witness's decision.

``POST <prefix>/add-checkpoint`` with the body::

    old 4700
    PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
    ... at most 63 base64 hashes, the consistency proof from the old size to the checkpoint's

    example.town/log
    4711
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — example.town/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=

======  ==============================================================================================================
status  when
======  ==============================================================================================================
200     the body is the witness's cosignature lines, one for each of its keys
400     malformed, or an old size above the checkpoint's
403     no valid signature by a trusted key of the log
404     unknown origin
409     the old size is not the one stored; the body is ``<stored size>\n``, of type ``text/x.tlog.size``
422     the proof does not verify, equal sizes with different roots, a proof from size 0, or a size of 0 with a root
        other than the empty tree's
======  ==============================================================================================================

``decide`` is pure. The shell reads the stored checkpoint, decides, stores the new one durably, all as one atomic step,
and only then answers: otherwise two requests could pass each other and roll the witness back.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ledger.errors import Malformed, MusubiError, NotFound, ProofInvalid, SignatureInvalid, TooLarge
from ledger.hashing import EMPTY_ROOT, HASH_BYTES
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import VerifierKey, parse_note, verify_note
from ledger.text_forms import MAX_SIZE, to_base64, to_hash, to_number
from ledger.tlog.proofs import check_consistency

MAX_PROOF_HASHES = 63
MAX_REQUEST_BYTES = 1_000_000
CONFLICT_TYPE = "text/x.tlog.size"
"""Media type of a 409's body."""


class WitnessRefusal(MusubiError):
    """A witness did not cosign. ``status`` is the HTTP status to answer with.

    Each refusal is also one of the errors in ``ledger.errors``, with that error's ``code``.
    """

    status: ClassVar[int]


class BadRequest(WitnessRefusal, Malformed):
    """The request is malformed, or its old size is above the checkpoint's."""

    status = 400


class UntrustedSignature(WitnessRefusal, SignatureInvalid):
    """The checkpoint has no valid signature by a trusted key of the log."""

    status = 403


class UnknownLog(WitnessRefusal, NotFound):
    """The witness does not know the checkpoint's origin."""

    status = 404


class SizeConflict(WitnessRefusal, ProofInvalid):
    """The old size is not the size that the witness has stored, which is ``size``."""

    status = 409

    def __init__(self, size: int) -> None:
        super().__init__("The witness has cosigned another size; prove consistency from that one.", size=size)
        self.size = size

    @property
    def body(self) -> bytes:
        """The answer's body, of type ``text/x.tlog.size``."""
        return f"{self.size}\n".encode("ascii")


class InconsistentCheckpoint(WitnessRefusal, ProofInvalid):
    """The checkpoint is not shown to extend the stored one. It may be proof that the log misbehaves: keep it."""

    status = 422


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """A request to cosign: the size the witness should have stored, the proof from it, and the signed checkpoint.

    Raises Malformed when a field is outside what the format can say.
    """

    old: int
    proof: list[bytes]
    checkpoint: bytes

    def __post_init__(self) -> None:
        if not 0 <= self.old <= MAX_SIZE:
            raise Malformed("An old size is 0 to 2^63 - 1.")
        if len(self.proof) > MAX_PROOF_HASHES or any(len(each) != HASH_BYTES for each in self.proof):
            raise Malformed("A request to a witness has at most 63 proof hashes of 32 bytes each.")
        parse_note(self.checkpoint)

    @classmethod
    def parse(cls, data: bytes) -> "AddCheckpoint":
        """Read a request body strictly; raise Malformed or TooLarge."""
        if len(data) > MAX_REQUEST_BYTES:
            raise TooLarge("The request to the witness is larger than 1,000,000 bytes.")
        head, gap, checkpoint = data.partition(b"\n\n")
        if not gap or not head.isascii():
            raise Malformed("A request to a witness is ASCII lines, an empty line and a checkpoint.")
        first, *lines = head.decode("ascii").split("\n")
        if not first.startswith("old "):
            raise Malformed("A request to a witness begins with the line 'old <size>'.")
        if len(lines) > MAX_PROOF_HASHES:
            raise Malformed("A request to a witness has at most 63 proof hashes.")
        old = to_number(first.removeprefix("old "), "old size")
        return cls(old, [to_hash(line, "consistency proof hash") for line in lines], checkpoint)

    def format(self) -> bytes:
        """Return the request body, the inverse of ``parse``."""
        lines = [f"old {self.old}", *(to_base64(each) for each in self.proof)]
        return "\n".join(lines).encode("ascii") + b"\n\n" + self.checkpoint


def decide(
    request: AddCheckpoint, stored: Checkpoint | None, log_keys: Mapping[str, Sequence[VerifierKey]]
) -> Checkpoint:
    """Return the checkpoint to store, before its note's text is cosigned; raise a WitnessRefusal with the HTTP status.

    ``stored`` is the latest checkpoint cosigned for the request's origin, or None; ``log_keys`` gives the trusted keys
    of each origin: one of them must have signed, and none may have signed badly. A refused request changes nothing.
    """
    try:
        note = parse_note(request.checkpoint)
        checkpoint = Checkpoint.parse_extended(note.text)
    except MusubiError as error:
        raise BadRequest(error.message) from None
    keys = log_keys.get(checkpoint.origin)
    if not keys:
        raise UnknownLog("The witness does not know this log.")
    try:
        verify_note(note, keys)
    except SignatureInvalid as error:
        raise UntrustedSignature(error.message) from None
    if request.old > checkpoint.size:
        raise BadRequest("The old size is above the checkpoint's own size.")
    stored_size = 0 if stored is None else stored.size
    if stored is not None and stored.origin != checkpoint.origin:
        raise BadRequest("The stored checkpoint is another log's.")
    if request.old != stored_size:
        raise SizeConflict(stored_size)
    _check_extends(request, stored, checkpoint)
    return checkpoint


def _check_extends(request: AddCheckpoint, stored: Checkpoint | None, checkpoint: Checkpoint) -> None:
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise InconsistentCheckpoint("A tree without entries has the empty tree's root.")
    if stored is None or stored.size == 0:
        if request.proof:
            raise InconsistentCheckpoint("Nothing is to be proven from size 0: the proof must be empty.")
        return
    try:
        check_consistency(stored.size, checkpoint.size, stored.root, checkpoint.root, request.proof)
    except ProofInvalid as error:
        raise InconsistentCheckpoint(error.message) from None

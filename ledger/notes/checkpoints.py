"""Checkpoints (C2SP tlog-checkpoint): what a log signs to commit to all its entries.

A checkpoint is a signed note (``ledger.notes.note``) whose text has exactly three lines: the log's origin, the number
of entries in decimal, and the base64 of the 32-byte RFC 6962 root. The name of the log's key is the origin. ::

    example.town/log
    4711
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — example.town/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=

The format allows further lines, and advises against them, since nobody audits them. None are written and none taken,
but by a witness, which has to serve other logs too (``Checkpoint.parse_extended``).

A log may sign with a post-quantum key as well, a line of type 0x06 under the same name (``ledger.notes.ml_dsa``), with
the time 0: a log says nothing of when. Which keys a reader asks for is in ``ledger.notes.log_keys``.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from nacl.signing import SigningKey

from ledger.errors import Malformed
from ledger.hashing import HASH_BYTES
from ledger.notes import ml_dsa
from ledger.notes.note import (
    Note,
    NoteSignature,
    VerifierKey,
    check_name,
    format_note,
    sign_text,
)
from ledger.text_forms import MAX_SIZE, to_base64, to_hash, to_number


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The log named ``origin`` has ``size`` entries with the 32-byte root ``root``.

    Raises Malformed if it cannot be.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        check_name(self.origin)
        if not 0 <= self.size <= MAX_SIZE or len(self.root) != HASH_BYTES:
            raise Malformed("A checkpoint's size is 0 to 2^63 - 1, and its root is 32 bytes long.")

    @property
    def text(self) -> str:
        """The three lines that are signed."""
        return f"{self.origin}\n{self.size}\n{to_base64(self.root)}\n"

    @classmethod
    def parse(cls, text: str) -> "Checkpoint":
        """Read the three lines strictly; raise Malformed otherwise."""
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise Malformed("A checkpoint has three lines: origin, tree size and root hash.")
        return cls(lines[0], to_number(lines[1], "checkpoint's size"), to_hash(lines[2], "checkpoint's root"))

    @classmethod
    def parse_extended(cls, text: str) -> "Checkpoint":
        """Read the three lines of any log's checkpoint, and pass over extension lines, which are not empty.

        Raises Malformed. ``text`` of what is returned is without those lines; what is signed is the whole text.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1] or not all(lines[:-1]):
            raise Malformed("A checkpoint has at least three lines, none of them empty, each ended by a newline.")
        return cls.parse("\n".join([*lines[:3], ""]))


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey, post_quantum: MLDSA44PrivateKey | None = None) -> bytes:
    """Return the whole signed note, signed under the log's origin: type 0x01, and type 0x06 where that key is given."""
    lines = [sign_text(checkpoint.text, checkpoint.origin, key)]
    if post_quantum is not None:
        verifier = VerifierKey.ml_dsa_44(checkpoint.origin, ml_dsa.public_bytes(post_quantum))
        signature = post_quantum.sign(ml_dsa.cosigned_message(checkpoint.origin, 0, checkpoint.text))
        lines.append(NoteSignature(checkpoint.origin, verifier.key_id, bytes(8) + signature))
    return format_note(Note(checkpoint.text, tuple(lines)))

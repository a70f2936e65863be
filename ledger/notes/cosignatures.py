"""Cosignatures (C2SP tlog-cosignature, signature types 0x04 and 0x06): a witness's word on a checkpoint.

A cosignature is one more signature line on a checkpoint's note. Under type 0x04 its signature is ``uint64be(time)`` and
64 bytes of Ed25519 over this message, which is the time, in seconds since 1970, and the checkpoint's own text::

    cosignature/v1
    time 1679315147
    example.town/log
    4711
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

It says: at that time, this was the largest tree of this log that I had seen, and it extended every one before it. The
time 0 says nothing of when, nor of that (C2SP allows it under type 0x06): such a line is no cosignature, and does not
count. **One key, one time**: a note with two lines by one witness's key of two times is refused, for whoever chose one
of them would choose what the witness said. Each line stands for itself, so whoever has two may leave one out
(``newest_of_each``).
The message does not name the witness, so a key serves one witness only. Under type 0x06 it is ML-DSA-44 over a message
of its own, which does name it (``ledger.notes.ml_dsa``). A witness with both keys gives both lines, under one name.
"""

from collections.abc import Iterable

from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey
from nacl.signing import SigningKey

from ledger.errors import Malformed, SignatureInvalid
from ledger.notes import ml_dsa
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import (
    TYPE_ED25519,
    Note,
    NoteSignature,
    VerifierKey,
    cosignature_message,
    cosignature_time,
)
from ledger.text_forms import MAX_SIZE


def cosign(checkpoint_text: str, name: str, key: SigningKey | MLDSA44PrivateKey, time: int) -> NoteSignature:
    """Return witness ``name``'s signature line on a checkpoint's text at ``time`` (whole seconds since 1970).

    The caller has checked that the checkpoint extends the last one it signed. Raises Malformed when the text is not a
    checkpoint's, or name or time are outside the format; the time 0 would say nothing.
    """
    Checkpoint.parse_extended(checkpoint_text)
    if not 0 < time <= MAX_SIZE:
        raise Malformed("A cosignature's time is 1 to 2^63 - 1 seconds.")
    if isinstance(key, SigningKey):
        verifier = VerifierKey.cosignature(name, bytes(key.verify_key))
        signature = key.sign(cosignature_message(time, checkpoint_text)).signature
    else:
        verifier = VerifierKey.ml_dsa_44(name, ml_dsa.public_bytes(key))
        signature = key.sign(ml_dsa.cosigned_message(name, time, checkpoint_text))
    return NoteSignature(name, verifier.key_id, time.to_bytes(8, "big") + signature)


def check_cosignature(note: Note, key: VerifierKey) -> int | None:
    """Return when the witness with ``key`` cosigned the note, in seconds since 1970, or None if no line is by it.

    A line of the time 0 is checked and says nothing. Raises SignatureInvalid when any line by it does not verify, or
    two are of two times, and Malformed when ``key`` is not a witness's.
    """
    if key.type == TYPE_ED25519:
        raise Malformed("A witness's key is of type 4 (cosignature) or 6 (ML-DSA-44).")
    lines = [each for each in note.signatures if each.is_by(key)]
    for line in lines:
        key.check(note.text, line.signature)
    times = {cosignature_time(line.signature) for line in lines} - {0}
    if len(times) > 1:
        raise SignatureInvalid(
            "One witness's key signed the checkpoint twice, at two times; only one of them may stand."
        )
    return next(iter(times), None)


def newest_of_each(lines: Iterable[NoteSignature], keys: Iterable[VerifierKey]) -> tuple[NoteSignature, ...]:
    """Return signature lines without those by one of ``keys`` that a later line by that key outdoes; checks none.

    For whoever asks a witness again about a checkpoint that it has cosigned. Raises SignatureInvalid where a line by
    one of them has no time.
    """
    lines = tuple(lines)
    left_out: set[int] = set()
    for key in keys:
        mine = [place for place, line in enumerate(lines) if line.is_by(key)]
        newest = max(mine, key=lambda place: cosignature_time(lines[place].signature), default=None)
        left_out |= set(mine) - {newest}
    return tuple(line for place, line in enumerate(lines) if place not in left_out)


def median_time(times: Iterable[int]) -> int | None:
    """Return the median of cosignature times, the lower of two, None of none: one witness's clock decides nothing."""
    ordered = sorted(times)
    return ordered[(len(ordered) - 1) // 2] if ordered else None

r"""Signed notes (C2SP signed-note): a text and the lines of those who signed it.

::

    example.town/log
    4711
    CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

    — example.town/log Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=

The text ends in a newline. An empty line follows, the last one in the note, and then one or more signature lines: an
em dash (U+2014), a space, the key's name, a space, the base64 of ``key ID (4 bytes) || signature``, a newline. All of
it is UTF-8 without control characters (below U+0020) other than newline. A name is not empty and has no Unicode space
and no plus sign.

The key ID is the first 4 bytes of ``SHA-256(name || 0x0A || type || public key)``. Three types are read here, the
first two with a 32-byte Ed25519 key:

- 0x01: the signature is 64 bytes, over the text.
- 0x04: a cosignature, ``uint64be(time) || 64 bytes``, over ``cosignature/v1\ntime <time>\n<text>`` (C2SP
  tlog-cosignature). ``ledger.notes.cosignatures`` makes and checks these.
- 0x06: a post-quantum cosignature, ``uint64be(time) || 2,420 bytes`` of ML-DSA-44 (``ledger.notes.ml_dsa``), with a
  1,312-byte key. Witnesses make them, and a log may sign its own checkpoints so.

A verifier key is written ``<name>+<key ID, 8 hex digits>+<base64(type || public key)>``.

Lines by keys that a reader does not know are passed over, also those that share only name or only ID with one it
knows. A bad signature by a key it does know spoils the note. At most 100 lines and 1,000,000 bytes are read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from nacl.signing import SigningKey

from ledger import ed25519
from ledger.errors import Malformed, SignatureInvalid, TooLarge
from ledger.notes import ml_dsa
from ledger.text_forms import MAX_SIZE, from_base64, to_base64

TYPE_ED25519 = 0x01
TYPE_COSIGNATURE = 0x04
TYPE_ML_DSA_44 = 0x06
ALGORITHMS = {TYPE_ED25519: "Ed25519", TYPE_COSIGNATURE: "Ed25519", TYPE_ML_DSA_44: "ML-DSA-44"}
"""The signature algorithm of each type, as reports name it."""
MAX_NOTE_BYTES = 1_000_000
MAX_SIGNATURES = 100

_KEY_BYTES = {TYPE_ED25519: 32, TYPE_COSIGNATURE: 32, TYPE_ML_DSA_44: ml_dsa.PUBLIC_KEY_BYTES}
_KEY_ID_BYTES = 4
_SIGNATURE_BYTES = 64
_TIME_BYTES = 8
_CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f]")
_VERIFIER_KEY = re.compile(r"([^+]+)\+([0-9a-f]{8})\+([A-Za-z0-9+/=]+)")


def check_name(name: str) -> None:
    """Raise Malformed unless ``name`` may name a key: not empty, no Unicode space, no plus, no control character."""
    if name.split() != [name] or "+" in name or _CONTROL.search(name) or not _is_utf8(name):
        raise Malformed("A key's name is not empty and has no spaces, plus signs or control characters.")


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate
        return False
    return True


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A key that signs notes: its name, its type (0x01, 0x04 or 0x06) and its public key.

    Raises Malformed when the name, the type or the length of the key is not of the format.
    """

    name: str
    key_id: bytes
    type: int
    public_key: bytes

    def __post_init__(self) -> None:
        check_name(self.name)
        if self.type not in _KEY_BYTES:
            raise Malformed(
                "The verifier key is of a type that is not read here; use Ed25519 (1), cosignature (4) or ML-DSA-44 (6)."
            )
        if len(self.public_key) != _KEY_BYTES[self.type]:
            raise Malformed("The verifier key is not as long as its type's public keys: 32 bytes, or 1,312 of type 6.")
        if self.key_id != _key_id(self.name, self.type, self.public_key):
            raise Malformed("The verifier key's ID does not belong to its name and public key.")

    @classmethod
    def ed25519(cls, name: str, public_key: bytes) -> "VerifierKey":
        """Return the key of a log or another signer of texts (type 0x01)."""
        return cls._make(name, TYPE_ED25519, public_key)

    @classmethod
    def cosignature(cls, name: str, public_key: bytes) -> "VerifierKey":
        """Return the key of a witness (type 0x04)."""
        return cls._make(name, TYPE_COSIGNATURE, public_key)

    @classmethod
    def ml_dsa_44(cls, name: str, public_key: bytes) -> "VerifierKey":
        """Return the post-quantum key of a log or a witness (type 0x06)."""
        return cls._make(name, TYPE_ML_DSA_44, public_key)

    @property
    def algorithm(self) -> str:
        """The signature algorithm, as reports name it."""
        return ALGORITHMS[self.type]

    @classmethod
    def _make(cls, name: str, type_: int, public_key: bytes) -> "VerifierKey":
        check_name(name)
        return cls(name, _key_id(name, type_, public_key), type_, public_key)

    @classmethod
    def parse(cls, text: str) -> "VerifierKey":
        """Read ``<name>+<key ID>+<base64>`` strictly; raise Malformed otherwise."""
        match = _VERIFIER_KEY.fullmatch(text)
        if match is None:
            raise Malformed("A verifier key is written <name>+<8 hex digits>+<base64>.")
        name, key_id, key = match.groups()
        data = from_base64(key, "verifier key")
        return cls(name, bytes.fromhex(key_id), data[0], data[1:])

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{to_base64(bytes([self.type]) + self.public_key)}"

    def check(self, text: str, signature: bytes) -> None:
        """Raise SignatureInvalid unless ``signature`` (without key ID) is this key's over the note text ``text``."""
        if self.type == TYPE_ED25519:
            ed25519.check(text.encode(), signature, self.public_key)
            return
        time, signature = cosignature_time(signature), signature[_TIME_BYTES:]
        if self.type == TYPE_COSIGNATURE:
            ed25519.check(cosignature_message(time, text), signature, self.public_key)
            return
        try:
            message = ml_dsa.cosigned_message(self.name, time, text)
        except Malformed:
            raise SignatureInvalid("An ML-DSA-44 key signs checkpoints, and this text is none.") from None
        ml_dsa.check(message, signature, self.public_key)


def _key_id(name: str, type_: int, public_key: bytes) -> bytes:
    return sha256(name.encode() + b"\n" + bytes([type_]) + public_key).digest()[:_KEY_ID_BYTES]


def cosignature_message(time: int, text: str) -> bytes:
    """Return the bytes that a witness signs at ``time`` (seconds since 1970) under type 0x04."""
    return f"cosignature/v1\ntime {time}\n{text}".encode()


def cosignature_time(signature: bytes) -> int:
    """Return the time (seconds since 1970) in a type 0x04 or 0x06 signature; raise SignatureInvalid if it has none."""
    if len(signature) - _TIME_BYTES not in (_SIGNATURE_BYTES, ml_dsa.SIGNATURE_BYTES):
        raise SignatureInvalid("A cosignature is 8 bytes of time and 64 bytes of signature, or 2,420 of ML-DSA-44.")
    time = int.from_bytes(signature[:_TIME_BYTES], "big")
    if time > MAX_SIZE:
        raise SignatureInvalid("A cosignature's time is at most 2^63 - 1.")
    return time


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line: who says they signed, which key, and the signature without the key ID."""

    name: str
    key_id: bytes
    signature: bytes

    @classmethod
    def parse(cls, line: str) -> "NoteSignature":
        """Read one line without its newline; raise Malformed otherwise."""
        dash, space, rest = line.partition(" ")
        name, second_space, encoded = rest.partition(" ")
        if dash != "—" or not space or not second_space:
            raise Malformed("A note's signature line is an em dash, a name and base64, with one space between each.")
        check_name(name)
        data = from_base64(encoded, "note's signature")
        if len(data) <= _KEY_ID_BYTES:
            raise Malformed("A note's signature is shorter than its key ID.")
        return cls(name, data[:_KEY_ID_BYTES], data[_KEY_ID_BYTES:])

    def __str__(self) -> str:
        return f"— {self.name} {to_base64(self.key_id + self.signature)}"

    def is_by(self, key: VerifierKey) -> bool:
        """Whether the line names this key. It still has to be checked."""
        return self.name == key.name and self.key_id == key.key_id


@dataclass(frozen=True, slots=True)
class Note:
    """A text and its signatures, in the order of their lines."""

    text: str
    signatures: tuple[NoteSignature, ...]


def _check_text(text: str) -> None:
    if not text.endswith("\n") or _CONTROL.search(text):
        raise Malformed("A note's text ends in a newline and has no other control character.")


def parse_note(data: bytes) -> Note:
    """Read a signed note strictly, without checking signatures; raise Malformed or TooLarge."""
    if len(data) > MAX_NOTE_BYTES:
        raise TooLarge("The signed note is larger than 1,000,000 bytes.")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise Malformed("The signed note is not UTF-8.") from None
    cut = whole.rfind("\n\n")
    if cut < 0 or not whole.endswith("\n"):
        raise Malformed("A signed note is a text, an empty line and signature lines, each ended by a newline.")
    text, lines = whole[: cut + 1], whole[cut + 2 : -1]
    _check_text(text)
    if not lines:
        raise Malformed("The signed note has no signatures.")
    rows = lines.split("\n")
    if len(rows) > MAX_SIGNATURES:
        raise TooLarge("The signed note has more than 100 signatures.")
    return Note(text, tuple(NoteSignature.parse(row) for row in rows))


def format_note(note: Note) -> bytes:
    """Return the bytes of a signed note; raise Malformed or TooLarge where ``parse_note`` would not give it back."""
    whole = "\n".join([note.text, *map(str, note.signatures), ""])
    if not _is_utf8(whole) or parse_note(data := whole.encode()) != note:
        raise Malformed("A text or signature of the note does not fit the format of signed notes.")
    return data


def sign_text(text: str, name: str, key: SigningKey) -> NoteSignature:
    """Sign a note's text under type 0x01; raise Malformed if no note may have that text or that signer's name."""
    _check_text(text)
    verifier = VerifierKey.ed25519(name, bytes(key.verify_key))
    return NoteSignature(name, verifier.key_id, key.sign(text.encode()).signature)


def verify_note(note: Note, keys: Sequence[VerifierKey]) -> list[VerifierKey]:
    """Return those of ``keys`` that signed the note, in the order of ``keys``.

    Lines by other keys are passed over. Raises SignatureInvalid when a line by one of ``keys`` does not verify, or
    when none of ``keys`` signed.
    """
    signed = []
    for key in keys:
        lines = [each for each in note.signatures if each.is_by(key)]
        for line in lines:
            key.check(note.text, line.signature)
        if lines:
            signed.append(key)
    if not signed:
        raise SignatureInvalid("The note is not signed by any key that is known here.")
    return signed

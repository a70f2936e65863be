r"""Evidence that a log has signed two trees that cannot both be true: one file, which convicts the log on its own.

A **split view** is one line of canonical JSON (``ledger.canonical``)::

    {"kind":"split-view","larger":"example.town/log\n9\n…","log_keys":["example.town/log+2f1a…+AbCd…"],
     "prefix":"<base64>","proof":["<base64>",…],"smaller":"example.town/log\n6\n…","v":1}

============  ========================================================================================================
field         says
============  ========================================================================================================
``log_keys``  1 to 8 verifier keys of the log, all of one origin. More than one after the log has changed its key
``smaller``   a checkpoint of m entries: the whole signed note, as it came, with whatever cosignatures it has
``larger``    a checkpoint of n entries, n at least m
``prefix``    the root of the first m entries of the tree that ``larger`` signs
``proof``     the RFC 6962 consistency proof from ``prefix`` at m to ``larger`` at n: base64 hashes, at most 63
============  ========================================================================================================

Hashes are base64 of 32 bytes. The file convicts if all of this holds:

1. both notes are checkpoints of the keys' origin, and one of the keys signed each (a bad line by one of them spoils
   it);
2. the proof shows that ``prefix`` is the root of the first m entries under ``larger``. Where m = n there is nothing to
   prove: the proof is empty and ``prefix`` is the root of ``larger``. Where m = 0 the proof is empty and ``prefix`` is
   the empty tree's root;
3. ``prefix`` is not the root of ``smaller``.

**Why that convicts.** The proof's length and the place of each of its hashes follow from m and n alone, and together
they hash to the larger root. Were that the root of a real tree, each hash would have to be that tree's own node at its
place, or SHA-256 has a collision; and so ``prefix`` would be the root of that tree's first m entries. An append-only
log signs that root at size m, and no other.

**Why it needs so little.** Two notes of different sizes do not contradict each other by themselves. What does is the
larger tree's own past, some 2 log n hashes of it; the smaller tree's entries are not needed, so a fork whose tiles were
taken away is convicted as well. No file can be made from the checkpoints of an honest log: by 2 it would have to break
SHA-256, and by 1 the signature.

**What it does not say:** which of the two histories is the right one, or who else was shown which. Where ``log_keys``
come from the file itself, it convicts whoever holds these keys; that they are your town's is for the reader to compare.
A key that the log has laid down (``ledger.notes.log_keys``) may have been stolen since: signed with it, a tree that
already holds the change is the thief's, and the town answers by showing the ``log-key`` entry.
"""

from collections.abc import Sequence
from typing import Annotated, Literal

from msgspec import Meta, Struct

from ledger import canonical
from ledger.errors import Malformed, MusubiError, ProofInvalid, SignatureInvalid, TooLarge
from ledger.hashing import EMPTY_ROOT, HASH_BYTES
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import MAX_NOTE_BYTES, TYPE_COSIGNATURE, VerifierKey, parse_note, verify_note
from ledger.tlog.proofs import check_consistency, proven_prefix
from ledger.tlog.tree import HashReader, prove_consistency, root_hash, subtrees

MAX_EVIDENCE_BYTES = 8_000_000
MAX_LOG_KEYS = 8
MAX_PROOF_HASHES = 63

Hash = Annotated[bytes, Meta(min_length=HASH_BYTES, max_length=HASH_BYTES)]
"""32 bytes, in base64."""
Note = Annotated[str, Meta(max_length=MAX_NOTE_BYTES)]
"""A whole signed note (``ledger.notes.note``)."""
LogKeys = Annotated[list[Annotated[str, Meta(max_length=4_000)]], Meta(min_length=1, max_length=MAX_LOG_KEYS)]
"""Verifier keys of one log, as text."""


class Conviction(Struct, frozen=True, kw_only=True):
    """What a file of evidence has shown.

    ``log_keys`` are the keys that it is shown against; ``pinned`` says whether the reader brought them, or the file
    did. ``says`` is one sentence for people.
    """

    kind: str
    origin: str
    log_keys: list[str]
    pinned: bool
    says: str


class SplitView(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="split-view"):
    """Two signed checkpoints of one log, and what shows that they cannot both be true. See the module's docstring."""

    v: Literal[1] = 1
    log_keys: LogKeys
    smaller: Note
    larger: Note
    prefix: Hash
    proof: Annotated[list[Hash], Meta(max_length=MAX_PROOF_HASHES)]

    @classmethod
    def parse(cls, data: bytes) -> "SplitView":
        """Read the file strictly, without checking what it shows; raise Malformed or TooLarge."""
        return canonical.decode(line_of(data), cls, "evidence")

    def format(self) -> bytes:
        """Return the file's bytes, a line of JSON; the inverse of ``parse``."""
        return canonical.encode(self) + b"\n"


def line_of(data: bytes) -> bytes:
    """Return the one line of a file of evidence, without its newline; raise Malformed or TooLarge."""
    if len(data) > MAX_EVIDENCE_BYTES:
        raise TooLarge("The file is larger than evidence can be, 8,000,000 bytes.")
    if not data.endswith(b"\n"):
        raise Malformed("A file of evidence is one line that ends in a newline; perhaps its end was cut off.")
    return data[:-1]


def read_log_keys(texts: Sequence[str]) -> list[VerifierKey]:
    """Return the keys of one log; raise Malformed where they are not of one origin, or one is a witness's."""
    keys = [VerifierKey.parse(text) for text in texts]
    if not keys or len({key.name for key in keys}) != 1 or any(key.type == TYPE_COSIGNATURE for key in keys):
        raise Malformed("Evidence is against the keys of one log, all under its origin.")
    return keys


def choose_keys(stated: Sequence[str], trusted: Sequence[VerifierKey]) -> list[VerifierKey]:
    """Return the keys to check a file against: those that the reader trusts, or without any the file's own."""
    return list(trusted) or read_log_keys(stated)


def open_signed(note: bytes, keys: Sequence[VerifierKey]) -> Checkpoint:
    """Read a checkpoint that one of the log's keys signed. Raises Malformed, TooLarge or SignatureInvalid."""
    opened = parse_note(note)
    verify_note(opened, keys)
    checkpoint = Checkpoint.parse_extended(opened.text)
    if any(key.name != checkpoint.origin for key in keys):
        raise SignatureInvalid("A checkpoint in the evidence is of another log than the key that it is held against.")
    return checkpoint


def signers(notes: Sequence[bytes], keys: Sequence[VerifierKey]) -> list[str]:
    """Return those of a log's keys that signed one of the notes, as text: what evidence names.

    Raises Malformed, TooLarge or SignatureInvalid.
    """
    found = [key for note in notes for key in verify_note(parse_note(note), keys)]
    return [str(key) for key in dict.fromkeys(found)]


def check_split_view(evidence: SplitView, trusted: Sequence[VerifierKey] = ()) -> Conviction:
    """Return what the file convicts the log of; raise an error where it does not.

    ``trusted`` are the log's keys as the reader knows them; without any, the file's own are taken, and the conviction
    says so. Raises Malformed, TooLarge, SignatureInvalid (not signed by the log) or ProofInvalid (no contradiction).
    """
    keys = choose_keys(evidence.log_keys, trusted)
    smaller, larger = open_signed(evidence.smaller.encode(), keys), open_signed(evidence.larger.encode(), keys)
    _check_prefix(smaller.size, larger, evidence.prefix, evidence.proof)
    if evidence.prefix == smaller.root:
        raise ProofInvalid("The two checkpoints agree: the larger tree begins with the smaller one.")
    if smaller.size == larger.size:
        says = f"The log signed two different trees of the same size, {larger.size} entries."
    else:
        says = (
            f"The log signed a tree of {smaller.size} entries and a tree of {larger.size} entries that does not begin "
            "with it: an entry was changed, put in or left out after it was signed."
        )
    return Conviction(
        kind="split-view",
        origin=larger.origin,
        log_keys=[str(key) for key in keys],
        pinned=bool(trusted),
        says=says,
    )


def _check_prefix(size: int, larger: Checkpoint, prefix: bytes, proof: Sequence[bytes]) -> None:
    """Raise ProofInvalid unless ``prefix`` is shown to be the root of the first ``size`` entries of the larger tree."""
    if size > larger.size:
        raise ProofInvalid("The evidence has its two checkpoints in the wrong order: the smaller one is larger.")
    if size in (0, larger.size):
        if proof or prefix != (larger.root if size == larger.size else EMPTY_ROOT):
            raise ProofInvalid("Between equal sizes, and from size 0, the evidence has nothing to prove.")
        return
    check_consistency(size, larger.size, prefix, larger.root, proof)


def make_split_view(
    first: bytes, second: bytes, keys: Sequence[VerifierKey], tree: HashReader | None = None
) -> SplitView | None:
    """Return the evidence that two signed checkpoints, in any order, contradict each other; None where they agree.

    ``tree`` reads hashes of the larger tree; it is not asked where the sizes are equal or one is 0, and nothing that it
    answers is believed. Raises Malformed, TooLarge or SignatureInvalid for a note that is no checkpoint of the log;
    ProofInvalid where ``tree`` is missing or is not the larger one's; and what ``tree`` raises.
    """
    opened = [(open_signed(note, keys), note.decode()) for note in (first, second)]
    (smaller, small_note), (larger, large_note) = sorted(opened, key=lambda pair: pair[0].size)
    proof: list[bytes] = []
    if smaller.size == larger.size:
        prefix = larger.root
    elif smaller.size == 0:
        prefix = EMPTY_ROOT
    elif tree is None:
        raise ProofInvalid("Two checkpoints of different sizes say nothing without the larger tree's hashes.")
    else:
        prefix = root_hash(smaller.size, tree)
        proof = prove_consistency(smaller.size, larger.size, tree)
    _check_prefix(smaller.size, larger, prefix, proof)
    if prefix == smaller.root:
        return None
    return SplitView(
        log_keys=signers((first, second), keys), smaller=small_note, larger=large_note, prefix=prefix, proof=proof
    )


def split_view_of_refused(
    stored: bytes, refused: bytes, proof: Sequence[bytes], keys: Sequence[VerifierKey]
) -> SplitView | None:
    """Return what convicts a log whose new checkpoint a witness refused, or None where that contradicts nothing.

    ``proof`` is the one that the log sent from the stored checkpoint to the new one. Where it belongs to another
    history it says so itself: it shows which prefix the new tree has. Only where the stored size is a power of two is
    that prefix left out of the proof; and a proof that is wrong altogether is no evidence of anything.
    """
    try:
        old, new = open_signed(stored, keys).size, open_signed(refused, keys).size
        if not 0 < old < new:
            return make_split_view(stored, refused, keys)
        prefix = proven_prefix(old, new, proof)
        if prefix is None:
            return None
        evidence = SplitView(
            log_keys=signers((stored, refused), keys),
            smaller=stored.decode(),
            larger=refused.decode(),
            prefix=prefix,
            proof=list(proof),
        )
        check_split_view(evidence, keys)
    except MusubiError:
        return None
    return evidence


def parting(size: int, one: HashReader, other: HashReader) -> int | None:
    """Return the first index below ``size`` at which two trees differ, or None where these leaves are the same.

    Both trees have at least ``size`` leaves. Reads at most some 2 log2(size) hashes of each.
    """

    def differs(node: tuple[int, int]) -> bool:
        return one.read_hashes([node]) != other.read_hashes([node])

    found = next((node for node in subtrees(0, size) if differs(node)), None)
    if found is None:
        return None
    level, index = found
    while level:
        level, index = level - 1, index * 2
        index += not differs((level, index))
    return index

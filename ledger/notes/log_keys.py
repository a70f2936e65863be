"""Which keys a log signs with at which size: its key history, and opening checkpoints by it.

The first keys are those of the genesis entry. A ``log-key`` entry at index i changes them (``policies.log_key_changes``
says which entries do). **A checkpoint of size s is signed with the keys of the last change at an index below s**: the
first tree that holds the entry is the first that is signed with the new key, every smaller one with the old key, for
ever. So an old receipt stays good, and an old key is worth nothing for any tree that holds its successor.

A log has an Ed25519 key (type 0x01) and may have a post-quantum one as well (type 0x06), both under its origin. Where
it has both, a checkpoint bears both signatures; one alone is refused.
"""

from dataclasses import dataclass

from ledger.errors import Malformed, ProofInvalid, SignatureInvalid
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import TYPE_ED25519, TYPE_ML_DSA_44, Note, VerifierKey, parse_note, verify_note


@dataclass(frozen=True, slots=True)
class LogKeys:
    """The keys of a log at one time, both named for its origin. Raises Malformed where they are not."""

    key: VerifierKey
    post_quantum: VerifierKey | None = None

    def __post_init__(self) -> None:
        if self.key.type != TYPE_ED25519:
            raise Malformed("A log's key is an Ed25519 key (type 1).")
        if self.post_quantum is not None and (
            self.post_quantum.type != TYPE_ML_DSA_44 or self.post_quantum.name != self.key.name
        ):
            raise Malformed(
                "A log's post-quantum key is an ML-DSA-44 key (type 6) under the same name as its other key."
            )

    @classmethod
    def parse(cls, key: str, post_quantum: str = "") -> "LogKeys":
        """Read verifier keys; an empty text is no post-quantum key. Raises Malformed."""
        return cls(VerifierKey.parse(key), VerifierKey.parse(post_quantum) if post_quantum else None)

    @property
    def all(self) -> tuple[VerifierKey, ...]:
        """Every key that must have signed."""
        return (self.key,) if self.post_quantum is None else (self.key, self.post_quantum)


@dataclass(frozen=True, slots=True)
class LogKeyHistory:
    """The keys of one log: (index of the entry that brought them, keys), in order. The first stand at index 0."""

    changes: tuple[tuple[int, LogKeys], ...]

    @classmethod
    def of(cls, key: "VerifierKey | LogKeys | LogKeyHistory") -> "LogKeyHistory":
        """Return a history; that of a single key has no change."""
        if isinstance(key, LogKeyHistory):
            return key
        return cls(((0, key if isinstance(key, LogKeys) else LogKeys(key)),))

    @property
    def origin(self) -> str:
        """The log's origin, which all its keys are named for."""
        return self.changes[0][1].key.name

    @property
    def newest(self) -> LogKeys:
        """The keys of the largest trees."""
        return self.changes[-1][1]

    @property
    def signing_keys(self) -> list[VerifierKey]:
        """Return every Ed25519 key of the log's whole life, each once: what evidence is held against."""
        return list(dict.fromkeys(keys.key for _, keys in self.changes))

    def at(self, size: int) -> LogKeys:
        """Return the keys that sign a tree of ``size`` entries."""
        return next((keys for index, keys in reversed(self.changes) if index < size), self.changes[0][1])

    def after(self, index: int, keys: LogKeys) -> "LogKeyHistory":
        """Return the history with one more change, at ``index``.

        Raises ProofInvalid where it is not after the last one, is of another log, changes nothing, or brings back a key
        that the log has laid down: that one may be in a thief's hands.
        """
        newest = self.newest
        used = {key.public_key for _, old in self.changes for key in old.all}
        standing = {key.public_key for key in newest.all}
        if keys.key.name != self.origin or index <= self.changes[-1][0]:
            raise ProofInvalid("the change of the log's key is for another log, or out of turn.")
        if keys == newest:
            raise ProofInvalid("the change of the log's key changes nothing.")
        if any(key.public_key in used - standing for key in keys.all):
            raise ProofInvalid("the change of the log's key brings back a key that was laid down.")
        return LogKeyHistory((*self.changes, (index, keys)))

    def open(self, data: bytes, *, of_witness: bool = False) -> tuple[Checkpoint, Note]:
        """Read a signed checkpoint and check that the keys of its size signed it, each of them.

        ``of_witness``: one of them is enough, because a witness keeps only the lines by those keys that it knows.
        Raises Malformed, TooLarge, or SignatureInvalid, also for a key that was laid down before that size.
        """
        note = parse_note(data)
        checkpoint = Checkpoint.parse(note.text)
        if checkpoint.origin != self.origin:
            raise SignatureInvalid("The checkpoint is for another log than the key that it is checked with.")
        keys = self.at(checkpoint.size)
        try:
            for wanted in [keys.all] if of_witness else [[key] for key in keys.all]:
                verify_note(note, wanted)
        except SignatureInvalid:
            others = {key for _, old in self.changes for key in old.all} - set(keys.all)
            if any(line.is_by(key) for key in others for line in note.signatures):
                raise SignatureInvalid(
                    "The checkpoint is signed with a key that the log does not sign trees of this size with."
                ) from None
            raise
        return checkpoint, note

"""What reading a log hands out (``trust.log.follower``): a checkpoint that was checked, and entries of its tree."""

from dataclasses import dataclass, field

from ledger.notes.checkpoints import Checkpoint
from ledger.tlog.tree import Frontier


@dataclass(frozen=True, slots=True)
class SeenCheckpoint:
    """A checkpoint that was checked: the whole note as it came, and who cosigned it when (seconds since 1970)."""

    checkpoint: Checkpoint
    note: bytes
    cosigned: dict[str, int]
    algorithms: dict[str, list[str]] = field(default_factory=dict)
    """The signature algorithms that were checked, each with those who vouched by it: ``log``, or a witness by name."""
    time: int | None = None
    """The median cosignature time (the lower one of two), each witness once, or None without cosigners."""


@dataclass(frozen=True, slots=True)
class VerifiedBatch:
    """At most 4,096 entries in a row, from index ``first`` on, all shown to be in the checkpoint's tree.

    ``hashes`` are their leaf hashes, each computed from its entry. ``frontier`` is the tree's edge right after them:
    with it, reading can begin again behind this batch.
    """

    seen: SeenCheckpoint
    first: int
    entries: list[bytes]
    hashes: list[bytes]
    frontier: Frontier

    @property
    def checkpoint(self) -> Checkpoint:
        """The checkpoint that the entries were checked against."""
        return self.seen.checkpoint

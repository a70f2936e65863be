"""Which of the checkpoints at hand says what the log holds: that of the row ``published``, of the file, of a mirror.

One counts if the log's keys signed it. Where several do, one that today's quorum of witnesses cosigned goes before one
that it did not, then the larger tree, then the one with more cosignatures, then the row before the file. A mirror's
counts only with the quorum: it comes from somebody else. Nothing is ever signed here.

The log's keys change by entries that the stewards' quorum signed (``policies.log_key_changes``). These are believed for
their signatures alone, so they may be looked for in rows and bundles that nothing else vouches for.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from ledger import entries as e
from ledger.errors import MusubiError
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.witness_policy import WitnessPolicy
from policies.log_key_changes import change_log_keys

Place = Literal["published", "log/checkpoint", "mirror"]
_MARK = b'"kind":"log-key"'


@dataclass(frozen=True, slots=True)
class Candidate:
    """A checkpoint that the log signed, where it lies, and how well it is cosigned."""

    place: Place
    note: bytes
    checkpoint: Checkpoint
    quorum: bool
    cosigned: int


def read_candidate(place: Place, note: bytes, keys: LogKeyHistory, witnesses: WitnessPolicy) -> Candidate | None:
    """Return the checkpoint in ``note``, or None where the log's keys did not sign it; a mirror's needs no quorum."""
    try:
        checkpoint, opened = keys.open(note)
    except MusubiError:
        return None
    try:
        cosigned = witnesses.check_quorum(opened)
    except MusubiError:
        return None if place == "mirror" else Candidate(place, note, checkpoint, quorum=False, cosigned=0)
    return Candidate(place, note, checkpoint, quorum=True, cosigned=len(witnesses.by_witness(cosigned)))


def choose(candidates: list[Candidate]) -> Candidate | None:
    """Return the one that says what the log holds; of equals the first."""
    return max(candidates, key=lambda each: (each.quorum, each.checkpoint.size, each.cosigned), default=None)


def find_key_changes(history: LogKeyHistory, genesis: e.Genesis, entries: Iterable[tuple[int, bytes]]) -> LogKeyHistory:
    """Return the history of the log's keys, from entries in the order of the log that nobody has vouched for."""
    for index, data in entries:
        if _MARK not in data:
            continue
        try:
            entry = e.decode(data)
            if isinstance(entry, e.LogKey):
                history = change_log_keys(history, index, entry, genesis)
        except MusubiError:
            continue  # damaged, or the same one seen before
    return history

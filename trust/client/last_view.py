"""What a place saw of the log last: the checkpoint that it keeps beside its pins, so that it is never shown less.

``checkpoint`` in the place's folder is the last signed note that was checked here. It is written whole or not at all;
a crash leaves the one before, which is as true. Whoever takes it away makes the place forget what it has seen, and only
that.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ledger.errors import MusubiError, Unavailable
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import MAX_NOTE_BYTES, parse_note
from trust.client.place import Place
from trust.files.durable import write_whole
from trust.files.regular import open_regular
from trust.log.follower import LogFollower
from trust.log.freshness import look
from trust.runtime.clock import Clock, system_clock

LAST_CHECKPOINT = "checkpoint"


@contextmanager
def view_of(place: Place, at_least: int = 0, clock: Clock = system_clock) -> Iterator[LogFollower]:
    """Read the service's log by the pins, from its newest checkpoint, which is kept at the end.

    The newest was held against what the place saw before, a size that it has proof of, and what the pinned witnesses
    know (``freshness.look``). Raises what that does, OldView above all; and Unavailable where the kept checkpoint is
    damaged or cannot be written.
    """
    path = place.folder / LAST_CHECKPOINT
    kept = _read(path)
    with place.log() as log:
        try:
            follower = LogFollower(log, place.trust.log_keys, place.trust.witnesses, latest=kept, clock=clock)
        except MusubiError:
            raise Unavailable(
                f"The last checkpoint that this place keeps, '{path}', is damaged, or another log's. Where the town's pins "
                "are right, take the file away: the place then begins anew."
            ) from None
        look(follower, at_least)
        try:
            yield follower
        finally:
            if follower.latest is not None:
                _keep(path, follower.latest.note)


def _read(path: Path) -> bytes | None:
    try:
        with open_regular(path) as file:
            return file.read(MAX_NOTE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError:
        raise Unavailable(f"The last checkpoint '{path}' cannot be read; check its permissions.") from None


def _keep(path: Path, note: bytes) -> None:
    """Keep a note, unless another command of this place has kept a larger tree meanwhile."""
    known = _read(path)
    if known != note and (known is None or _size(known) <= _size(note)):
        write_whole(path, note, mode=0o644)


def _size(note: bytes) -> int:
    return Checkpoint.parse(parse_note(note).text).size

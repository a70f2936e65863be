"""Holding the checkpoint that an auditor has checked against what someone else was shown of the same log.

Someone else is another address of the log (a mirror, another network's view of the service), a witness, a folder with a
copy of the log or another auditor's state, or a file: a signed checkpoint, or evidence that they made. Whatever they
give counts only as far as the log's own key signed it.

Two checkpoints of one size agree if their roots do. Of two sizes, the larger tree must begin with the smaller one, and
only the larger tree's tiles show that: they are read from whoever has them, and checked against its signed root. Where
the two contradict each other, ``ledger.evidence`` makes the file that convicts the log; where both sides have their
tiles, the first entry that differs is named. Where nobody gives the larger tree's tiles, nothing is shown either way,
and that is said: it is never taken for agreement.
"""

import hashlib
from pathlib import Path
from typing import Literal

from msgspec import Struct

from ledger.errors import MusubiError, NotFound, TooLarge, Unavailable
from ledger.evidence import MAX_EVIDENCE_BYTES, SplitView, make_split_view, open_signed, parting
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import MAX_NOTE_BYTES, VerifierKey
from ledger.second_reads import read_in_turn
from trust.files.evidence import Evidence, check_evidence, parse_evidence
from trust.log.source import FolderLog, FreshReads, LogSource, StaticLog, is_url, open_log, past_caches, tiles_of


class ShownTree(Struct, frozen=True, kw_only=True):
    """What someone was shown: a signed note, and where that tree's tiles may be read (or None)."""

    note: bytes
    source: LogSource | None


class Comparison(Struct, frozen=True, kw_only=True):
    """How one other view compares. ``size`` and ``root`` are of its checkpoint, where it has one.

    ``parts_at`` is the first entry that differs, where that can be told. ``says`` is one sentence for people.
    """

    place: str
    outcome: Literal["same history", "contradiction"]
    says: str
    size: int | None = None
    root: str = ""
    parts_at: int | None = None


def compare(own: ShownTree, keys: list[VerifierKey], place: str) -> tuple[Comparison, Evidence | None]:
    """Compare one's own view with the one at ``place``; return how, and the evidence where they contradict.

    Raises Unavailable or NotFound where the other view, or the larger tree's tiles, cannot be had; Malformed, TooLarge,
    SignatureInvalid or ProofInvalid where what is there is not the log's.
    """
    found = _read_file(Path(place)) if not is_url(place) and Path(place).is_file() else None
    if found is not None and found.lstrip().startswith(b"{"):
        evidence = parse_evidence(found)
        conviction = check_evidence(evidence, keys)
        return Comparison(place=place, outcome="contradiction", says=conviction.says), evidence
    if found is not None:
        return _compare_shown(own, ShownTree(note=found, source=None), keys, place)
    log = open_log(place)

    def read(way: StaticLog | FolderLog | FreshReads) -> tuple[Comparison, SplitView | None]:
        return _compare_shown(own, _read_shown(log, way, keys[0].name), keys, place)

    try:
        return read_in_turn([log, *past_caches(log)], read)
    finally:
        log.close()


def _read_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_EVIDENCE_BYTES + 1)
    except OSError:
        raise Unavailable("The file to compare with cannot be read; check its permissions.") from None
    if len(data) > MAX_EVIDENCE_BYTES:
        raise TooLarge("The file to compare with is larger than a checkpoint or evidence can be.")
    return data


def _read_shown(log: StaticLog | FolderLog, way: StaticLog | FolderLog | FreshReads, origin: str) -> ShownTree:
    """Return, as read by one way, the newest checkpoint of a log, or a witness's latest of the log with that origin."""
    try:
        return ShownTree(note=way.read_checkpoint(), source=log)
    except NotFound:
        if not isinstance(log, StaticLog):
            raise
    try:
        path = f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"
        return ShownTree(note=way.get(path, MAX_NOTE_BYTES), source=None)
    except NotFound:
        raise NotFound("There is neither a log nor a witness of this log at the address to compare with.") from None


def _compare_shown(
    own: ShownTree, other: ShownTree, keys: list[VerifierKey], place: str
) -> tuple[Comparison, SplitView | None]:
    mine, theirs = open_signed(own.note, keys), open_signed(other.note, keys)
    evidence = _contradiction(own, other, mine, theirs, keys)
    if evidence is None:
        longer = "" if mine.size == theirs.size else ", and the larger tree continues the smaller one"
        says = f"The same history: {theirs.size} entries there, {mine.size} here{longer}."
        return Comparison(
            place=place, outcome="same history", says=says, size=theirs.size, root=theirs.root.hex()
        ), None
    parts_at = _parts_at(own, other, mine, theirs)
    where = "" if parts_at is None else f" The two part at entry {parts_at}."
    return Comparison(
        place=place,
        outcome="contradiction",
        says=f"The log signed another history there: {theirs.size} entries there, {mine.size} here.{where}",
        size=theirs.size,
        root=theirs.root.hex(),
        parts_at=parts_at,
    ), evidence


def _contradiction(
    own: ShownTree, other: ShownTree, mine: Checkpoint, theirs: Checkpoint, keys: list[VerifierKey]
) -> SplitView | None:
    if mine.size == theirs.size or 0 in (mine.size, theirs.size):
        return make_split_view(own.note, other.note, keys)
    larger = max(mine, theirs, key=lambda checkpoint: checkpoint.size)
    sources = [view.source for view in ((own, other) if larger is mine else (other, own)) if view.source is not None]
    for source in sources:
        try:
            tree = tiles_of(source, larger)
            return make_split_view(own.note, other.note, keys, tree)
        except MusubiError:
            continue  # whoever has the tiles will do
    raise Unavailable(
        f"Two signed trees, of {mine.size} and {theirs.size} entries, cannot be compared: nobody gives the larger "
        "one's tiles. Try again later; if it stays so, a part of the history is kept from you."
    )


def _parts_at(own: ShownTree, other: ShownTree, mine: Checkpoint, theirs: Checkpoint) -> int | None:
    """Return the first entry that differs, where both trees' tiles are there to look at."""
    if own.source is None or other.source is None:
        return None
    try:
        one = tiles_of(own.source, mine)
        two = tiles_of(other.source, theirs)
        return parting(min(mine.size, theirs.size), one, two)
    except MusubiError:
        return None

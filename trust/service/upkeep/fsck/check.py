"""Is the service's log at rest whole? Holds database, tiles and checkpoint against the tree that was signed.

What counts is the largest checkpoint that the log's keys signed and its witnesses cosigned (``checkpoints``). From its
root down, every tile's true hashes are told (``ledger.tlog.tile_recovery``), and held against them are: each tile of
hashes and bundle of entries that the checkpoint needs, each narrower one that is still kept for an earlier checkpoint,
and each row of ``entries`` (``tree_check``). Then the rows ``published`` and ``head``, the checkpoint's file, and the
sealed records, each against its entry's commitment (``record_check``). All that is wrong is named.

It always ends: what is read is bounded by the tree's size and the rows that are there, the search for true hashes by
a number of tries, and a mirror that fails three times in a row is not asked any more. Memory does not grow with the
log, only with what is wrong.

**Repair** writes what is known to be true, and nothing else: tiles and bundles from entries, entries from bundles or a
mirror, each only if it hashes to the signed root; ``published`` and the checkpoint's file from each other or a mirror,
if the witnesses cosigned it; ``head`` where the rows end. In that order, so that a crash in between leaves what the
next repair finishes. It signs nothing, so it needs no key. It is refused while a service process is at work, and none
starts meanwhile. A check alone may be run beside a service.

**Not repaired:** entries of which no copy is left; ``head`` where it says more than there are rows, since entries that
were committed, and are lost before they were published, are for a backup to bring back; and other tables. Where
``head`` was behind the signed tree, the database as a whole may be an old one, and the report says so.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack, suppress

from ledger.errors import HistoryForked, MusubiError, NotFound, ProofInvalid, SignatureInvalid, Unavailable
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.note import MAX_NOTE_BYTES
from ledger.second_reads import read_in_turn
from ledger.tlog.tile_recovery import RecoveredTiles, Source
from ledger.tlog.tree import root_hash
from policies.log_key_changes import first_log_keys
from trust.log.source import LogSource, open_log, past_caches
from trust.log.tile_folder import CHECKPOINT, TileFolder
from trust.service.settings import Settings
from trust.service.upkeep.fsck.checkpoints import Candidate, Place, choose, find_key_changes, read_candidate
from trust.service.upkeep.fsck.copies import Files, Groups, Mirror
from trust.service.upkeep.fsck.record_check import check_records
from trust.service.upkeep.fsck.report import FsckReport
from trust.service.upkeep.fsck.rows import LogRows
from trust.service.upkeep.fsck.singles import LOOK_SECONDS, LOOKS, Singles
from trust.service.upkeep.fsck.tree_check import Progress, TreeCheck
from trust.service.upkeep.fsck.word_check import check_words


def fsck(
    settings: Settings, *, mirror: str | None = None, repair: bool = False, progress: Progress | None = None
) -> FsckReport:
    """Check a service's stored log, and repair what can be repaired where that is asked for; return what was found.

    ``mirror`` is the address or folder of another copy. Raises HistoryForked, with nothing changed, where two signed
    checkpoints contradict each other; NotFound or Malformed where the folder is no service's; what ``open_log`` raises.
    Not for use within an event loop.
    """
    with ExitStack() as stack:
        source = open_log(mirror) if mirror is not None else None
        if source is not None:
            stack.callback(source.close)
        report = FsckReport(origin=settings.service.origin)
        rows = _open_rows(settings, report)
        if rows is not None:
            stack.callback(rows.close)
            if repair:
                rows.take_lock()
        folder = TileFolder(settings.folder / "log") if repair else None
        if folder is not None:
            stack.callback(folder.close)
        _Check(settings, rows, folder, source, report).run(progress)
    return report


def _open_rows(settings: Settings, report: FsckReport) -> LogRows | None:
    """Return the rows, or None where the database as a whole cannot be read, which is then named."""
    try:
        rows = LogRows(settings.database_url)
    except NotFound:
        report.add("database", "missing")
        return None
    try:
        rows.end()
        rows.head()
        rows.published()
    except Unavailable:
        rows.close()
        report.add("database", "unreadable")
        return None
    return rows


class _Check:
    """One check. ``folder`` is where repairs are written; without one nothing is written anywhere."""

    def __init__(
        self,
        settings: Settings,
        rows: LogRows | None,
        folder: TileFolder | None,
        source: LogSource | None,
        report: FsckReport,
    ) -> None:
        self._genesis = settings.genesis()
        self._witnesses = settings.witnesses()
        self._path = settings.folder / "log"
        self._rows = rows
        self._folder = folder
        self._source = source
        self._report = report
        self._files = Files(self._path)
        self._groups = Groups(self._files, rows)
        self._key_file = settings.record_keys
        self._published: tuple[int, bytes] | None = None
        """The row as it was when the check began."""

    def run(self, progress: Progress | None) -> None:
        """Check everything."""
        notes = self._notes()
        candidates = self._candidates(notes)
        meant = choose(candidates)
        if meant is None:
            self._say_without_checkpoint(notes)
            return
        tree, report = meant.checkpoint, self._report
        report.size, report.root = tree.size, tree.root.hex()
        mirror = self._mirror(candidates)
        near: list[Source] = [self._groups.from_tile_file, self._groups.from_bundle, self._groups.from_rows]
        true = RecoveredTiles(near, mirror.sources if mirror else [], tree.size, tree.root)
        if not true.is_known:
            report.notes.append("Too little is left to reach the signed root; run it again with --mirror.")
        _check_no_fork(true, meant, candidates)
        checked = TreeCheck(true, self._files, self._groups, self._rows, mirror, report, self._folder)
        checked.run(progress)
        singles = Singles(self._path, self._rows, report, self._folder)
        singles.check_or_repair_published(meant, candidates, self._published)
        singles.check_or_repair_head(tree.size, checked.last)
        singles.check_or_repair_checkpoint_file(meant, candidates, notes)
        check_records(self._rows, self._key_file, report)
        check_words(self._rows, report)
        if mirror is not None and mirror.is_given_up:
            report.notes.append("The mirror stopped answering and was not asked any more.")

    # Which tree was signed.

    def _notes(self) -> dict[Place, bytes]:
        """Return every checkpoint at hand, unchecked."""
        found = self._own_notes()
        for _ in range(LOOKS if self._folder is None else 0):  # a service at work writes first the one, then the other
            if found.get("published") == found.get("log/checkpoint"):
                break
            time.sleep(LOOK_SECONDS)
            found = self._own_notes()
        if self._source is not None:
            try:
                found["mirror"] = read_in_turn([self._source, *past_caches(self._source)], self._read_mirror)
            except SignatureInvalid as error:
                self._report.notes.append(error.message)
            except MusubiError as error:
                self._report.notes.append(f"The mirror gave no checkpoint. {error.message}")
        return found

    def _read_mirror(self, way: LogSource) -> bytes:
        """Return the mirror's checkpoint as read by one way; raise SignatureInvalid where it does not count."""
        note, first = way.read_checkpoint(), first_log_keys(self._genesis)
        if read_candidate("mirror", note, first, self._witnesses) is None:
            changed = find_key_changes(first, self._genesis, self._all_entries())
            if read_candidate("mirror", note, changed, self._witnesses) is None:
                raise SignatureInvalid(
                    "The mirror's checkpoint is not signed by this log and its witnesses; it was not used."
                )
        return note

    def _own_notes(self) -> dict[Place, bytes]:
        found: dict[Place, bytes] = {}
        self._published = self._rows.published() if self._rows is not None else None
        if self._published is not None and self._published[1]:
            found["published"] = self._published[1]
        try:
            data = self._files.read(CHECKPOINT, MAX_NOTE_BYTES)
        except Unavailable:
            data = b""
        if data is not None:
            found["log/checkpoint"] = data
        return found

    def _candidates(self, notes: dict[Place, bytes]) -> list[Candidate]:
        def read(keys: LogKeyHistory) -> list[Candidate]:
            made = [read_candidate(place, note, keys, self._witnesses) for place, note in notes.items()]
            return [each for each in made if each is not None]

        keys = first_log_keys(self._genesis)
        found = read(keys)
        if len(found) < len(notes):  # damaged, or signed with keys that came later
            found = read(find_key_changes(keys, self._genesis, self._all_entries()))
        return found

    def _all_entries(self) -> Iterator[tuple[int, bytes]]:
        """Yield every entry that is in a bundle, then every one that is in a row, unchecked."""
        yield from self._files.all_entries()
        if self._rows is not None:
            with suppress(Unavailable):
                yield from self._rows.entries_from(0)

    def _mirror(self, candidates: list[Candidate]) -> Mirror | None:
        size = next((each.checkpoint.size for each in candidates if each.place == "mirror"), None)
        return Mirror(self._source, size) if self._source is not None and size is not None else None

    def _say_without_checkpoint(self, notes: dict[Place, bytes]) -> None:
        """Say that nothing was ever published, or that nothing is left that says what was."""
        rows, report = self._rows, self._report
        if rows is not None and not notes and (self._published or (0, b"")) == (0, b"") and not self._files.has_tiles():
            report.notes.append("Nothing has been published yet.")
            return
        if rows is not None:
            report.add("published", "missing" if self._published is None else "altered")
        report.add("log/checkpoint", "altered" if "log/checkpoint" in notes else "missing")
        report.notes.append(
            "No signed checkpoint is left, so nothing says what the log holds; run it again with --mirror."
        )


def _check_no_fork(true: RecoveredTiles, meant: Candidate, candidates: list[Candidate]) -> None:
    """Raise HistoryForked where a smaller signed tree does not begin the one that is meant."""
    for each in candidates:
        if each.checkpoint.size > meant.checkpoint.size:
            continue  # it lacks the witnesses' quorum, and is named for that
        with suppress(ProofInvalid):  # too much is damaged to tell
            if root_hash(each.checkpoint.size, true) != each.checkpoint.root:
                raise HistoryForked(
                    f"The log signed two trees that cannot both be true: that of '{each.place}' and that of "
                    f"'{meant.place}'. Nothing was changed; keep both as evidence."
                )

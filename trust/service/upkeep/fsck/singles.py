"""The resources of which there is one: the rows ``published`` and ``head``, and the checkpoint's file."""

from collections.abc import Callable
from pathlib import Path

from ledger import entries as e
from ledger.errors import MusubiError, Unavailable
from trust.log.tile_folder import CHECKPOINT, TileFolder
from trust.service.upkeep.fsck.checkpoints import Candidate, Place
from trust.service.upkeep.fsck.report import Fault, FsckReport
from trust.service.upkeep.fsck.rows import LogRows

LOOKS = 5
LOOK_SECONDS = 0.1
"""How often, and how far apart, a check beside a service at work looks again at what may just be changing."""


class Singles:
    """Names, and where ``folder`` is given repairs, what is wrong with them. ``path`` is the folder of tiles."""

    def __init__(self, path: Path, rows: LogRows | None, report: FsckReport, folder: TileFolder | None) -> None:
        self._path = path
        self._rows = rows
        self._report = report
        self._folder = folder

    def check_or_repair_published(
        self, meant: Candidate, candidates: list[Candidate], row: tuple[int, bytes] | None
    ) -> None:
        """Hold the row ``published``, as it was when the check began, against the checkpoint that is meant."""
        rows = self._rows
        if rows is None:
            return
        self._report.rows += 1
        wanted = (meant.checkpoint.size, meant.note)
        if row == wanted:
            if not meant.quorum:
                self._report.add("published", "uncosigned")
            return
        mine = next((each for each in candidates if each.place == "published"), None)
        is_older = row is not None and mine is not None and row[0] == mine.checkpoint.size < wanted[0]
        repaired = self._folder is not None and meant.quorum and _done(lambda: rows.write_published(*wanted))
        self._report.add(
            "published", "missing" if row is None else "older" if is_older else "altered", repaired=repaired
        )

    def check_or_repair_head(self, size: int, last: bytes | None) -> None:
        """Look at what was committed and not yet published, and at the row that says where the log ends."""
        rows, report = self._rows, self._report
        if rows is None:
            return
        report.rows += 1
        try:
            head = rows.head()
            for _ in range(LOOKS):
                seen = _Unpublished(size, last)
                for index, data in rows.entries_from(size):
                    seen.add(index, data)
                before, head = head, rows.head()
                if head == before:  # else a service at work has appended meanwhile
                    break
        except Unavailable:
            report.add("head", "unreadable")
            return
        report.rows += seen.count
        report.unpublished = seen.count
        for first, until in seen.gaps:
            report.add_row(first, "missing", last=until)
        for index in seen.damaged:
            report.add_row(index, "altered")
        end, last, has_gap = seen.end, seen.last, bool(seen.gaps)
        at = _time_of(last)
        if head is not None and head[0] == end and (at is None or head[1] == at):
            return
        was_behind = head is not None and head[0] < size
        may = self._folder is not None and at is not None and not has_gap and (head is None or head[0] <= end)
        repaired = may and _done(lambda: rows.write_head(end, at or 0))
        report.add("head", "missing" if head is None else "older" if was_behind else "altered", repaired=repaired)
        if head is not None and head[0] > end:
            report.notes.append(
                "'head' says more entries than there are: those not yet published are lost; restore a backup."
            )
        if was_behind:
            report.notes.append(
                "'head' was behind the signed tree. If this database is an old backup, its other tables are old too: "
                "restore it as a backup."
            )

    def check_or_repair_checkpoint_file(
        self, meant: Candidate, candidates: list[Candidate], notes: dict[Place, bytes]
    ) -> None:
        """Hold the checkpoint's file, as it was when the check began, against the checkpoint that is meant."""
        self._report.files += 1
        data = notes.get("log/checkpoint")
        if data == meant.note:
            if not meant.quorum:
                self._report.add("log/checkpoint", "uncosigned")
            return
        mine = next((each for each in candidates if each.place == "log/checkpoint"), None)
        is_older = mine is not None and mine.checkpoint.size < meant.checkpoint.size
        folder = self._folder

        def write() -> None:
            if folder is not None:
                if not is_older:  # what damage made of it may look larger, and a larger one is never replaced
                    (self._path / CHECKPOINT).unlink(missing_ok=True)
                folder.write_checkpoint(meant.note)

        repaired = folder is not None and meant.quorum and _done(write)
        fault: Fault = "missing" if data is None else "older" if is_older else "altered"
        self._report.add("log/checkpoint", fault, repaired=repaired)


class _Unpublished:
    """The rows from the end of the signed tree on, one after the other."""

    def __init__(self, size: int, last: bytes | None) -> None:
        self.end = size
        self.last = last
        self.count = 0
        self.gaps: list[tuple[int, int]] = []
        self.damaged: list[int] = []

    def add(self, index: int, data: bytes) -> None:
        """Take the next row."""
        if index > self.end:
            self.gaps.append((self.end, index - 1))
        if _time_of(data) is None:
            self.damaged.append(index)
        self.end, self.last = index + 1, data
        self.count += 1


def _time_of(data: bytes | None) -> int | None:
    """Return an entry's time, or None where it is none."""
    try:
        return None if data is None else e.decode(data).at
    except MusubiError:
        return None


def _done(write: Callable[[], None]) -> bool:
    try:
        write()
    except (Unavailable, OSError):
        return False
    return True

"""An old, genuine view of the log hides what came after it: memory, time and witnesses tell a place that it is old."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from ledger.errors import HistoryForked, OldView, Unavailable
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.witness_protocol import AddCheckpoint
from ledger.tlog.tiles import TileAppender
from tests.kit.machine.web import Answer, web_server
from tests.kit.towns.promise_town import PromiseTown
from tests.kit.towns.toy_town import ORIGIN, key_of
from trust.audit.auditor import audit
from trust.client.last_view import LAST_CHECKPOINT, view_of
from trust.client.place import Place, make_place
from trust.files.evidence import check_evidence, parse_evidence
from trust.log.freshness import FRESH_SECONDS, check_fresh, say_age
from trust.log.seen_checkpoint import SeenCheckpoint

SECRET = b"s" * 32
HOUR = 3_600


class Frozen:
    """A town whose service shows its log as it is, or as it was before the last grants."""

    def __init__(self, folder: Path) -> None:
        self.town = PromiseTown(folder / "town")
        self.town.publish()
        self.old_size = len(self.town.log.entries)
        shutil.copytree(folder / "town" / "log", folder / "old")
        self.folder = folder
        self.shows_old = False

    def goes_on(self) -> None:
        """Append a grant, and publish it."""
        self.town.log.grant(50)
        self.town.now = self.town.log.at
        self.town.publish()

    @property
    def shown(self) -> Path:
        """The folder that is served."""
        return self.folder / "old" if self.shows_old else self.folder / "town" / "log"

    def answer(self, _method: str, path: str, _body: bytes) -> Answer:
        """Answer one request."""
        file = self.shown / path.removeprefix("/log/")
        return (200, file.read_bytes()) if path.startswith("/log/") and file.is_file() else (404, b"{}")

    def place(self, url: str, name: str = "mine") -> Place:
        """Make a resident's place that pins the town as it is asked now, or open it."""
        if (self.folder / name).exists():
            return Place(self.folder / name)
        return make_place(self.folder / name, service=url, trust=self.town.trust, secret=SECRET, alias=None)

    def look(self, place: Place) -> SeenCheckpoint:
        """Look at the log from a place, with the town's time."""
        with view_of(place, clock=lambda: self.town.now) as follower:
            return follower.seen


@pytest.fixture
def frozen(tmp_path: Path) -> Frozen:
    return Frozen(tmp_path)


@contextmanager
def served(frozen: Frozen) -> Iterator[str]:
    """Serve the log."""
    with web_server(frozen.answer) as url:
        yield url


def test_a_device_that_saw_more_is_never_shown_less_also_not_by_another_run(frozen: Frozen) -> None:
    frozen.goes_on()
    with served(frozen) as url:
        place = frozen.place(url)
        seen = frozen.look(place)
        kept = (place.folder / LAST_CHECKPOINT).read_bytes()
        assert kept == seen.note
        frozen.shows_old = True
        with pytest.raises(OldView, match=f"shows {frozen.old_size} entries after it has shown {frozen.old_size + 1}"):
            frozen.look(Place(place.folder))
        assert (place.folder / LAST_CHECKPOINT).read_bytes() == kept
        assert frozen.look(frozen.place(url, "new")).checkpoint.size == frozen.old_size, "who saw nothing can't tell"
        frozen.shows_old = False
        assert frozen.look(place).checkpoint == seen.checkpoint


def test_a_device_that_saw_nothing_hears_of_the_rest_from_the_pinned_witnesses(frozen: Frozen) -> None:
    with frozen.town.witnesses_served(), served(frozen) as url:
        place = frozen.place(url)
        frozen.goes_on()
        frozen.shows_old = True
        with pytest.raises(OldView, match=r"witness 'wit_.' has cosigned"):
            frozen.look(place)
        report = audit(url, trust=frozen.town.trust, clock=lambda: frozen.town.now)
        assert (report.rule, report.entries, report.size) == ("old-view", frozen.old_size, frozen.old_size)
        assert report.as_of is not None
        frozen.shows_old = False
        assert frozen.look(place).checkpoint.size == frozen.old_size + 1
        assert audit(url, trust=frozen.town.trust, clock=lambda: frozen.town.now).is_ok


def test_another_history_at_a_witness_convicts_the_log_and_a_strangers_words_nobody(frozen: Frozen) -> None:
    with frozen.town.witnesses_served(), served(frozen) as url:
        place = frozen.place(url)
        witness = frozen.town.witnesses["wit_a"]
        witness._database.execute("DELETE FROM latest")  # else it would cosign no other history
        appender = TileAppender()
        appender.append([*frozen.town.log.entries[:-1], b'{"at":1}'])
        forked = Checkpoint(ORIGIN, appender.size, appender.root())
        witness.add_checkpoint(AddCheckpoint(0, [], sign_checkpoint(forked, key_of("log"))).format())
        with pytest.raises(HistoryForked) as caught:
            frozen.look(place)
        evidence = parse_evidence(str(caught.value.details["evidence"]).encode())
        assert check_evidence(evidence, [frozen.town.log.log_key]).pinned
        row = witness._database.execute("SELECT note FROM latest").fetchone()[0]
        stranger = sign_checkpoint(forked, key_of("stranger")) + bytes(row).split(b"\n\n", 1)[1].split(b"\n", 1)[1]
        witness._database.execute("UPDATE latest SET note = ?", (stranger,))
        assert frozen.look(place).checkpoint.size == frozen.old_size


def test_a_view_is_old_by_the_cosignatures_times_five_minutes_on(frozen: Frozen) -> None:
    with served(frozen) as url:
        seen = frozen.look(frozen.place(url))
    assert seen.time == frozen.town.now
    check_fresh(seen, lambda: frozen.town.now + FRESH_SECONDS)
    with pytest.raises(OldView, match="confirmed 3 hours ago"):
        check_fresh(seen, lambda: frozen.town.now + 3 * HOUR)
    with pytest.raises(OldView, match="confirmed 5 minutes ago"):
        check_fresh(seen, lambda: frozen.town.now + FRESH_SECONDS + 1)


def test_a_first_audit_of_an_old_genuine_checkpoint_says_how_old_it_is(frozen: Frozen) -> None:
    now = frozen.town.now
    pins = frozen.town.trust
    fresh = audit(str(frozen.folder / "old"), trust=pins, clock=lambda: now + FRESH_SECONDS)
    old = audit(str(frozen.folder / "old"), trust=pins, clock=lambda: now + 72 * HOUR)
    assert (fresh.verdict, fresh.as_of) == (old.verdict, old.as_of) == ("ok", now)
    assert not [note for note in fresh.notes if "ago" in note]
    assert [note for note in old.notes if "is of 3 days ago. What came since" in note]


@pytest.mark.parametrize("damage", [b"", b"nonsense", None])
def test_a_damaged_memory_is_said_and_not_passed_over(frozen: Frozen, damage: bytes | None) -> None:
    with served(frozen) as url:
        place = frozen.place(url)
        frozen.look(place)
        file = place.folder / LAST_CHECKPOINT
        file.write_bytes(
            file.read_bytes().replace(b"\n\xe2\x80\x94 ", b"\n\xe2\x80\x94 x", 1) if damage is None else damage
        )
        with pytest.raises(Unavailable, match="damaged"):
            frozen.look(place)
        file.unlink()
        frozen.look(place)


def test_a_log_that_no_witness_confirms_says_no_time(frozen: Frozen) -> None:
    pins = msgspec.structs.replace(frozen.town.trust, witness_policy="quorum none\n")
    with served(frozen) as url:
        place = make_place(frozen.folder / "mine", service=url, trust=pins, secret=SECRET, alias=None)
        seen = frozen.look(place)
    assert seen.time is None
    check_fresh(seen)


def test_ages_are_written_in_the_largest_unit_of_which_there_are_two() -> None:
    said = [say_age(seconds) for seconds in (0, 1, 119, 120, 7_199, 7_200, 172_799, 172_800)]
    assert said == [
        "0 seconds", "1 second", "119 seconds", "2 minutes", "119 minutes", "2 hours", "47 hours", "2 days",
    ]  # fmt: skip

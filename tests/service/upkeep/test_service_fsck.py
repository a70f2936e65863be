"""``musubi fsck``: what is damaged is named, all of it and nothing else; repair makes the log byte for byte whole."""

import asyncio
import json
import random
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import event, given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey
from sqlalchemy import insert

from ledger import entries as e
from ledger.errors import HistoryForked, Unavailable
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.cosignatures import cosign
from ledger.notes.log_keys import LogKeys
from ledger.notes.note import Note, VerifierKey, format_note, parse_note
from ledger.tlog.tiles import Tile, TileAppender
from policies.log_key_changes import make_log_key_body
from policies.replay import entry_sha256
from tests.kit.logs.small_trees import tiles_of_size
from tests.kit.towns.running import Town, lay_out
from tests.kit.towns.toy_town import ORIGIN
from trust.cli import main
from trust.files.keys import read_key
from trust.log.export import export_log
from trust.log.pins import Trust
from trust.log.source import FolderLog
from trust.log.tile_folder import TileFolder
from trust.service.database import tables as t
from trust.service.database.engine import Databases
from trust.service.settings import load_settings
from trust.service.store.election import make_election
from trust.service.upkeep.fsck.check import fsck
from trust.service.upkeep.fsck.copies import Mirror
from trust.service.upkeep.fsck.report import FsckReport

SIZES = (3, 250, 515, 540, 571)
"""The log's checkpoints. The partial tiles of the last three stay."""
SIZE = SIZES[-1]
UNPUBLISHED = 4
pytestmark = pytest.mark.slow


class Stored:
    """A service's folder at rest, with a mirror of its log beside it."""

    def __init__(self, town: Town, entries: list[bytes], notes: list[bytes]) -> None:
        self.town = town
        self.entries = entries
        self.notes = notes
        self.key = read_key(town.service / "keys/log.key")

    @property
    def service(self) -> Path:
        """The service's folder."""
        return self.town.service

    @property
    def mirror(self) -> str:
        """Another copy of the log."""
        return str(self.town.folder / "mirror")

    def checkpoint(self, size: int, root: bytes) -> bytes:
        """Return a checkpoint signed by the log and cosigned by its witness."""
        signed = parse_note(sign_checkpoint(Checkpoint(ORIGIN, size, root), self.key))
        line = cosign(signed.text, "witness.test", read_key(self.town.witness / "witness.key"), int(time.time()))
        return format_note(Note(signed.text, (*signed.signatures, line)))

    def check(self, *, repair: bool = False, mirror: str | None = None) -> FsckReport:
        """Run fsck in this folder."""
        return fsck(load_settings(self.service), repair=repair, mirror=mirror)

    def copy(self, to: Path) -> "Stored":
        """Return a copy elsewhere."""
        shutil.copytree(self.town.folder, to, dirs_exist_ok=True)
        town = Town(to, self.town.genesis, self.town.keys, self.town.stewards, self.town.database_url)
        return Stored(town, self.entries, self.notes)

    def files(self) -> dict[str, bytes]:
        """Return the log's files by path."""
        root = self.service / "log"
        return {f"log/{p.relative_to(root)}": p.read_bytes() for p in root.rglob("*") if p.is_file()}

    def rows(self) -> dict[str, Any]:
        """Return the log's rows by name (SQLite)."""
        with sqlite3.connect(self.service / "service.sqlite") as database:
            found: dict[str, Any] = {
                f"entries/{index}": data for index, data in database.execute('SELECT "index", data FROM entries')
            }
            for name, columns in (("published", "size, checkpoint"), ("head", "size, at")):
                for row in database.execute(f"SELECT {columns} FROM {name}"):
                    found[name] = row
        database.close()
        return found

    def sql(self, statement: str, *values: Any) -> None:
        """Change a row behind the service's back."""
        database = sqlite3.connect(self.service / "service.sqlite")
        with database:
            assert database.execute(statement, values).rowcount == 1
        database.close()


def make(folder: Path, database_url: str = "", changed_key_at: int = 0) -> Stored:
    """Make a service's folder with a published log, as if it had run; its key may change at some index."""
    town = lay_out(folder, database_url)
    first = e.encode(town.genesis)
    at = town.genesis.at
    entries = [first] + [
        e.encode(e.Revoke(at=at + n // 7, grant=n, reason="withdrawn", commitment=f"{n:064x}"))
        for n in range(1, SIZE + UNPUBLISHED)
    ]
    stored = Stored(town, entries, [])
    first_key = stored.key
    new_key = SigningKey.generate()
    if changed_key_at:
        body = make_log_key_body(2, LogKeys(VerifierKey.ed25519(ORIGIN, bytes(new_key.verify_key))))
        signatures = town.approved("log-key", body)["signatures"]
        at = e.decode(entries[changed_key_at]).at
        entries[changed_key_at] = e.encode(e.LogKey(at=at, log_key=body, signatures=signatures))
    log, appender = TileFolder(town.service / "log"), TileAppender()
    for size in SIZES:
        log.write_tiles(appender.append(entries[appender.size : size]))
        stored.key = new_key if 0 < changed_key_at < size else first_key
        stored.notes.append(stored.checkpoint(size, appender.root()))
        log.write_checkpoint(stored.notes[-1])
    log.close()
    asyncio.run(_fill(town, entries, stored.notes[-1]))
    trust = Trust(
        origin=ORIGIN,
        log_key=str(town.log_key),
        genesis_sha256=entry_sha256(first),
        witness_policy=(town.service / "witnesses.txt").read_text(),
    )
    export_log(FolderLog(town.service / "log"), trust, Path(stored.mirror))
    return stored


async def _fill(town: Town, entries: list[bytes], note: bytes) -> None:
    databases = Databases(load_settings(town.service).database_url)
    await databases.migrate()
    async with databases.writer.begin() as connection:
        rows = [{"index": index, "data": data} for index, data in enumerate(entries)]
        await connection.execute(insert(t.entries), rows)
        await connection.execute(insert(t.head).values(id=1, size=len(entries), at=e.decode(entries[-1]).at))
        await connection.execute(insert(t.published).values(id=1, size=SIZE, checkpoint=note))
    await databases.cut_log()
    await databases.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    """A whole log at rest. Not to be changed: ``copy`` it."""
    return make(tmp_path_factory.mktemp("whole") / "town")


@pytest.fixture
def stored(whole: Stored, tmp_path: Path) -> Stored:
    """A copy of the whole log."""
    return whole.copy(tmp_path / "town")


def named(report: FsckReport, *, repaired: bool | None = None) -> set[str]:
    """Return every resource that a report names, rows one by one."""
    found: set[str] = set()
    for finding in report.findings:
        if repaired in (None, finding.repaired):
            kind, _, rest = finding.resource.partition("/")
            first, _, last = rest.partition("-")
            many = kind == "entries" and last
            found |= {f"entries/{n}" for n in range(int(first), int(last) + 1)} if many else {finding.resource}
    return found


NEEDED = {f"log/{tile.path}" for tile in tiles_of_size(SIZE)}


@dataclass
class Damage:
    """Damages a copy; ``done`` are the resources that are not as they were."""

    stored: Stored
    random: random.Random
    done: set[str] = field(default_factory=set)

    def file(self, name: str) -> None:
        """Do something to a file."""
        path = self.stored.service / name
        data = bytearray(path.read_bytes())
        how = self.random.choice(
            ["flip", "cut", "grow", "garbage", "empty"] + ["delete"] * (2 if name in NEEDED else 0)
        )
        match how:
            case "delete":
                path.unlink()
            case "flip":
                data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
            case "cut":
                del data[self.random.randrange(len(data)) :]
            case "grow":
                data += self.random.randbytes(self.random.choice([1, 32, 700]))
            case "garbage":
                data = bytearray(self.random.randbytes(len(data)))
            case "empty":
                data.clear()
        if how != "delete":
            path.write_bytes(data)
        self.done.add(name)

    def row(self, index: int) -> None:
        """Do something to a row."""
        if self.random.random() < 0.5:
            self.stored.sql('DELETE FROM entries WHERE "index" = ?', index)
        else:
            data = bytearray(self.stored.entries[index])
            data[self.random.randrange(len(data))] ^= 1 << self.random.randrange(8)
            self.stored.sql('UPDATE entries SET data = ? WHERE "index" = ?', bytes(data), index)
        self.done.add(f"entries/{index}")

    def single(self, name: str) -> None:
        """Do something to one of the single resources."""
        pick = self.random.choice
        match name:
            case "published":
                note = bytearray(self.stored.notes[-1])
                note[self.random.randrange(len(note))] ^= 4
                older = pick(range(len(SIZES) - 1))
                changed: tuple[Any, ...] = self.random.choice(
                    [
                        ("DELETE FROM published",),
                        ("UPDATE published SET size = ?", pick([0, SIZE - 1, SIZE + 1])),
                        ("UPDATE published SET checkpoint = ?", bytes(note)),
                        ("UPDATE published SET checkpoint = ?, size = ?", self.stored.notes[older], SIZES[older]),
                    ]
                )
                self.stored.sql(*changed)
            case "head":
                changed = self.random.choice(
                    [
                        ("DELETE FROM head",),
                        ("UPDATE head SET size = ?", pick([0, SIZE - 1, SIZE, SIZE + UNPUBLISHED - 1])),
                        ("UPDATE head SET at = at + ?", pick([-1, 1, 86_400])),
                    ]
                )
                self.stored.sql(*changed)
            case "log/checkpoint":
                if pick([True, False]):
                    self.file(name)
                elif pick([True, False]):
                    (self.stored.service / name).unlink()
                else:
                    (self.stored.service / name).write_bytes(self.stored.notes[pick(range(len(SIZES) - 1))])
        self.done.add(name)


def damage(stored: Stored, files: list[int], rows: list[int], singles: list[str], seed: int) -> set[str]:
    """Damage these resources; return their names."""
    made = Damage(stored, random.Random(seed))
    names = sorted(name for name in stored.files() if name != "log/checkpoint")
    for number in sorted({number % len(names) for number in files}):
        made.file(names[number])
    for index in sorted(set(rows)):
        made.row(index)
    for name in singles:
        made.single(name)
    return made.done


some_files = st.lists(st.integers(0, 40), max_size=6)
some_rows = st.lists(st.integers(0, SIZE - 1), max_size=6, unique=True)
some_singles = st.lists(st.sampled_from(["published", "head", "log/checkpoint"]), max_size=3, unique=True)


@pytest.fixture(scope="module")
def room() -> Iterator[Callable[[Stored], Stored]]:
    """Gives fresh copies, one for each of Hypothesis' examples."""
    with tempfile.TemporaryDirectory() as folder:
        numbers = iter(range(10**9))
        yield lambda whole: whole.copy(Path(folder) / str(next(numbers)))


@settings(max_examples=25)
@given(files=some_files, rows=some_rows, singles=some_singles, seed=st.integers(0, 2**32))
def test_with_a_mirror_all_damage_is_named_and_repair_makes_the_log_byte_for_byte_whole(
    whole: Stored, room: Callable[[Stored], Stored], files: list[int], rows: list[int], singles: list[str], seed: int
) -> None:
    stored = room(whole)
    done = damage(stored, files, rows, singles, seed)
    before = (stored.files(), stored.rows())
    found = stored.check(mirror=stored.mirror)
    assert named(found) == done
    assert named(found, repaired=True) == set()
    assert (stored.files(), stored.rows()) == before, "a check alone changes nothing"
    repaired = stored.check(repair=True, mirror=stored.mirror)
    assert named(repaired, repaired=True) == done
    assert (stored.files(), stored.rows()) == (whole.files(), whole.rows())
    assert stored.check().findings == []
    shutil.rmtree(stored.town.folder)


@settings(max_examples=25)
@given(files=some_files, rows=some_rows, singles=some_singles, seed=st.integers(0, 2**32))
def test_without_a_mirror_all_damage_is_named_and_what_a_copy_is_left_of_is_repaired(
    whole: Stored, room: Callable[[Stored], Stored], files: list[int], rows: list[int], singles: list[str], seed: int
) -> None:
    stored = room(whole)
    done = damage(stored, files, rows, singles, seed)
    report = stored.check(repair=True)
    if {"published", "log/checkpoint"} <= done and report.size < SIZE:
        event("the last signed checkpoint is lost")  # an older one may be left; what came after it is then unpublished
        assert report.size in {0, *SIZES}
        assert report.size or named(report) == {"published", "log/checkpoint"}
        assert not report.is_whole or report.size
    else:
        unknown = {finding.resource for finding in report.findings if finding.fault == "unknown"}
        event("some of it unknown" if unknown else "all of it known")
        assert named(report) == done or (unknown and named(report) >= done)
        left = named(report, repaired=False)
        now, then = stored.files() | stored.rows(), whole.files() | whole.rows()
        assert {name for name in then if now.get(name) != then[name]} <= left
        if not left:
            assert now == then
        again = stored.check()
        assert named(again) <= left
        assert again.is_whole == (not left)
    shutil.rmtree(stored.town.folder)


def test_a_whole_log_is_whole_and_nothing_is_written(whole: Stored) -> None:
    before = (whole.files(), whole.rows())
    report = whole.check(repair=True)
    assert (report.is_whole, report.size, report.unpublished, report.findings) == (True, SIZE, UNPUBLISHED, [])
    assert (whole.files(), whole.rows()) == before


def test_the_command_names_repairs_and_ends_with_the_documented_exit_codes(stored: Stored) -> None:
    run = CliRunner().invoke
    folder = ["fsck", "--dir", str(stored.service)]
    assert run(main, folder).exit_code == 0
    (stored.service / "log" / "tile/0/000").unlink()
    stored.sql('DELETE FROM entries WHERE "index" = 300')
    stored.sql('DELETE FROM entries WHERE "index" = 301')
    said = run(main, folder)
    assert said.exit_code == 23
    assert "log/tile/0/000" in said.output
    assert "entries/300-301" in said.output
    found = json.loads(run(main, [*folder, "--json"]).output)
    assert (found["is_whole"], len(found["findings"])) == (False, 2)
    assert run(main, [*folder, "--repair"]).exit_code == 0
    assert run(main, folder).exit_code == 0


def test_the_whole_tile_folder_is_made_again_from_the_entries_alone(stored: Stored, whole: Stored) -> None:
    shutil.rmtree(stored.service / "log")
    report = stored.check(repair=True)
    assert named(report, repaired=True) == {*NEEDED, "log/checkpoint"}
    assert report.is_whole
    kept = {name: data for name, data in whole.files().items() if name in {*NEEDED, "log/checkpoint"}}
    assert stored.files() == kept  # narrower tiles of earlier checkpoints are not known of


def test_all_rows_come_back_from_the_bundles_and_an_old_database_is_told_as_such(stored: Stored, whole: Stored) -> None:
    with sqlite3.connect(stored.service / "service.sqlite") as database:
        database.execute('DELETE FROM entries WHERE "index" >= 40')
        database.execute("UPDATE head SET size = 40, at = ?", (e.decode(stored.entries[39]).at,))
        database.execute("UPDATE published SET size = ?, checkpoint = ?", (SIZES[0], stored.notes[0]))
    database.close()
    report = stored.check(repair=True)
    assert named(report, repaired=True) == {"published", "head", *(f"entries/{n}" for n in range(40, SIZE))}
    assert any("old backup" in note for note in report.notes)
    rows = whole.rows()
    assert stored.rows() == {
        name: row for name, row in rows.items() if name not in {f"entries/{n}" for n in range(SIZE, SIZE + UNPUBLISHED)}
    } | {"head": (SIZE, e.decode(stored.entries[SIZE - 1]).at)}


def test_a_mirror_that_is_ahead_brings_back_what_was_lost_here(stored: Stored, whole: Stored) -> None:
    """The whole folder is an old copy, put back by mistake; the mirror has what was published since."""
    shutil.rmtree(stored.service / "log")
    log, appender = TileFolder(stored.service / "log"), TileAppender()
    log.write_tiles(appender.append(stored.entries[: SIZES[1]]))
    log.write_checkpoint(stored.notes[1])
    log.close()
    with sqlite3.connect(stored.service / "service.sqlite") as database:
        database.execute('DELETE FROM entries WHERE "index" >= ?', (SIZES[1],))
        database.execute("UPDATE head SET size = ?, at = ?", (SIZES[1], e.decode(stored.entries[SIZES[1] - 1]).at))
        database.execute("UPDATE published SET size = ?, checkpoint = ?", (SIZES[1], stored.notes[1]))
    database.close()
    assert stored.check().is_whole  # by itself it cannot know
    report = stored.check(mirror=stored.mirror)
    assert {"published", "head", "log/checkpoint"} <= named(report)
    assert stored.check(repair=True, mirror=stored.mirror).is_whole
    assert {name: stored.files()[name] for name in NEEDED} == {name: whole.files()[name] for name in NEEDED}
    assert [stored.rows()[f"entries/{n}"] for n in range(SIZE)] == stored.entries[:SIZE]


def test_two_signed_trees_that_contradict_each_other_are_never_repaired(stored: Stored) -> None:
    appender = TileAppender()
    appender.append([b"another history"] * SIZES[1])
    forged = stored.checkpoint(SIZES[1], appender.root())
    (stored.service / "log" / "checkpoint").write_bytes(forged)
    before = (stored.files(), stored.rows())
    with pytest.raises(HistoryForked):
        stored.check(repair=True, mirror=stored.mirror)
    assert (stored.files(), stored.rows()) == before


def test_a_mirror_of_another_log_or_without_the_witnesses_is_not_believed(stored: Stored, tmp_path: Path) -> None:
    other = make(tmp_path / "other")
    appender = TileAppender()
    appender.append(stored.entries)
    alone = sign_checkpoint(
        Checkpoint(ORIGIN, len(stored.entries), appender.root()), read_key(stored.service / "keys/log.key")
    )
    stored.sql('DELETE FROM entries WHERE "index" = 7')
    (stored.service / "log" / "tile/entries/000").unlink()
    for note in ((Path(other.mirror) / "checkpoint").read_bytes(), alone, b"garbage\n"):
        (Path(other.mirror) / "checkpoint").write_bytes(note)
        report = stored.check(repair=True, mirror=other.mirror)
        assert report.size == SIZE
        assert any("was not used" in each for each in report.notes)
        assert named(report, repaired=False) == {"entries/7", "log/tile/entries/000"}
    report = stored.check(repair=True, mirror=stored.mirror)
    assert (named(report, repaired=True), report.is_whole) == ({"entries/7", "log/tile/entries/000"}, True)


def test_lost_entries_that_were_never_published_are_named_and_the_head_is_not_put_back(stored: Stored) -> None:
    """They are for a backup to bring back; a smaller head would hide that they ever were."""
    stored.sql('DELETE FROM entries WHERE "index" = ?', SIZE + UNPUBLISHED - 1)
    report = stored.check(repair=True, mirror=stored.mirror)
    assert named(report, repaired=False) == {"head"}
    assert stored.rows()["head"][0] == SIZE + UNPUBLISHED
    stored.sql('DELETE FROM entries WHERE "index" = ?', SIZE + 1)
    assert named(stored.check(repair=True), repaired=False) == {"head", f"entries/{SIZE + 1}"}


def test_a_database_that_is_gone_or_unreadable_is_named_and_the_files_are_still_checked(stored: Stored) -> None:
    (stored.service / "log" / "tile/0/001").unlink()
    database = stored.service / "service.sqlite"
    for data in (None, b"no database" * 1_000):
        database.unlink(missing_ok=True)
        if data is not None:
            database.write_bytes(data)
        assert named(stored.check()) == {"database", "log/tile/0/001"}
        assert not stored.check(repair=True).is_whole
        assert not database.exists() or data is not None
        (stored.service / "log" / "tile/0/001").unlink()


def test_a_mirror_that_fails_is_given_up(whole: Stored) -> None:
    class Failing(FolderLog):
        """Goes away."""

        asked = 0

        def read_tile(self, tile: Tile) -> bytes:
            """Fail."""
            Failing.asked += 1
            raise Unavailable("gone", path=tile.path)

    mirror = Mirror(Failing(Path(whole.mirror)), SIZE)
    for _ in range(9):
        assert mirror.hashes(Tile(0, 0)) == []
        assert mirror.leaf_hashes(Tile(0, 1)) == []
    assert (Failing.asked, mirror.is_given_up) == (3, True)


def test_on_either_database_the_same_is_found_and_repaired(tmp_path: Path, database: Callable[[], str]) -> None:
    stored = make(tmp_path / "town", database())
    assert stored.check().findings == []

    async def spoil() -> None:
        databases = Databases(load_settings(stored.service).database_url)
        async with databases.writer.begin() as connection:
            await connection.execute(t.entries.delete().where(t.entries.c.index.in_([0, 256, SIZE - 1])))
            await connection.execute(t.entries.update().where(t.entries.c.index == 5).values(data=b"{}"))
            await connection.execute(t.head.delete())
            await connection.execute(t.published.delete())
        await databases.close()

    asyncio.run(spoil())
    (stored.service / "log" / "tile/1/000.p/2").write_bytes(bytes(64))
    wrong = {"entries/0", "entries/5", "entries/256", f"entries/{SIZE - 1}", "head", "published", "log/tile/1/000.p/2"}
    assert named(stored.check()) == wrong
    assert stored.check(repair=True).is_whole
    assert stored.check().findings == []


def test_repair_is_refused_while_a_service_is_at_work(stored: Stored) -> None:
    async def at_work() -> None:
        databases = Databases(load_settings(stored.service).database_url)
        election = make_election(databases, lambda: None)
        await election.claim()
        await election.start()
        await asyncio.to_thread(refused)
        await election.stop()
        await databases.close()

    def refused() -> None:
        assert stored.check().is_whole
        with pytest.raises(Unavailable):
            stored.check(repair=True)

    asyncio.run(at_work())
    assert stored.check(repair=True).is_whole


def test_a_log_that_has_changed_its_key_is_checked_by_the_keys_that_its_own_entries_brought(tmp_path: Path) -> None:
    stored = make(tmp_path / "town", changed_key_at=400)
    before = (stored.files(), stored.rows())
    assert stored.check().findings == []
    mirror = (Path(stored.mirror) / "log.vkey").read_text()
    assert mirror == f"{VerifierKey.ed25519(ORIGIN, bytes(stored.key.verify_key))}\n" != f"{stored.town.log_key}\n"
    stored.sql('DELETE FROM entries WHERE "index" = 400')
    stored.sql("DELETE FROM published")
    (stored.service / "log" / "tile/1/000.p/2").unlink()
    assert named(stored.check(repair=True), repaired=True) == {"entries/400", "published", "log/tile/1/000.p/2"}
    assert (stored.files(), stored.rows()) == before
    # Signed with the key that was laid down, for a tree that holds its successor: nobody's checkpoint any more.
    appender = TileAppender()
    appender.append(stored.entries[:SIZE])
    stored.key = read_key(stored.service / "keys/log.key")
    (stored.service / "log" / "checkpoint").write_bytes(stored.checkpoint(SIZE, appender.root()))
    assert named(stored.check()) == {"log/checkpoint"}

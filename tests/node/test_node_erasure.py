"""Erasure at a node: leaf, link and view rows go, no byte of them stays on the disk, and then the node signs that."""

import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from random import Random

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import trust.node.rounds.steps as rounds_module
from ledger import entries as e
from ledger import jws
from ledger.errors import NotPermitted, Unavailable
from policies.consents.bundle import disclose
from policies.consents.erasure import ErasedWord
from policies.pairwise_keys import pairwise_key, public_hex
from policies.replay import entry_sha256
from queries.rounds.messages import HeldLeaf, Share, Task
from tests.kit.parties.lying_service import ME, Stage, customer, quick_folder, staged
from tests.kit.towns.residents import seed_of
from tests.kit.towns.toy_town import ORIGIN, key_of, scarce
from trust.node.backup import back_up, restore
from trust.node.books.books import Books, ErasedConsent
from trust.node.data.views import ViewStore


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


@pytest.fixture
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the node add no noise, so that its shares show the exact vector."""
    monkeypatch.setattr(rounds_module, "make_measurement", lambda *_: list)


def erase(stage: Stage, index: int) -> int:
    """Append an ``erase`` entry, publish, and have the node read it; return the entry's index."""
    entry = stage.builder.add(e.Erase(at=stage.builder.now(), index=index, reason="requested"))
    stage.service.bundles.pop(index, None)
    stage.service.publish()
    stage.turn()
    return entry


def disk_of(folder: Path) -> bytes:
    """Return all bytes of the node's folder but the holder's own data."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file() and path.parent.name != "data"]
    return b"".join(path.read_bytes() for path in files)


def parts_of(stage: Stage, index: int, person: int) -> list[bytes]:
    """Return what a node's disk holds of one consent and nothing else: token, salt, path, key and customer number."""
    held = disclose(stage.service.bundles[index], 1)
    key = pairwise_key(seed_of(person), ME)
    texts = [held.leaf.body, held.leaf.salt, held.path[0], customer(person)]
    return [text.encode() for text in texts] + [bytes(key.verify_key)]


def rows_of(stage: Stage, name: str) -> list[tuple[object, ...]]:
    """Return the rows of one table of the books."""
    rows: list[tuple[object, ...]] = stage.node.books._db.execute(f"SELECT * FROM {name}").fetchall()
    return rows


def words_of(stage: Stage) -> list[ErasedWord]:
    """Return the words that the service got, by the node's own key."""
    return [jws.verify(token, bytes(key_of(ME).verify_key), ErasedWord) for token in stage.service.erased_words]


def test_no_byte_of_an_erased_consent_stays_and_the_node_signs_that(stage: Stage) -> None:
    index, other = stage.grants[1], stage.grants[2]
    gone, kept = parts_of(stage, index, 1), parts_of(stage, other, 2)
    stage.answer()
    before = disk_of(stage.folder)
    assert all(part in before for part in gone)
    entry = erase(stage, index)
    after = disk_of(stage.folder)
    assert [part for part in gone if part in after] == []
    assert all(part in after for part in kept)
    slots = stage.node.views._engine.con.execute("SELECT slot, customer, salt FROM links ORDER BY slot").fetchall()
    assert [row[:2] for row in slots] == [(0, "c000"), (1, None), (2, "c002"), (3, "c003")]
    for _, table in [(made.view.name, made.table) for made in stage.node.views._made.values()]:
        found = stage.node.views._engine.con.execute(f"SELECT count(*) FROM {table} WHERE slot = 1").fetchone()
        assert found == (0,)
    (word,) = words_of(stage)
    assert (word.from_, word.log, word.index, word.entry) == (ME, ORIGIN, index, entry)
    assert word.entry_sha256 == entry_sha256(stage.builder.entries[entry])
    stage.turn()
    stage.restart()
    stage.turn()
    assert len(stage.service.erased_words) == 1


@pytest.mark.usefixtures("exactly")
def test_a_resident_with_another_living_consent_keeps_the_link(stage: Stage) -> None:
    second = stage.grant(1, number=1)
    before = stage.answer()
    erase(stage, stage.grants[1])
    assert len(rows_of(stage, "links")) == 4
    assert stage.answer() != before  # the other was signed before this one was taken back
    erase(stage, second)
    assert len(rows_of(stage, "links")) == 3


def test_erasing_what_a_lost_device_signed_takes_the_new_devices_idle_link_with_it(stage: Stage) -> None:
    """The node signs that the link is gone; so no key of that customer stays unless it has a consent of its own."""
    new_key = public_hex(pairwise_key(b"the new device, 32 bytes of seed", ME))
    stage.node.books.link([(new_key, customer(1))])
    erase(stage, stage.grants[1])
    assert customer(1) not in {linked for linked, _ in stage.node.books.linked(0)}
    assert [part for part in (customer(1).encode(), bytes.fromhex(new_key)) if part in disk_of(stage.folder)] == []


@pytest.mark.usefixtures("exactly")
def test_a_slot_is_never_used_again_and_whoever_links_anew_counts_for_themselves(stage: Stage) -> None:
    everyone = stage.answer()
    erase(stage, stage.grants[3])  # the highest slot of all
    without = stage.answer()
    assert stage.node.books.version()[1] == 4
    stage.node.books.link([(public_hex(pairwise_key(seed_of(3), ME)), customer(3))])
    assert [slot for _, slot in stage.node.books.linked(0)] == [0, 1, 2, 4]
    assert stage.answer() == without != everyone
    stage.grant(3, number=1)
    assert stage.answer() == everyone


@pytest.mark.usefixtures("exactly")
def test_an_open_round_goes_on_without_the_erased_consent(stage: Stage) -> None:
    """Nothing of it is left to count: neither before the countersignature nor between it and the share."""
    early, late = stage.admit(), stage.admit()
    assert stage.countersign(early) == []
    erase(stage, stage.grants[0])
    assert stage.countersign(late) == []
    vectors = []
    for admit in (early, late):
        assert stage.share(admit) == []
        vectors.append(jws.read_unverified(stage.service.said[-1][1], Share).vector)
    assert vectors == [stage.answer()] * 2


def test_an_erased_consents_leaf_is_never_taken_in_again(stage: Stage) -> None:
    """A service that hands it out all the same is not believed, also by a node that never saw it erased."""
    index = stage.grants[2]
    bundle = stage.service.bundles[index]
    erase(stage, index)
    stage.service.bundles[index] = bundle
    stage.restart()
    stage.grant(7)
    stage.service.publish()
    stage.turn()
    assert index not in stage.node.books.held(0, 10**6)
    leaf = HeldLeaf(index=index, leaf=disclose(bundle, 1))
    stage.node.books.keep_leaves([(index, "ab" * 32, None, leaf.leaf.leaf.body.encode())])
    assert index not in stage.node.books.held(0, 10**6)
    assert bundle.leaves[1].salt.encode() not in disk_of(stage.folder)


def test_words_that_did_not_arrive_are_said_again_and_hold_nothing_up(stage: Stage) -> None:
    stage.service.down.add("/v1/node/erased")
    erase(stage, stage.grants[0])
    assert stage.service.erased_words == []
    assert stage.answer()
    stage.restart()
    stage.turn()
    assert len(stage.node.books.unsaid()) == 1
    stage.service.down.clear()
    stage.turn()
    assert [word.index for word in words_of(stage)] == [stage.grants[0]]
    assert stage.node.books.unsaid() == []


def test_erasing_a_revocations_record_or_another_policys_consent_is_not_ours_to_sign(stage: Stage) -> None:
    revoked = stage.builder.revoke(stage.grants[0])
    erase(stage, revoked)
    assert stage.service.erased_words == []
    assert len(rows_of(stage, "leaves")) == 4


def test_a_restored_node_erases_again_what_its_backup_brought_back(stage: Stage, tmp_path: Path) -> None:
    index = stage.grants[1]
    gone = parts_of(stage, index, 1)
    open_admit = stage.admit()
    stage.turn()
    back_up(stage.folder, tmp_path / "backup", signing_keys=True)
    erase(stage, index)
    stage.close()
    with pytest.raises(NotPermitted):
        restore(tmp_path / "backup", stage.folder)
    shutil.move(stage.folder / "data", tmp_path / "data")
    shutil.rmtree(stage.folder)
    restore(tmp_path / "backup", stage.folder)
    shutil.move(tmp_path / "data", stage.folder / "data")
    assert all(part in disk_of(stage.folder) for part in gone)
    stage.node = stage.open()
    refused = stage.countersign(open_admit)
    assert refused == ["round-closed"]  # restored books begin new questions only
    assert [part for part in gone if part in disk_of(stage.folder)] == []
    assert {word.index for word in words_of(stage)} == {index}
    assert stage.node.books.restored_at is not None


def test_a_backup_of_a_node_is_its_owners_and_holds_no_key_unless_asked_for(stage: Stage, tmp_path: Path) -> None:
    back_up(stage.folder, tmp_path / "plain")
    back_up(stage.folder, tmp_path / "full", signing_keys=True)
    secret = bytes(key_of(ME)).hex().encode()
    assert secret not in disk_of(tmp_path / "plain")
    assert secret in disk_of(tmp_path / "full")
    for folder in (tmp_path / "plain", tmp_path / "full"):
        assert folder.stat().st_mode & 0o777 == 0o700
        assert all(path.stat().st_mode & 0o077 == 0 for path in folder.rglob("*") if path.is_file())


def test_a_word_is_sent_only_once_the_books_are_scrubbed(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    def busy(_: Books) -> None:
        raise sqlite3.OperationalError("the write-ahead log is in use")

    with monkeypatch.context() as patched:
        patched.setattr(Books, "scrub", busy)
        with pytest.raises(sqlite3.OperationalError):
            erase(stage, stage.grants[0])
        assert stage.service.erased_words == []
    stage.turn(*[Task(step="word", admit=10**6)])
    assert len(stage.service.erased_words) == 1


@given(st.integers(0, 2**32), st.integers(1, 120))
@settings(max_examples=20)
def test_scrubbed_books_hold_nothing_of_what_was_erased_in_any_order(seed: int, share: int) -> None:
    """Leaves and links come in any order and size; of the erased none is left, and every other one is."""
    count = 120
    random = Random(seed)
    order = random.sample(range(count), count)
    gone = random.sample(range(count), share)
    keys = [random.randbytes(32) for _ in range(count)]
    leaves = [random.randbytes(random.choice([40, 900, 1_500, 6_000])) for _ in range(count)]
    with quick_folder() as folder:
        books = Books(folder / "books.sqlite")
        for place in order:
            books.keep_leaves([(place, "ab" * 32, keys[place].hex(), leaves[place])])
            books.link([(keys[place].hex(), f"customer {place:04}")])
        version = books.version()
        slot_of = dict(books.linked(0))
        with books.transaction():
            slots = books.erase(
                ErasedConsent(index=place, entry=1_000 + place, entry_sha256="00" * 32) for place in gone
            )
        books.scrub()
        disk = disk_of(folder)
        assert sorted(slots) == sorted(slot_of[f"customer {place:04}"] for place in gone)
        assert books.version()[1] == count
        assert books.version() > version
        for place in range(count):
            parts = (keys[place], leaves[place][-40:], f"customer {place:04}".encode())
            assert [part in disk for part in parts] == [place not in gone] * 3
        assert {each.index for each in books.unsaid()} == set(gone)
        books.close()


def rows_on_disk(stage: Stage) -> set[int]:
    """The slots of all rows in the node's snapshots."""
    paths = (stage.folder / "snapshots").glob("*.parquet")
    return {slot for path in paths for slot in pq.read_table(path)["slot"].to_pylist()}


def test_rows_whose_first_erasure_failed_in_memory_do_not_come_back_after_the_word(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = ViewStore._execute

    def fails(self: ViewStore, sql: str, values: list[int] | None = None) -> None:
        if sql.startswith("UPDATE links"):
            raise duckdb.OutOfMemoryException("no room")
        real(self, sql, values)

    with monkeypatch.context() as patched:
        patched.setattr(ViewStore, "_execute", fails)
        with pytest.raises(Unavailable):
            erase(stage, stage.grants[0])
        assert stage.service.erased_words == []
    stage.turn()
    assert len(stage.service.erased_words) == 1
    stage.trips([(person, "north", 100 + person) for person in range(20)])
    stage.turn()
    assert rows_on_disk(stage) == {1, 2, 3}


def test_a_damaged_snapshot_holds_up_no_erasure(stage: Stage) -> None:
    (path,) = (stage.folder / "snapshots").glob("*.parquet")
    whole = bytearray(path.read_bytes())
    whole[4:200] = bytes(byte ^ 0xFF for byte in whole[4:200])
    path.write_bytes(bytes(whole))
    erase(stage, stage.grants[0])
    stage.turn()
    assert len(stage.service.erased_words) == 1
    assert rows_on_disk(stage) == {1, 2, 3}


def test_another_customers_rows_under_a_slot_given_again_go_before_the_word(tmp_path: Path) -> None:
    pq.write_table(
        pa.table({"customer": ["a", "b"], "ward": ["north"] * 2, "hour": [8] * 2, "fare": [1] * 2}),
        tmp_path / "t.parquet",
    )
    store = ViewStore(tmp_path / "node", {"trips": tmp_path / "t.parquet"}, bytes(32))
    store.set_links([("a", 0)])
    store.load([scarce().views[0]])
    store.keep_only([("b", 0)])
    (path,) = (tmp_path / "node" / "snapshots").glob("*.parquet")
    assert pq.read_table(path).num_rows == 0
    store.close()


def test_the_number_of_slots_given_outlives_the_link_that_had_the_last(tmp_path: Path) -> None:
    books = Books(tmp_path / "books.sqlite")
    books.link([("aa" * 32, "a")])
    books._db.execute("DELETE FROM links")
    books.link([("bb" * 32, "b")])
    assert books.linked(0) == [("b", 1)]
    books.close()

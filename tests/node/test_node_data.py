"""A holder's file is taken in between questions: none waits for it, and none is refused over what it says."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import structlog
from msgspec import UnsetType, structs

import trust.node.rounds.steps as rounds_module
from ledger import entries as e
from ledger.errors import Malformed, Unavailable
from policies.policy_document import Policy
from queries.rounds.messages import Task
from tests.kit.parties.lying_service import Stage, customer, staged
from tests.kit.towns.toy_town import scarce
from trust.node.data.load_report import LoadReport, RefusedReport
from trust.node.data.snapshots import PartKey, SnapshotFolder
from trust.node.data.views import ViewStore
from trust.node.process import Node

KEY = PartKey("trips", "customer")
TRIPS = [(person, ("north", "south")[person % 2], 100 + person) for person in range(20)]
BROKEN = b'customer,ward,hour,fare\nc000,north,8,1\nc001,north,8,"5 pipe\nc002,north,8,1\n'


@pytest.fixture
def stage() -> Iterator[Stage]:
    with staged() as made:
        yield made


@pytest.fixture(autouse=True)
def _exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the node add no noise, so that its shares show the exact vector."""
    monkeypatch.setattr(rounds_module, "make_measurement", lambda *_: list)


@contextmanager
def staged_with_csv(data: bytes) -> Iterator[Stage]:
    """A node whose source is a CSV file."""
    with staged(reads=False) as stage:
        text = (stage.folder / "node.toml").read_text().replace("trips.parquet", "trips.csv")
        (stage.folder / "node.toml").write_text(text)
        (stage.folder / "data" / "trips.csv").write_bytes(data)
        stage.restart()
        stage.turn()
        yield stage


def good(fare: int) -> bytes:
    """A file with a trip of each of the four who consent."""
    return b"customer,ward,hour,fare\n" + b"".join(b"c%03d,north,8,%d\n" % (person, fare) for person in range(4))


def replace(stage: Stage, data: bytes) -> None:
    """Replace the source in one step."""
    fresh = stage.folder / "data" / "fresh"
    fresh.write_bytes(data)
    fresh.rename(stage.folder / "data" / "trips.csv")


def not_ready(stage: Stage) -> Any:
    """What the node says of its views in its next poll."""
    stage.turn()
    return stage.service.polls[-1].not_ready


def test_a_refused_file_leaves_the_last_good_data_in_use_also_across_a_restart() -> None:
    with staged_with_csv(good(3)) as stage:
        before = stage.answer()
        assert before == [4, 0, 12, 0]
        replace(stage, BROKEN)
        assert stage.answer() == before
        stage.restart()
        assert stage.answer() == before
        assert not_ready(stage) == []
        replace(stage, good(5))
        assert stage.answer() == [4, 0, 20, 0]
        stage.restart()
        (stage.folder / "data" / "trips.csv").unlink()
        assert stage.answer() == [4, 0, 20, 0]
        assert not_ready(stage) == []


def test_why_a_file_was_refused_is_for_the_holder_alone_and_no_log_line_has_a_number_from_it() -> None:
    with staged_with_csv(good(3)) as stage:
        report = stage.node.views._kept.report_path(KEY)
        loaded = msgspec.json.decode(report.read_bytes(), type=LoadReport)
        assert (loaded.rows, loaded.left_out, loaded.people) == (4, 0, 4)
        assert ("fare", "whole", 0) in [(each.column, each.read_as, each.nulls) for each in loaded.columns]
        replace(stage, BROKEN)
        with structlog.testing.capture_logs() as logs:
            stage.node.turn()
            stage.node.turn()
            stage.restart()
            stage.node.turn()
            stage.node.turn()
        said = [line for line in logs if line["event"].startswith("source")]
        see = "snapshots/trips.customer.refused.json"
        why = "A source's CSV file was refused: in it a quote is opened and not closed, or stands where none may."
        assert [line.pop("why").startswith(why) for line in said] == [True] * 2
        assert said == [{"event": "source-refused", "source": "trips", "see": see, "log_level": "info"}] * 2
        refused = msgspec.json.decode((stage.folder / see).read_bytes(), type=RefusedReport)
        assert refused.line == 3  # where the row begins that opens the quote
        assert (stage.folder / see).stat().st_mode & 0o777 == 0o600
        assert not re.search(r"\d", "".join(str(value) for line in said for value in line.values()))
        replace(stage, good(3))
        stage.turn()
        assert not (stage.folder / see).exists()


def test_a_nodes_first_poll_after_its_start_waits_for_nothing_so_that_it_soon_says_ready() -> None:
    with staged(reads=False, people=0) as stage:
        toml = stage.folder / "node.toml"
        toml.write_text(toml.read_text("utf-8").replace("poll_seconds = 0", "poll_seconds = 7"), "utf-8")
        for _ in range(2):
            stage.restart()
            stage.turn()
            stage.turn()
        assert [poll.wait for poll in stage.service.polls] == [0, 7, 0, 7]


def test_under_the_first_rules_a_poll_is_as_an_older_service_reads_it() -> None:
    with staged(rules=1) as stage:
        stage.turn()
        stage.turn()
        assert all(isinstance(poll.not_ready, UnsetType) for poll in stage.service.polls)


def test_a_node_that_never_had_good_data_says_so_gives_its_word_and_is_ready_for_good_once_it_had() -> None:
    with staged_with_csv(BROKEN) as stage:
        view = f"{stage.node.reader.state.policies['mobility'].sha256}/trips"
        assert stage.service.polls[0].not_ready is not None
        assert not isinstance(stage.service.polls[0].not_ready, list)  # the ledger was not read yet
        assert not_ready(stage) == [view]
        admit = stage.admit()
        assert stage.countersign(admit) == ["not-ready"]
        assert stage.service.steps() == ["word"]
        assert stage.books()["charges"] == []
        replace(stage, good(3))
        stage.turn()
        assert not_ready(stage) == []
        assert stage.answer() == [4, 0, 12, 0]
        for data in (BROKEN, b"", b"customer\nc001\n", b"\xff"):
            replace(stage, data)
            stage.turn()
            assert not_ready(stage) == []
            stage.restart()
            stage.turn()
            assert not_ready(stage) == []
            assert stage.answer() == [4, 0, 12, 0]


def test_a_countersigned_question_is_answered_whatever_becomes_of_the_file_and_the_process(stage: Stage) -> None:
    expected = stage.answer()
    admit = stage.admit()
    assert stage.countersign(admit) == []
    (stage.folder / "data" / "trips.parquet").write_bytes(b"no file of any kind")
    stage.restart()
    assert stage.share(admit) == []
    assert stage.answer() == expected


def test_a_customer_who_links_later_is_taken_in_out_of_the_same_file(stage: Stage) -> None:
    folder = stage.folder / "snapshots"
    first = stage.answer()
    assert [path.name for path in folder.glob("*.parquet")] == ["trips.customer.1.0.parquet"]
    stage.node.books.link([("ab" * 32, customer(10))])
    assert stage.answer() == first
    assert len(list(folder.glob("*.parquet"))) == 2
    assert [part.contents.first for part in SnapshotFolder(folder).parts(KEY)] == [0, 4]
    for number in range(11, 30):
        stage.node.books.link([(f"{number:064x}", customer(number))])
        stage.turn()
    assert len(list(folder.glob("*.parquet"))) <= 16
    stage.restart()
    assert stage.answer() == first


def slots_on_disk(stage: Stage) -> set[int]:
    """The slots of all rows in the node's snapshots."""
    paths = (stage.folder / "snapshots").glob("*.parquet")
    return {slot for path in paths for slot in pq.read_table(path)["slot"].to_pylist()}


def erased(stage: Stage, person: int) -> None:
    """Append and publish an ``erase`` of a person's consent."""
    stage.builder.add(e.Erase(at=stage.builder.now(), index=stage.grants[person], reason="requested"))
    stage.service.bundles.pop(stage.grants[person])
    stage.service.publish()


def test_an_erased_customers_rows_leave_the_snapshots_before_the_node_says_so(stage: Stage) -> None:
    assert slots_on_disk(stage) == {0, 1, 2, 3}
    erased(stage, 1)
    stage.turn()
    assert slots_on_disk(stage) == {0, 2, 3}
    assert len(stage.service.erased_words) == 1


@pytest.mark.parametrize("way", ["dies", "the disk refuses"])
def test_rows_that_a_crash_left_in_a_snapshot_are_gone_before_the_node_says_so(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    def fail(_self: SnapshotFolder, _slots: Any) -> None:
        raise KeyboardInterrupt if way == "dies" else Unavailable("The disk is full.")

    erased(stage, 1)
    with monkeypatch.context() as patched:
        patched.setattr(SnapshotFolder, "drop", fail)
        patched.setattr(SnapshotFolder, "keep_only", fail)
        with pytest.raises((KeyboardInterrupt, Unavailable)):
            stage.turn()
        assert slots_on_disk(stage) == {0, 1, 2, 3}
        assert stage.service.erased_words == []
        if way == "dies":
            stage.restart()
        with pytest.raises((KeyboardInterrupt, Unavailable)):
            stage.turn()
        assert stage.service.erased_words == []
    stage.turn()
    assert slots_on_disk(stage) == {0, 2, 3}
    assert len(stage.service.erased_words) == 1


def test_a_disk_that_takes_no_snapshot_hinders_no_question(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = stage.answer()
    with monkeypatch.context() as patched:
        patched.setattr(SnapshotFolder, "_write", lambda *_: (_ for _ in ()).throw(OSError("no room")))
        stage.trips([(person, "north", 1) for person in range(20)])
        assert stage.answer() == expected
        assert not_ready(stage) == []
    assert stage.answer() != expected


def test_a_fault_far_down_in_a_large_file_refuses_it_as_one_at_its_beginning_does() -> None:
    """Where the engine is in the middle of taking it in."""
    with staged_with_csv(good(3)) as stage:
        before = stage.answer()
        rows = b"".join(b"c%03d,north,8,1\n" % (number % 4) for number in range(120_000))
        replace(stage, good(5) + rows + b'c001,north,8,"5 pipe\n')
        assert stage.answer() == before
        path = stage.node.views._kept.report_path(KEY, refused=True)
        assert msgspec.json.decode(path.read_bytes(), type=RefusedReport).line == 120_006
        replace(stage, good(5) + rows)
        assert stage.answer() != before
        assert not path.exists()


def test_a_parquet_file_that_is_damaged_in_its_last_part_is_refused(stage: Stage) -> None:
    expected = stage.answer()
    path = stage.folder / "data" / "trips.parquet"
    people = [customer(number % 4) for number in range(400_000)]
    fares = [number % 499 for number in range(400_000)]
    table = {"customer": people, "ward": ["north"] * 400_000, "hour": [8] * 400_000, "fare": fares}
    pq.write_table(pa.table(table), path, compression="none", use_dictionary=False, row_group_size=100_000)
    whole = path.read_bytes()
    at = whole.rindex(b"north", 0, len(whole) - 20_000)
    path.write_bytes(whole[: at - 60_000] + b"\xff" * 60_000 + whole[at:])
    assert stage.answer() == expected
    assert stage.node.views._kept.report_path(KEY, refused=True).exists()
    path.write_bytes(whole)
    assert stage.answer() != expected


def test_a_damaged_snapshot_is_as_good_as_missing_and_is_loaded_again(stage: Stage) -> None:
    expected = stage.answer()
    (path,) = (stage.folder / "snapshots").glob("*.parquet")
    whole = path.read_bytes()
    for damaged in (b"", whole[:40], whole[: len(whole) // 2] + bytes(8) + whole[len(whole) // 2 + 8 :]):
        path.write_bytes(damaged)
        stage.restart()
        stage.turn()
        stage.turn()
        assert stage.answer() == expected
        (path,) = (stage.folder / "snapshots").glob("*.parquet")


def test_a_slot_that_was_given_to_another_customer_brings_no_rows_of_the_first(tmp_path: Path) -> None:
    """Books that were put back from a copy give slots again; a row counts only for whose salt it has."""
    rows = {"customer": ["a", "a", "b"], "ward": ["north"] * 3, "hour": [8] * 3, "fare": [1] * 3}
    pq.write_table(pa.table(rows), tmp_path / "trips.parquet")
    view = scarce().views[0]
    found = []
    for linked in ("a", "b"):
        store = ViewStore(tmp_path / "node", {"trips": tmp_path / "trips.parquet"}, bytes(32))
        store.set_links([(linked, 0)])
        if linked == "a":
            store.load([view])
        store.materialise("ab" * 32, view)
        (made,) = store._made.values()
        found.append(store._engine.table(made.table).count().to_pyarrow().as_py())
        store.close()
    assert found == [2, 0]


def test_other_links_than_those_that_were_loaded_have_all_loaded_again(tmp_path: Path) -> None:
    rows = {"customer": ["a", "a", "b"], "ward": ["north"] * 3, "hour": [8] * 3, "fare": [1] * 3}
    pq.write_table(pa.table(rows), tmp_path / "trips.parquet")
    found = []
    for linked in ("a", "b", "b"):
        store = ViewStore(tmp_path / "node", {"trips": tmp_path / "trips.parquet"}, bytes(32))
        store.set_links([(linked, 0)])
        store.load([scarce().views[0]])
        (path,) = (tmp_path / "node" / "snapshots").glob("*.parquet")
        found.append((path.name, pq.read_table(path).num_rows))
        store.close()
    assert found == [(f"trips.customer.{made}.0.parquet", rows) for made, rows in ((1, 2), (2, 1), (2, 1))]


# One cap for the holder's data of a year.


def two_sources() -> Policy:
    """The policy with a second view, of another source."""
    first = scarce()
    visits = structs.replace(first.views[0], name="visits", source="visits")
    return structs.replace(first, views=[first.views[0], visits])


def with_visits(stage: Stage) -> None:
    """Give the node's second source the first one's data, and let it be read."""
    (stage.folder / "data" / "visits.parquet").write_bytes((stage.folder / "data" / "trips.parquet").read_bytes())
    stage.turn()


@pytest.fixture(scope="module")
def part() -> int:
    """Our part of the standard question's charge, in nano-rho."""
    with staged() as stage:
        return -(-stage.builder.make_admit().charge // 2)


def asked(stage: Stage, source: str) -> list[str]:
    """Ask a question of a source; where the node refuses it, let it be refunded. Return the refusals."""
    admit = stage.admit(**{"from": [source]})
    refused = stage.countersign(admit)
    if refused:
        stage.builder.refund(admit)
        stage.service.publish()
        stage.turn()
    return refused


VISITS = 'visits = "data/visits.parquet"\n'


def test_all_sources_of_a_holder_share_one_cap_for_a_year(part: int) -> None:
    with staged(data_cap=3 * part - 1, policy=two_sources(), settings=VISITS) as stage:
        with_visits(stage)
        assert stage.countersign(stage.admit()) == []
        assert stage.countersign(stage.admit(**{"from": ["visits"]})) == []
        assert stage.countersign(stage.admit()) == ["budget-exceeded"]
        assert stage.countersign(stage.admit(**{"from": ["visits"]})) == ["budget-exceeded"]
        assert sum(charge for _, account, charge in stage.books()["charges"] if account.count("/") == 1) == 2 * part


def test_a_split_gives_each_source_its_part_and_changing_the_file_widens_nothing_within_the_year(part: int) -> None:
    split = f"{VISITS}[split]\ntrips = {2 * part}\nvisits = {part}\n"
    with staged(data_cap=3 * part, policy=two_sources(), settings=split) as stage:
        with_visits(stage)
        assert asked(stage, "visits") == []
        assert asked(stage, "visits") == ["budget-exceeded"]
        wider = f"[split]\ntrips = 0\nvisits = {9 * part}\n"
        for cap, more in ((9 * part, wider), (9 * part, ""), (3 * part, "")):
            stage.set(cap, VISITS + more)
            stage.restart()
            stage.turn()
            assert asked(stage, "visits") == ["budget-exceeded"]
        assert asked(stage, "trips") == []
        assert asked(stage, "trips") == []
        assert asked(stage, "trips") == ["budget-exceeded"]
        stage.builder.at += 366 * 86_400  # a year later what the file says counts
        stage.set(9 * part, VISITS)
        stage.restart()
        admits = [stage.builder.admit(stage.builder.ask(**{"from": ["visits"]})) for _ in range(2)]
        stage.service.publish()
        assert stage.turn(*(Task(step="countersign", admit=admit) for admit in admits)) == []


@pytest.mark.parametrize("split", ["trips = 1", "trips = 6\nvisits = 5", "trips = -1\nvisits = 5", "other = 3"])
def test_a_split_that_is_none_is_said_at_the_start(split: str) -> None:
    with staged(data_cap=10, settings=VISITS) as stage:
        stage.set(10, f"{VISITS}[split]\n{split}\n")
        with pytest.raises(Malformed, match="splits"):
            Node(stage.folder)

"""A follower hands out only what the signed tree holds, wherever it begins and wherever the log is read from."""

import gzip
import random
from collections.abc import Callable, Sequence
from pathlib import Path

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from nacl.signing import SigningKey

from ledger.errors import (
    ClockSkew,
    HistoryForked,
    Malformed,
    NotFound,
    OldView,
    ProofInvalid,
    SignatureInvalid,
    TooLarge,
    Unavailable,
)
from ledger.evidence import SplitView, check_split_view
from ledger.hashing import leaf_hash
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.notes.note import VerifierKey
from ledger.tlog.tiles import ENTRIES, Tile, TileAppender
from ledger.tlog.tree import Frontier, merkle_root, prove_consistency, prove_inclusion
from ledger.tlog.verified_tiles import VerifiedTiles
from tests.kit.logs.small_trees import tiles_of_size
from trust.log.follower import BATCH_ENTRIES, LogFollower
from trust.log.source import FolderLog, HttpLog, cut, open_log
from trust.log.tile_folder import TileFolder

ORIGIN = "log.example/town"
KEY = SigningKey(bytes(range(32)))
LOG_KEY = VerifierKey.ed25519(ORIGIN, bytes(KEY.verify_key))
SIZES = [1, 2, 255, 256, 257, 511, 512, 513, 4_095, 4_097, 65_535, 65_536, 65_537, 65_800]


def entries_of(size: int, salt: str = "") -> list[bytes]:
    return [b'{"at":5,"is":"%d%s"}' % (number, salt.encode()) for number in range(size)]


class MemoryLog:
    """A log in memory that counts what is read from it."""

    def __init__(self, entries: list[bytes]) -> None:
        appender = TileAppender()
        self.files = dict(appender.append(entries))
        self.reads: list[Tile] = []
        self.note = sign_checkpoint(Checkpoint(ORIGIN, len(entries), appender.root()), KEY)

    def read_checkpoint(self) -> bytes:
        """Return the checkpoint."""
        return self.note

    def read_tile(self, tile: Tile) -> bytes:
        """Return a tile."""
        self.reads.append(tile)
        if tile not in self.files:
            raise NotFound("no such tile")
        return self.files[tile]


def read_all(follower: LogFollower) -> list[bytes]:
    return [entry for batch in follower.follow() for entry in batch.entries]


@pytest.mark.parametrize("size", SIZES)
def test_all_entries_come_in_order_in_bounded_batches_and_each_file_is_read_once(size: int) -> None:
    entries = entries_of(size)
    log = MemoryLog(entries)
    follower = LogFollower(log, LOG_KEY)
    got: list[bytes] = []
    for batch in follower.follow():
        assert batch.first == len(got)
        assert 0 < len(batch.entries) <= BATCH_ENTRIES
        got += batch.entries
        assert batch.frontier.size == len(got)
    assert got == entries
    assert follower.frontier.root() == merkle_root([leaf_hash(entry) for entry in entries])
    assert sorted(log.reads, key=repr) == sorted(set(log.reads), key=repr)
    assert set(log.reads) <= set(tiles_of_size(size))
    assert read_all(follower) == []


@settings(max_examples=25, deadline=None)
@given(st.sampled_from(SIZES[:10]), st.data())
def test_reading_goes_on_from_any_frontier(size: int, data: st.DataObject) -> None:
    entries = entries_of(size)
    begin = data.draw(st.integers(0, size))
    frontier = Frontier()
    frontier.append([leaf_hash(entry) for entry in entries[:begin]])
    assert read_all(LogFollower(MemoryLog(entries), LOG_KEY, frontier=frontier)) == entries[begin:]


def test_a_batch_carries_the_frontier_to_go_on_from() -> None:
    log = MemoryLog(entries_of(10_000))
    first = next(LogFollower(log, LOG_KEY).follow())
    rest = read_all(LogFollower(log, LOG_KEY, frontier=first.frontier, latest=log.note))
    assert first.entries + rest == entries_of(10_000)


def test_no_entry_of_a_bundle_that_holds_a_false_one_is_handed_out() -> None:
    log = MemoryLog(entries_of(10_000))
    bundle = Tile(ENTRIES, 20)
    log.files[bundle] = log.files[bundle].replace(b'"5130"', b'"5131"')
    follower = LogFollower(log, LOG_KEY)
    got: list[bytes] = []
    with pytest.raises(ProofInvalid) as caught:
        got.extend(entry for batch in follower.follow() for entry in batch.entries)
    assert caught.value.details["index"] == 5_130
    assert got == entries_of(10_000)[: len(got)]
    assert len(got) < 5_130
    assert follower.frontier.size == len(got)


@pytest.mark.parametrize("size", [200, 700, 65_900])
def test_a_log_that_rewrote_anything_behind_the_frontier_is_a_fork(size: int) -> None:
    log = MemoryLog(entries_of(size))
    follower = LogFollower(log, LOG_KEY)
    read_all(follower)
    changed = entries_of(size + 300)
    changed[random.randrange(size)] += b" "
    follower.source = MemoryLog(changed)
    with pytest.raises(HistoryForked) as caught:
        read_all(follower)
    evidence = SplitView.parse(str(caught.value.details["evidence"]).encode())
    assert (evidence.smaller, evidence.larger) == (log.note.decode(), follower.source.read_checkpoint().decode())
    check_split_view(evidence, [LOG_KEY])


def test_equal_size_with_another_root_is_a_fork_and_a_smaller_size_is_refused() -> None:
    follower = LogFollower(MemoryLog(entries_of(300)), LOG_KEY)
    follower.fetch()
    follower.source = MemoryLog(entries_of(300, "x"))
    with pytest.raises(HistoryForked):
        follower.fetch()
    with pytest.raises(HistoryForked):
        read_all(follower)
    follower.source = MemoryLog(entries_of(299))
    with pytest.raises(OldView, match="rolled back"):
        follower.fetch()
    with pytest.raises(OldView, match="rolled back"):
        read_all(follower)


def test_a_larger_checkpoint_of_another_history_is_convicted_when_it_is_only_fetched() -> None:
    """What was shown before is held against it; nothing of the fork is kept."""
    log, fork = MemoryLog(entries_of(300)), MemoryLog(entries_of(700, "fork"))
    follower = LogFollower(log, LOG_KEY)
    seen = follower.fetch()
    follower.source = fork
    with pytest.raises(HistoryForked) as caught:
        follower.fetch()
    assert follower.latest == seen
    assert check_split_view(SplitView.parse(str(caught.value.details["evidence"]).encode()), [LOG_KEY]).pinned
    follower.source = MemoryLog(entries_of(700))
    assert follower.fetch().checkpoint.size == 700


def test_a_rollback_between_two_runs_is_seen_by_the_note_kept() -> None:
    note = MemoryLog(entries_of(300)).note
    with pytest.raises(OldView, match="rolled back"):
        read_all(LogFollower(MemoryLog(entries_of(200)), LOG_KEY, latest=note))
    with pytest.raises(HistoryForked):
        read_all(LogFollower(MemoryLog(entries_of(400, "x")), LOG_KEY, latest=note))
    assert len(read_all(LogFollower(MemoryLog(entries_of(400)), LOG_KEY, latest=note))) == 400


def test_another_logs_key_and_an_entry_from_the_future_are_refused() -> None:
    other = VerifierKey.ed25519(ORIGIN, bytes(SigningKey(bytes(32)).verify_key))
    with pytest.raises(SignatureInvalid):
        read_all(LogFollower(MemoryLog(entries_of(3)), other))
    log = MemoryLog([b'{"at":100}', b'{"at":161}', b'{"at":162}'])
    with pytest.raises(ClockSkew) as caught:
        read_all(LogFollower(log, LOG_KEY, clock=lambda: 101))
    assert caught.value.details["index"] == 2
    assert len(read_all(LogFollower(log, LOG_KEY, clock=lambda: 102))) == 3


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 1_500), st.data())
def test_proofs_from_checked_tiles_are_those_from_the_leaves(size: int, data: st.DataObject) -> None:
    entries = entries_of(size)
    log = MemoryLog(entries)
    leaves = [leaf_hash(entry) for entry in entries]
    tiles = VerifiedTiles(log.read_tile, size, merkle_root(leaves))
    index, old = data.draw(st.integers(0, size - 1)), data.draw(st.integers(0, size))

    class Leaves:
        """Hashes straight from the leaves."""

        def read_hashes(self, nodes: Sequence[tuple[int, int]]) -> list[bytes]:
            """Hash each subtree anew."""
            return [merkle_root(leaves[i << level : (i + 1) << level]) for level, i in nodes]

    assert prove_inclusion(index, size, tiles) == prove_inclusion(index, size, Leaves())
    assert prove_consistency(old, size, tiles) == prove_consistency(old, size, Leaves())
    with pytest.raises(ProofInvalid):
        VerifiedTiles(log.read_tile, size, bytes(32))


# Where a log is read from.


def test_a_folder_and_a_service_give_the_same_log(tmp_path: Path) -> None:
    entries = entries_of(700)
    appender = TileAppender()
    files = TileFolder(tmp_path / "log")
    for begin in range(0, 700, 100):
        files.write_tiles(appender.append(entries[begin : begin + 100]))
        note = sign_checkpoint(Checkpoint(ORIGIN, appender.size, appender.root()), KEY)
        files.write_checkpoint(note)

    def answer(request: httpx.Request) -> httpx.Response:
        file = tmp_path / request.url.path.removeprefix("/")
        return httpx.Response(200, content=file.read_bytes()) if file.is_file() else httpx.Response(404)

    client = httpx.Client(transport=httpx.MockTransport(answer))
    for source in (open_log(str(tmp_path)), open_log(str(tmp_path / "log")), HttpLog("http://log.example/", client)):
        assert read_all(LogFollower(source, LOG_KEY)) == entries
        # The checkpoint of 500 entries needs partial tiles that are gone: they are cut from the full ones.
        assert source.read_tile(Tile(0, 1, 244)) == b"".join(leaf_hash(entry) for entry in entries[256:500])
        with pytest.raises(NotFound):
            source.read_tile(Tile(0, 9))
    with pytest.raises(NotFound):
        open_log(str(tmp_path / "nowhere"))


def test_a_full_bundle_too_short_for_the_partial_one_is_malformed() -> None:
    with pytest.raises(Malformed):
        cut(b"\x00\x05abc", Tile(ENTRIES, 0, 1))
    with pytest.raises(Malformed):
        cut(b"\x00\x01a", Tile(ENTRIES, 0, 2))
    assert cut(b"\x00\x01a\x00\x02bc", Tile(ENTRIES, 0, 1)) == b"\x00\x01a"


def http_log(answer: Callable[[httpx.Request], httpx.Response]) -> HttpLog:
    return HttpLog("http://log.example", httpx.Client(transport=httpx.MockTransport(answer)))


def test_a_service_that_sends_too_much_is_cut_off(tmp_path: Path) -> None:
    with pytest.raises(TooLarge):
        http_log(lambda _: httpx.Response(200, content=b"x" * 1_000_001)).read_checkpoint()
    with pytest.raises(TooLarge):
        http_log(lambda _: httpx.Response(200, content=b"x" * 65)).read_tile(Tile(0, 0, 2))
    bomb = gzip.compress(bytes(2_000_000))
    with pytest.raises(TooLarge):
        http_log(lambda _: httpx.Response(200, content=bomb, headers={"content-encoding": "gzip"})).read_checkpoint()
    (tmp_path / "checkpoint").write_bytes(b"x" * 1_000_001)
    with pytest.raises(TooLarge):
        FolderLog(tmp_path).read_checkpoint()


def test_a_read_that_fails_on_the_way_is_tried_again_and_an_answer_is_believed() -> None:
    waited: list[float] = []
    calls: list[int] = []

    def shaky(request: httpx.Request) -> httpx.Response:
        calls.append(1)
        if len(calls) == 1:
            raise httpx.ReadTimeout("slow", request=request)
        if len(calls) == 2:
            return httpx.Response(429, headers={"retry-after": "7200"})
        return httpx.Response(200, content=b"here")

    log = HttpLog("http://log.example", httpx.Client(transport=httpx.MockTransport(shaky)), wait=waited.append)
    assert log.read_checkpoint() == b"here"
    assert waited == [10]  # patience has an end
    calls.clear()

    def broken(_: httpx.Request) -> httpx.Response:
        calls.append(1)
        return httpx.Response(500)

    with pytest.raises(Unavailable):
        http_log(broken).read_checkpoint()
    assert len(calls) == 1
    with pytest.raises(Unavailable):
        http_log(lambda _: httpx.Response(302, headers={"location": "http://elsewhere.example"})).read_checkpoint()

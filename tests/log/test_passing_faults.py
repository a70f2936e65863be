"""One bad read of a log is no finding: it is read again, past what caches keep. What stays wrong is one."""

from collections.abc import Callable
from pathlib import Path

import httpx
import pytest

from ledger.errors import HistoryForked, Malformed, MusubiError, OldView, ProofInvalid
from ledger.notes.checkpoints import Checkpoint, sign_checkpoint
from ledger.tlog.tiles import TileAppender
from tests.log.test_log_follower import KEY, LOG_KEY, ORIGIN, entries_of
from trust.log.follower import LogFollower
from trust.log.source import HttpLog
from trust.log.tile_folder import TileFolder

SIZES = (300, 700)
Fault = Callable[[bytes, bytes], httpx.Response]
"""What a cache answers in place of a file, given that and the older checkpoint."""
FAULTS: dict[str, Fault] = {
    "cut short": lambda data, _: httpx.Response(200, content=data[: len(data) // 2]),
    "a page": lambda *_: httpx.Response(200, content=b"<html>Welcome</html>"),
    "nothing": lambda *_: httpx.Response(200),
    "one bit wrong": lambda data, _: httpx.Response(200, content=bytes([data[0] ^ 1]) + data[1:]),
    "its last bit wrong": lambda data, _: httpx.Response(200, content=data[:-1] + bytes([data[-1] ^ 1])),
    "too long": lambda data, _: httpx.Response(200, content=data + bytes(1_000_001)),
    "not there": lambda *_: httpx.Response(404),
    "the older checkpoint": lambda _, old: httpx.Response(200, content=old),
}


class Way:
    """A log's files behind a cache, which keeps something wrong for some files; it asks the server where it is told."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.entries = entries_of(SIZES[-1])
        appender, files = TileAppender(), TileFolder(folder)
        self.notes: list[bytes] = []
        for begin, end in ((0, SIZES[0]), SIZES):
            files.write_tiles(appender.append(self.entries[begin:end]))
            self.notes.append(sign_checkpoint(Checkpoint(ORIGIN, appender.size, appender.root()), KEY))
            files.write_checkpoint(self.notes[-1])
        files.close()
        self.fault: Fault | None = None
        self.only = ""
        self.obeys = True
        """Whether the cache asks the server where a request wants it fresh."""
        self.waited: list[float] = []

    def answer(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        path = request.url.path.removeprefix("/log/")
        file = self.folder / path
        if not file.is_file():
            return httpx.Response(404)
        is_fresh = self.obeys and request.headers.get("cache-control") == "no-cache"
        if self.fault is not None and not is_fresh and path.startswith(self.only):
            return self.fault(file.read_bytes(), self.notes[0])
        return httpx.Response(200, content=file.read_bytes())

    def log(self) -> HttpLog:
        """Return the log as it is read through the cache."""
        client = httpx.Client(transport=httpx.MockTransport(self.answer))
        return HttpLog("http://log.example", client, wait=self.waited.append)


@pytest.fixture(scope="module")
def _made(tmp_path_factory: pytest.TempPathFactory) -> Way:
    return Way(tmp_path_factory.mktemp("log"))


@pytest.fixture
def way(_made: Way) -> Way:
    _made.fault, _made.only, _made.obeys, _made.waited = None, "", True, []
    return _made


def read(follower: LogFollower, at_least: int = 0) -> list[bytes]:
    return [entry for batch in follower.follow(at_least) for entry in batch.entries]


@pytest.mark.parametrize("only", ["checkpoint", "tile/0/", "tile/1/", "tile/entries/", ""])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_reader_meets_no_finding_where_the_server_gives_what_is_right(way: Way, fault: str, only: str) -> None:
    """From the beginning, and from an older checkpoint that it has seen."""
    seen = LogFollower(way.log(), LOG_KEY).fetch().note
    way.fault, way.only = FAULTS[fault], only
    for latest in (None, seen):
        follower = LogFollower(way.log(), LOG_KEY, latest=latest)
        assert read(follower, SIZES[-1]) == way.entries


@pytest.mark.parametrize("fault", sorted(set(FAULTS) - {"the older checkpoint", "not there"}))
@pytest.mark.parametrize("only", ["tile/0/", "tile/entries/"])
def test_what_stays_wrong_is_found(way: Way, fault: str, only: str) -> None:
    way.fault, way.only, way.obeys = FAULTS[fault], only, False
    with pytest.raises(MusubiError) as caught:
        read(LogFollower(way.log(), LOG_KEY))
    assert caught.value.code in {ProofInvalid.code, Malformed.code, "too-large"}
    assert sorted(set(way.waited)) == [0.2, 0.6, 1.8]


def test_a_smaller_checkpoint_that_stays_is_an_old_view_and_no_fork_and_no_finding_of_the_proof(way: Way) -> None:
    follower = LogFollower(way.log(), LOG_KEY)
    assert read(follower) == way.entries
    way.fault, way.only, way.obeys = FAULTS["the older checkpoint"], "checkpoint", False
    with pytest.raises(OldView) as caught:
        read(follower)
    assert caught.value.details["smaller"] == way.notes[0].decode()
    way.fault = None
    assert read(follower) == []


def test_two_signed_trees_of_one_size_are_a_fork_at_once(way: Way) -> None:
    follower = LogFollower(way.log(), LOG_KEY)
    read(follower)
    fork = TileAppender()
    fork.append(entries_of(SIZES[-1], "x"))
    note = sign_checkpoint(Checkpoint(ORIGIN, fork.size, fork.root()), KEY)
    way.fault, way.only = lambda *_: httpx.Response(200, content=note), "checkpoint"
    with pytest.raises(HistoryForked) as caught:
        read(follower)
    assert "evidence" in caught.value.details
    assert way.waited == []


def test_a_reader_that_expects_no_more_asks_a_cache_once(way: Way) -> None:
    way.fault, way.only = FAULTS["the older checkpoint"], "checkpoint"
    follower = LogFollower(way.log(), LOG_KEY)
    assert len(read(follower)) == SIZES[0]
    assert way.waited == []
    assert read(follower, SIZES[-1]) == way.entries[SIZES[0] :]

"""Where a log is read from: a service, any web server that has its files, or a folder.

Nothing read here is believed here. What turns out to be wrong may be a cache's, or have been hurt on the way: so a log
that is read over HTTP can be read again past what caches keep, after growing pauses (``past_caches``), and only what is
wrong by all these ways is the log's.

All give a checkpoint's bytes and a tile's bytes. A partial tile that is gone because the full one exists (C2SP
tlog-tiles allows that) is cut from the full one. Sizes are limited before anything is kept: a checkpoint to 1,000,000
bytes, a hash tile to 32 bytes a hash, an entry bundle to 256 entries of 65,535 bytes.
"""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

import httpx

from ledger.errors import Malformed, MusubiError, NotFound, TooLarge, Unavailable
from ledger.hashing import HASH_BYTES
from ledger.notes.checkpoints import Checkpoint
from ledger.notes.note import MAX_NOTE_BYTES
from ledger.tlog.tiles import ENTRIES, MAX_ENTRY_BYTES, Tile
from ledger.tlog.verified_tiles import VerifiedTiles
from trust.files.regular import open_regular
from trust.runtime.http_clients import open_http

LOG_PREFIX = "/log"
"""Where a service has its log, under its address."""
TIMEOUT_SECONDS = 20.0
ATTEMPTS = 3
"""How often a read is tried that failed on the way, or that the service has no time for, or nothing yet (429, 503)."""
MOST_PATIENCE_SECONDS = 10
PAUSES = (0.2, 0.6, 1.8)
"""Seconds before what was wrong is read again: someone is waiting for the end of it."""
PAST_CACHES = {"cache-control": "no-cache", "pragma": "no-cache"}
"""What a request says so that caches ask the server itself (RFC 9111, section 5.2.1.4)."""


class LogSource(Protocol):
    """Whatever a log can be read from."""

    def read_checkpoint(self) -> bytes:
        """Return the newest checkpoint (a signed note). Raises NotFound, TooLarge or Unavailable."""
        ...

    def read_tile(self, tile: Tile) -> bytes:
        """Return the bytes of a tile or bundle of exactly that width.

        Raises NotFound, Malformed, TooLarge, Unavailable.
        """
        ...


def most_bytes(tile: Tile) -> int:
    """Return the largest number of bytes that a tile may have."""
    return tile.width * (MAX_ENTRY_BYTES + 2 if tile.level == ENTRIES else HASH_BYTES)


def cut(data: bytes, tile: Tile) -> bytes:
    """Return the part of a full tile's bytes that the partial ``tile`` holds; raise Malformed where it is too short."""
    end = tile.width * HASH_BYTES
    if tile.level == ENTRIES:
        end = 0
        for _ in range(tile.width):
            end += 2 + int.from_bytes(data[end : end + 2], "big")
    if end > len(data):
        raise Malformed("A tile of the log is shorter than its width says.", tile=tile.path)
    return data[:end]


class _Busy(Exception):
    """The service asked for patience."""

    def __init__(self, retry_after: str) -> None:
        super().__init__(retry_after)
        self.seconds = min(int(retry_after), MOST_PATIENCE_SECONDS) if retry_after.isdecimal() else 1


class StaticLog:
    """A log as files at any web server (C2SP tlog-tiles): ``<url>/checkpoint`` and ``<url>/tile/…``."""

    prefix = ""

    def __init__(
        self,
        url: str,
        client: httpx.Client | None = None,
        *,
        pauses: Sequence[float] = PAUSES,
        wait: Callable[[float], object] = time.sleep,
    ) -> None:
        self.url = url.rstrip("/")
        self.pauses = pauses
        self.wait = wait
        self._own = client is None
        self._client = client or open_http(seconds=TIMEOUT_SECONDS)

    def close(self) -> None:
        """Close the connections, if they are this object's own."""
        if self._own:
            self._client.close()

    def read_checkpoint(self, *, is_fresh: bool = False) -> bytes:
        """Return the newest checkpoint."""
        return self.get(f"{self.prefix}/checkpoint", MAX_NOTE_BYTES, is_fresh=is_fresh)

    def read_tile(self, tile: Tile, *, is_fresh: bool = False) -> bytes:
        """Return a tile's bytes, cut from the full tile where the partial one is gone."""
        try:
            return self.get(f"{self.prefix}/{tile.path}", most_bytes(tile), is_fresh=is_fresh)
        except NotFound:
            if tile.is_full:
                raise
            full = self.get(f"{self.prefix}/{tile.full.path}", most_bytes(tile.full), is_fresh=is_fresh)
            return cut(full, tile)

    def get(self, path: str, most: int, *, is_fresh: bool = False) -> bytes:
        """Return the body at ``path`` under the address, past what caches keep where it is to be fresh.

        Raises NotFound, TooLarge, Malformed or Unavailable.
        """
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return self._get(path, most, PAST_CACHES if is_fresh else {})
            except httpx.InvalidURL:
                raise Malformed("The log's address is not a URL.") from None
            except (httpx.HTTPError, _Busy) as error:
                if attempt == ATTEMPTS:
                    break
                if isinstance(error, _Busy):
                    self.wait(error.seconds)
        raise Unavailable("The log cannot be reached; check its address and try again.")

    def _get(self, path: str, most: int, more: dict[str, str]) -> bytes:
        headers = {"accept-encoding": "identity", **more}
        with self._client.stream("GET", self.url + path, headers=headers) as response:
            if response.status_code == httpx.codes.NOT_FOUND:
                raise NotFound("The log has no such file.", path=path)
            if response.status_code in {httpx.codes.TOO_MANY_REQUESTS, httpx.codes.SERVICE_UNAVAILABLE}:
                raise _Busy(response.headers.get("retry-after", ""))
            if response.status_code != httpx.codes.OK:
                raise Unavailable(f"The log answered {response.status_code}; try again later.", path=path)
            data = bytearray()
            for part in response.iter_bytes():
                data += part
                if len(data) > most:
                    raise TooLarge("The log sent more bytes than such a file can have.", path=path)
        return bytes(data)


class HttpLog(StaticLog):
    """A running service's log, under ``<url>/log``. ``url`` is the service's address."""

    prefix = LOG_PREFIX


class FolderLog:
    """A copy of a log's folder: ``checkpoint`` and ``tile/…`` directly under ``path``. Only ever read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def close(self) -> None:
        """Nothing is held open."""

    def read_checkpoint(self) -> bytes:
        """Return the newest checkpoint."""
        return self.get("/checkpoint", MAX_NOTE_BYTES)

    def read_tile(self, tile: Tile) -> bytes:
        """Return a tile's bytes, cut from the full tile where the partial one is gone."""
        try:
            return self.get(f"/{tile.path}", most_bytes(tile))
        except NotFound:
            if tile.is_full:
                raise
            return cut(self.get(f"/{tile.full.path}", most_bytes(tile.full)), tile)

    def get(self, path: str, most: int) -> bytes:
        """Return the file at ``path`` ("/tile/…"). Raises NotFound, TooLarge or Unavailable."""
        try:
            with open_regular(self.path / path.removeprefix("/")) as file:
                data = file.read(most + 1)
        except (FileNotFoundError, NotADirectoryError):
            raise NotFound("The log's folder has no such file.", path=path) from None
        except OSError:
            raise Unavailable("The log's folder cannot be read; check its permissions.", path=path) from None
        if len(data) > most:
            raise TooLarge("A file of the log has more bytes than such a file can have.", path=path)
        return data


class FreshReads:
    """One more way to read a log over HTTP: after a pause, and past what caches keep."""

    def __init__(self, log: StaticLog, pause: float) -> None:
        self._log = log
        self._pause = pause

    def read_checkpoint(self) -> bytes:
        """Return the newest checkpoint."""
        self._log.wait(self._pause)
        return self._log.read_checkpoint(is_fresh=True)

    def read_tile(self, tile: Tile) -> bytes:
        """Return a tile's bytes, cut from the full tile where the partial one is gone."""
        self._log.wait(self._pause)
        return self._log.read_tile(tile, is_fresh=True)

    def get(self, path: str, most: int) -> bytes:
        """Return the body at ``path``, as ``StaticLog.get``."""
        self._log.wait(self._pause)
        return self._log.get(path, most, is_fresh=True)


class FileSource(Protocol):
    """Where files beside a log can be read by their paths: all sources of logs here can."""

    def get(self, path: str, most: int) -> bytes:
        """Return the bytes at ``path``. Raises NotFound, Malformed, TooLarge or Unavailable."""
        ...


def past_caches(source: LogSource | FileSource) -> list[FreshReads]:
    """Return further ways to read the same log, to be tried in turn; a folder has none, for nothing lies between."""
    return [FreshReads(source, pause) for pause in source.pauses] if isinstance(source, StaticLog) else []


def tiles_of(source: LogSource, checkpoint: Checkpoint) -> VerifiedTiles:
    """Return the tiles of a checkpoint's tree, each checked; what does not belong is read again past the caches.

    Raises what ``VerifiedTiles`` does.
    """
    again = [way.read_tile for way in past_caches(source)]
    return VerifiedTiles(source.read_tile, checkpoint.size, checkpoint.root, again)


def is_url(place: str) -> bool:
    """Return whether ``place`` is an address and not a folder."""
    return place.startswith(("http://", "https://"))


def open_log(place: str) -> StaticLog | FolderLog:
    """Return the log at a service's address, at a web server's, or in a folder (the log's own, or one that holds it).

    An address is a web server's with the log's files where there is a ``checkpoint`` right under it, and none under
    ``/log``, also past the caches. Raises NotFound where a folder holds no log.
    """
    if is_url(place):
        service, files = HttpLog(place), StaticLog(place)
        is_files = (
            not _has_checkpoint(service) and _has_checkpoint(files) and not _has_checkpoint(service, is_fresh=True)
        )
        chosen, other = (files, service) if is_files else (service, files)
        other.close()
        return chosen
    for folder in (Path(place), Path(place) / "log"):
        if (folder / "checkpoint").is_file():
            return FolderLog(folder)
    raise NotFound("There is no log in that folder: it has no file 'checkpoint'.")


def _has_checkpoint(log: StaticLog, *, is_fresh: bool = False) -> bool:
    """Whether there is one; what cannot be read now counts as there, and says so when it is read in earnest."""
    try:
        log.read_checkpoint(is_fresh=is_fresh)
    except NotFound:
        return False
    except MusubiError:
        return True
    return True

"""The holders' signed shares of answers beside a copied log, so that whoever has the copy can redo the sums.

::

    OUT/shares/
      size             of how many entries, from the first on, the shares are here: one decimal number
      000/17.json      {"shares":{"<holder>":"<compact JWS>",…}}, of the question admitted at index 17

A file is what ``GET /v1/rounds/<admit>/shares`` says of its ``shares``. Each was held against the hash that the ledger
entry names before it was written. ``size`` is written last: below it, a share that is not here was not given.
"""

import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from ledger import canonical
from ledger import entries as e
from ledger.errors import Malformed, NotFound, ProofInvalid, TooLarge, Unavailable
from ledger.second_reads import read_in_turn
from ledger.tlog.tiles import TILE_WIDTH
from ledger.tlog.verified_tiles import VerifiedTiles
from queries.rounds.messages import token_sha256
from trust.files.durable import write_whole
from trust.log.source import FileSource, FolderLog, past_caches

SHARES = "shares"
MAX_SHARES_BYTES = 8_000_000
_SIZE = "size"
_MOST_SIZE_BYTES = 32
_NUMBER = re.compile(r"(0|[1-9][0-9]{0,15})\n?", re.ASCII)
_NAMED = (b'"kind":"release"', b'"kind":"lost"')


class SharesSource(Protocol):
    """Where the signed shares of closed rounds can be read: a service, or a copy that carries them."""

    def read_shares(self, admit: int) -> bytes:
        """Return the JSON of one round's shares. Raises NotFound, TooLarge or Unavailable."""
        ...

    def carries(self) -> int | None:
        """Return of how many entries it carries the shares; None where it has those of all."""
        ...

    def ways(self) -> "Sequence[SharesSource]":
        """Return the ways to read the same, this one first, to be tried in turn (``ledger.second_reads``)."""
        ...


class _Given(Struct, frozen=True, kw_only=True):
    shares: dict[str, str]


def shares_path(admit: int) -> str:
    """Return the path of one round's shares in a copy."""
    return f"{SHARES}/{admit // 1_000:03d}/{admit}.json"


def decode_shares(data: bytes) -> dict[str, str]:
    """Read the JSON of one round's shares; raise Malformed."""
    try:
        return msgspec.json.decode(data, type=_Given).shares
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        raise Malformed("The signed shares given are not of their format.") from None


def decode_size(data: bytes) -> int:
    """Read ``shares/size``; raise Malformed."""
    text = data.decode("ascii", "replace")
    if _NUMBER.fullmatch(text) is None:
        raise Malformed("The copy does not say of how many entries it has the shares.")
    return int(text)


def closings_with_shares(entries: Iterable[bytes]) -> list[e.Release | e.Lost]:
    """Return those of a log's entries that name shares."""
    found = []
    for data in entries:
        if any(kind in data for kind in _NAMED):
            entry = e.decode(data)
            if isinstance(entry, e.Release | e.Lost) and entry.shares:
                found.append(entry)
    return found


class CopiedShares:
    """The shares that a copy of a log carries, in a folder or at a web server."""

    def __init__(self, log: FileSource) -> None:
        self._log = log

    def ways(self) -> "list[CopiedShares]":
        """Return the ways to read the same, this one first."""
        return [self, *(CopiedShares(way) for way in past_caches(self._log))]

    def read_shares(self, admit: int) -> bytes:
        """Return the JSON of one round's shares. Raises NotFound, TooLarge or Unavailable."""
        return self._log.get(f"/{shares_path(admit)}", MAX_SHARES_BYTES)

    def carries(self) -> int:
        """Return of how many entries the shares are here; 0 where none are. Raises Malformed or Unavailable."""
        try:
            return decode_size(self._log.get(f"/{SHARES}/{_SIZE}", _MOST_SIZE_BYTES))
        except NotFound:
            return 0


def _read_named(source: SharesSource, closing: e.Release | e.Lost) -> dict[str, str]:
    """Return the shares that one entry names; raise ProofInvalid where others are given."""
    tokens = decode_shares(source.read_shares(closing.admit))
    if any(not token.isascii() for token in tokens.values()):
        raise Malformed("The signed shares given are not of their format.")
    if {alias: token_sha256(token) for alias, token in tokens.items()} != closing.shares:
        raise ProofInvalid("The signed shares given are not those that the ledger names.")
    return tokens


class SharesCopied(Struct, frozen=True, kw_only=True):
    """What was copied: how many answers' shares, of which admitted questions there are none, and up to which entry."""

    copied: int
    lacking: list[int]
    size: int


class SharesFolder:
    """The shares in a folder that a log is copied to."""

    def __init__(self, out: Path) -> None:
        self._out = out

    def copy_new(self, source: SharesSource, tiles: VerifiedTiles) -> "SharesCopied":
        """Copy the shares of all answers in a tree that are not here yet, as far as ``source`` carries any.

        The tree's entries are read from where the last copy ended. Raises what reading them raises, and Unavailable; a
        crash or an error leaves the old ``size``, and the next copy begins there again.
        """
        carried = read_in_turn(source.ways(), lambda way: way.carries())
        end = tiles.size if carried is None else min(carried, tiles.size)
        first = CopiedShares(FolderLog(self._out)).carries()
        copied, lacking = 0, []
        for number in range(first // TILE_WIDTH, -(-end // TILE_WIDTH)):
            base = number * TILE_WIDTH
            entries = tiles.bundle(number)[max(0, first - base) : end - base]
            for closing in closings_with_shares(entries):
                if self._copy(source, closing):
                    copied += 1
                else:
                    lacking.append(closing.admit)
        if end > first:
            self._write(self._out / SHARES / _SIZE, f"{end}\n".encode())
        return SharesCopied(copied=copied, lacking=lacking, size=max(first, end))

    def _copy(self, source: SharesSource, closing: e.Release | e.Lost) -> bool:
        """Copy the shares that one entry names; return False where ``source`` does not give them, or gives others."""
        try:
            tokens = read_in_turn(source.ways(), lambda way: _read_named(way, closing))
        except (NotFound, Malformed, TooLarge, ProofInvalid):
            return False
        self._write(self._out / shares_path(closing.admit), canonical.encode(_Given(shares=tokens)))
        return True

    @staticmethod
    def _write(path: Path, data: bytes) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)  # open to the web server's user
        except OSError:
            raise Unavailable("The shares cannot be written; check the folder's permissions.") from None
        write_whole(path, data, mode=0o644)

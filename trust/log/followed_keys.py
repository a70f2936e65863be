"""How a reader of all entries follows a change of the log's key: by the ``log-key`` entries in the tree itself.

A reader pins the genesis entry's hash and keys (``trust.log.pins``). Every later key comes from a ``log-key`` entry
that is in the tree and has the stewards' quorum's signatures (``policies.log_key_changes``). ``trust.log.follower`` and
``trust.log.export`` find them here as they read. A reader who does not read the log asks for ``trust.log.proven_keys``.
"""

from contextlib import suppress

from ledger import entries as e
from ledger.errors import MusubiError, ProofInvalid, SignatureInvalid
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.note import VerifierKey
from ledger.tlog.tiles import TILE_WIDTH
from ledger.tlog.verified_tiles import VerifiedTiles
from policies.log_key_changes import change_log_keys
from trust.log.pins import PinnedLogKeys, open_genesis

_LOG_KEY = b'"kind":"log-key"'
"""In every entry that changes the log's key, and in hardly any other."""


class FollowedKeys:
    """The keys of one log as a reader of all its entries learns them. A plain key is never changed."""

    def __init__(self, keys: PinnedLogKeys | VerifierKey) -> None:
        self.history = keys.history if isinstance(keys, PinnedLogKeys) else LogKeyHistory.of(keys)
        self._genesis_sha256 = keys.genesis_sha256 if isinstance(keys, PinnedLogKeys) else None
        self._genesis: e.Genesis | None = None
        self._searched = 0
        """All changes below this index are in ``history``."""

    @property
    def may_change(self) -> bool:
        """Whether a genesis entry is pinned, whose stewards may change the keys."""
        return self._genesis_sha256 is not None

    def find(self, tiles: VerifiedTiles) -> LogKeyHistory:
        """Return the history as the entries of a tree give it; nothing of it is kept."""
        history, index = self.history, self._searched
        while index < tiles.size:
            number, skip = divmod(index, TILE_WIDTH)
            entries = tiles.bundle(number)[skip:]
            history = self._after(history, tiles, index, entries)
            index += len(entries)
        return history

    def learn(self, history: LogKeyHistory, size: int) -> None:
        """Keep the history that ``find`` gave for a tree of ``size`` entries, once its keys have signed that tree."""
        self.history, self._searched = history, size

    def check_no_change(self, note: bytes, tiles: VerifiedTiles, first: int, entries: list[bytes]) -> None:
        """Raise ProofInvalid where these entries lay a key down that signed this very tree, the checkpoint ``note``."""
        history = self._after(self.history, tiles, first, entries)
        if history is not self.history:
            try:
                history.open(note)
            except SignatureInvalid:
                index = history.changes[-1][0]
                raise ProofInvalid(
                    f"Entry {index}: the log lays its key down here, and has signed this checkpoint with it all the same.",
                    index=index,
                ) from None
            self.history = history
        self._searched = max(self._searched, first + len(entries))

    def _after(self, history: LogKeyHistory, tiles: VerifiedTiles, first: int, entries: list[bytes]) -> LogKeyHistory:
        """Return the history after some entries. One that may not change the keys does not: its replay says why."""
        for place, data in enumerate(entries):
            if _LOG_KEY not in data or first + place <= history.changes[-1][0]:
                continue
            genesis = self._read_genesis(tiles)
            try:
                entry = e.decode(data)
                if genesis is not None and isinstance(entry, e.LogKey):
                    history = change_log_keys(history, first + place, entry, genesis)
            except MusubiError:
                continue
        return history

    def _read_genesis(self, tiles: VerifiedTiles) -> e.Genesis | None:
        """Return the pinned genesis entry, or None where the tree begins with another or nothing is pinned."""
        if self._genesis is None and self._genesis_sha256 is not None:
            with suppress(ProofInvalid):
                self._genesis = open_genesis(tiles.entry(0), self._genesis_sha256)
        return self._genesis

r"""How readers follow a change of the log's key: pins, and the proven key history that a service gives.

A reader pins the genesis entry's hash and keys (``trust.log.pins``). Every later key comes from a ``log-key`` entry that
is in the tree and has the stewards' quorum's signatures. ``trust.log.follower`` finds those as it reads. A reader who
does not read the log, such as a resident's device with a receipt, asks the service for them instead::

    GET /v1/log-keys
    {"changes":[{"entry":{"kind":"log-key",…},"index":4711,"receipt":"c2sp.org/tlog-proof@v1\nindex 4711\n…"}],
     "genesis":{"kind":"genesis",…},"v":1}

``genesis`` has the pinned hash; each change is a quorum-signed entry, with its receipt under a checkpoint that is signed
with the keys of that history and cosigned by the quorum of witnesses. All of it holds, or nothing is believed. The
document is public and may be kept beside one's receipts: with ``trust.json`` it checks them offline.

**What this cannot show** is that no later change was left out. Whoever has a stolen old key, serves a forked log
and hides the change is stopped by the witnesses alone, which have removed that key.
"""

from contextlib import suppress
from typing import Annotated, Literal

from msgspec import Meta, Raw, Struct

from ledger import canonical
from ledger import entries as e
from ledger.entries import Index
from ledger.errors import Malformed, MusubiError, ProofInvalid, SignatureInvalid
from ledger.notes.log_keys import LogKeyHistory
from ledger.notes.note import VerifierKey
from ledger.notes.receipts import MAX_RECEIPT_BYTES, Receipt, check_receipt
from ledger.notes.witness_policy import WitnessPolicy
from ledger.tlog.tiles import TILE_WIDTH
from ledger.tlog.verified_tiles import VerifiedTiles
from policies.log_keys import change_log_keys, first_log_keys
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
        """Raise ProofInvalid where these entries lay a key down that has signed this very tree, the checkpoint ``note``."""
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


class ProvenChange(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One ``log-key`` entry, where it is, and its receipt."""

    index: Index
    entry: Raw
    receipt: Annotated[str, Meta(max_length=MAX_RECEIPT_BYTES)]


class ProvenLogKeys(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every change of the log's keys so far, with its proof. See the module's docstring."""

    v: Literal[1] = 1
    genesis: Raw
    changes: Annotated[list[ProvenChange], Meta(max_length=10_000)]


def check_log_keys(proven: ProvenLogKeys, pinned: PinnedLogKeys, witnesses: WitnessPolicy | None) -> LogKeyHistory:
    """Return the key history that the document proves.

    Raises ProofInvalid, SignatureInvalid, NotPermitted (no quorum) or Malformed for the first thing wrong.
    """
    genesis = open_genesis(bytes(proven.genesis), pinned.genesis_sha256)
    history = first_log_keys(genesis)
    for change in proven.changes:
        entry = e.decode(bytes(change.entry))
        if not isinstance(entry, e.LogKey):
            raise Malformed("The key history holds an entry that changes no key.")
        history = change_log_keys(history, change.index, entry, genesis)
    for change in proven.changes:
        receipt = Receipt.parse(change.receipt.encode())
        if receipt.index != change.index:
            raise ProofInvalid("The key history holds a receipt for another entry.")
        check_receipt(receipt, bytes(change.entry), history, witnesses)
    return history


def decode_log_keys(data: bytes) -> ProvenLogKeys:
    """Read the document strictly; raise Malformed."""
    return canonical.decode(data, ProvenLogKeys, "key history")

"""The replayed ledger as one holder needs it: the state that all share, and what follows from it for this holder.

Entries go in one after the other (``apply``), each checked by ``queries.replay``; it depends on nothing else. So the
same entries give the same bytes (``kept``), whoever replays them: a reader at its start, one that goes on from what it
kept (``holder_state_of``), or the check of that in the background.
"""

from typing import Protocol

import numpy as np
from msgspec import Struct

from ledger import entries as e
from ledger.errors import Malformed
from policies.accounts.account_names import data_account, source_account
from policies.accounts.budgets import window_of
from policies.in_force.chunk_tree import Chunks, has_bit, set_bit
from policies.kept_state import (
    KeptChunks,
    KeptState,
    chunks_of,
    decode_kept,
    encode_kept,
    keep_chunks,
    keep_state,
    state_of,
)
from policies.ledger_state import State
from policies.replay import SeenConsents, entry_sha256
from queries.replay import apply, decode_next
from queries.rounds.admission import plan_of
from trust.log.pins import Trust, open_genesis
from trust.node.books.books import ErasedConsent
from trust.node.kept.index_bits import bits_of


class OwnCharge(Struct, frozen=True, kw_only=True):
    """What one question charges to this holder's data in its year: over all sources, and of the one that it reads."""

    source: str
    account: str
    source_account: str
    nano_rho: int


class Happenings(Protocol):
    """Who writes down what entries say of this holder's consents and rounds."""

    def note_own_end(self, grant: int, entry: int, at: int, *, replaced: bool) -> None:
        """A grant of ours has ended."""
        ...

    def note_own_erasure(self, erased: ErasedConsent) -> None:
        """A consent of ours is to be erased."""
        ...

    def note_own_closing(self, entry: e.Closing) -> None:
        """A round of ours is closed."""
        ...


class RestsOn(Struct, frozen=True, kw_only=True):
    """What a reader went on from: to how many entries it belongs, their root, and the hash of the state's bytes."""

    size: int
    root: bytes
    state_sha256: bytes


class Lacking(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """Grants of ours whose leaves had not come: their indices and entries."""

    entries: list[tuple[int, bytes]]

    @classmethod
    def of(cls, grants: dict[int, e.Grant]) -> "Lacking":
        """Return these grants as they are kept."""
        return cls([(index, e.encode(grant)) for index, grant in sorted(grants.items())])

    def grants(self) -> dict[int, e.Grant]:
        """Return the grants. Raises Malformed."""
        found = {index: e.decode(data) for index, data in self.entries}
        return {index: entry for index, entry in found.items() if isinstance(entry, e.Grant)}


class KeptHolderState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is kept of a holder's state, besides what follows from it at once."""

    holder: str
    genesis: str
    """The hash of the ledger's first entry."""
    state: KeptState
    own: KeptChunks
    charges: dict[str, dict[int, int]]
    in_force: list[tuple[int, KeptChunks]]
    standing: list[tuple[int, KeptChunks]]


class HolderState:
    """The state after the entries so far."""

    def __init__(self, holder: str, trust: Trust, state: State | None = None) -> None:
        self.state = state if state is not None else State()
        self.in_force: dict[int, Chunks] = {}
        """For each open round of ours, by ``admit``: the in-force set at exactly that index."""
        self.standing: dict[int, Chunks] = {}
        """For each open round of ours: the grants that had not ended at that index, whatever their day and cap."""
        self.own: Chunks = {}
        """The indices of all grants of policies that name us, as bits."""
        self.charges: dict[str, dict[int, int]] = {}
        """What the ledger says was charged to our data, by account and ``admit``, in nano-rho of our own part."""
        self._ours: dict[int, OwnCharge] = {}
        self._holder = holder
        self._trust = trust

    def apply(self, index: int, data: bytes, seen: SeenConsents, happenings: Happenings) -> None:
        """Check and apply the next entry; raise ProofInvalid or UpgradeNeeded."""
        if index == 0:
            open_genesis(data, self._trust.genesis_sha256)
        entry = decode_next(self.state, index, data)
        chunks = None
        if isinstance(entry, e.Admit) and self._holder in entry.participants:
            chunks = self.state.eligible(entry.policy_sha256, entry.at, entry.charge)
        apply(self.state, index, entry, data, seen)
        if isinstance(entry, e.Admit) and chunks is not None:
            self.in_force[index] = chunks
            self.standing[index] = dict(self.state.in_force[entry.policy_sha256].standing)
            own = self._ours[index] = self.own_charge(entry)
            for account in (own.account, own.source_account):
                self.charges.setdefault(account, {})[index] = own.nano_rho
        elif isinstance(entry, e.Closing) and entry.admit in self._ours:
            del self.in_force[entry.admit], self.standing[entry.admit]
            own = self._ours.pop(entry.admit)
            if isinstance(entry, e.Refund):
                del self.charges[own.account][entry.admit]
                del self.charges[own.source_account][entry.admit]
            happenings.note_own_closing(entry)
        elif isinstance(entry, e.Grant) and self.is_ours(entry):
            set_bit(self.own, index)
        elif isinstance(entry, e.Revoke) and has_bit(self.own, entry.grant):
            happenings.note_own_end(entry.grant, index, entry.at, replaced=entry.reason == "replaced")
        elif isinstance(entry, e.Erase) and not self.state.finding and has_bit(self.own, entry.index):
            happenings.note_own_end(entry.index, index, entry.at, replaced=False)  # where it stood until now
            happenings.note_own_erasure(ErasedConsent(index=entry.index, entry=index, entry_sha256=entry_sha256(data)))

    def is_ours(self, grant: e.Grant) -> bool:
        """Return whether a grant's policy names this holder."""
        record = self.state.versions.get(grant.policy_sha256)
        return record is not None and self._holder in record.document.holders

    def own_charge(self, admit: e.Admit) -> OwnCharge:
        """Return what a question charges to our own data: our part of its charge, rounded up, and to which accounts."""
        source = plan_of(self.state, admit).view.source
        year = window_of(admit.at, "year", self.state.trust_root.time_zone)
        return OwnCharge(
            source=source,
            account=data_account(year),
            source_account=source_account(source, year),
            nano_rho=-(-admit.charge // len(admit.participants)),
        )

    def own_standing(self, size: int) -> np.ndarray:
        """Return for each of ``size`` indices whether it is a grant of ours that has not ended."""
        found = np.zeros(size, dtype=bool)
        for each in self.state.in_force.values():
            found |= bits_of(each.standing, size)
        found &= bits_of(self.own, size)
        return found

    def own_erased(self) -> list[int]:
        """Return which of our grants are erased."""
        return [index for index in self.state.erased if has_bit(self.own, index)]

    def kept(self) -> bytes:
        """Return the bytes of this state: equal for equal states."""
        return encode_kept(
            KeptHolderState(
                holder=self._holder,
                genesis=self._trust.genesis_sha256,
                state=keep_state(self.state),
                own=keep_chunks(self.own),
                charges=self.charges,
                in_force=[(admit, keep_chunks(chunks)) for admit, chunks in sorted(self.in_force.items())],
                standing=[(admit, keep_chunks(chunks)) for admit, chunks in sorted(self.standing.items())],
            )
        )

    def open_own_rounds(self) -> None:
        """Work out anew what the open rounds of ours charge; raise Malformed where the kept rounds are others."""
        rounds = {
            index: each.admit for index, each in self.state.rounds.items() if self._holder in each.admit.participants
        }
        if not rounds.keys() == self.in_force.keys() == self.standing.keys():
            raise Malformed("The kept state has other rounds than its ledger.")
        self._ours = {index: self.own_charge(admit) for index, admit in rounds.items()}


def holder_state_of(data: bytes, holder: str, trust: Trust) -> HolderState:
    """Return the state that was kept. Raises Malformed where it is none, another holder's, or another ledger's."""
    kept = decode_kept(data, KeptHolderState)
    if (kept.holder, kept.genesis) != (holder, trust.genesis_sha256):
        raise Malformed("The kept state is another holder's, or another ledger's.")
    restored = HolderState(holder, trust, state_of(kept.state))
    restored.own, restored.charges = chunks_of(kept.own), kept.charges
    restored.in_force = {admit: chunks_of(chunks) for admit, chunks in kept.in_force}
    restored.standing = {admit: chunks_of(chunks) for admit, chunks in kept.standing}
    restored.open_own_rounds()
    return restored

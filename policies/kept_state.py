"""A state as bytes, to be kept and read again: what ``policies.replay`` would make anew from every entry.

The bytes are MessagePack of the structures below, read strictly: each field by its type, none besides them, nothing
that could run. One state has one form, whatever calls have led to it: sets and bitmaps are in order, and what only
saves time (the in-force sets last asked for) is left out. So two states are the same where their bytes are.

They say nothing of the software that made them, and are no format for others: whoever keeps them says beside them by
which rules and which software they are to be read, and reads the ledger again where these are not its own.
"""

from collections import OrderedDict
from typing import TypeVar

import msgspec
from msgspec import Struct, structs

from ledger import entries as e
from ledger.errors import Malformed, MusubiError
from ledger.notes.log_keys import LogKeyHistory
from policies.accounts.budgets import Account
from policies.consents.replacing import Replaceable
from policies.in_force.chains import Chains
from policies.in_force.chunk_tree import CHUNK_BYTES, Chunks
from policies.in_force.sets import InForce
from policies.in_force.yearly_charges import YearlyCharges
from policies.ledger_state import MemberKey, OpenRound, PolicyRecord, State

T = TypeVar("T")

KeptChunks = list[tuple[int, bytes]]
"""Chunk numbers, rising, each with its bits: the least first, in as many bytes as they need."""


class KeptInForce(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """One policy version's grants and charges (``policies.in_force.sets``)."""

    granted: list[tuple[str, int, KeptChunks]]
    ended: KeptChunks
    standing: KeptChunks
    chains: list[tuple[int, int]]
    charges: list[tuple[int, list[tuple[int, int]]]]


class KeptState(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The fields of ``State`` by their names: all of them, none with a default."""

    size: int
    at: int
    finding: str
    genesis: bytes | None
    """An entry, as the ledger has it."""
    rules: int
    rules_entry: int | None
    rules_since: list[tuple[int, int]]
    log_keys: LogKeyHistory | None
    members: dict[str, e.MemberBody]
    member_keys: dict[str, list[MemberKey]]
    once_holders: list[str]
    member_entries: dict[str, int]
    policies: dict[str, str]
    """The hash of each policy's current version."""
    versions: dict[str, PolicyRecord]
    accounts: dict[str, Account]
    in_force: dict[str, KeptInForce]
    replaceable: Replaceable
    rounds: list[tuple[int, bytes, str]]
    """Each open round's index, its ``admit`` as the ledger has it, and the hash that words name."""
    questions: list[tuple[str, int]]
    """The oldest first."""
    grants: KeptChunks
    revokes: KeptChunks
    erased: list[int]
    ordered: int | None
    attested_stops: dict[str, int]


def keep_state(state: State) -> KeptState:
    """Return what is to be kept of a state, to be encoded before that one goes on."""
    same = {name: getattr(state, name) for name in KeptState.__struct_fields__}
    changed = {
        "genesis": None if state.genesis is None else e.encode(state.genesis),
        "once_holders": sorted(state.once_holders),
        "policies": {policy: record.sha256 for policy, record in state.policies.items()},
        "in_force": {sha256: _keep_in_force(each) for sha256, each in state.in_force.items()},
        "rounds": [(index, e.encode(each.admit), each.entry_sha256) for index, each in state.rounds.items()],
        "questions": list(state.questions.items()),
        "grants": keep_chunks(state.grants),
        "revokes": keep_chunks(state.revokes),
        "erased": sorted(state.erased),
    }
    return KeptState(**same | changed)


def state_of(kept: KeptState) -> State:
    """Return the state that was kept, which goes on by itself: what was kept stays as it is.

    Raises Malformed where it cannot be one.
    """
    same = {name: getattr(kept, name) for name in KeptState.__struct_fields__}
    try:
        changed = {
            "genesis": None if kept.genesis is None else _entry_of(kept.genesis, e.Genesis),
            "rules_since": list(kept.rules_since),
            "members": dict(kept.members),
            "member_keys": {alias: list(keys) for alias, keys in kept.member_keys.items()},
            "once_holders": set(kept.once_holders),
            "member_entries": dict(kept.member_entries),
            "policies": {policy: kept.versions[sha256] for policy, sha256 in kept.policies.items()},
            "versions": dict(kept.versions),
            "accounts": {name: structs.replace(account) for name, account in kept.accounts.items()},
            "replaceable": dict(kept.replaceable),
            "attested_stops": dict(kept.attested_stops),
            "in_force": {sha256: _in_force_of(each) for sha256, each in kept.in_force.items()},
            "rounds": {
                index: OpenRound(admit=_entry_of(data, e.Admit), entry_sha256=sha256)
                for index, data, sha256 in kept.rounds
            },
            "questions": OrderedDict(kept.questions),
            "grants": chunks_of(kept.grants),
            "revokes": chunks_of(kept.revokes),
            "erased": set(kept.erased),
        }
    except KeyError:
        raise Malformed("The kept state has a policy without its document.") from None
    return State(**same | changed)


def keep_chunks(chunks: Chunks) -> KeptChunks:
    """Return bits over ledger indices as they are kept."""
    return [(number, bits.to_bytes(-(-bits.bit_length() // 8), "little")) for number, bits in sorted(chunks.items())]


def chunks_of(kept: KeptChunks) -> Chunks:
    """Return kept bits. Raises Malformed."""
    if any(number < 0 or len(data) > CHUNK_BYTES for number, data in kept):
        raise Malformed("The kept state has bits where none can be.")
    return {number: int.from_bytes(data, "little") for number, data in kept}


def encode_kept(kept: Struct) -> bytes:
    """Return the bytes of what is kept."""
    return msgspec.msgpack.encode(kept)


def decode_kept(data: bytes, cls: type[T]) -> T:
    """Read the bytes of what was kept. Raises Malformed."""
    try:
        return msgspec.msgpack.decode(data, type=cls)
    except (msgspec.DecodeError, MusubiError, UnicodeDecodeError, RecursionError):
        raise Malformed("The kept state is not of its form.") from None


def _entry_of(data: bytes, cls: type[T]) -> T:
    entry = e.decode(data)
    if not isinstance(entry, cls):
        raise Malformed("The kept state has another entry in the place of one.")
    return entry


def _keep_in_force(in_force: InForce) -> KeptInForce:
    return KeptInForce(
        granted=[(*group, keep_chunks(chunks)) for group, chunks in in_force.granted.items()],
        ended=keep_chunks(in_force.ended),
        standing=keep_chunks(in_force.standing),
        chains=in_force.chains.all,
        charges=[(year, charges.all) for year, charges in in_force.charges.items()],
    )


def _in_force_of(kept: KeptInForce) -> InForce:
    in_force = InForce()
    in_force.granted = {(until, cap): chunks_of(chunks) for until, cap, chunks in kept.granted}
    in_force.ended, in_force.standing = chunks_of(kept.ended), chunks_of(kept.standing)
    in_force.chains = Chains.of(kept.chains)
    in_force.charges = {year: YearlyCharges.of(charges) for year, charges in kept.charges}
    return in_force

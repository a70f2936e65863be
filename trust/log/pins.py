r"""What whoever checks a log pins before believing anything of it: one small public file, ``trust.json``.

::

    {"genesis_sha256":"5f…","log_key":"example.town/log+2f1a…+AbCd…","origin":"example.town/log","v":1,
     "witness_policy":"log …\nwitness …\nquorum …\n"}

``genesis_sha256`` is the plain SHA-256 of entry 0: stewards, quorum and all else follow from it. ``log_key`` is the
verifier key that the log began with, ``log_key_pq`` its post-quantum one (left out where it has none). Both stay as
they are when the log changes its keys: readers follow the change by its own entry (``trust.log.followed_keys``).
``witness_policy`` is a whole tlog-policy file (``ledger.notes.witness_policy``). The file holds no secret; what matters
is that it comes from someone its reader trusts, such as a steward, and not from the service.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from ledger import canonical
from ledger import entries as e
from ledger.entries import Hex32, LongKey
from ledger.errors import Malformed, NotFound, ProofInvalid, TooLarge, Unavailable
from ledger.notes.log_keys import LogKeyHistory, LogKeys
from ledger.notes.note import TYPE_ED25519, VerifierKey
from ledger.notes.witness_policy import WitnessPolicy
from policies.replay import entry_sha256
from policies.rules import check_readable
from trust.files.durable import write_whole

TRUST_FILE = "trust.json"
MAX_TRUST_BYTES = 1_200_000


@dataclass(frozen=True, slots=True)
class PinnedLogKeys:
    """The keys that a reader begins with, and the hash of the genesis entry, whose stewards may change them."""

    history: LogKeyHistory
    genesis_sha256: str


class Trust(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The pins. Raises Malformed, also while decoding, where a part is not of its format or names another log."""

    v: Literal[1] = 1
    origin: Annotated[str, Meta(min_length=1, max_length=200)]
    log_key: Annotated[str, Meta(max_length=400)]
    log_key_pq: LongKey | UnsetType = UNSET
    genesis_sha256: Hex32
    witness_policy: Annotated[str, Meta(max_length=1_000_000)]

    @property
    def verifier(self) -> VerifierKey:
        """The Ed25519 verifier key that the log began with."""
        key = VerifierKey.parse(self.log_key)
        if key.type != TYPE_ED25519 or key.name != self.origin:
            raise Malformed("The trust file's log key is not an Ed25519 key named for its origin.")
        return key

    @property
    def log_keys(self) -> PinnedLogKeys:
        """All keys that the log began with, and whose word changes them."""
        post_quantum = "" if isinstance(self.log_key_pq, UnsetType) else self.log_key_pq
        keys = LogKeys(self.verifier, VerifierKey.parse(post_quantum) if post_quantum else None)
        return PinnedLogKeys(LogKeyHistory.of(keys), self.genesis_sha256)

    @property
    def witnesses(self) -> WitnessPolicy:
        """Which witnesses count, and how many of them it takes."""
        policy = WitnessPolicy.parse(self.witness_policy)
        if policy.logs and self.verifier not in policy.log_keys:
            raise Malformed("The trust file's witness policy does not name its own log.")
        return policy


def pins_of(genesis: e.Genesis, witness_policy: str) -> Trust:
    """Return the pins of a log that begins with this entry, with a whole tlog-policy of its witnesses."""
    return Trust(
        origin=genesis.origin,
        log_key=genesis.log_key,
        log_key_pq=genesis.log_key_pq,
        genesis_sha256=entry_sha256(e.encode(genesis)),
        witness_policy=witness_policy,
    )


def open_genesis(data: bytes, pinned_sha256: str) -> e.Genesis:
    """Return the genesis entry that these bytes of entry 0 are; raise ProofInvalid unless they have the pinned hash.

    It names the stewards and the first keys, so nothing that a log says of itself counts before this. Raises
    UpgradeNeeded where the pinned ledger begins with rules that this software does not read.
    """
    if entry_sha256(data) == pinned_sha256:
        check_readable(data, None)
        entry = e.decode(data)
        if isinstance(entry, e.Genesis):
            return entry
    raise ProofInvalid("The ledger's genesis entry is not the pinned one.", index=0)


def decode_trust(data: bytes) -> Trust:
    """Read a trust file's bytes strictly, all parts checked; raise Malformed or TooLarge."""
    if len(data) > MAX_TRUST_BYTES:
        raise TooLarge("The trust file is larger than 1,200,000 bytes.")
    trust = canonical.decode(data.rstrip(b"\n"), Trust, "trust file")
    _ = trust.log_keys, trust.witnesses
    return trust


def load_trust(path: Path) -> Trust:
    """Read a trust file; raise NotFound, Malformed, TooLarge, or Unavailable where it cannot be read."""
    try:
        with path.open("rb") as file:
            return decode_trust(file.read(MAX_TRUST_BYTES + 1))
    except Malformed as error:
        raise Malformed(
            f"'{path}' is no trust file: {error.message} Ask a steward for the town's trust.json."
        ) from None
    except FileNotFoundError:
        raise NotFound(f"There is no trust file '{path}'; ask a steward for the town's trust.json.") from None
    except OSError:
        raise Unavailable(f"The trust file '{path}' cannot be read; check its permissions.") from None


def save_trust(trust: Trust, path: Path) -> None:
    """Write a trust file whole or not at all; raise Unavailable where the disk does not take it."""
    write_whole(path, canonical.encode(trust) + b"\n", mode=0o644)

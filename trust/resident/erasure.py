"""What a resident's own device does to have records destroyed, and to see that they are.

That a consent is erased everywhere is checked here and not believed: the ``erase`` entry by its receipt, and each
holder's signed word with the key that the ledger gives for that holder. Which holders there are follows from the
grant's own entry and its policy, both read from the log. A holder that has not said so yet is named.
"""

import secrets

from msgspec import Struct

from ledger import entries as e
from ledger import jws
from ledger.entries import Hex32
from ledger.errors import NotFound, ProofInvalid
from policies.consents.erasure import Farewell, check_erased_word, make_erasure
from policies.ledger_state import State
from policies.pairwise_keys import SERVICE, pairwise_key, public_hex
from policies.replay import MemoryConsents, entry_sha256
from queries.replay import replay
from trust.client import paths
from trust.client.service import ServiceClient
from trust.client.wire import Erased, ErasedRecords, ErasureAnswer
from trust.log.follower import LogFollower
from trust.runtime.clock import system_clock


class ErasedEverywhere(Struct, frozen=True, kw_only=True):
    """What was checked: when the entry was made, and when each holder signed; None for one that has not."""

    index: int
    entry: int
    reason: str
    at: int
    holders: dict[str, int | None]

    @property
    def lagging(self) -> list[str]:
        """The holders that have not said that it is gone."""
        return [holder for holder, at in self.holders.items() if at is None]

    @property
    def done_at(self) -> int | None:
        """When the last holder signed (UTC seconds), or None while one has not."""
        times = [at for at in self.holders.values() if at is not None]
        return None if self.lagging else max(times, default=self.at)


def erase(client: ServiceClient, seed: bytes, index: int) -> list[Erased]:
    """Sign and hand in the wish to have one consent's record destroyed; return what is gone, receipts checked.

    Raises NotFound where it is none of one's own, ProofInvalid where the ledger does not say that it is erased.
    """
    mine = {consent.index: consent for consent in client.my_consents(seed)}
    if index not in mine:
        raise NotFound("None of your consents is at that place of the ledger; `musubi resident show` lists them.")
    key = pairwise_key(seed, SERVICE)
    said_at = system_clock()
    token = make_erasure(key, log=client.trust.origin, consent=mine[index].consent, grant=index, said_at=said_at)
    erased = client.send_for(paths.ERASURES, token, ErasedRecords).erased
    check_erase_entries(client, index, erased, "requested")
    return erased


def check_erase_entries(client: ServiceClient, index: int, erased: list[Erased], reason: e.EraseReason) -> None:
    """Check by their receipts that the entries erase what they are said to; raise ProofInvalid."""
    if index not in {each.index for each in erased}:
        raise ProofInvalid("The service has not erased what was asked for; tell the town's stewards.")
    for each in erased:
        proven = client.prove(each.entry).entry
        if not isinstance(proven, e.Erase) or (proven.index, proven.reason) != (each.index, reason):
            raise ProofInvalid("The ledger does not say there that the record is erased; tell the town's stewards.")


def farewell(client: ServiceClient, seed: bytes) -> None:
    """Have one's enrolment forgotten. Raises NotPermitted while consents are left."""
    key = pairwise_key(seed, SERVICE)
    said = Farewell(log=client.trust.origin, key=public_hex(key), at=system_clock(), nonce=secrets.token_hex(32))
    client.send(paths.FAREWELL, jws.sign(said, key))


def check_erased(client: ServiceClient, follower: LogFollower, index: int) -> ErasedEverywhere:
    """Read the log and return what it and the holders' words say of one erased consent.

    Raises NotFound where the ledger erases no such consent; ProofInvalid or SignatureInvalid for a word that stays
    bad.
    """
    found = _read_log(follower, index)
    return client.checked(lambda: _read_words(client, found, index))


def _read_words(client: ServiceClient, found: "_Found", index: int) -> ErasedEverywhere:
    given = client.get(paths.at(paths.ERASURE, index=index), ErasureAnswer)
    said: dict[str, int | None] = {}
    for holder in found.holders:
        token = given.holders.get(holder)
        said[holder] = None
        if token is not None:
            word = check_erased_word(
                token,
                found.keys.get(holder, []),
                log=client.trust.origin,
                holder=holder,
                index=index,
                entry=found.entry,
                entry_sha256=found.entry_sha256,
            )
            said[holder] = word.at
    return ErasedEverywhere(index=index, entry=found.entry, reason=found.reason, at=found.at, holders=said)


class _Found(Struct, frozen=True, kw_only=True):
    """What the log says: the ``erase`` entry, the policy's holders, and each holder's keys from that entry on."""

    entry: int
    entry_sha256: Hex32
    reason: str
    at: int
    holders: list[str]
    keys: dict[str, list[bytes]]


def _read_log(follower: LogFollower, index: int) -> _Found:
    state, seen = State(), MemoryConsents()
    holders: list[str] = []
    erased: tuple[int, e.Erase, bytes] | None = None
    for batch in follower.follow():
        for offset, data in enumerate(batch.entries):
            place = batch.first + offset
            entry = replay(state, place, data, seen)
            if place == index and isinstance(entry, e.Grant):
                holders = state.versions[entry.policy_sha256].document.holders
            if isinstance(entry, e.Erase) and entry.index == index and not state.finding:  # a wrong one erases nothing
                erased = (place, entry, data)
    if erased is None or not holders:
        raise NotFound("The ledger does not say that a consent at that place is erased.")
    place, entry, data = erased
    return _Found(
        entry=place,
        entry_sha256=entry_sha256(data),
        reason=entry.reason,
        at=entry.at,
        holders=holders,
        keys={holder: state.keys_since(holder, place) for holder in holders},
    )

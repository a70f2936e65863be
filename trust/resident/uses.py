"""Which questions could count a resident's consents: checked by the resident's own device, with the proofs for each.

The device reads the log itself, from its first consent on, each bundle of entries checked against a signed, cosigned
checkpoint: so no question is left out. For each question under a policy version that it agreed to, it gets the in-force
proof, in pages, and checks it against the root in the question's own entry. A proof that is missing or wrong, or that
counts a consent after its end, is a fault, said in plain words beside the question. Where an end has come to is checked
in ``trust.resident.stopped``.

A consent in force counts for nothing where it names none of the question's holders. Which it names is not public; this
device's own copy says it, where the ledger's entry commits to that very copy. Without one there is only what the
service says, and it is told apart.
"""

from collections.abc import Callable, Sequence
from typing import Literal

from msgspec import Struct

from ledger import entries as e
from ledger import jws
from ledger.errors import Malformed, NotFound, NotPermitted, ProofInvalid, SignatureInvalid
from policies.consents.bundle import NONE, commitment
from policies.consents.consent import SubGrant
from policies.ledger_state import State
from policies.replay import MemoryConsents
from queries.answers.uses import (
    InForceAt,
    Uses,
    check_in_force_at,
    check_use,
)
from queries.replay import replay
from trust.client import paths
from trust.client.service import ServiceClient
from trust.client.wire import MyConsent
from trust.log.follower import LogFollower
from trust.resident.own_copies import OwnCopies

Ended = Literal["open", "answered", "refunded", "lost"]
_ENDED: dict[type[e.Closing], Ended] = {e.Release: "answered", e.Refund: "refunded", e.Lost: "lost"}
Progress = Callable[[int, int], None]
"""Called with (entries read, entries in all)."""
_OF_QUESTIONS = tuple(
    b'"kind":"%b"' % kind for kind in (b"admit", b"release", b"refund", b"lost", b"revoke", b"erase", b"grant")
)
BAD_PROOFS = (Malformed, NotPermitted, ProofInvalid, SignatureInvalid)


class Use(Struct, kw_only=True):
    """One question under a policy version that the resident agreed to.

    ``counted`` says whether any of the resident's grants could be counted, ``grants`` which ones; both are proven.
    ``unnamed`` are those that were in force and name none of the ``holders`` that were asked, so that they cannot have
    been counted. ``said_unnamed`` are those of ``grants`` of which only the service says that. ``fault`` says what is
    wrong, or is empty.
    """

    admit: int
    at: int
    by: str
    policy: str
    holders: list[str] = []
    counted: bool = False
    grants: list[int] = []
    unnamed: list[int] = []
    said_unnamed: list[int] = []
    ended: Ended = "open"
    closed_by: int | None = None
    fault: str = ""
    as_of: int | None = None
    """When the witnesses confirmed the checkpoint that this was read under; null where none says."""


class _OwnConsent(Struct, kw_only=True):
    """One of the resident's grants as the log has it, and the entry that ended it.

    ``named`` are the holders that it names, by the device's own copy; None without one. ``said`` is the service's word.
    """

    index: int
    policy_sha256: str
    said: frozenset[str]
    named: frozenset[str] | None = None
    ended_by: int | None = None


class _Reading(Struct, kw_only=True):
    """What the log says about the resident's consents and the questions that could count them."""

    own: dict[int, _OwnConsent]
    admits: dict[int, e.Admit] = {}
    uses: dict[int, Use] = {}


def find_uses(
    client: ServiceClient,
    follower: LogFollower,
    ask: Callable[[], Sequence[MyConsent]],
    progress: Progress | None = None,
    copies: OwnCopies | None = None,
) -> list[Use]:
    """Return every question since one's consents, in the order of the log, each with its proofs checked.

    ``ask`` gets the list of one's consents from the service: again, where the log does not fit it. ``copies`` are the
    device's own, which say what holders a consent names.
    Raises what reading the log raises, and Unavailable where the proofs cannot be had now.
    """
    reading = client.checked(lambda: _read(follower, ask(), progress, copies))
    for consent in reading.own.values():
        wanted = {
            place: admit
            for place, admit in reading.admits.items()
            if admit.policy_sha256 == consent.policy_sha256 and place > consent.index
        }
        answers = _fetch_good(client, consent, wanted) if wanted else {}
        for place, admit in wanted.items():
            _check(reading.uses[place], admit, consent, answers.get(place), client.trust.origin)
    for use in reading.uses.values():
        use.as_of = follower.seen.time
    return list(reading.uses.values())


def _read(
    follower: LogFollower, mine: Sequence[MyConsent], progress: Progress | None, copies: OwnCopies | None
) -> _Reading:
    if not mine:
        return _Reading(own={})
    own = {
        consent.index: _OwnConsent(index=consent.index, policy_sha256="", said=frozenset(consent.holders))
        for consent in mine
    }
    consents = {consent.index: consent.consent for consent in mine}
    reading = _Reading(own=own)
    for index, entry in follower.entries_from(min(own), _OF_QUESTIONS, progress):
        match entry:
            case e.Grant() if index in own:
                if entry.consent != consents[index]:
                    raise ProofInvalid("The ledger has another consent there than the service says; tell the stewards.")
                own[index].policy_sha256 = entry.policy_sha256
                own[index].named = named_holders(entry, copies)
            case e.Revoke() if entry.grant in own:
                own[entry.grant].ended_by = index
            case e.Erase() if entry.index in own and own[entry.index].ended_by is None:
                own[entry.index].ended_by = index
            case e.Admit() if any(each.policy_sha256 == entry.policy_sha256 for each in own.values()):
                reading.admits[index] = entry
                reading.uses[index] = Use(
                    admit=index, at=entry.at, by=entry.by, policy=entry.policy, holders=entry.participants
                )
            case e.Release() | e.Refund() | e.Lost() if entry.admit in reading.uses:
                use = reading.uses[entry.admit]
                use.ended, use.closed_by = _ENDED[type(entry)], index
            case _:
                pass
    if any(not each.policy_sha256 for each in own.values()):
        raise ProofInvalid("The ledger has no consent where the service says that one of yours is; tell the stewards.")
    return reading


def named_holders(grant: e.Grant, copies: OwnCopies | None) -> frozenset[str] | None:
    """Return which holders a consent names, by the copy of it that the entry commits to; None without one."""
    copy = None if copies is None else copies.find(grant.consent)
    if copy is None or commitment(copy.bundle) != grant.commitment:
        return None
    try:
        return frozenset(
            jws.read_unverified(leaf.body, SubGrant, "sub-grant").holder
            for leaf in copy.bundle.leaves[1:]
            if leaf.body != NONE
        )
    except Malformed:
        return None


def _fetch_good(client: ServiceClient, consent: _OwnConsent, wanted: dict[int, e.Admit]) -> dict[int, InForceAt]:
    """Fetch the proofs, again where one is not good; return them, and where one stays so, the last that came."""
    last: list[dict[int, InForceAt]] = []

    def check() -> dict[int, InForceAt]:
        last.clear()
        last.append(_fetch(client, consent, wanted))
        for place, admit in wanted.items():
            if place not in last[0]:
                raise ProofInvalid("The service leaves a proof out.")
            check_use(last[0][place], admit, place, log=client.trust.origin, index=consent.index)
        return last[0]

    try:
        return client.checked(check)
    except BAD_PROOFS:
        if not last:  # no answer that could be read came at all
            raise
        return last[0]


def _fetch(client: ServiceClient, consent: _OwnConsent, wanted: dict[int, e.Admit]) -> dict[int, InForceAt]:
    """Fetch the in-force proofs of one grant for these questions, page by page."""
    found: dict[int, InForceAt] = {}
    first, last = min(wanted), max(wanted)
    while first <= last:
        page = client.get(
            paths.at(paths.USES, policy_sha256=consent.policy_sha256, index=consent.index, first=first), Uses
        )
        found |= {use.in_force.size: use.in_force for use in page.uses}
        if page.next is None or page.next <= first:
            break
        first = page.next
    return found


def _check(use: Use, admit: e.Admit, consent: _OwnConsent, answer: InForceAt | None, log: str) -> None:
    if answer is None:
        use.fault = f"The service gave no proof for your consent {consent.index}."
        return
    try:
        counted = check_use(answer, admit, use.admit, log=log, index=consent.index)
    except BAD_PROOFS as error:
        use.fault = f"The proof for your consent {consent.index} is wrong: {error.message}"
        return
    if counted and consent.named is not None and consent.named.isdisjoint(admit.participants):
        use.unnamed.append(consent.index)
    elif counted:
        if consent.named is None and consent.said.isdisjoint(admit.participants):
            use.said_unnamed.append(consent.index)
        use.counted = True
        use.grants.append(consent.index)
    if counted and consent.ended_by is not None and consent.ended_by < use.admit:
        use.fault = f"It could count your consent {consent.index}, which had ended at {consent.ended_by}."


class AsOfThen(Struct, frozen=True, kw_only=True):
    """Whether a grant was in force as of a tree size, and how that was made sure: by a question's entry or a replay.

    ``holders`` are those that the question there was asked of, if there is one.
    """

    answer: InForceAt
    in_force: bool
    admit: bool
    holders: list[str] = []


def check_as_of(
    client: ServiceClient,
    follower: LogFollower,
    policy_sha256: str,
    index: int,
    size: int,
    progress: Progress | None = None,
) -> AsOfThen:
    """Return whether the grant at ``index`` was in force at a tree of ``size`` entries.

    Where a question under that policy version stands at ``size``, its own entry has the root. For any other size no
    entry has it, so the log is replayed on this machine up to there. Raises ProofInvalid where the two do not agree.
    """
    path = paths.at(paths.IN_FORCE, policy_sha256=policy_sha256, size=size, index=index)
    client.get(path, InForceAt)  # where there is none, nothing needs to be replayed
    entry, log = _admit_at(client, follower, size), client.trust.origin
    if entry is not None and entry.policy_sha256 == policy_sha256:

        def check_by_question() -> AsOfThen:
            answer = client.get(path, InForceAt)
            bit = check_use(answer, entry, size, log=log, index=index)
            return AsOfThen(answer=answer, in_force=bit, admit=True, holders=entry.participants)

        return client.checked(check_by_question)
    state = _replay_to(follower, size, progress)

    def check_by_replay() -> AsOfThen:
        answer = client.get(path, InForceAt)
        if (answer.root, answer.at) != (state.in_force_root(policy_sha256, state.at, answer.charge), state.at):
            raise ProofInvalid(
                "The service's in-force set is not the one that the ledger gives; tell the town's stewards."
            )
        bit = check_in_force_at(answer, log=log, policy_sha256=policy_sha256, size=size, index=index)
        return AsOfThen(answer=answer, in_force=bit, admit=False)

    return client.checked(check_by_replay)


def _admit_at(client: ServiceClient, follower: LogFollower, index: int) -> e.Admit | None:
    if index >= follower.fetch().checkpoint.size:
        return None
    entry = client.prove(index).entry
    return entry if isinstance(entry, e.Admit) else None


def _replay_to(follower: LogFollower, size: int, progress: Progress | None) -> State:
    state, seen = State(), MemoryConsents()
    for batch in follower.follow():
        for offset, data in enumerate(batch.entries):
            if batch.first + offset == size:
                return state
            replay(state, batch.first + offset, data, seen)
        if progress is not None:
            progress(min(state.size, size), size)
    if state.size != size:
        raise NotFound("The published ledger has not reached that size.")
    return state

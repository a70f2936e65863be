"""What a resident's own device checks: which questions could count its consents, and where an end has come to.

**Uses.** The device reads the log itself, from its first consent on, each bundle of entries checked against a signed,
cosigned checkpoint: so no question is left out. For each question under a policy version that it agreed to, it gets the
in-force proof, in pages, and checks it against the root in the question's own entry. A proof that is missing or wrong, or
that counts a consent after its end, is a fault, said in plain words beside the question.

**Stopped.** Each holder's statement is checked with the key of its ``member`` entry, which the stewards' quorum signed; entries
come with receipts. That a holder has left, which nobody has signed, is read from the log itself: its last ``member`` entry
says so, and no open question could still count the consent there. Not checked: that no newer ``member`` entry of a holder
lies between the one named and the size of its statement. An auditor sees that.
"""

from collections.abc import Callable, Iterator, Sequence
from typing import Literal

from msgspec import Struct

from ledger import canonical
from ledger import entries as e
from ledger.entries import Text
from ledger.errors import Malformed, NotFound, NotPermitted, ProofInvalid, SignatureInvalid
from ledger.notes.receipts import Receipt
from ledger.tlog.tiles import TILE_WIDTH
from ledger.tlog.verified_tiles import VerifiedTiles
from policies.governance import check_quorum
from policies.replay import MemoryConsents, State
from queries.answers.uses import (
    HolderStopped,
    InForceAt,
    Stopped,
    Uses,
    check_caught_up,
    check_in_force_at,
    check_use,
)
from queries.replay import replay
from queries.rounds.messages import MyConsent
from trust.client.service import ServiceClient
from trust.log.follower import LogFollower
from trust.log.pins import open_genesis

Progress = Callable[[int, int], None]
"""Called with (entries read, entries in all)."""
_OF_QUESTIONS = tuple(
    b'"kind":"%b"' % kind for kind in (b"admit", b"release", b"refund", b"revoke", b"erase", b"grant")
)
_OF_HOLDERS = tuple(b'"kind":"%b"' % kind for kind in (b"member", b"admit", b"release", b"refund"))
BAD_PROOFS = (Malformed, NotPermitted, ProofInvalid, SignatureInvalid)


class Use(Struct, kw_only=True):
    """One question under a policy version that the resident agreed to.

    ``counted`` says whether any of the resident's grants could be counted, ``grants`` which ones; both are proven.
    ``fault`` says what is wrong, or is empty.
    """

    admit: int
    at: int
    by: str
    policy: str
    counted: bool = False
    grants: list[int] = []
    ended: Literal["open", "answered", "refunded"] = "open"
    closed_by: int | None = None
    fault: str = ""


class _OwnConsent(Struct, kw_only=True):
    """One of the resident's grants as the log has it, and the entry that ended it."""

    index: int
    policy_sha256: str
    ended_by: int | None = None


class _Reading(Struct, kw_only=True):
    """What the log says about the resident's consents and the questions that could count them."""

    own: dict[int, _OwnConsent]
    admits: dict[int, e.Admit] = {}
    uses: dict[int, Use] = {}


def find_uses(
    client: ServiceClient, follower: LogFollower, mine: Sequence[MyConsent], progress: Progress | None = None
) -> list[Use]:
    """Return every question since one's consents, in the order of the log, each with its proofs checked.

    Raises what reading the log raises, and Unavailable where the proofs cannot be had now.
    """
    if not mine:
        return []
    reading = _read(follower, mine, progress)
    for consent in reading.own.values():
        wanted = {
            place: admit
            for place, admit in reading.admits.items()
            if admit.policy_sha256 == consent.policy_sha256 and place > consent.index
        }
        answers = _fetch(client, consent, wanted) if wanted else {}
        for place, admit in wanted.items():
            _check(reading.uses[place], admit, consent, answers.get(place), client.trust.origin)
    return list(reading.uses.values())


def _read(follower: LogFollower, mine: Sequence[MyConsent], progress: Progress | None) -> _Reading:
    own = {consent.index: _OwnConsent(index=consent.index, policy_sha256="") for consent in mine}
    consents = {consent.index: consent.consent for consent in mine}
    reading = _Reading(own=own)
    for index, entry in _entries_from(follower, min(own), _OF_QUESTIONS, progress):
        match entry:
            case e.Grant() if index in own:
                if entry.consent != consents[index]:
                    raise ProofInvalid("The ledger has another consent there than the service says; tell the stewards.")
                own[index].policy_sha256 = entry.policy_sha256
            case e.Revoke() if entry.grant in own:
                own[entry.grant].ended_by = index
            case e.Erase() if entry.index in own and own[entry.index].ended_by is None:
                own[entry.index].ended_by = index
            case e.Admit() if any(each.policy_sha256 == entry.policy_sha256 for each in own.values()):
                reading.admits[index] = entry
                reading.uses[index] = Use(admit=index, at=entry.at, by=entry.by, policy=entry.policy)
            case e.Release() | e.Refund() if entry.admit in reading.uses:
                use = reading.uses[entry.admit]
                use.ended, use.closed_by = ("answered" if isinstance(entry, e.Release) else "refunded"), index
            case _:
                pass
    if any(not each.policy_sha256 for each in own.values()):
        raise ProofInvalid("The ledger has no consent where the service says that one of yours is; tell the stewards.")
    return reading


def _entries_from(
    follower: LogFollower, first: int, kinds: Sequence[bytes], progress: Progress | None = None
) -> Iterator[tuple[int, e.AnyEntry]]:
    """Yield the entries from ``first`` on that can be of these kinds, all checked against the tree."""
    checkpoint = follower.fetch().checkpoint
    tiles = VerifiedTiles(follower.source.read_tile, checkpoint.size, checkpoint.root)
    for number in range(first // TILE_WIDTH, -(-checkpoint.size // TILE_WIDTH)):
        for place, data in enumerate(tiles.bundle(number)):
            index = number * TILE_WIDTH + place
            if index >= first and any(kind in data for kind in kinds):
                yield index, e.decode(data)
        if progress is not None:
            progress(min((number + 1) * TILE_WIDTH, checkpoint.size) - first, checkpoint.size - first)


def _fetch(client: ServiceClient, consent: _OwnConsent, wanted: dict[int, e.Admit]) -> dict[int, InForceAt]:
    """Fetch the in-force proofs of one grant for these questions, page by page."""
    found: dict[int, InForceAt] = {}
    first, last = min(wanted), max(wanted)
    while first <= last:
        page = client.get(f"/v1/log/uses/{consent.policy_sha256}/{consent.index}?first={first}", Uses)
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
    if counted:
        use.counted = True
        use.grants.append(consent.index)
        if consent.ended_by is not None and consent.ended_by < use.admit:
            use.fault = f"It could count your consent {consent.index}, which had ended at {consent.ended_by}."


class AsOfThen(Struct, frozen=True, kw_only=True):
    """Whether a grant was in force as of a tree size, and how that was made sure: by a question's entry, or a replay."""

    answer: InForceAt
    in_force: bool
    admit: bool


def check_as_of(
    client: ServiceClient,
    follower: LogFollower,
    policy_sha256: str,
    index: int,
    size: int,
    progress: Progress | None = None,
) -> AsOfThen:
    """Return whether the grant at ``index`` was in force at a tree of ``size`` entries.

    Where a question under that policy version stands at ``size``, its own entry has the root. For any other size no entry
    has it, so the log is replayed on this machine up to there. Raises ProofInvalid where the two do not agree.
    """
    answer = client.get(f"/v1/log/in-force/{policy_sha256}/{size}/{index}", InForceAt)
    entry = _admit_at(client, follower, size)
    if entry is not None and entry.policy_sha256 == policy_sha256:
        return AsOfThen(
            answer=answer, in_force=check_use(answer, entry, size, log=client.trust.origin, index=index), admit=True
        )
    state = _replay_to(follower, size, progress)
    root = state.in_force_root(policy_sha256, state.at, answer.charge)
    if (answer.root, answer.at) != (root, state.at):
        raise ProofInvalid("The service's in-force set is not the one that the ledger gives; tell the town's stewards.")
    bit = check_in_force_at(answer, log=client.trust.origin, policy_sha256=policy_sha256, size=size, index=index)
    return AsOfThen(answer=answer, in_force=bit, admit=False)


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


class HolderAt(Struct, frozen=True, kw_only=True):
    """One holder: when its node has signed that it stopped, or None; and when it was last heard."""

    holder: str
    title: Text
    stopped_at: int | None
    heard: int | None
    has_left: bool


class StoppedAt(Struct, frozen=True, kw_only=True):
    """An end of a consent, checked: ``stopped_at`` is when the last holder stopped, None while one has not."""

    index: int
    grant: int
    at: int
    holders: list[HolderAt]
    stopped_at: int | None
    receipt: bytes
    """The receipt of the entry (C2SP tlog-proof); its ``extra`` is the service's answer with the holders' signatures."""


def check_stopped(client: ServiceClient, follower: LogFollower, index: int, grant: int | None = None) -> StoppedAt:
    """Return where the end of a consent has come to: every holder's signature checked against the ledger.

    ``grant`` is the consent that is asked about, where that is known: another one's end is no answer. ``follower`` reads
    the log where a holder is said to have left. Raises NotFound where no consent ends there, and ProofInvalid,
    SignatureInvalid or NotPermitted where the service's answer does not hold.
    """
    answer = client.get(f"/v1/log/stopped/{index}", Stopped)
    proven = client.prove(index)
    if (answer.log, answer.index, answer.at) != (client.trust.origin, index, proven.entry.at):
        raise ProofInvalid("The service's answer is about another end of a consent.")
    if _grant_of(client, proven.entry) != answer.grant:
        raise ProofInvalid("The service names another consent than the one that ended there.")
    if grant is not None and grant != answer.grant:
        raise ProofInvalid("The service shows the end of another consent than the one that was asked about.")
    granted = client.prove(answer.grant).entry
    if not isinstance(granted, e.Grant) or granted.policy_sha256 != answer.policy_sha256:
        raise ProofInvalid("The service names another policy than the one that was agreed to.")
    policy = client.policy(answer.policy_sha256)
    if [each.holder for each in answer.holders] != list(policy.holders):
        raise ProofInvalid("The service does not name exactly the policy's holders.")
    genesis = open_genesis(client.prove(0).data, client.trust.genesis_sha256)  # it names the stewards
    checked = [_check_holder(client, each, index, genesis) for each in answer.holders]
    for said, (holder, _) in zip(answer.holders, checked, strict=True):
        if holder.has_left:
            _check_left(follower, said, answer)
    times = [time for _, time in checked if time is not None]
    complete = answer.stopped_at is not None and len(times) == len(checked)
    if answer.stopped_at is not None and (not complete or max(times) != answer.stopped_at):
        raise ProofInvalid("The service says that it stopped everywhere, but the holders have not signed that.")
    grown = Receipt(
        index=index,
        proof=proven.receipt.proof,
        checkpoint=proven.receipt.checkpoint,
        extra=canonical.encode(answer),
    )
    return StoppedAt(
        index=index,
        grant=answer.grant,
        at=answer.at,
        holders=[holder for holder, _ in checked],
        stopped_at=answer.stopped_at,
        receipt=grown.format(),
    )


def _grant_of(client: ServiceClient, entry: e.AnyEntry) -> int:
    """Return which grant an entry ends; for the erasure of a revocation's record, the one that was revoked."""
    match entry:
        case e.Revoke():
            return entry.grant
        case e.Erase():
            erased = client.prove(entry.index).entry
            return erased.grant if isinstance(erased, e.Revoke) else entry.index
        case _:
            raise ProofInvalid("The entry there ends no consent.")


def _check_holder(
    client: ServiceClient, said: HolderStopped, index: int, genesis: e.Genesis
) -> tuple[HolderAt, int | None]:
    """Check one holder; return it and the time that counts for it, if it has stopped or left."""
    entry = client.prove(said.member).entry
    if not isinstance(entry, e.Member) or entry.member.alias != said.holder:
        raise ProofInvalid("The service names an entry that does not register the holder.")
    check_quorum("member", canonical.encode(entry.member), entry.signatures, genesis)  # nobody else may name its key
    stopped_at = None
    if said.token is not None:
        statement = check_caught_up(said.token, entry.member.key, log=client.trust.origin, holder=said.holder)
        if statement.size <= index:
            raise ProofInvalid("A holder's statement does not reach as far as the end of the consent.")
        stopped_at = statement.at
    has_left = said.token is None and entry.member.status == "left"
    holder = HolderAt(
        holder=said.holder,
        title=entry.member.title,
        stopped_at=stopped_at,
        heard=said.heard,
        has_left=has_left,
    )
    return holder, entry.at if has_left else stopped_at


def _check_left(follower: LogFollower, said: HolderStopped, answer: Stopped) -> None:
    """Raise ProofInvalid unless a holder has left by its last ``member`` entry, and no open question can count the consent.

    Only questions behind the grant can, so the log is read from there on.
    """
    last, open_questions = said.member, set()
    for index, entry in _entries_from(follower, min(answer.grant, said.member), _OF_HOLDERS):
        match entry:
            case e.Member() if entry.member.alias == said.holder:
                last = max(last, index)
            case e.Admit() if entry.policy_sha256 == answer.policy_sha256 and said.holder in entry.participants:
                open_questions.add(index)
            case e.Release() | e.Refund():
                open_questions.discard(entry.admit)
            case _:
                pass
    if last != said.member or open_questions:
        raise ProofInvalid("The service says that a holder has left the town, and the ledger does not bear that out.")

"""Where the end of a consent has come to: checked by the resident's own device, holder by holder.

Each holder's statement is checked with the key of its ``member`` entry, which the stewards' quorum signed; entries come
with receipts. That a holder has left, which nobody has signed, is read from the log itself: its last ``member`` entry
says so, and no open question could still count the consent there. Not checked: that no newer ``member`` entry of a
holder lies between the one named and the size of its statement. An auditor sees that.
"""

from collections.abc import Sequence

from msgspec import Struct

from ledger import canonical
from ledger import entries as e
from ledger.entries import Text
from ledger.errors import Malformed, NotPermitted, ProofInvalid, SignatureInvalid
from ledger.notes.receipts import Receipt
from policies.consents.attested_stop import read_stop
from policies.consents.revocation import ended_grant
from policies.governance import check_quorum
from policies.harmless_entries import check_erased_end
from queries.answers.uses import HolderStopped, Stopped, check_caught_up
from trust.client import paths
from trust.client.service import ServiceClient
from trust.client.wire import AttestedEnd, MyConsent
from trust.log.follower import LogFollower
from trust.resident.device import standing

_OF_HOLDERS = tuple(b'"kind":"%b"' % kind for kind in (b"member", b"admit", b"release", b"refund", b"lost"))


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
    still_in_force: list[int]
    """Other consents of the same person to the same policy that are in force: where there are any, nothing is final."""
    receipt: bytes
    """The receipt of the entry (C2SP tlog-proof); its ``extra`` is the service's answer with the holders'
    signatures."""


class AttestedStop(Struct, frozen=True, kw_only=True):
    """A consent that an identity provider ended for its resident: when, and what is wrong with the proof, or ""."""

    grant: int
    by: str
    at: int
    doubt: str


def check_attested(client: ServiceClient, consent: MyConsent) -> AttestedStop:
    """Check who ended one's consent: the ledger names the provider, and commits to what it signed.

    The caller has seen that the service says so. What is wrong is told (``doubt``), and not raised: the consent has
    ended all the same. Raises what the service's answers raise.
    """
    said = consent.attested
    if said is None or consent.ended_by is None:
        raise ProofInvalid("No identity provider ended this consent.")
    entry = client.prove(consent.ended_by).entry
    try:
        _check_provider(client, consent, said, entry)
    except (ProofInvalid, SignatureInvalid, NotPermitted, Malformed) as error:
        return AttestedStop(grant=consent.index, by=said.by, at=entry.at, doubt=error.message)
    return AttestedStop(grant=consent.index, by=said.by, at=entry.at, doubt="")


def _check_provider(client: ServiceClient, consent: MyConsent, said: AttestedEnd, entry: e.AnyEntry) -> None:
    if not isinstance(entry, e.Revoke) or (entry.grant, entry.reason) != (consent.index, "attested"):
        raise ProofInvalid("The ledger does not say there that an identity provider ended it.")
    if entry.by != said.by:
        raise ProofInvalid("The service names another provider than the ledger.")
    if said.record is None:
        raise ProofInvalid("The service has lost what the provider signed.")
    member = client.prove(said.member).entry
    if not isinstance(member, e.Member) or member.member.alias != entry.by or "identity" not in member.member.roles:
        raise ProofInvalid("The service names an entry that does not register that provider.")
    check_quorum("member", canonical.encode(member.member), member.signatures, client.genesis())
    keys = [bytes.fromhex(member.member.key)]
    read_stop(said.record, entry, keys, log=client.trust.origin, consent=consent.consent)


def check_stopped(
    client: ServiceClient,
    follower: LogFollower,
    index: int,
    grant: int | None = None,
    mine: Sequence[MyConsent] = (),
) -> StoppedAt:
    """Return where the end of a consent has come to: every holder's signature checked against the ledger.

    ``grant`` is the consent that is asked about, where that is known: another one's end is no answer. ``mine`` are the
    resident's consents: while another one to the same policy is in force, the end of this one is not the end of it.
    ``follower`` reads the log where a holder is said to have left. Raises NotFound where no consent ends there, and
    ProofInvalid, SignatureInvalid or NotPermitted where the service's answer does not hold, also got again.
    """
    return client.checked(lambda: _read_stopped(client, follower, index, grant, mine))


def _read_stopped(
    client: ServiceClient, follower: LogFollower, index: int, grant: int | None, mine: Sequence[MyConsent]
) -> StoppedAt:
    answer = client.get(paths.at(paths.STOPPED, index=index), Stopped)
    proven = client.prove(index)
    if (answer.log, answer.index, answer.at) != (client.trust.origin, index, proven.entry.at):
        raise ProofInvalid("The service's answer is about another end of a consent.")
    erased = client.prove(proven.entry.index).entry if isinstance(proven.entry, e.Erase) else None
    ended = ended_grant(proven.entry, erased)
    if ended is None:
        raise ProofInvalid("The entry there ends no consent.")
    if ended != answer.grant:
        raise ProofInvalid("The service names another consent than the one that ended there.")
    if grant is not None and grant != answer.grant:
        raise ProofInvalid("The service shows the end of another consent than the one that was asked about.")
    granted = client.prove(answer.grant).entry
    if not isinstance(granted, e.Grant) or granted.policy_sha256 != answer.policy_sha256:
        raise ProofInvalid("The service names another policy than the one that was agreed to.")
    if isinstance(proven.entry, e.Erase) and not isinstance(erased, e.Revoke):
        check_erased_end(proven.entry, granted, client.genesis())
    policy = client.policy(answer.policy_sha256)
    if [each.holder for each in answer.holders] != list(policy.holders):
        raise ProofInvalid("The service does not name exactly the policy's holders.")
    genesis = client.genesis()  # it names the stewards
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
        still_in_force=[each.index for each in standing(mine, granted.policy)],
        receipt=grown.format(),
    )


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
    is_holder = entry.member.status == "active" and "holder" in entry.member.roles
    has_left = said.token is None and not is_holder
    holder = HolderAt(
        holder=said.holder,
        title=entry.member.title,
        stopped_at=stopped_at,
        heard=said.heard,
        has_left=has_left,
    )
    return holder, entry.at if has_left else stopped_at


def _check_left(follower: LogFollower, said: HolderStopped, answer: Stopped) -> None:
    """Raise ProofInvalid unless a holder has gone by its last ``member`` entry, and no open question counts it.

    Only questions behind the grant can, so the log is read from there on.
    """
    last, open_questions = said.member, set()
    for index, entry in follower.entries_from(min(answer.grant, said.member), _OF_HOLDERS):
        match entry:
            case e.Member() if entry.member.alias == said.holder:
                last = max(last, index)
            case e.Admit() if entry.policy_sha256 == answer.policy_sha256 and said.holder in entry.participants:
                open_questions.add(index)
            case e.Release() | e.Refund() | e.Lost():
                open_questions.discard(entry.admit)
            case _:
                pass
    if last != said.member or open_questions:
        raise ProofInvalid("The service says that a holder has left the town, and the ledger does not bear that out.")

"""Doing the sum of an answer again at the partner, from what each holder signed, with keys that the stewards signed."""

from ledger import canonical
from ledger import entries as e
from ledger.errors import NotFound, ProofInvalid
from policies.governance import check_quorum
from policies.replay import entry_sha256
from queries.question.plan import Plan
from queries.rounds.local import ClosedRound, check_shares
from trust.client import paths
from trust.client.service import Proven, ServiceClient
from trust.client.wire import SignedShares


def check_sum(client: ServiceClient, plan: Plan, admit: Proven, closing: e.Release) -> None:
    """Check that an answer is the sum of its holders' shares, each signed by that holder for this very question.

    That a key was laid down before the question, or came after it, only the whole log tells: an audit reads that.
    Raises ProofInvalid, SignatureInvalid, NotPermitted or Malformed for the first thing wrong, where it stays so.
    """
    client.checked(lambda: _read_sum(client, plan, admit, closing))


def _read_sum(client: ServiceClient, plan: Plan, admit: Proven, closing: e.Release) -> None:
    try:
        given = client.get(paths.at(paths.SHARES, admit=admit.index), SignedShares)
    except NotFound:
        raise ProofInvalid(
            "The service does not give what the holders signed, so nobody can redo the answer's sum; have the town's "
            "auditor look at it, or ask afresh with --fresh."
        ) from None
    closed = ClosedRound(log=client.trust.origin, admit=admit.index, admit_sha256=entry_sha256(admit.data), plan=plan)
    keys = {alias: [_key_of(client, alias, given.members.get(alias))] for alias in closing.shares}
    try:
        check_shares(closed, closing, given.shares, keys)
    except ProofInvalid as error:
        raise ProofInvalid(
            f"The answer is not what the holders sent: {error.message} Do not use it; tell the town's auditor."
        ) from None


def _key_of(client: ServiceClient, holder: str, member: int | None) -> bytes:
    if member is None:
        raise ProofInvalid(
            f"The service does not say with which key '{holder}' signed. It may be older than this Musubi: have it "
            "upgraded."
        )
    entry = client.prove(member).entry
    if not isinstance(entry, e.Member) or entry.member.alias != holder:
        raise ProofInvalid(f"The service names an entry that does not register '{holder}'.")
    check_quorum("member", canonical.encode(entry.member), entry.signatures, client.genesis())
    return bytes.fromhex(entry.member.key)

"""Members, policies and the log's key: the stewards' quorum decides, the service only writes down what they signed.

Their signatures hang on the genesis entry alone, which never changes: they are checked before the act takes its turn.
The same member's body, policy or log key sent again (the answer was lost) gets the index where it stands already.
"""

from contextlib import suppress

from ledger import entries as e
from ledger.canonical import encode
from ledger.errors import Malformed, NotPermitted, ReadOnly
from policies.governance import check_quorum
from policies.log_key_changes import change_log_keys, make_log_key_body
from policies.policy_document import decode_document, place_of_bounding_measures, place_of_time
from policies.replay import entry_sha256
from policies.rules import WIDER_QUESTIONS
from trust.client.wire import LogKeyRequest, MemberRequest, PolicyRequest
from trust.service.keys.own_keys import LogSigner
from trust.service.store.store import Store, Transaction


async def found(store: Store, genesis: e.Genesis) -> None:
    """Write the genesis entry into an empty ledger; a ledger that has one keeps it, whatever time it is.

    Raises NotPermitted where that is another one.
    """

    async def act(transaction: Transaction) -> None:
        if transaction.state.size == 0:
            transaction.append(genesis)

    if store.size == 0:
        with suppress(ReadOnly):  # another process has just founded it: its genesis is compared below
            await store.submit(act)
    if store.state.trust_root != genesis:
        raise NotPermitted("The ledger was founded with another genesis entry; it is never replaced.")


async def register_member(store: Store, request: MemberRequest) -> int:
    """Register an organisation, or a change to one; return the entry's index.

    Raises SignatureInvalid, NotPermitted below the quorum, ProofInvalid for a number out of turn.
    """
    check_quorum("member", encode(request.member), request.signatures, store.state.trust_root)

    async def act(transaction: Transaction) -> int:
        state = transaction.state
        if state.members.get(request.member.alias) == request.member:
            return state.member_entries[request.member.alias]
        return transaction.append(e.Member(at=0, member=request.member, signatures=request.signatures))

    return await store.submit(act)


async def change_log_key(store: Store, request: LogKeyRequest, signer: LogSigner) -> int:
    """Have the log sign with its next keys; return the entry's index.

    Raises SignatureInvalid, NotPermitted (below the quorum, or the private keys are not in the service's folder: the
    log could not go on), ProofInvalid or Malformed for keys that cannot follow.
    """
    check_quorum("log-key", encode(request.log_key), request.signatures, store.state.trust_root)

    async def act(transaction: Transaction) -> int:
        state = transaction.state
        entry = e.LogKey(at=transaction.at, log_key=request.log_key, signatures=request.signatures)
        if state.log_keys is not None:
            index, newest = state.log_keys.changes[-1]
            if index and make_log_key_body(len(state.log_keys.changes), newest) == request.log_key:
                return index
            changed = change_log_keys(state.log_keys, state.size, entry, state.trust_root)
            if not signer.holds(changed.newest):
                raise NotPermitted(
                    "The next key of the log is not in the service's folder 'keys'; `musubi keys rotate-log` makes it."
                )
        return transaction.append(entry)

    return await store.submit(act)


async def publish_policy(store: Store, request: PolicyRequest) -> int:
    """Publish a policy version; return the entry's index.

    Raises as ``register_member``, Malformed, and NotPermitted for what the ledger's rules do not have yet.
    """
    document = decode_document(bytes(request.policy))
    check_quorum("policy", bytes(request.policy), request.signatures, store.state.trust_root)

    async def act(transaction: Transaction) -> int:
        before = transaction.state.versions.get(entry_sha256(bytes(request.policy)))
        if before is not None:
            return before.index
        if transaction.state.rules < WIDER_QUESTIONS and place_of_bounding_measures(document) is not None:
            raise NotPermitted(
                f"The policy allows bounding_measures, which takes rules number {WIDER_QUESTIONS}; publish those first, "
                "with `musubi rules`."
            )
        if transaction.state.rules < WIDER_QUESTIONS and place_of_time(document) is not None:
            raise NotPermitted(
                f"The ledger's rules have no columns of time yet: stewards sign rules number {WIDER_QUESTIONS} first, "
                f"with `musubi rules sign {WIDER_QUESTIONS}`."
            )
        if max(document.until) < transaction.state.day(transaction.at):
            raise Malformed("All of the policy's last days are past.")
        return transaction.append(e.PolicyEntry(at=0, policy=request.policy, signatures=request.signatures))

    return await store.submit(act)

"""Members and policies: the stewards' quorum decides, the service only writes down what they signed."""

from typing import Annotated

from msgspec import Meta, Raw, Struct

from ledger import entries as e
from ledger.canonical import encode
from ledger.entries import MemberBody, Token
from ledger.errors import Malformed, NotPermitted
from policies.document import decode_document
from policies.governance import check_quorum
from trust.service.store import Store, Transaction

Tokens = Annotated[list[Token], Meta(min_length=1, max_length=64)]


class MemberRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A member's body with the stewards' approvals."""

    member: MemberBody
    signatures: Tokens


class PolicyRequest(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy document with the stewards' approvals."""

    policy: Raw
    signatures: Tokens


async def found(store: Store, genesis: e.Genesis) -> None:
    """Write the genesis entry into an empty ledger; a ledger that has one keeps it."""

    async def act(transaction: Transaction) -> None:
        if transaction.state.size == 0:
            transaction.append(genesis)
        elif transaction.state.trust_root != genesis:
            raise NotPermitted("The ledger was founded with another genesis entry; it is never replaced.")

    await store.submit(act)


async def register_member(store: Store, request: MemberRequest) -> int:
    """Register an organisation, or a change to one; return the entry's index.

    Raises SignatureInvalid, NotPermitted below the quorum, ProofInvalid for a number out of turn.
    """

    async def act(transaction: Transaction) -> int:
        check_quorum("member", encode(request.member), request.signatures, transaction.state.trust_root)
        return transaction.append(e.Member(at=0, member=request.member, signatures=request.signatures))

    return await store.submit(act)


async def publish_policy(store: Store, request: PolicyRequest) -> int:
    """Publish a policy version; return the entry's index. Raises as ``register_member``, and Malformed."""
    document = decode_document(bytes(request.policy))

    async def act(transaction: Transaction) -> int:
        if max(document.until) < transaction.state.day(transaction.at):
            raise Malformed("All of the policy's last days are past.")
        check_quorum("policy", bytes(request.policy), request.signatures, transaction.state.trust_root)
        return transaction.append(e.PolicyEntry(at=0, policy=request.policy, signatures=request.signatures))

    return await store.submit(act)

"""What a resident's own device checks of its consents without the service's word (docs/reference/resident-proofs.md).

- ``InForceAt``: whether one grant was in the in-force set of a policy version as it was at a tree size. Its ``root``
  counts for nothing by itself; ``check_use`` compares it with the one in the ``admit`` entry, which the device has
  proven.
- ``Uses``: the same for many questions of a policy version at once, in pages.
- ``Stopped``: who has signed that nothing admitted before a consent's end is still to be computed. ``CaughtUp`` is what
  a holder's node signs; it covers the entry at ``index`` if its ``size`` is greater.

All three say nothing that the public log does not say, and are public.
"""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from ledger import entries as e
from ledger import jws
from ledger.entries import Alias, Day, Hex32, Index, NanoRho, Seconds, Token
from ledger.errors import ProofInvalid
from policies.in_force.sets import InForceProof, check_in_force
from queries.rounds.messages import CaughtUp

PAGE = 100
"""The most questions on one page of ``Uses``."""


class InForceAt(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One bit of the in-force set of a policy version at a tree size, for a moment and a charge."""

    v: Literal[1] = 1
    log: str
    policy_sha256: Hex32
    size: Index
    at: Seconds
    day: Day
    charge: NanoRho
    root: Hex32
    proof: InForceProof


class PossibleUse(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One question: the bit at its own index, and the entry that closed it, if one did."""

    in_force: InForceAt
    closed_by: Index | None


class Uses(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A page of the questions under a policy version. ``next`` is where the next page begins, null at the end."""

    v: Literal[1] = 1
    log: str
    policy_sha256: Hex32
    index: Index
    size: Index
    uses: Annotated[list[PossibleUse], Meta(max_length=PAGE)]
    next: Index | None


class HolderStopped(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What one holder has signed.

    ``token`` is its first statement that covers the entry, ``member`` whose key signed it.
    """

    holder: Alias
    member: Index
    size: Index
    heard: Seconds | None
    token: Token | None


class Stopped(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where a consent's end has come to, holder by holder. ``stopped_at`` is null while one is missing."""

    v: Literal[1] = 1
    log: str
    index: Index
    at: Seconds
    grant: Index
    policy_sha256: Hex32
    holders: Annotated[list[HolderStopped], Meta(max_length=64)]
    stopped_at: Seconds | None


def check_in_force_at(answer: InForceAt, *, log: str, policy_sha256: str, size: int, index: int) -> bool:
    """Return the proven bit.

    Raises ProofInvalid where the answer is to another question than the one that was asked.
    """
    if (answer.log, answer.policy_sha256, answer.size) != (log, policy_sha256, size):
        raise ProofInvalid("The in-force answer is about another ledger, policy version or tree size.")
    return check_in_force(answer.proof, answer.root, index=index, size=size)


def check_use(answer: InForceAt, admit: e.Admit, place: int, *, log: str, index: int) -> bool:
    """Return whether the grant at ``index`` could be counted by the question at ``place``, whose entry was proven.

    Raises ProofInvalid where the answer does not hold against the root in the entry itself.
    """
    if (answer.at, answer.charge, answer.root) != (admit.at, admit.charge, admit.in_force_root):
        raise ProofInvalid("The in-force answer is not about the question in the ledger.")
    return check_in_force_at(answer, log=log, policy_sha256=admit.policy_sha256, size=place, index=index)


def check_caught_up(token: str, key: str, *, log: str, holder: str) -> CaughtUp:
    """Return what a holder's node has signed with the key of its ``member`` entry (hexadecimal).

    Raises Malformed, SignatureInvalid, or ProofInvalid where it is another holder's or another ledger's.
    """
    said = jws.verify(token, bytes.fromhex(key), CaughtUp, "caught-up statement")
    if (said.from_, said.log) != (holder, log):
        raise ProofInvalid("The caught-up statement is another holder's, or for another ledger.")
    return said

"""Which grant another may take the place of, told from the ledger alone, and where the other then stands for its cap.

A grant's ``replaces`` names one that a ``revoke`` with the reason ``replaced`` has ended right before it: in the same
transaction, with nothing but such revocations in between. So a grant is replaced once at most, and a chain has no
branches and no circles. A reason of its own keeps a withdrawal a withdrawal: nobody can put an old copy, signed to
replace a grant, right behind the revocation by which its resident took that grant back.
"""

from msgspec import UnsetType

from ledger.entries import Grant
from ledger.errors import ProofInvalid
from policies.rules import REPLACING

Replaceable = dict[int, tuple[str, int]]
"""Grants that were just ended for another to take their place: the policy's id, and where each stood for its cap."""


def chain_first(entry: Grant, replaceable: Replaceable, rules: int) -> int | None:
    """Return where the chain of a replacing grant begins, None where it replaces none; raise ProofInvalid."""
    if isinstance(entry.replaces, UnsetType):
        return None
    if rules < REPLACING:
        raise ProofInvalid("it replaces another, which its rules do not know.")
    if entry.replaces not in replaceable:
        raise ProofInvalid("it replaces a grant that was not ended for it right before.")
    policy, first = replaceable[entry.replaces]
    if policy != entry.policy:
        raise ProofInvalid("it replaces a grant of another policy.")
    return first

"""Whether an ``erase`` or a ``refuse`` is right, as far as the ledger can tell. A wrong one changes nothing.

It halts nobody, and is an auditor's finding (``policies.replay``). By rules before number 3 little of this was looked
at: that what is erased is there, and was not erased before; that a member asked.

**An erase** is of a consent's record: that of a ``grant``, or of the ``revoke`` that ended one. By its reason:

- ``requested``: the resident signed for it. What was signed is destroyed with the record, because it would tie the
  consent to its key again, so nobody can check it later; the resident sees the entry, and can deny it.
- ``retention``: a consent is kept for some time after it ended. So it has ended: no such ``grant`` is in force.
- ``authority``: the stewards' quorum has signed an order for that very grant (``policies.consents.erasure``); the entry
  bears their ``approvals``. The record of what had ended that grant is erased with it, right behind and in the same
  second: one such entry follows from the order, and bears none. (Which grant it ended is not looked at; it is a
  ``revoke``, so nobody's consent depends on it.)

**A refuse** has only the hash of its question. What can be told: a partner asked, the policy is there, and what is said
of a budget is what the ledger says at that very index. The words that it could carry are so chosen among a few: its
account is one of the question's three (``policies.accounts.budgets``), or none.
"""

from msgspec import UnsetType

from ledger import entries as e
from ledger.canonical import encode
from ledger.errors import Malformed, MusubiError, NotFound, ProofInvalid
from policies.accounts import budgets
from policies.consents.erasure import ErasureOrder
from policies.governance import check_quorum
from policies.in_force.chunk_tree import has_bit
from policies.ledger_state import State
from policies.rules import LIES_SEEN, rules_at_first

SAID_LAST = ("budget-exceeded", "query-invalid")
"""What is looked at only once the policy is known to name the partner."""


def check_erase(state: State, index: int, entry: e.Erase) -> None:
    """Raise ProofInvalid where the ``erase`` at ``index`` is wrong; Malformed where its rules know no approvals."""
    if state.rules < LIES_SEEN and not isinstance(entry.approvals, UnsetType):
        raise Malformed("it bears approvals, which its rules do not know.")
    if entry.index >= index or entry.index in state.erased:
        raise ProofInvalid("it erases a record that is not there, or was erased before.")
    if state.rules < LIES_SEEN:
        return
    is_grant = has_bit(state.grants, entry.index)
    if not is_grant and not has_bit(state.revokes, entry.index):
        raise ProofInvalid("it erases what is no consent's record.")
    if entry.reason == "retention" and is_grant and _is_in_force(state, entry):
        raise ProofInvalid("it says that the time of a consent is over which is in force.")
    if entry.reason == "authority":
        _check_order(state, index, entry, is_grant=is_grant)
    elif not isinstance(entry.approvals, UnsetType):
        raise ProofInvalid("it bears approvals, and names no authority.")


def check_erased_end(entry: e.Erase, granted: e.Grant, genesis: e.Genesis) -> None:
    """Check an ``erase`` that is said to have ended a grant, for who reads no whole log: a resident's device.

    Raises NotFound where it is for age while the grant's last day was not past: then it ended nothing itself, and comes
    after a revocation, or is a lie. Raises ProofInvalid where it is in an authority's name without the order, in a town
    that began with rules number 3 or later.
    """
    if entry.reason == "retention" and granted.until >= budgets.local_day(entry.at, genesis.time_zone):
        raise NotFound(
            "No consent ends there: its last day was not past. If it was revoked before, ask about the revocation's index."
        )
    if entry.reason == "authority" and rules_at_first(genesis) >= LIES_SEEN:
        _check_approvals(entry, genesis)


def ordered_at(index: int, entry: e.Erase) -> int | None:
    """Return the index behind which an order's second ``erase`` may come, once the one at ``index`` is found right."""
    return index if entry.reason == "authority" and not isinstance(entry.approvals, UnsetType) else None


def _is_in_force(state: State, entry: e.Erase) -> bool:
    today = state.day(entry.at)
    return any(each.holds(entry.index) and each.last_day(entry.index) >= today for each in state.in_force.values())


def _check_order(state: State, index: int, entry: e.Erase, *, is_grant: bool) -> None:
    if isinstance(entry.approvals, UnsetType):
        if is_grant or state.ordered != index - 1 or entry.at != state.at:
            raise ProofInvalid("it names an authority, and no order that the stewards have signed.")
        return
    if not is_grant:
        raise ProofInvalid("the stewards order that a consent is erased, and not what ended it.")
    _check_approvals(entry, state.trust_root)


def _check_approvals(entry: e.Erase, genesis: e.Genesis) -> None:
    order = ErasureOrder(log=genesis.origin, index=entry.index)
    try:
        approvals = [] if isinstance(entry.approvals, UnsetType) else entry.approvals
        check_quorum("erasure", encode(order), approvals, genesis)
    except MusubiError as error:
        raise ProofInvalid(f"its order is not the stewards': {error.message}") from None


def check_refuse(state: State, entry: e.Refuse) -> None:
    """Raise ProofInvalid where a ``refuse`` is wrong."""
    if state.member(entry.by) is None:
        raise ProofInvalid("it refuses a question by no member.")
    if state.rules < LIES_SEEN:
        return
    record = state.policies.get(entry.policy)
    if record is None:
        raise ProofInvalid("it refuses a question under a policy that is not there.")
    if state.member(entry.by, "partner") is None:
        raise ProofInvalid("it refuses a question by no partner.")
    is_named = entry.by in record.document.partners
    if (entry.rule in SAID_LAST and not is_named) or (entry.rule == "not-permitted" and is_named):
        raise ProofInvalid("its rule is another than the one that the policy's list of partners gives.")
    if entry.rule != "budget-exceeded":
        if (entry.account, entry.asked, entry.left) != ("", 0, 0):
            raise ProofInvalid("it speaks of an account, and of no budget.")
        return
    charges = budgets.charges_for(record.document, entry.by, entry.at, state.trust_root.time_zone)
    tightest = budgets.tightest(state.accounts, charges)
    if entry.account not in [charge.account for charge in charges]:
        raise ProofInvalid("it names an account that the question would not be charged to.")
    left = next(budgets.left(state.accounts, charge) for charge in charges if charge.account == entry.account)
    if entry.left != left or entry.account != tightest.account:
        raise ProofInvalid("it says that another account is the tightest, or that another sum is left in it.")
    if not left < entry.asked <= record.document.limits.charge:
        raise ProofInvalid("what was asked for is left, or is more than the policy allows for one question.")

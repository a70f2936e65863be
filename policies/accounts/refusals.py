"""Whether a ``refuse`` is right, as far as the ledger can tell. A wrong one changes nothing, and is a finding.

The question itself is not in the ledger, only its hash. What can be told: who asked is a partner, the policy is there,
and what is said of a budget is what the ledger says at that very index. The words that an entry could carry are so
chosen among a few: the account is one of the question's three (``policies.accounts.budgets``), or none.

By rules before number 3 only that a member asked was looked at.
"""

from ledger import entries as e
from ledger.errors import ProofInvalid
from policies.accounts import budgets
from policies.ledger_state import State
from policies.rules import LIES_SEEN

SAID_LAST = ("budget-exceeded", "query-invalid")
"""What is looked at only once the policy is known to name the partner."""


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

"""Privacy accounts: exact whole nano-rho, reserved at ``admit``, settled at ``release``, given back at ``refund``.

Zero-concentrated differential privacy adds up (Bun and Steinke 2016, lemma 1.7), so an account is a sum of whole
numbers and an **account cap**. Three accounts in the ledger bear every charge, and one that each node keeps itself,
whose cap is the node's **data cap** (``policies.accounts.account_names`` lists them). A resident's **yearly cap** is
another thing: it bounds no account, but takes the resident out of the in-force set
(``policies.in_force.yearly_charges``).
Accounts belong to the policy's id, so a new version resets nothing. The window is the day, month or year, in the town's
time zone, of the ``admit``'s ``at``. Between reserve and settle a charge counts in full: a crash can strand a charge,
it can never free one.
"""

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Literal

from msgspec import Struct

from ledger.errors import BudgetExceeded
from policies.accounts.account_names import life_account, partner_account, policy_account
from policies.policy_document import Policy
from policies.time_zones import time_zone_of


class Account(Struct, kw_only=True):
    """What one account has promised (``reserved``) and paid (``spent``), in nano-rho."""

    reserved: int = 0
    spent: int = 0

    @property
    def charged(self) -> int:
        """Everything that counts against the account cap."""
        return self.reserved + self.spent


class Charge(Struct, frozen=True, kw_only=True):
    """One account that a question must fit into, with its account cap in nano-rho."""

    account: str
    account_cap: int


Accounts = dict[str, Account]


@lru_cache(1_024)
def local_day(at: int, time_zone: str) -> str:
    """Return the date of a moment (UTC seconds) in the town's time zone, ``YYYY-MM-DD``.

    Raises Malformed for a time zone that is no IANA name.
    """
    return datetime.fromtimestamp(at, time_zone_of(time_zone)).date().isoformat()


def window_of(at: int, window: str, time_zone: str) -> str:
    """Return the window's label: ``2026-11-21``, ``2026-11`` or ``2026``."""
    return local_day(at, time_zone)[: {"day": 10, "month": 7, "year": 4}[window]]


def window_ends(at: int, window: Literal["day", "month", "year"], time_zone: str) -> int:
    """Return when the window that a moment (UTC seconds) lies in ends and the next one begins, in UTC seconds."""
    local = datetime.fromtimestamp(at, time_zone_of(time_zone)).replace(hour=0, minute=0, second=0, microsecond=0)
    match window:
        case "day":
            following = local + timedelta(days=1)
        case "month":
            following = (local.replace(day=1) + timedelta(days=32)).replace(day=1)
        case "year":
            following = local.replace(year=local.year + 1, month=1, day=1)
    return int(following.timestamp())


def charges_for(policy: Policy, partner: str, at: int, time_zone: str) -> list[Charge]:
    """Return the accounts that a question of ``partner`` at ``at`` is charged to, with their account caps."""
    window = window_of(at, policy.budget.window, time_zone)
    return [
        Charge(account=policy_account(policy.id, window), account_cap=policy.budget.per_window),
        Charge(account=life_account(policy.id), account_cap=policy.budget.life),
        Charge(account=partner_account(partner, policy.id, window), account_cap=policy.budget.per_partner),
    ]


def left(accounts: Accounts, charge: Charge) -> int:
    """Return how much the account has left, never below 0."""
    account = accounts.get(charge.account)
    return max(0, charge.account_cap - (account.charged if account else 0))


def tightest(accounts: Accounts, charges: list[Charge]) -> Charge:
    """Return the account with least left, the first of those that have as little."""
    return min(charges, key=lambda charge: left(accounts, charge))


def check_fits(accounts: Accounts, charges: list[Charge], asked: int) -> None:
    """Raise BudgetExceeded for the account with least left, unless ``asked`` fits into every one."""
    least = tightest(accounts, charges)
    if asked > left(accounts, least):
        raise BudgetExceeded(least.account, asked, left(accounts, least))


def reserve(accounts: Accounts, charges: list[Charge], asked: int) -> None:
    """Charge every account, or raise BudgetExceeded and change none."""
    check_fits(accounts, charges, asked)
    for charge in charges:
        accounts.setdefault(charge.account, Account()).reserved += asked


def settle(accounts: Accounts, charges: list[Charge], asked: int) -> None:
    """Turn a reservation into spending: the answer is out."""
    for charge in charges:
        account = accounts[charge.account]
        account.reserved -= asked
        account.spent += asked


def refund(accounts: Accounts, charges: list[Charge], asked: int) -> None:
    """Free a reservation: every participant signed that no share left it."""
    for charge in charges:
        accounts[charge.account].reserved -= asked

"""The ledger's privacy accounts, beside a naive list of charges that is summed anew each time."""

import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from msgspec import structs

from ledger.errors import BudgetExceeded, Malformed
from policies.accounts import budgets
from policies.policy_document import Policy
from tests.kit.towns.toy_town import scarce

ZONE = "Asia/Tokyo"
START = 1_790_000_000
PARTNERS = ("planner", "bus_co", "town_hall")
IDS = ("mobility", "health")


def tokyo_window(at: int, window: str) -> str:
    """Return the window's label, reckoned with a fixed offset: Japan keeps UTC+9 all year."""
    day = (datetime.fromtimestamp(at, UTC) + timedelta(hours=9)).date()
    return {"day": f"{day}", "month": f"{day:%Y-%m}", "year": f"{day:%Y}"}[window]


@dataclass
class Asked:
    """One admitted charge of the naive model."""

    policy: Policy
    partner: str
    at: int
    charge: int
    state: str = "reserved"


class BudgetBooks(RuleBasedStateMachine):
    """Reserve, settle and refund at random, through new versions and turning windows."""

    @initialize(window=st.sampled_from(["day", "month", "year"]))
    def found(self, window: str) -> None:
        """Begin with version 1 of two policies."""
        self.accounts: budgets.Accounts = {}
        self.asked: list[Asked] = []
        self.at = START
        self.policies = {name: self._policy(name, 1, window, 100, 300, 60) for name in IDS}

    @staticmethod
    def _policy(name: str, version: int, window: Any, per_window: int, life: int, per_partner: int) -> Policy:
        budget = structs.replace(
            scarce().budget, window=window, per_window=per_window, life=life, per_partner=per_partner
        )
        return scarce(id=name, version=version, budget=budget)

    def _total(self, policy: Policy, *, window: bool = False, partner: str | None = None) -> int:
        """Sum what counts, from the list alone."""
        label = policy.budget.window
        return sum(
            asked.charge
            for asked in self.asked
            if asked.state != "refunded"
            and asked.policy.id == policy.id
            and (partner is None or asked.partner == partner)
            and (not window or tokyo_window(asked.at, label) == tokyo_window(self.at, label))
        )

    def _left(self, policy: Policy, partner: str) -> list[int]:
        budget = policy.budget
        return [
            budget.per_window - self._total(policy, window=True),
            budget.life - self._total(policy),
            budget.per_partner - self._total(policy, window=True, partner=partner),
        ]

    @rule(name=st.sampled_from(IDS), partner=st.sampled_from(PARTNERS), charge=st.integers(0, 70) | st.just(10**15))
    def admit(self, name: str, partner: str, charge: int) -> None:
        """A charge goes through exactly when it fits into all three accounts; otherwise nothing changes."""
        policy = self.policies[name]
        charges = budgets.charges_for(policy, partner, self.at, ZONE)
        left = self._left(policy, partner)
        assert [budgets.left(self.accounts, each) for each in charges] == [max(0, number) for number in left]
        if charge <= min(max(0, number) for number in left):
            budgets.reserve(self.accounts, charges, charge)
            self.asked.append(Asked(policy, partner, self.at, charge))
            # a new version may have lowered a cap below what was spent: then only a charge of nothing fits
            assert charge == 0 or all(self.accounts[each.account].charged <= each.account_cap for each in charges)
            return
        before = copy.deepcopy(self.accounts)
        with pytest.raises(BudgetExceeded) as refused:
            budgets.reserve(self.accounts, charges, charge)
        assert self.accounts == before
        assert refused.value.asked == charge
        assert refused.value.left == min(max(0, number) for number in left)

    @precondition(lambda self: any(asked.state == "reserved" for asked in self.asked))
    @rule(data=st.data(), how=st.sampled_from(["settled", "refunded"]))
    def close(self, data: st.DataObject, how: str) -> None:
        """Close an open charge, perhaps long after its window and under the version that it was admitted by."""
        asked = data.draw(st.sampled_from([each for each in self.asked if each.state == "reserved"]))
        charges = budgets.charges_for(asked.policy, asked.partner, asked.at, ZONE)
        (budgets.settle if how == "settled" else budgets.refund)(self.accounts, charges, asked.charge)
        asked.state = how

    @rule(seconds=st.sampled_from([1, 3_600, 86_400, 20 * 86_400, 200 * 86_400]))
    def wait(self, seconds: int) -> None:
        """Let windows roll."""
        self.at += seconds

    @rule(name=st.sampled_from(IDS), caps=st.tuples(st.integers(0, 150), st.integers(0, 600), st.integers(0, 100)))
    def new_version(self, name: str, caps: tuple[int, int, int]) -> None:
        """A new version may change the caps, and resets nothing."""
        old = self.policies[name]
        partner = PARTNERS[0]
        spent = [budgets.left(self.accounts, each) - each.account_cap for each in self._charges(old, partner)]
        new = self._policy(name, old.version + 1, old.budget.window, *caps)
        self.policies[name] = new
        for each, number in zip(self._charges(new, partner), spent, strict=True):
            assert budgets.left(self.accounts, each) <= max(0, each.account_cap + number)

    def _charges(self, policy: Policy, partner: str) -> list[budgets.Charge]:
        return budgets.charges_for(policy, partner, self.at, ZONE)

    @invariant()
    def accounts_are_the_sum_of_their_charges(self) -> None:
        """No account holds more or less, or is negative; the two policies never touch each other's accounts."""
        expected: dict[str, list[int]] = {}
        for asked in self.asked:
            label = tokyo_window(asked.at, asked.policy.budget.window)
            name = asked.policy.id
            for account in (f"policy/{name}/{label}", f"policy/{name}/life", f"partner/{asked.partner}/{name}/{label}"):
                sums = expected.setdefault(account, [0, 0])
                sums[0] += asked.charge if asked.state == "reserved" else 0
                sums[1] += asked.charge if asked.state == "settled" else 0
        held = {name: [account.reserved, account.spent] for name, account in self.accounts.items()}
        assert held == expected


TestBudgetBooks = BudgetBooks.TestCase
TestBudgetBooks.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)


@given(st.integers(0, 2**37), st.sampled_from(["day", "month", "year"]))
def test_windows_are_of_the_towns_own_days(at: int, window: str) -> None:
    assert budgets.window_of(at, window, ZONE) == tokyo_window(at, window)


@given(
    st.integers(0, 2**37), st.sampled_from(["day", "month", "year"]), st.sampled_from([ZONE, "Europe/London", "UTC"])
)
def test_a_window_ends_at_the_first_second_of_the_next_one(
    at: int, window: Literal["day", "month", "year"], zone: str
) -> None:
    ends = budgets.window_ends(at, window, zone)
    assert at < ends
    assert budgets.window_of(ends - 1, window, zone) == budgets.window_of(at, window, zone)
    assert budgets.window_of(ends, window, zone) != budgets.window_of(at, window, zone)


def test_a_window_turns_at_the_towns_midnight_and_not_at_londons() -> None:
    midnight = 1_796_050_800  # 2026-12-01 00:00:00 in Tokyo
    assert budgets.window_of(midnight - 1, "month", ZONE) == "2026-11"
    assert budgets.window_of(midnight, "month", ZONE) == "2026-12"
    assert budgets.window_of(midnight, "month", "Europe/London") == "2026-11"


@pytest.mark.parametrize("zone", ["", "Asia", "No/Where", "../../etc/passwd", "/etc/localtime", "Asia/Tokyo\0", "日本"])
def test_a_time_zone_that_is_none_is_malformed(zone: str) -> None:
    with pytest.raises(Malformed):
        budgets.local_day(START, zone)


def test_the_refusal_names_the_account_with_least_left() -> None:
    policy = scarce(budget=structs.replace(scarce().budget, per_window=100, life=50, per_partner=80))
    charges = budgets.charges_for(policy, "planner", START, ZONE)
    with pytest.raises(BudgetExceeded) as refused:
        budgets.check_fits({}, charges, 51)
    assert (refused.value.account, refused.value.asked, refused.value.left) == ("policy/mobility/life", 51, 50)
    budgets.check_fits({}, charges, 50)

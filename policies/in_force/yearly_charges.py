"""What was charged under one policy version in one calendar year: the books behind residents' yearly caps.

A resident's **yearly cap** is chosen from the policy's ``yearly_caps`` and stands in the grant. It is no account: where
the next charge would pass it, the grant is left out of the in-force set. Account caps are in
``policies.accounts.budgets``.
"""

from bisect import bisect_left
from collections.abc import Sequence


class YearlyCharges:
    """Charges in the order of their ``admit`` entries, as running sums in nano-rho.

    A new charge and a look-up cost the same however many there are; a refund, as much as charges came after it.
    """

    def __init__(self) -> None:
        self._admits: list[int] = []
        self._sums: list[int] = []

    @classmethod
    def of(cls, sums: Sequence[tuple[int, int]]) -> "YearlyCharges":
        """Return books of (``admit``, sum up to it in nano-rho), both rising: what ``all`` gives."""
        made = cls()
        made._admits, made._sums = [admit for admit, _ in sums], [total for _, total in sums]
        return made

    @property
    def all(self) -> list[tuple[int, int]]:
        """Every ``admit`` that is charged, with the sum up to it."""
        return list(zip(self._admits, self._sums, strict=True))

    def __repr__(self) -> str:
        return f"YearlyCharges({self.all})"

    def copy(self) -> "YearlyCharges":
        """Return books of one's own with the same charges."""
        other = YearlyCharges()
        other._admits, other._sums = list(self._admits), list(self._sums)
        return other

    def add(self, admit: int, charge: int) -> None:
        """Charge the ``admit`` at an index above all others."""
        self._admits.append(admit)
        self._sums.append(charge + (self._sums[-1] if self._sums else 0))

    def refund(self, admit: int) -> bool:
        """Give the charge of one ``admit`` back; return whether it was one of this year's."""
        place = bisect_left(self._admits, admit)
        if place == len(self._admits) or self._admits[place] != admit:
            return False
        charge = self._sums[place] - (self._sums[place - 1] if place else 0)
        self._sums[place:] = [total - charge for total in self._sums[place + 1 :]]
        del self._admits[place]
        return True

    def first(self, yearly_cap: int, charge: int) -> int | None:
        """Return the least grant index that a new ``charge`` may still count at this yearly cap; None if none may.

        Against a grant count all charges after it. So it is the index right after the last ``admit`` whose charge, with
        all that came after it and the new one, passes the yearly cap.
        """
        if charge > yearly_cap:
            return None
        too_much = (self._sums[-1] if self._sums else 0) + charge - yearly_cap
        if too_much <= 0:
            return 0
        return self._admits[bisect_left(self._sums, too_much)] + 1

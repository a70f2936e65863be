"""Holding noise and charge against what the partner signed, within 1%, without a search.

The signed question says ``spend``; the policy that it names says delta, views and holders. From these follows what each
**moving** primitive (one that a resident can move at all) may cost at one holder: its *share*. ``price`` looks for the
noise; a checker has the noise before it, and only asks whether it costs the share. Let k be the participants, n the
moving primitives, and c what a primitive's stated scale costs, in whole nano-rho, rounded up (``cost.nano_rho``).

``epsilon``. The share is a k·n-th of the largest cost whose epsilon is at most the signed one. So for every moving
primitive, were all n at all k to cost as much as it:

- *not more*: 1% less than c (and one nano-rho, for rounding) each is together worth at most the signed epsilon;
- *not less*: 1% more than c (and one nano-rho) each is together worth more than it.

``within``. The share is what the named measure's noise costs. That noise gives the asked interval, and the next wider
one, which would cost 1% less, does not; no other primitive costs more than the share, or 1% less.

Noise is never less than ``MIN_SCALE``, so a primitive with the least noise may cost less than its share. One that
cannot move costs nothing, whatever its noise: it has the least. The whole charge is k times the sum of the c, up to
what two versions of OpenDP may round differently, as by all rules (``pricing.check_charge``, ``pricing.check_spend``).

Why 1%: an honest price is nearer, by 6 significant digits of the scale and one nano-rho. The rest is for another
version of OpenDP's float arithmetic, so that no town is accused for an upgrade.
"""

from collections.abc import Sequence
from decimal import Decimal

from msgspec import UNSET

from ledger.entries import Noise
from ledger.errors import ProofInvalid
from queries.price.cost import MAX_SCALE, MIN_SCALE, half_width, is_worth_more, nano_rho
from queries.price.pricing import check_charge, check_confidence, check_spend, target_of
from queries.question.plan import Plan
from queries.question.tree import Spend, Within

LESS = "A measure is answered less exactly than the partner signed for."
MORE = "A measure is answered more exactly than the partner signed for."
MAX_COST = 2**53
"""More than any charge that an entry may hold: what the cheapest costs where all have the least noise there is."""
ONE_PERCENT_WIDER = Decimal("1.00498")
"""A scale so much larger costs 1% less (the cost goes with its square), rounded against whoever stated the scale."""


def check_signed_spend(plan: Plan, spend: Spend, delta: str, noise: Sequence[Noise], charge: int) -> None:
    """Raise ProofInvalid unless noise and charge are those of the signed ``spend``, each measure's by itself."""
    check_charge(plan, noise, charge)
    check_spend(plan, spend, delta, noise, charge)
    costs = []
    for primitive, part in zip(plan.primitives, noise, strict=True):
        if primitive.squared_sensitivity:
            costs.append((Decimal(part.scale), nano_rho(primitive.squared_sensitivity, part.scale)))
        elif Decimal(part.scale) != MIN_SCALE:
            raise ProofInvalid("A measure that costs nothing has more noise than the least there is.")
    if not costs:
        return
    dearest = max(cost for _, cost in costs)
    cheapest = min((cost for scale, cost in costs if scale != MIN_SCALE), default=MAX_COST)
    if spend.within is not UNSET:
        _check_within(plan, spend.within, noise, cheapest)
    elif spend.epsilon is not UNSET:
        parts = len(plan.participants) * len(costs)
        least, most = parts * _one_percent_less(dearest), parts * _one_percent_more(cheapest)
        if least > charge and is_worth_more(least, spend.epsilon, delta):  # the charge was seen not to be, above
            raise ProofInvalid(MORE)
        if not is_worth_more(most, spend.epsilon, delta):
            raise ProofInvalid(LESS)


def _one_percent_more(cost: int) -> int:
    return cost + cost // 100 + 1


def _one_percent_less(cost: int) -> int:
    return max(0, cost - cost // 100 - 1)


def _check_within(plan: Plan, within: Within, noise: Sequence[Noise], cheapest: int) -> None:
    name, squared = target_of(plan, within)
    scale = Decimal(next(part.scale for part in noise if part.primitive == name))
    others = (len(plan.participants), plan.length, check_confidence(within.confidence))
    if scale < MAX_SCALE and half_width(f"{scale * ONE_PERCENT_WIDER:f}", *others) <= within.plus_minus:
        raise ProofInvalid(MORE)
    if _one_percent_more(cheapest) < nano_rho(squared, f"{scale:f}"):
        raise ProofInvalid(LESS)
